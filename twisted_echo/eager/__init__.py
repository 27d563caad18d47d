"""
The eager reactors, and their transports, which send once in a turn.

They know nothing of sessions or of echo. Of C{twisted_echo} they import only
L{twisted_echo.compiled} and L{twisted_echo.twisted_internals}. Programs install them by
their public names, C{twisted_echo.reactor} and C{twisted_echo.asyncio_reactor}. Begin
with L{twisted_echo.eager.sending}.
"""
