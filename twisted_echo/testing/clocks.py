"""
Time for tests that have a C{Clock} instead of a reactor.

What must hold: every timed call runs at its time, as in a process that is never late. A
jump of the clock looks like a stall of the process, so no deadline expires because of
it.
"""

from twisted.internet.task import Clock

__all__ = ["elapse"]


def elapse(clock: Clock, seconds: float) -> None:
    """
    Let time pass, from one timed call to the next.
    """
    until = clock.seconds() + seconds
    while calls := clock.getDelayedCalls():
        due = min(each.getTime() for each in calls)
        if due >= until:
            break
        clock.advance(max(0.0, due - clock.seconds()))
    clock.advance(until - clock.seconds())
