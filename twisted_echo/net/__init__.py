"""
Sockets and addresses, and what transports and the kernel tell of a connection.

Every package that deals with connections may import this one; it knows no session.
Begin with L{twisted_echo.net.transport_queries}.
"""
