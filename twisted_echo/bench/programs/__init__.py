"""
Kinds of Twisted programs to measure on one reactor and on another: for each, a server
as its library's users would write it, and a client that verifies every reply.

Only C{twisted_echo.bench} may import this package. Begin with
L{twisted_echo.bench.programs.kinds}, which lists them;
L{twisted_echo.bench.programs.kind} is what each of them is.
"""
