"""
TLS on the standard library's C{ssl}: one connection's records and handshake, and the
certificates of a server.

It knows no session. Packages later in the package map may import it. The layer
that puts it between a connection and its session is
L{twisted_echo.endpoints.tls_layer}. Begin with L{twisted_echo.tls.connection}.
"""
