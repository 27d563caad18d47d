"""
Checks of what a user sets: numbers, durations, sizes, and hooks that are overridden.

Every package may import this one. It imports nothing from Twisted. Begin with
L{twisted_echo.validation.checks}.
"""
