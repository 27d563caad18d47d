"""
A clock for deadlines, which stands still while this process stalls.

A process that is stopped, starved or computing cannot read what its peers have sent,
so their deadlines must not run meanwhile. While a call is pending, the reactor calls
the L{FairClock} every L{HEARTBEAT} seconds. A heartbeat that comes late shows how long
the process stalled, and the clock leaves that time out.

What must hold:

  - fair time never runs faster than real time, and never past the heartbeat that is
    due: L{FairClock.seconds} already leaves out a stall before its late heartbeat;
  - while no call is pending there is no heartbeat, and nothing is left in the reactor.

A real clock that is set forward looks like a stall, so no deadline expires.
"""

from collections.abc import Callable
from types import MethodType

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

# Rounding makes equal times differ by less than this.
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
        # The seconds that were left out so far.
        self._lost = 0.0
        # How many calls are pending. (A record of them would not shrink again.)
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
        Whether a heartbeat is overdue. Other timed calls may be due then, too, so work
        that can wait is left to the next turn of the reactor.
        """
        beat = self._beat
        return beat is not None and beat.getTime() < self.real.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> "FairCall":
        """
        Call a function after a number of fair seconds.
        """
        return self._call(FairCall(self, delay, None, callable, args, kw))

    def callBy(
        self, latest: float, delay: float, callable: Callable[..., object]
    ) -> "FairCall":
        """
        Call a function after a number of fair seconds, but not after a real time that
        was promised, however long the process stalls.

        @param latest: that time.
        """
        return self._call(FairCall(self, delay, latest, callable, (), {}))

    def getDelayedCalls(self) -> "list[FairCall]":
        """
        The pending calls.
        """
        found = []
        for each in self.real.getDelayedCalls():
            func = getattr(each, "func", None)
            call = func.__self__ if isinstance(func, MethodType) else None
            if isinstance(call, FairCall) and call.isOf(self):
                found.append(call)
        return found

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
        Forget a call that is not pending any more. (It calls this itself.)
        """
        self._count -= 1
        beat = self._beat
        if beat is not None and not self._count:
            self._leaveOut()
            beat.cancel()


@implementer(IDelayedCall)
class FairCall:
    """
    A pending call.

    @ivar func: the function, by the name that Twisted's own delayed calls have for it;
        None when it was called or cancelled.
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
        self.func: Callable[..., object] | None = func
        self.args = args
        self.kw = kw
        self.called = False
        self._timer: IDelayedCall | None = None
        self._schedule()

    def isOf(self, clock: FairClock) -> bool:
        return self._clock is clock

    def _left(self) -> float:
        """
        Seconds until it is due, at the least.
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
            if func is not None:
                func(*args, **kw)
        finally:
            # Not before: the function may make another call, and the heartbeat goes on.
            self._clock.isOver(self)

    def _forget(self) -> None:
        """
        Release the function and its arguments: the caller may keep this object.
        """
        self._timer = self.func = None
        self.args, self.kw = (), {}

    def active(self) -> bool:
        return self._timer is not None

    def getTime(self) -> float:
        """
        The real time at which it is due, if nothing more is left out.
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
