"""
How late a reactor is with its timed calls.

A call that is due twice a second is late when something keeps the reactor from turning:
a protocol that computes, a slow disk, a processor that others use.
"""

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_echo.metrics import LATENESS_BOUNDS, Histogram

__all__ = ["LatenessMonitor"]

_TICK = 0.5
"""
Seconds between two samples.
"""


class LatenessMonitor:
    """
    Samples the lateness of a reactor, while it runs.

    @ivar lateness: the seconds by which calls came late that were due twice a second.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self.lateness = Histogram(LATENESS_BOUNDS)
        self._call: IDelayedCall | None = None
        self._due = 0.0

    @property
    def isRunning(self) -> bool:
        """
        Whether it samples.
        """
        return self._call is not None

    def start(self) -> None:
        """
        Sample, until L{stop}. A second call does nothing.
        """
        if self._call is None:
            self._schedule()

    def stop(self) -> None:
        """
        Stop sampling. What was counted stays.
        """
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _schedule(self) -> None:
        self._due = self._reactor.seconds() + _TICK
        self._call = self._reactor.callLater(_TICK, self._tick)

    def _tick(self) -> None:
        self.lateness.observe(max(0.0, self._reactor.seconds() - self._due))
        self._schedule()
