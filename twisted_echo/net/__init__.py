"""
Sockets and addresses, and what the kernel tells of a connection.

Every package that deals with connections may import this one; it knows no session.
Begin with L{twisted_echo.net.sockets}.
"""
