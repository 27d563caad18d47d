"""
The record of the open sessions, and of the connections that are to become sessions.

What must hold: whatever is accepted is counted once, as a session or as refused;
C{counters.opened} is what C{counters.ended} sums up to and the sessions that are open.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.net.sockets import KeepAlive
from twisted_echo.scheduling.fair_clock import FairClock
from twisted_echo.scheduling.time_share import TimeShare
from twisted_echo.scheduling.waiters import Waiters
from twisted_echo.session.admission import Admission, Gate
from twisted_echo.session.closing_deadlines import ClosingDeadlines
from twisted_echo.session.counters import Counters
from twisted_echo.session.end_reason import EndReason, SessionEnd
from twisted_echo.session.hook_checks import FACTORY_WRAPPERS
from twisted_echo.session.hooks import watch
from twisted_echo.session.limits import Deadlines, Limits
from twisted_echo.session.session import Session
from twisted_echo.session.session_log import LogSessions, SessionLog
from twisted_echo.session.session_maker import SessionMaker
from twisted_echo.session.timeouts import Handshake, Timeouts
from twisted_echo.tls.certificate_registry import CertificateRegistry
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.counts import TLSCounts
from twisted_echo.validation.checks import Checked, instance, positive_seconds

__all__ = ["DEFAULT_ABORT_AFTER", "SessionFactory"]

DEFAULT_ABORT_AFTER = 5.0
"""
Seconds that a closed session waits for its peer: long enough for every peer that
reads at all, and short beside the 90 seconds after which service managers kill.
"""

_S = TypeVar("_S", bound=Session)


def _keepAlive(name: str, value: KeepAlive | None) -> KeepAlive | None:
    return value if value is None else instance(name, value, KeepAlive)


class SessionFactory(SessionMaker[_S]):
    """
    A factory that holds one Deferred for each of its sessions, from the
    connection's first moment to its last.

    @ivar sessions: the sessions that are open, each with the Deferred that fires
        with its L{SessionEnd}. The Deferreds are the factory's own: ask
        L{Session.whenEnded} for one of yours.
    @ivar handshakes: the connections that are to become sessions, in the order in which
        they came.
    @ivar closing: why new sessions are closed at once; None while they are
        welcome.
    @ivar admission: which connections may become sessions.
    @ivar counters: what is counted of all of them.
    @ivar certificates: those that they are served with.
    @ivar handshakeTurns: how their TLS handshakes share the time with the sessions.
    @ivar sessionLog: what is logged of them.
    @ivar faults: the faults found in the code of the sessions, a sentence each, such as
        C{Upper.connectionMade must call super().connectionMade()}.
    @ivar closingDeadlines: those of the sessions that were closed.
    @ivar keepAlive: for the sessions' sockets; None for none.
    @ivar abortAfter: seconds that a session which was closed waits for its peer
        before it is aborted.
    """

    noisy = False
    closing: EndReason | None = None
    if TYPE_CHECKING:
        # The inherited one says that it makes something more general.
        @classmethod
        def forProtocol(
            cls, protocol: Callable[..., _S], *args: Any, **kwargs: Any
        ) -> "SessionFactory[_S]": ...

    keepAlive = Checked(_keepAlive)
    abortAfter = Checked(positive_seconds)

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime | None = None,
        keepAlive: KeepAlive | None = KeepAlive(),  # noqa: B008 - frozen
        abortAfter: float = DEFAULT_ABORT_AFTER,
        deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
        limits: Limits = Limits(),  # noqa: B008 - frozen
        logSessions: LogSessions = LogSessions.PROBLEMS,
    ) -> None:
        """
        @param clock: where the time comes from; the reactor by default.
        @raise ValueError: if a number is not legal.
        @raise TypeError: if something is of another kind.
        """
        super().__init__()
        self.sessions: dict[Session, Deferred[SessionEnd]] = {}
        self.handshakes: dict[Handshake, None] = {}
        self.counters = Counters()
        self.certificates = CertificateRegistry()
        self.handshakeTurns = TimeShare()
        self.sessionLog = SessionLog(instance("logSessions", logSessions, LogSessions))
        if clock is not None and not hasattr(clock, "callLater"):
            raise TypeError(f"clock must be an IReactorTime, got {clock!r}")
        self.faults: dict[str, None] = {}
        self._clock = clock
        self._fairClock: FairClock | None = None
        self.keepAlive = keepAlive
        self.abortAfter = abortAfter
        self._deadlines = instance("deadlines", deadlines, Deadlines)
        self.admission = Admission(
            instance("limits", limits, Limits), self.sessions, self.handshakes
        )
        self.closingDeadlines = ClosingDeadlines(self)
        self._timeouts = Timeouts(self)
        self._untilNoHandshakes: Waiters[None] = Waiters()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, around in FACTORY_WRAPPERS.items():
            watch(cls, SessionFactory, name, around)

    @property
    def clock(self) -> IReactorTime:
        if self._clock is None:
            from twisted.internet import reactor

            self._clock = IReactorTime(reactor)
        return self._clock

    @property
    def fairClock(self) -> FairClock:
        """
        The same without the time that this process did not have: that of all deadlines.
        """
        if self._fairClock is None:
            self._fairClock = FairClock(self.clock)
        return self._fairClock

    # Limits

    @property
    def deadlines(self) -> Deadlines:
        """
        What a peer may take its time for; can be replaced while sessions are open.
        """
        return self._deadlines

    @deadlines.setter
    def deadlines(self, deadlines: Deadlines) -> None:
        self._deadlines = instance("deadlines", deadlines, Deadlines)
        self._timeouts.deadlinesChanged()

    @property
    def limits(self) -> Limits:
        """
        How much there may be; can be replaced while sessions are open, which ends
        none of them but those that hold too much.
        """
        return self.admission.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self.admission.setLimits(instance("limits", limits, Limits))
        self._timeouts.sweepSoon()
        self.countChanged()

    def countChanged(self) -> None:
        """
        Make connections wait while the limit is reached, and no longer.
        """
        self.admission.countChanged()

    def belongTo(self, gate: Gate) -> None:
        """
        Let connections come in by C{gate} from now on. Called by the service.

        @raise ValueError: if it belongs to a service already.
        @raise TypeError: if it makes no sessions.
        """
        if self.admission.hasGate:
            raise ValueError(
                "a factory belongs to one service, which records and ends all of its"
                f" sessions, but {self!r} belongs to one already; make a factory for"
                " each service, or give one service all endpoints"
            )
        self.checkProtocol()
        self.admission.setGate(gate)

    def refuses(self, address: IAddress | None) -> bool:
        """
        Tell whether a connection is one too many; if so, count it.

        @param address: whose it is; None if that is not known yet.
        """
        objection = self.admission.objection(address)
        if objection is None:
            return False
        self.countRefused(address, objection)
        return True

    # What is counted

    @property
    def opened(self) -> int:
        """
        How many sessions there have been.
        """
        return self.counters.opened

    @property
    def ended(self) -> Counter[EndReason]:
        """
        How many of them have ended, by their reasons.
        """
        return self.counters.ended

    @property
    def refused(self) -> Counter[EndReason]:
        """
        How many connections have not become sessions, by the reasons.
        """
        return self.counters.refused

    @property
    def tls(self) -> TLSCounts | None:
        """
        What is counted of their TLS handshakes; None without TLS.
        """
        return self.counters.tls

    def countRefused(
        self, address: IAddress | None, reason: EndReason, detail: str = ""
    ) -> None:
        """
        Count a connection that does not become a session, and log it.
        """
        self.counters.refused[reason] += 1
        self.sessionLog.refused(address, reason, detail, self.clock)

    def useTLS(self, certificates: Certificates | None) -> TLSCounts:
        """
        Count TLS handshakes from now on. Called by what makes them.

        @param certificates: they are among L{certificates} from now on, for as long as
            something else keeps them. None, if nothing is known of them.
        @return: what they are counted by.
        """
        if certificates is not None:
            self.certificates.add(certificates)
        return self.counters.useTLS()

    def plainDropped(self, session: Session) -> None:
        """
        A client has sent more in the clear behind what began TLS. Called when it is
        dropped, once for each session.
        """
        self.counters.useTLS().plainDropped += 1
        self.sessionLog.plainDropped(session.peer, self.clock)

    # The stop

    def welcome(self) -> None:
        """
        Accept connections again, as before the first stop.
        """
        self.closing = None
        self.admission.open()

    def beginStop(self) -> None:
        """
        Begin a stop. From now on sessions that have been sent their end-of-file do not
        count towards the limit. Every handshake that is complete with what has arrived
        becomes a session, and the others end.
        """
        self.admission.beginStop()
        self.closeHandshakes()

    def refuseAll(self) -> None:
        """
        Refuse new connections from now on.
        """
        self.admission.refuseAll()

    @property
    def isStopping(self) -> bool:
        """
        Whether a connection that is to become a session has to do so at once.
        """
        return self.admission.isStopping

    def endSent(self, connection: Session | Handshake) -> None:
        """
        It is being sent its end-of-file. Called by a session, or by what was to become
        one.
        """
        self.admission.endSent(connection)

    # What comes and goes

    def handshakeStarted(self, handshake: Handshake, address: IAddress | None) -> None:
        """
        Record a connection that is to become a session.

        @param address: whom it counts for; None if that is not known yet.
        """
        self.handshakes[handshake] = None
        self.admission.come(address)
        self._timeouts.start()

    def handshakeEnded(self, handshake: Handshake, address: IAddress | None) -> None:
        """
        Strike it off: it is lost. L{countChanged} is to be called.

        @param address: the one that it was recorded with.
        """
        self.handshakeDone(handshake, address)()

    def handshakeDone(
        self, handshake: Handshake, address: IAddress | None
    ) -> Callable[[], None]:
        """
        Strike it off: it becomes a session now.

        @param address: the one that it was recorded with.
        @return: to be called when that has begun, for those who wait for the end of
            all.
        """
        # Perhaps it was forgotten before.
        self.handshakes.pop(handshake, None)
        self.admission.gone(handshake, address)
        self._timeouts.forget(handshake)
        self._timeouts.restIfEmpty()
        return self._handshakesChanged

    def _handshakesChanged(self) -> None:
        if not self.handshakes:
            self._untilNoHandshakes.notify(None)

    def sessionStarted(self, session: Session) -> None:
        """
        Record a session. Called by the session.
        """
        self.sessions[session] = Deferred()
        session.serial = self.counters.sessionOpened()
        self.admission.come(session.peer)
        self._timeouts.start()

    def sessionEnded(self, session: Session, end: SessionEnd) -> None:
        """
        Strike a session off, and fire its Deferred. Called by the session.
        """
        ended = self.sessions.pop(session, None)
        if ended is None:
            # Its protocol failed before it could begin.
            self.countRefused(session.peer, EndReason.ERROR)
            return
        try:
            self.admission.gone(session, session.peer)
            self._timeouts.forget(session)
            self._timeouts.restIfEmpty()
            self.counters.sessionEnded(end)
            self.sessionLog.ended(session, end, self.clock)
            self.admission.countChanged()
        finally:
            ended.callback(end)

    # What goes wrong

    def logFailure(
        self, text: str, *, event: str, failure: Failure | None = None, **fields: str
    ) -> None:
        """
        Log an exception; a few a minute, if it comes again and again.

        @param failure: the one that is being handled, if None.
        """
        if failure is None:
            failure = Failure()
        self.sessionLog.failed(self.clock, failure, event, text, **fields)

    def sessionFailed(self, session: Session, what: str) -> None:
        """
        Likewise, if a session's code has raised it. Called by the session and by what
        watches it.

        @param what: what it could not do.
        """
        self.logFailure(
            "{session} cannot {what}",
            event="session-failed",
            session=_named(session),
            what=what,
        )

    def handshakeFailed(self) -> None:
        """
        Likewise, if a handshake cannot be ended.
        """
        self.logFailure("a handshake cannot be ended", event="handshake-end-failed")

    def recordFault(self, fault: str) -> None:
        """
        A session has found that its code is wrong: log that, once.
        """
        if fault not in self.faults:
            self.faults[fault] = None
            self._log.error("{fault}", event="session-fault", fault=fault)

    @property
    def paused(self) -> int:
        """
        How many sessions are not read from, as their peers do not read.
        """
        return self._timeouts.pausedSessions

    def inputStopped(self, session: Session) -> None:
        """
        A peer does not read what it asked for. Called by its session.
        """
        self._timeouts.sessionPaused(session)

    def inputStarted(self, session: Session) -> None:
        """
        It does again. Called by its session.
        """
        self._timeouts.sessionResumed(session)

    def heldMore(self, session: Session) -> None:
        """
        L{Session.heldMore}. Called by the session.
        """
        self._timeouts.heldMore(session)

    def whenEnded(self) -> "Sequence[Deferred[SessionEnd]]":
        """
        One Deferred, of the caller's own, for the end of every open session.
        """
        return [Session.whenEnded(session) for session in self.sessions]

    def whenHandshakesEnded(self) -> "Deferred[None]":
        """
        Wait for the moment when no connection is to become a session.

        @return: fires then, or at once. Cancelling it ends that wait alone.
        """
        if self.handshakes:
            return self._untilNoHandshakes.wait()
        return succeed(None)

    def closeHandshakes(self) -> None:
        """
        End every connection that has not become a session yet, and does not by what
        has arrived.
        """
        for handshake in list(self.handshakes):
            self._failHandshake(handshake, EndReason.STOPPED)

    def _failHandshake(self, handshake: Handshake, reason: EndReason) -> None:
        try:
            handshake.fail(reason)
        except Exception:
            self.handshakeFailed()

    def closeSessions(self, reason: EndReason) -> None:
        """
        L{Close<Session.close>} every session, and every one that is still to
        come.
        """
        self.closing = reason
        for session in list(self.sessions):
            try:
                session.endIfGone()
                session.close(reason)
            except Exception:
                self.sessionFailed(session, "be closed")
                Session.abort(session)

    def abortSessions(self, reason: EndReason = EndReason.ABORTED) -> None:
        """
        The time of every session is over: L{expire<Session.expire>} it, and cut off
        what was to become one.
        """
        for handshake in list(self.handshakes):
            # (The end of one may be that of another.)
            if handshake in self.handshakes:
                self._failHandshake(handshake, reason)
        for session in list(self.sessions):
            try:
                session.expire(reason)
            except Exception:
                self.sessionFailed(session, "be aborted")
                with suppress(Exception):
                    Session.abort(session, reason)

    def forgetSessions(self) -> None:
        """
        Declare every session and handshake lost whose transport does not say so
        even when it is aborted, so that nobody waits for it for ever.
        """
        for handshake in list(self.handshakes):
            self._log.error(
                "a handshake does not end, not even aborted",
                event="handshake-forgotten",
            )
            del self.handshakes[handshake]
            self.admission.forget(handshake)
        self._handshakesChanged()
        aborted = Failure(ConnectionAborted())
        for session in list(self.sessions):
            self._log.error(
                "{session} does not end, not even aborted",
                event="session-forgotten",
                session=_named(session),
            )
            try:
                session.connectionLost(aborted)
            except Exception:
                self.sessionFailed(session, "end")
            Session.unregister(session, aborted)


def _named(session: Session) -> str:
    # (Its own `repr` may be a subclass's, and raise.)
    return f"session {session.serial}, {type(session).__qualname__},"
