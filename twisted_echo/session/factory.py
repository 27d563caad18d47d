"""
The record of the open sessions, and of the connections that are to become sessions.

What must hold: each accepted connection is counted once, as a session or as refused;
C{counters.opened} is the sum of C{counters.ended}, plus the sessions that are open.
"""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from zope.interface import implementer

from twisted_echo.eager.optional_interfaces import IWantsSocketOptions, SocketOptions
from twisted_echo.net.sockets import KeepAlive, socketOptions
from twisted_echo.scheduling.time_share import TimeShare
from twisted_echo.session.all_sessions import AllSessions
from twisted_echo.session.bounds.admission import Admission, Gate
from twisted_echo.session.bounds.limits import Deadlines, Limits
from twisted_echo.session.bounds.timeouts import Handshake, Timeouts
from twisted_echo.session.counters import Counters
from twisted_echo.session.ends.closing_deadlines import ClosingDeadlines
from twisted_echo.session.ends.end_reason import EndReason, SessionEnd
from twisted_echo.session.factory_clock import HasClock
from twisted_echo.session.hook_checks import FACTORY_WRAPPERS
from twisted_echo.session.hooks import watch
from twisted_echo.session.session import Session
from twisted_echo.session.session_log import LogSessions, SessionLog
from twisted_echo.session.session_maker import SessionMaker
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


