"""
When work is done: a clock that stands still while the process stalls, a limit on how
much of each turn of the reactor one kind of work may take, and how late the reactor is.

Packages later in the README's map may import this one. Begin with
L{twisted_echo.scheduling.fair_clock}.
"""
