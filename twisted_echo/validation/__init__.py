"""
Checks of what a user sets: numbers, durations, sizes, and hooks that are overridden.

Packages later in the package map may import this one. It imports nothing from
Twisted. Begin with L{twisted_echo.validation.checks}.
"""
