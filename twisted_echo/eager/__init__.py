"""
The eager reactor, and its transports, which send when they are told to.

It knows nothing of sessions or of echo, and imports nothing of this package but
L{twisted_echo.twisted_internals}. Programs install it by its public name,
C{twisted_echo.reactor}. Begin with L{twisted_echo.eager.sending}.
"""
