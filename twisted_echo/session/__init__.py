"""
One connection's life from its first byte to its last; the factory that records all of
them; and what bounds them.

L{twisted_echo.service} and what stands above it may import this package; it does not
know where connections come in. Begin with L{twisted_echo.session.session}, then read
L{twisted_echo.session.factory}.
"""
