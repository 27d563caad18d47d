"""
Sockets and addresses, and what transports and the kernel know of a connection.

It knows no session. Packages later in the package map may import it.
Begin with L{twisted_echo.net.transport_queries}.
"""
