"""
The record of all sessions that are open, and of how many there may be.

What must hold: whatever is accepted is counted once, as a session or as refused;
C{opened} is what C{ended} sums up to and the sessions that are open.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakSet

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.metrics import DURATION_BOUNDS, Histogram
from twisted_echo.net.sockets import KeepAlive
from twisted_echo.scheduling.fair_clock import FairClock
from twisted_echo.scheduling.time_share import TimeShare
from twisted_echo.session.end_reason import EndReason, SessionEnd
from twisted_echo.session.hook_checks import AROUND_FACTORY
from twisted_echo.session.hooks import watch
from twisted_echo.session.limits import Deadlines, Limits, WhenFull, peerKey
from twisted_echo.session.session import Session
from twisted_echo.session.session_log import Journal, LogSessions
from twisted_echo.session.session_maker import SessionMaker
from twisted_echo.session.timeouts import Guard, Handshake
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.counts import TLSCounts
from twisted_echo.validation.checks import Checked, instance, positive_seconds

__all__ = ["DEFAULT_ABORT_AFTER", "Gate", "SessionFactory"]

DEFAULT_ABORT_AFTER = 5.0
"""
Seconds that a closed session waits for its peer: long enough for every peer that
reads at all, and short beside the 90 seconds after which service managers kill.
"""

_S = TypeVar("_S", bound=Any)


def _keepAlive(name: str, value: KeepAlive | None) -> KeepAlive | None:
    return value if value is None else instance(name, value, KeepAlive)


class Gate(Protocol):
    """
    What connections come in by.
    """

    def shut(self) -> bool:
        """
        Accept nothing more for now.

        @return: whether that is possible, for every port that the factory has.
        """

    def reopen(self) -> None:
        """
        Accept again.
        """


class _Stage(Enum):
    """
    How far the stop of a factory's service is.
    """

    OPEN = "open"
    """It has not begun: connections are accepted."""
    STOPPING = "stopping"
    """No new connections are made; those that the kernel has made end in order."""
    REFUSING = "refusing"
    """Time is up: what is left is refused or aborted."""


class SessionFactory(SessionMaker[_S]):
    """
    A factory that holds one Deferred for each of its sessions, from the
    connection's first moment to its last.

    @ivar sessions: the sessions that are open, each with the Deferred that fires
        with its L{SessionEnd}. The Deferreds are the factory's own: ask
        L{Session.whenEnded} for one of yours.
    @ivar closing: why new sessions are closed at once; None while they are
        welcome.
    @ivar handshakes: the connections that are to become sessions, each with a
        Deferred that fires when it has become one, or will not.
    @ivar opened: how many sessions there have been.
    @ivar ended: how many of them have ended, by their reasons.
    @ivar refused: how many connections have not become sessions, by the reasons.
    @ivar lines: how many lines those that have ended have received.
    @ivar bytesReceived: how many bytes those that have ended have received.
    @ivar bytesSent: how many bytes they were sent; None if a transport did not count.
    @ivar durations: how many seconds they lasted.
    @ivar tls: what is counted of their TLS handshakes; None without TLS.
    @ivar certificates: those that they are served with.
    @ivar certificatesAdded: called when there are more of them; None if nobody wants to
        know.
    @ivar handshakeTurns: how their TLS handshakes share the time with the sessions.
    @ivar gate: where connections can be made to wait: the listeners of the service that
        the factory belongs to for ever; None until it belongs to one.
    @ivar journal: what is logged of them.
    @ivar faults: the faults found in the code of the sessions, a sentence each, such as
        C{Upper.connectionMade must call super().connectionMade()}.
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
        self.handshakes: dict[Handshake, Deferred[None]] = {}
        self.opened = 0
        self.ended: Counter[EndReason] = Counter()
        self.refused: Counter[EndReason] = Counter()
        self.lines = self.bytesReceived = 0
        self.bytesSent: int | None = 0
        self.durations = Histogram(DURATION_BOUNDS)
        self.tls: TLSCounts | None = None
        # Not kept by this, for each session may have some of its own.
        self.certificates: WeakSet[Certificates] = WeakSet()
        self.certificatesAdded: Callable[[], object] | None = None
        self.handshakeTurns = TimeShare()
        self.gate: Gate | None = None
        self.journal = Journal(instance("logSessions", logSessions, LogSessions))
        if clock is not None and not hasattr(clock, "callLater"):
            raise TypeError(f"clock must be an IReactorTime, got {clock!r}")
        self.faults: dict[str, None] = {}
        self._clock = clock
        self._fairClock: FairClock | None = None
        self.keepAlive = keepAlive
        self.abortAfter = abortAfter
        self._deadlines = instance("deadlines", deadlines, Deadlines)
        self._limits = instance("limits", limits, Limits)
        self._guard = Guard(self)
        # How many sessions and handshakes each peer has.
        self._peers: Counter[str] = Counter()
        self._stage = _Stage.OPEN
        # The sessions that have been sent their end-of-file since the stop began: they
        # no longer count towards the limit, so connections that wait can be accepted.
        self._leaving: set[Session | Handshake] = set()
        # Whether the gate is shut, and whether that makes connections wait.
        self._isShut = self._canWait = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, around in AROUND_FACTORY.items():
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
        self._guard.forgetDeadlines()

    @property
    def limits(self) -> Limits:
        """
        How much there may be; can be replaced while sessions are open, which ends
        none of them but those that hold too much.
        """
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = instance("limits", limits, Limits)
        self._guard.sweepSoon()
        self.countChanged()

    @property
    def isFull(self) -> bool:
        """
        Whether there are as many connections as are allowed. At a stop those that
        have been sent their end-of-file do not count.
        """
        most = self._limits.sessions
        count = len(self.sessions) + len(self.handshakes) - len(self._leaving)
        return 0 < most <= count

    def countChanged(self) -> None:
        """
        Make connections wait while the limit is reached, and no longer.
        """
        gate = self.gate
        if gate is None:
            return
        shut = self.isFull and self._limits.whenFull is WhenFull.WAIT
        if shut and not self._isShut:
            self._isShut, self._canWait = True, gate.shut()
        elif self._isShut and not shut:
            self._isShut = False
            gate.reopen()

    def belongTo(self, gate: Gate) -> None:
        """
        Let connections come in by C{gate} from now on. Called by the service.

        @raise ValueError: if it belongs to a service already.
        @raise TypeError: if it makes no sessions.
        """
        if self.gate is not None:
            raise ValueError(
                "a factory belongs to one service, which records and ends all of its"
                f" sessions, but {self!r} belongs to one already; make a factory for"
                " each service, or give one service all endpoints"
            )
        self.checkProtocol()
        self.gate = gate

    def refuses(self, address: Any) -> bool:
        """
        Tell whether a connection is one too many; if so, count it.

        @param address: whose it is; None if that is not known yet.
        """
        most, key = self._limits.sessionsPerPeer, peerKey(address)
        if self._stage is _Stage.REFUSING:
            self.countRefused(address, EndReason.STOPPED)
        elif self.isFull and not (self._isShut and self._canWait):
            # (What comes while it is shut was being accepted with others.)
            self.countRefused(address, EndReason.REFUSED_FULL)
        elif most and key is not None and self._peers[key] >= most:
            self.countRefused(address, EndReason.REFUSED_PEER)
        else:
            return False
        return True

    def countRefused(self, address: Any, reason: EndReason, detail: str = "") -> None:
        """
        Count a connection that does not become a session, and log it.
        """
        self.refused[reason] += 1
        self.journal.refused(address, reason, detail, self.clock)

    def useTLS(self, certificates: Certificates | None) -> TLSCounts:
        """
        Count TLS handshakes from now on. Called by what makes them.

        @param certificates: they are among L{certificates} from now on, for as long as
            something else keeps them. None, if nothing is known of them.
        @return: what they are counted by: L{tls}.
        """
        if certificates is not None and certificates not in self.certificates:
            self.certificates.add(certificates)
            if self.certificatesAdded is not None:
                self.certificatesAdded()
        if self.tls is None:
            self.tls = TLSCounts()
        return self.tls

    def plainDropped(self, session: Session) -> None:
        """
        A client has sent more in the clear behind what began TLS. Called when it is
        dropped, once for each session.
        """
        if self.tls is not None:
            self.tls.plainDropped += 1
        self.journal.plainDropped(session.peer, self.clock)

    # The stop

    def welcome(self) -> None:
        """
        Accept connections again, as before the first stop.
        """
        self.closing = None
        self._stage = _Stage.OPEN

    def beginStop(self) -> None:
        """
        Begin a stop. From now on sessions that have been sent their end-of-file do not
        count towards the limit. Every handshake that is complete with what has arrived
        becomes a session, and the others end.
        """
        self._stage = _Stage.STOPPING
        self.closeHandshakes()

    def refuseAll(self) -> None:
        """
        Refuse new connections from now on.
        """
        self._stage = _Stage.REFUSING

    @property
    def isStopping(self) -> bool:
        """
        Whether a connection that is to become a session has to do so at once.
        """
        return self._stage is not _Stage.OPEN

    def endSent(self, connection: Session | Handshake) -> None:
        """
        It is being sent its end-of-file. Called by a session, or by what was to become
        one.
        """
        if self.isStopping:
            self._leaving.add(connection)
            self.countChanged()

    # What comes and goes

    def _come(self, address: Any) -> None:
        key = peerKey(address)
        if key is not None:
            self._peers[key] += 1

    def _go(self, address: Any) -> None:
        key = peerKey(address)
        if key is not None:
            self._peers[key] -= 1
            if not self._peers[key]:
                del self._peers[key]

    def handshakeStarted(self, handshake: Handshake, address: Any) -> None:
        """
        Record a connection that is to become a session.

        @param address: whom it counts for; None if that is not known yet.
        """
        self.handshakes[handshake] = Deferred()
        self._come(address)
        self._guard.watch()
        self.countChanged()

    def handshakeEnded(self, handshake: Handshake, address: Any) -> None:
        """
        Strike it off: it is lost. L{countChanged} is to be called.

        @param address: the one that it was recorded with.
        """
        self.handshakeDone(handshake, address)()

    def handshakeDone(self, handshake: Handshake, address: Any) -> Callable[[], object]:
        """
        Strike it off: it becomes a session now.

        @param address: the one that it was recorded with.
        @return: to be called when that has begun, for those who wait for the end of
            all.
        """
        ended = self.handshakes.pop(handshake, None)
        self._leaving.discard(handshake)
        self._go(address)
        self._guard.forget(handshake)
        self._guard.rest()
        # Perhaps it was forgotten before.
        return lambda: None if ended is None else ended.callback(None)

    def sessionStarted(self, session: Session) -> None:
        """
        Record a session. Called by the session.
        """
        self.sessions[session] = Deferred()
        self.opened += 1
        session.serial = self.opened
        self._come(session.peer)
        self._guard.watch()
        self.countChanged()

    def sessionEnded(self, session: Session, end: SessionEnd) -> None:
        """
        Strike a session off, and fire its Deferred. Called by the session.
        """
        ended = self.sessions.pop(session, None)
        self._leaving.discard(session)
        if ended is None:
            # Its protocol failed before it could begin.
            self.countRefused(session.peer, EndReason.ERROR)
            return
        try:
            self._go(session.peer)
            self._guard.forget(session)
            self._guard.rest()
            self._count(end)
            self.journal.ended(session, end, self.clock)
            self.countChanged()
        finally:
            ended.callback(end)

    def _count(self, end: SessionEnd) -> None:
        self.ended[end.reason] += 1
        self.lines += end.lines
        self.bytesReceived += end.bytesReceived
        if end.bytesSent is None or self.bytesSent is None:
            self.bytesSent = None
        else:
            self.bytesSent += end.bytesSent
        self.durations.observe(end.seconds)

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
        self.journal.failed(self.clock, failure, event, text, **fields)

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
        return self._guard.pausedSessions

    def inputStopped(self, session: Session) -> None:
        """
        A peer does not read what it asked for. Called by its session.
        """
        self._guard.paused(session)

    def inputStarted(self, session: Session) -> None:
        """
        It does again. Called by its session.
        """
        self._guard.resumed(session)

    def heldMore(self, session: Session) -> None:
        """
        L{Session.heldMore}. Called by the session.
        """
        self._guard.heldMore(session)

    def whenEnded(self) -> "Sequence[Deferred[SessionEnd]]":
        """
        One Deferred, of the caller's own, for the end of every open session.
        """
        return [Session.whenEnded(session) for session in self.sessions]

    def whenHandshakesEnded(self) -> "Sequence[Deferred[None]]":
        """
        One Deferred, of the caller's own, for every handshake there is.
        """
        askers = []
        for ended in self.handshakes.values():
            asker: Deferred[None] = Deferred()
            ended.chainDeferred(asker)
            askers.append(asker)
        return askers

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
        handshakes, self.handshakes = self.handshakes, {}
        self._leaving.clear()
        for ended in handshakes.values():
            self._log.error(
                "a handshake does not end, not even aborted",
                event="handshake-forgotten",
            )
            ended.callback(None)
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
            Session.forget(session, aborted)


def _named(session: Session) -> str:
    # (Its own `repr` may be a subclass's, and raise.)
    return f"session {session.serial}, {type(session).__qualname__},"
