"""
A clock for the deadlines of peers: it stands still while this process stalls.

A process that is stopped, starved or computing cannot read what its peers have sent,
so their deadlines must not run meanwhile. While a call is pending, the reactor calls a
L{FairClock} every L{HEARTBEAT} seconds. A heartbeat that comes late shows how long the
process stalled, and the clock leaves that time out.

What must hold:

  - fair time never runs faster than real time, and never past the heartbeat that is
    due: L{FairClock.seconds} already leaves out a stall before its late heartbeat;
  - while no call is pending there is no heartbeat, and nothing is left in the reactor.

If the real clock is set forward, that looks like a stall, so no deadline strikes.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

__all__ = ["HEARTBEAT", "MOST_FORGIVEN", "FairCall", "FairClock"]

HEARTBEAT = 0.1
"""
Seconds between two heartbeats, and so the part of a stall that is not left out. Short
beside every sensible deadline; ten timed calls a second have no measurable cost.
"""
MOST_FORGIVEN = 10.0
"""
The most seconds by which stalls of the process delay what has to end by a promised
time, such as a stop. It is longer than a process should ever stall, and much shorter
than the 90 seconds after which service managers kill.
"""

# By how much rounding lets equal times differ.
_SAME = 1e-6


@implementer(IReactorTime)
class FairClock:
    """
    A clock that stands still while the process stalls.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: the real time, such as a reactor.
        """
        self.real = clock
        # What was left out so far.
        self._lost = 0.0
        # How many calls are pending.
        self._count = 0
        self._beat: IDelayedCall | None = None

    def seconds(self) -> float:
        """
        The fair time.
        """
        now: float = self.real.seconds()
        if self._beat is not None:
            now = min(now, self._beat.getTime())
        return now - self._lost

    @property
    def lost(self) -> float:
        """
        Seconds that were left out so far.
        """
        return float(self.real.seconds()) - self.seconds()

    @property
    def isLate(self) -> bool:
        """
        Whether a heartbeat is overdue. Whoever has much to do in one turn of a reactor
        leaves the rest to the next one then, for other timed calls may be due.
        """
        beat = self._beat
        return beat is not None and beat.getTime() < self.real.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> "FairCall":
        """
        Call a function when so many fair seconds have passed.
        """
        return self._call(FairCall(self, delay, None, callable, args, kw))

    def callBy(
        self, latest: float, delay: float, callable: Callable[..., object]
    ) -> "FairCall":
        """
        The same, for a promised time that must be kept however long the process stalls.

        @param latest: the real time after which the call is not put off.
        """
        return self._call(FairCall(self, delay, latest, callable, (), {}))

    def getDelayedCalls(self) -> "list[FairCall]":
        """
        The calls that are pending.
        """
        timers: list[Any] = list(self.real.getDelayedCalls())
        owners = [getattr(each.func, "__self__", None) for each in timers]
        return [
            each for each in owners if isinstance(each, FairCall) and each.isOf(self)
        ]

    def _call(self, call: "FairCall") -> "FairCall":
        self._count += 1
        if self._beat is None:
            self._beat = self.real.callLater(HEARTBEAT, self._onBeat)
        return call

    def _onBeat(self) -> None:
        self._leaveOut()
        self._beat = self.real.callLater(HEARTBEAT, self._onBeat)

    def _leaveOut(self) -> None:
        """
        Leave out the time by which the heartbeat is late.
        """
        if self._beat is not None:
            self._lost += max(0.0, self.real.seconds() - self._beat.getTime())
            self._beat = None

    def isOver(self, call: "FairCall") -> None:
        """
        A call is not pending any more. Called by it.
        """
        self._count -= 1
        beat = self._beat
        if beat is not None and not self._count:
            self._leaveOut()
            beat.cancel()


@implementer(IDelayedCall)
class FairCall:
    """
    A call that is pending.

    @ivar func: what is called, as Twisted's own delayed calls have it.
    """

    __slots__ = ("_clock", "_due", "_latest", "_timer", "args", "called", "func", "kw")

    def __init__(
        self,
        clock: FairClock,
        delay: float,
        latest: float | None,
        func: Callable[..., object],
        args: tuple[object, ...],
        kw: dict[str, object],
    ) -> None:
        self._clock = clock
        self._due = clock.seconds() + delay
        self._latest = latest
        self.func: Any = func
        self.args = args
        self.kw = kw
        self.called = False
        self._timer: IDelayedCall | None = None
        self._schedule()

    def isOf(self, clock: FairClock) -> bool:
        return self._clock is clock

    def _left(self) -> float:
        """
        Seconds that it has to wait at least.
        """
        left = self._due - self._clock.seconds()
        if self._latest is not None:
            left = min(left, self._latest - self._clock.real.seconds())
        return max(0.0, left)

    def _schedule(self) -> None:
        self._timer = self._clock.real.callLater(self._left(), self._onTime)

    def _onTime(self) -> None:
        if self._left() > _SAME:
            # A stall was left out, so it is not due yet.
            self._schedule()
            return
        self.called = True
        func, args, kw = self.func, self.args, self.kw
        self._forget()
        try:
            func(*args, **kw)
        finally:
            # Not before: it may well ask to be called again.
            self._clock.isOver(self)

    def _forget(self) -> None:
        """
        Keep nothing: whoever asked for this may keep it.
        """
        self._timer = self.func = None
        self.args, self.kw = (), {}

    def active(self) -> bool:
        return self._timer is not None

    def getTime(self) -> float:
        """
        The real time at which it will be called, if nothing more is left out.
        """
        return 0.0 if self._timer is None else self._timer.getTime()

    def cancel(self) -> None:
        self._pending().cancel()
        self._forget()
        self._clock.isOver(self)

    def reset(self, secondsFromNow: float) -> None:
        timer = self._pending()
        self._due = self._clock.seconds() + secondsFromNow
        timer.reset(self._left())

    def delay(self, secondsLater: float) -> None:
        timer = self._pending()
        self._due += secondsLater
        timer.reset(self._left())

    def _pending(self) -> IDelayedCall:
        if self._timer is None:
            raise AlreadyCalled if self.called else AlreadyCancelled
        return self._timer
