"""
Where connections come in: endpoint strings, listening ports, and the layers (TLS, PROXY
header) that a connection passes before it becomes a session.

Packages later in the README's map may import this one. Begin with
L{twisted_echo.endpoints.strings}.
"""
