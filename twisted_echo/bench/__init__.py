"""
Benchmarks, for users and for the project: C{python -m twisted_echo.bench}.
"""
