"""
The clock of a factory, and the clock of its deadlines.

What must hold: neither is replaced, for what waits by the one would not be met by the
other. Each is made when it is asked for first: no reactor is installed before.
"""

from functools import cached_property
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from twisted_echo.scheduling.fair_clock import FairClock

__all__ = ["HasClock"]


class HasClock:
    """
    A base class of factories: where the time comes from.
    """

    def setClock(self, clock: IReactorTime | None) -> None:
        """
        Set the clock, once, before it is used.

        @param clock: None for the reactor.
        @raise TypeError: if it is of another kind.
        """
        if clock is None:
            return
        if not hasattr(clock, "callLater"):
            raise TypeError(f"clock must be an IReactorTime, got {clock!r}")
        vars(self)["clock"] = clock

    @cached_property
    def clock(self) -> IReactorTime:
        """
        Where the time comes from. It cannot be replaced.
        """
        from twisted.internet import reactor

        return IReactorTime(reactor)

    @cached_property
    def fairClock(self) -> FairClock:
        """
        The same without the time that this process did not have: that of all deadlines.
        """
        return FairClock(self.clock)

    if not TYPE_CHECKING:
        # (Not by a property, which each session would have to call. A subclass may have
        # another kind of clock.)
        def __setattr__(self, name, value):
            if name == "clock" and type(self).clock is HasClock.clock:
                raise AttributeError(
                    "clock cannot be replaced, got"
                    f" {value!r}; give it when the factory is made:"
                    f" {type(self).__name__}(clock=…)"
                )
            super().__setattr__(name, value)
