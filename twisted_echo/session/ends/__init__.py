"""
How a session ends: closed in order or cut off, and the reason that the log and the
metrics give.

The other modules of L{twisted_echo.session} may import this package, and so may
packages later in the package map. Begin with L{twisted_echo.session.ends.closing}; the
reasons are in L{twisted_echo.session.ends.end_reason}.
"""