@implementer(IWantsSocketOptions)
class SessionFactory(HasClock, AllSessions, SessionMaker[_S]):
    """
    Makes the sessions of one service, records them until they have ended, and holds
    their settings.

    A subclass that has an C{__init__}, or overrides C{sessionStarted} or
    C{sessionEnded}, must call the inherited method by C{super()}.

    @ivar counters: what is counted of all of them.
    @ivar certificates: the certificates that they are served with.
    @ivar handshakeTurns: how their TLS handshakes share the time with the sessions.
    @ivar timeouts: the deadlines of the open sessions, and the memory held for them.
    @ivar closingDeadlines: those of the sessions that were closed.
    @ivar keepAlive: for the sessions' sockets; None for none.
    @ivar abortAfter: seconds that a session which was closed waits for its peer
        before it is aborted.
    """

    noisy = False
    if TYPE_CHECKING:
        # The inherited one says that it makes something more general.
        @classmethod
        def forProtocol(
            cls, protocol: Callable[..., _S], *args: Any, **kwargs: Any
        ) -> "SessionFactory[_S]": ...

    keepAlive = Checked(_keepAlive)
    abortAfter = Checked(positive_seconds)

    def __init__(
        self,
        *,
        clock: IReactorTime | None = None,
        keepAlive: KeepAlive | None = KeepAlive(),  # noqa: B008 - frozen
        abortAfter: float = DEFAULT_ABORT_AFTER,
        deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
        limits: Limits = Limits(),  # noqa: B008 - frozen
        logSessions: LogSessions = LogSessions.PROBLEMS,
        logSample: float = 1.0,
    ) -> None:
        """
        A subclass with arguments of its own must call C{super().__init__()}.

        @param clock: where the time comes from; the reactor by default.
        @param keepAlive: when the kernel probes silent peers; None for never.
        @param abortAfter: seconds that a session which was closed waits for its peer
            before it is aborted.
        @param deadlines: how many seconds peers may take.
        @param limits: how many sessions, and how many bytes, there may be.
        @param logSessions: the sessions whose end is logged.
        @param logSample: the share that is logged of the sessions that end without
            a problem, if C{ALL} are; from 1 (each) to above 0.
        @raise ValueError: if a number is not legal.
        @raise TypeError: if something is of another kind.
        """
        super().__init__()
        self.counters = Counters()
        self.certificates = CertificateRegistry()
        self.handshakeTurns = TimeShare()
        self.sessionLog = SessionLog(
            instance("logSessions", logSessions, LogSessions), logSample
        )
        self.faults: dict[str, None] = {}
        self.setClock(clock)
        self.keepAlive = keepAlive
        self.abortAfter = abortAfter
        self._deadlines = instance("deadlines", deadlines, Deadlines)
        self.admission = Admission(
            instance("limits", limits, Limits), self.sessions, self.handshakes
        )
        self.closingDeadlines = ClosingDeadlines(self)
        self.timeouts = Timeouts(self)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, around in FACTORY_WRAPPERS.items():
            watch(cls, SessionFactory, name, around)

    @property
    def socketOptions(self) -> SocketOptions:
        """
        The options of the sessions' sockets, which a port may set before it listens.
        """
        return socketOptions(self.keepAlive)

    # Limits

    @property
    def deadlines(self) -> Deadlines:
        """
        How many seconds peers may take; can be replaced while sessions are open.
        """
        return self._deadlines

    @deadlines.setter
    def deadlines(self, deadlines: Deadlines) -> None:
        self._deadlines = instance("deadlines", deadlines, Deadlines)
        self.timeouts.deadlinesChanged()

    @property
    def limits(self) -> Limits:
        """
        The limits of sessions and bytes; can be replaced while sessions are open, which
        ends only sessions that hold too much.
        """
        return self.admission.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self.admission.setLimits(instance("limits", limits, Limits))
        self.timeouts.sweepSoon()
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
        How many sessions have begun.
        """
        return self.counters.opened

    @property
    def ended(self) -> Counter[EndReason]:
        """
        How many sessions have ended, by reason.
        """
        return self.counters.ended

    @property
    def refused(self) -> Counter[EndReason]:
        """
        How many connections did not become sessions, by reason.
        """
        return self.counters.refused

    @property
    def tls(self) -> TLSCounts | None:
        """
        The counts of TLS handshakes; None without TLS.
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

    # What comes and goes

    def handshakeStarted(self, handshake: Handshake, address: IAddress | None) -> None:
        """
        Record a connection that is to become a session.

        @param address: that of the peer for which it counts; None if it is not known
            yet.
        """
        self.handshakes[handshake] = address
        self.admission.handshakeCame(handshake)
        self.timeouts.start()

    def handshakeEnded(self, handshake: Handshake) -> None:
        """
        Remove a handshake that is lost from the record. The caller then calls
        L{countChanged}.
        """
        self.handshakeDone(handshake)()

    def handshakeDone(self, handshake: Handshake) -> Callable[[], None]:
        """
        Remove a handshake that becomes a session now from the record.

        @return: to be called when that has begun, for the callers that wait for the
            end of all.
        """
        # Perhaps it was forgotten before.
        self.handshakes.pop(handshake, None)
        self.admission.gone(handshake)
        self.timeouts.forget(handshake)
        return self._handshakesChanged

    def sessionStarted(self, session: Session) -> None:
        """
        Record a session. Called by the session. An override must call
        C{super().sessionStarted(session)}.
        """
        self.sessions[session] = Deferred()
        counters = self.counters
        counters.opened = session.serial = counters.opened + 1
        self.admission.sessionCame(session)
        self.timeouts.start()

    def sessionEnded(self, session: Session, end: SessionEnd) -> None:
        """
        Remove a session from the record, and fire its Deferred. Called by the session.
        An override must call C{super().sessionEnded(session, end)}.
        """
        ended = self.sessions.pop(session, None)
        if ended is None:
            # Its protocol failed before it could begin.
            self.countRefused(session.peer, EndReason.ERROR)
            return
        try:
            self.admission.sessionGone(session)
            self.timeouts.forget(session)
            self.counters.sessionEnded(end)
            self.sessionLog.ended(session, end, self.clock)
            # Last, for a port that cannot accept again raises.
            if self.admission.limits.sessions:
                self.countChanged()
        finally:
            ended.callback(end)

    # What a session tells of its memory and its peer

    @property
    def paused(self) -> int:
        """
        How many sessions are under backpressure: their peers do not read.
        """
        return self.timeouts.pausedSessions

    def inputStopped(self, session: Session) -> None:
        """
        Record that a peer does not read what it asked for. Called by its session.
        """
        self.timeouts.sessionPaused(session)

    def inputStarted(self, session: Session) -> None:
        """
        Record that a peer reads again. Called by its session.
        """
        self.timeouts.sessionResumed(session)

    def heldMore(self, session: Session) -> None:
        """
        L{Session.heldMore}. Called by the session.
        """
        self.timeouts.heldMore(session)
