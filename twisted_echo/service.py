"""
Listening, suspending, and a stop that loses nothing and ends on time.

L{SessionService} knows listeners and sessions, and nothing of what they say. What
must hold:

  - the Deferred of C{stopService} fires, always, and not later than its deadline;
  - the stop goes: listeners first; after the time of grace, the sessions, in
    order; at the deadline, the abort of every session that is left;
  - a state changes by a legal transition or not at all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import (
    IAddress,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.endpoints.ports import Endpoint, Listeners, endpointsOf
from twisted_echo.lifecycle import State, StatefulService, Step
from twisted_echo.logs.values import CommaSeparated
from twisted_echo.metrics import Snapshot
from twisted_echo.net.addresses import readable
from twisted_echo.scheduling.lateness import LatenessMonitor
from twisted_echo.session.factory import SessionFactory
from twisted_echo.session.session import Session
from twisted_echo.session.statistics import snapshotOf
from twisted_echo.stop import ListenerStop, Stop, longestStop
from twisted_echo.tls.expiry import ExpiryWatch
from twisted_echo.validation.checks import Checked, seconds

__all__ = ["Endpoint", "SessionService"]


def _checkFactory(factory: object) -> None:
    """
    Check that a factory can serve a L{SessionService}.

    @raise TypeError: if it is no L{SessionFactory}, with what would be one; or if its
        class has not made it wholly.
    """
    if isinstance(factory, SessionFactory):
        if "sessions" not in vars(factory):
            initializer = type(factory).__init__.__qualname__
            raise TypeError(f"{initializer} must call super().__init__()")
        return
    made = factory if isinstance(factory, type) else type(factory)
    name = made.__name__ if issubclass(made, Session) else "MySession"
    raise TypeError(
        f"factory must be a SessionFactory, such as SessionFactory.forProtocol({name}),"
        f" got {factory!r}"
    )


class SessionService(StatefulService):
    """
    Listens on any number of endpoints, and tracks what comes in by them until it has
    ended::

        SessionService("tcp:7008", SessionFactory.forProtocol(Upper))

    Overrides of C{privilegedStartService}, C{startService} and C{stopService} must call
    C{super()}.

    @ivar factory: makes and records the sessions. Its C{abortAfter} is the
        deadline of the stop.
    @ivar grace: seconds in which, after the listeners are closed, clients may
        finish by themselves.
    @cvar warnsOfExpiry: whether the log warns of certificates that expire.
    """

    _log = Logger()
    grace = Checked(seconds)
    warnsOfExpiry = True

    def __init__(
        self,
        endpoints: Endpoint | Iterable[Endpoint],
        factory: SessionFactory[Any],
        *,
        grace: float = 0.0,
    ) -> None:
        """
        @param endpoints: where to listen: one or many, each an endpoint of Twisted's
            or its string, such as C{tcp:7008} or C{ssl:7008:privateKey=key.pem}, which
            L{parseEndpoint} makes one of, for the factory's clock.
        @param factory: it belongs to this service from now on, and to no other.
        @raise ValueError: if a string is not an endpoint string, C{grace} is not a
            number of seconds, or the factory belongs to another service.
        @raise TypeError: if an endpoint or the factory is of another kind.
        """
        super().__init__()
        _checkFactory(factory)
        self.factory = factory
        self.grace = grace
        self._listeners = Listeners(endpointsOf(endpoints, factory.clock), factory)
        factory.belongTo(self._listeners)
        # How the listeners stopped, by their places.
        self._listenerStops: Sequence[ListenerStop] = ()
        self._monitor = LatenessMonitor(factory.clock)
        self._isMeasuring = False
        self._expiry = ExpiryWatch(lambda: factory.certificates, factory.clock)
        self._stop: Stop | None = None
        # Also of those that are closed.
        self._lastAddresses: list[IAddress] = []

    # Numbers and addresses

    def snapshot(self) -> Snapshot:
        """
        Return the numbers of this moment. It takes less than a microsecond for each
        open session.
        """
        lateness = self._monitor.lateness.copy() if self._isMeasuring else None
        return replace(
            snapshotOf(self.factory),
            acceptErrors=self._listeners.acceptErrors,
            lateness=lateness,
        )

    @property
    def longestStop(self) -> float:
        """
        Seconds that a stop takes at most, as L{longestStop} computes it.
        """
        return longestStop(self.grace, self.factory.abortAfter)

    @property
    def stopsBy(self) -> float | None:
        """
        When a stop that has begun will have ended at the latest, by the factory's
        clock; None before.
        """
        return None if self._stop is None else self._stop.endsBy

    def measure(self) -> None:
        """
        Sample from now on, while the service runs, how late the reactor is.
        """
        self._isMeasuring = True
        if not self._lifecycle.isStopped:
            self._monitor.start()

    @property
    def addresses(self) -> list[IAddress]:
        """
        Where it listens now, in the order of the endpoints.
        """
        return [port.getHost() for port in self._listeners.ports]

    @property
    def lastAddresses(self) -> list[IAddress]:
        """
        Where it listens, or has listened last.
        """
        return self.addresses or self._lastAddresses

    # Start

    def privilegedStartService(self) -> None:
        """
        Listen on all endpoints. An override must call
        C{super().privilegedStartService()}.

        @raise Exception: what the first endpoint that cannot listen fails with,
            a C{CannotListenError} as a rule. Then none listens. An endpoint that
            fails later has its failure logged, and C{whenListening} fails with it.
        @raise IllegalTransition: if it was started already, or is stopping.
        """
        self._lifecycle.change(Step.START)
        self.factory.welcome()
        self._stop = None
        if self._isMeasuring:
            self._monitor.start()
        self._listeners.open().addCallbacks(self._opened, self._notOpened)
        if self._lifecycle.failure is not None:
            self._lifecycle.failure.raiseException()
        if self.state is State.STARTING:
            self.whenListening().addErrback(self._logFailure)

    def startService(self) -> None:
        """
        Listen, unless C{privilegedStartService} does. An override must call
        C{super().startService()}.
        """
        if self.running or self.state in (State.IDLE, State.DRAINING, State.STOPPED):
            self.privilegedStartService()
        super().startService()

    def _opened(self, _: None) -> None:
        if self.state is not State.STARTING:
            return
        with self._lifecycle.changing(Step.LISTEN):
            self.announce()
            if self.warnsOfExpiry:
                # Also of those that sessions use later, to start TLS.
                self.factory.certificates.watch(self._expiry.start)
                self._expiry.start()

    def announce(self) -> None:
        """
        Log that the service listens. Override this to log more, or nothing.
        """
        self._log.info(
            "listening on {addresses}, by {reactor}",
            event="listening",
            addresses=CommaSeparated(readable(each) for each in self.addresses),
            reactor=type(self.factory.clock).__name__,
        )

    def _notOpened(self, failure: Failure) -> None:
        if self.state is State.STARTING:
            self.running = 0
            self._monitor.stop()
            self._lifecycle.recordFailure(failure)
            self._lifecycle.change(Step.FAIL)

    def _logFailure(self, failure: Failure) -> None:
        if failure is self._lifecycle.failure:
            self._log.failure("cannot listen", failure=failure, event="listen-failed")

    # Suspend

    def suspend(self) -> "Deferred[None]":
        """
        Stop accepting; sessions go on. New connections wait in the backlog.

        @return: fires when nothing is accepted any more.
        @raise IllegalTransition: if it is not listening.
        """
        self._lifecycle.change(Step.SUSPEND)
        return self._listeners.suspend()

    def resume(self) -> "Deferred[None]":
        """
        Accept again.

        @return: fires when it does, or fails if an endpoint that had to be
            closed cannot listen again; the service then stays suspended.
        @raise IllegalTransition: if it is not suspended.
        """
        self._lifecycle.require(Step.RESUME)

        def resumed(_: None) -> None:
            # A stop may have begun meanwhile, or another call may have done it.
            if self.state is State.SUSPENDED:
                self._lifecycle.change(Step.RESUME)

        return self._listeners.resume().addCallback(resumed)

    # Stop

    def stopService(self) -> "Deferred[list[tuple[bool, Any]]]":
        """
        Stop listening, end the sessions in order, and wait for all of it. A second
        call, or one before the start, is legal. An override must return what
        C{super().stopService()} returns.

        @return: a C{DeferredList} that fires when all listeners and sessions have
            ended. Its results are those of the listeners, in their order, and then
            those of the sessions. It is the caller's own: cancelling it ends that wait
            and nothing else.
        """
        super().stopService()
        if self._lifecycle.isStopped:
            return DeferredList([])
        if self.state is not State.DRAINING:
            stop = self._stop = Stop(self.factory, self._listeners, self.grace)
            self._lastAddresses = self.addresses
            with self._lifecycle.changing(Step.DRAIN):
                Deferred.fromCoroutine(self._drain(stop))
        listeners: list[Deferred[Any]] = [
            self._lifecycle.whenStopped().addCallback(self._listenerStop, place)
            for place in range(len(self._listeners))
        ]
        return DeferredList([*listeners, *self.factory.whenEnded()], consumeErrors=True)

    def stopNow(self) -> "Deferred[list[tuple[bool, Any]]]":
        """
        Stop, and wait for no client: abort every session that is open, and refuse every
        connection that waits in a backlog.

        A stop that has begun goes on like this. A second call, or one before the start,
        is legal.

        @return: as from L{stopService}. It fires in one of the next turns of the
            reactor; if a transport does not report its end, after a second.
        """
        stopped = self.stopService()
        if self.state is State.DRAINING and self._stop is not None:
            self._stop.now()
        return stopped

    def _listenerStop(self, _: None, place: int) -> object:
        return self._listenerStops[place][1]

    async def _drain(self, stop: Stop) -> None:
        self._listenerStops = await stop.run()
        self._monitor.stop()
        self._expiry.stop()
        self.factory.certificates.unwatch()
        self.factory.sessionLog.flush()
        with self._lifecycle.changing(Step.STOP):
            stop.report(self._log)
