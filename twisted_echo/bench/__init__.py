"""
Benchmarks, for users and for the project: C{python -m twisted_echo.bench}.

Nothing may import this package. It knows the rest by its public names, and the servers
that it measures by their sockets alone. Begin with L{twisted_echo.bench.cli}, then read
L{twisted_echo.bench.load} for one run and L{twisted_echo.bench.compare} for many.
"""
