"""
Where connections come in: endpoint strings, listening ports, and the layers (TLS, PROXY
header) that a connection passes before it becomes a session.

L{twisted_echo.service} and what stands above it may import this package. Begin with
L{twisted_echo.endpoints.strings}.
"""
