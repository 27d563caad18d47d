"""
When work is done: a clock that stands still while the process stalls, and a limit on
how much of each turn of the reactor one kind of work may take.

Every package from L{twisted_echo.net} up may import this one. Begin with
L{twisted_echo.scheduling.fair_clock}.
"""
