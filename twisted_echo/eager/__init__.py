"""
The eager reactor, and its transports, which send when they are told to.

It knows nothing of sessions or of echo. Of C{twisted_echo} it imports
L{twisted_echo.twisted_internals} alone. Programs install it by its public name,
C{twisted_echo.reactor}. Begin with L{twisted_echo.eager.sending}.
"""
