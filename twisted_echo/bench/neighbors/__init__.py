"""
Connections that may take the reactor's time from others: for each, a server as it might
be written, and a peer that lets it do as much as it can.

Only C{twisted_echo.bench} may import this package. Begin with
L{twisted_echo.bench.neighbors.neighbor}, which lists them.
"""
