"""
The optional compiled part: base types in C for what one line touches.

C{speedups.c} is built into C{speedups.*.so} when the package is installed, where that
is possible. The Python classes over it are complete without it, and say what is right.

Packages later in the package map may import L{twisted_echo.compiled.choice}, and
nothing else of this one. It imports nothing else of C{twisted_echo}. Begin with
L{twisted_echo.compiled.choice}.
"""
