"""
Time in the reactor: a clock that stands still while the process stalls, a limit on how
much of each turn one kind of work may take, and a measure of how late timed calls are.

Packages later in the package map may import this one. Begin with
L{twisted_echo.scheduling.fair_clock}.
"""
