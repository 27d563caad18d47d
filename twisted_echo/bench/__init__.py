"""
Benchmarks, for users and for the project: C{python -m twisted_echo.bench}.

Used by: nothing else: the service does not know of it.
"""
