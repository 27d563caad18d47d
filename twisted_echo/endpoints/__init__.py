"""
Where connections come in: endpoint strings, listening ports, and the layers (TLS, PROXY
header) that a connection passes before it becomes a session.

Packages later in the package map may import this one. Begin with
L{twisted_echo.endpoints.strings}.
"""
