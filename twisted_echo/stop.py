"""
The stop of a service, step by step.

What must hold:

  - it ends, always, and not later than its deadline;
  - listeners are closed first; sessions have the time of grace, and are then closed in
    order; sessions that are left at the deadline are aborted.
"""

from collections.abc import Sequence
from typing import TypeAlias

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.endpoints.ports import Listeners
from twisted_echo.logs.values import Counted, Tally
from twisted_echo.scheduling.fair_clock import MOST_FORGIVEN
from twisted_echo.scheduling.waiters import Waiters
from twisted_echo.session.ends.end_reason import EndReason
from twisted_echo.session.factory import SessionFactory
from twisted_echo.session.session import Session
from twisted_echo.validation.units import Seconds

__all__ = ["GIVE_UP_AFTER", "ListenerStop", "Stop", "longestStop"]

_log = Logger()

ListenerStop: TypeAlias = tuple[bool, object]
"""
How a listener has stopped, as in a C{DeferredList}.
"""

GIVE_UP_AFTER = 1.0
"""
Seconds between the abort of a session and the end of the wait for it. A transport
reports an abort in the next turn of the reactor; one that never does must not
keep the process.
"""


def longestStop(grace: float, abortAfter: float) -> float:
    """
    Seconds that the stop of a service takes at the most. It takes the last
    C{MOST_FORGIVEN} of them only if the process itself had no time meanwhile.
    """
    return grace + abortAfter + GIVE_UP_AFTER + MOST_FORGIVEN


class Stop:
    """
    One stop of one service.

    @ivar endsBy: the time, by the factory's clock, at which it will have ended at the
        latest.
    """

    def __init__(
        self, factory: SessionFactory[Session], listeners: Listeners, grace: float
    ) -> None:
        self._factory = factory
        self._listeners = listeners
        self._grace = grace
        # Whether clients may still finish by themselves.
        self._isPatient = True
        self._waiters: Waiters[None] = Waiters()
        self._began, self._sessions = factory.clock.seconds(), len(factory.sessions)
        self.endsBy = self._began + longestStop(grace, factory.abortAfter)

    async def run(self) -> Sequence[ListenerStop]:
        """
        Stop.

        @return: how each listener has stopped.
        """
        try:
            return await self._takeSteps()
        except Exception:
            failure = Failure()
            _log.failure(
                "the stop failed, and aborts the sessions",
                failure,
                event="drain-failed",
            )
            self._factory.abortSessions(EndReason.ABORTED_IN_DRAIN)
            return [(False, failure)] * len(self._listeners)

    async def _takeSteps(self) -> Sequence[ListenerStop]:
        factory, listeners = self._factory, self._listeners
        abortsBy = self.endsBy - GIVE_UP_AFTER
        closesBy = abortsBy - factory.abortAfter

        # 1. Listen no more. Connections in the backlogs become sessions first, and so
        #    do handshakes that are complete with what has arrived.
        closings = listeners.close()
        factory.beginStop()
        ended = Deferred.fromCoroutine(self._everythingEnded(closings))
        ended.addBoth(self._notify)

        # 2. Let clients finish by themselves.
        if self._grace > 0 and (factory.sessions or factory.handshakes):
            await self._wait(closesBy, self._grace)

        # 3. Close the sessions in order: answer what has been read, then send
        #    end-of-file. From here on a new session is closed at once.
        if not ended.called:
            isOver = self._wait(abortsBy, factory.abortAfter)
            factory.closeSessions(EndReason.STOPPED)
            await isOver

        # 4. Abort those that are left, and refuse what is left in the backlogs.
        if not ended.called:
            self._isPatient = False
            # (Also if this comes late: a connection ends in the next turn only.)
            latest = max(self.endsBy, factory.clock.seconds() + GIVE_UP_AFTER)
            isOver = self._waitUntil(latest, GIVE_UP_AFTER)
            factory.refuseAll()
            listeners.closeNow()
            factory.abortSessions(EndReason.ABORTED_IN_DRAIN)
            await isOver

        # 5. Give up waiting for transports that do not report their abort.
        if not ended.called:
            for closing in closings:
                closing.cancel()
            factory.forgetSessions()

        # 6. Close at once what others accept for the same factory from now on.
        stops = await ended
        factory.closeSessions(EndReason.STOPPED)
        return stops

    def now(self) -> None:
        """
        Wait for no client any more: go on with step 4.
        """
        if self._isPatient:
            self._isPatient = False
            latest = self._factory.clock.seconds() + GIVE_UP_AFTER + MOST_FORGIVEN
            self.endsBy = min(self.endsBy, latest)
            self._waiters.notify(None)

    def report(self, log: Logger) -> None:
        """
        Log that the stop has ended.
        """
        counters, seconds = self._factory.counters, self._factory.clock.seconds()
        log.info(
            "stopped after {seconds}: {sessions} open; since the start: served"
            " {served}, refused {refused}",
            event="stopped",
            sessions=Counted(self._sessions, "session was", "sessions were"),
            seconds=Seconds(round(seconds - self._began, 3)),
            served=Tally({each.value: n for each, n in counters.ended.items()}),
            refused=Tally({each.value: n for each, n in counters.refused.items()}),
        )

    async def _everythingEnded(
        self, closings: Sequence["Deferred[None]"]
    ) -> Sequence[ListenerStop]:
        """
        Wait for the listeners, and then for all sessions.
        """
        factory = self._factory
        stops = await DeferredList(closings, consumeErrors=True)
        # Of a batch that was being accepted, some may have begun a handshake since.
        # From here on none comes any more.
        factory.closeHandshakes()
        # A handshake may become a session meanwhile.
        while factory.sessions or factory.handshakes:
            await DeferredList(factory.whenEnded())
            await factory.whenHandshakesEnded()
        return stops

    def _wait(self, latest: float, seconds: float) -> "Deferred[None]":
        """
        The same as L{_waitUntil}, but not after L{now}.
        """
        return self._waitUntil(latest, seconds) if self._isPatient else succeed(None)

    def _waitUntil(self, latest: float, seconds: float) -> "Deferred[None]":
        """
        Wait for everything to have ended.

        @param latest: the real time after which it does not wait.
        @param seconds: of fair time, after which it does not wait, either.
        """
        waiter = self._waiters.wait()
        timer = self._factory.fairClock.callBy(latest, seconds, self._notify)

        def isOver(_: None) -> None:
            if timer.active():
                timer.cancel()

        return waiter.addCallback(isOver)

    def _notify(self, result: object = None) -> object:
        self._waiters.notify(None)
        return result
