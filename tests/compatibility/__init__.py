"""
Other packages' own test suites on the eager reactors. Begin with
L{tests.compatibility.suites}.
"""
