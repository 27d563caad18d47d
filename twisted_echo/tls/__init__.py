"""
TLS on the standard library's C{ssl}: one connection's records and handshake, and the
certificates of a server.

It knows no session. L{twisted_echo.session} and what stands above it may import it; the
layer that puts it under sessions is L{twisted_echo.endpoints.tls_layer}. Begin with
L{twisted_echo.tls.connection}.
"""
