"""
The record of all sessions that are open.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.endings import EndReason, SessionEnd
from twisted_echo.session import Session
from twisted_echo.sockets import KeepAlive

__all__ = ["DEFAULT_ABORT_AFTER", "SessionFactory"]

DEFAULT_ABORT_AFTER = 5.0
"""
Seconds that a closed session waits for its peer: long enough for every peer that
reads at all, and short beside the 90 seconds after which service managers kill.
"""

_S = TypeVar("_S", bound=Any)


class SessionFactory(Factory[_S]):
    """
    A factory that holds one Deferred for each of its sessions, from the
    connection's first moment to its last.

    @ivar sessions: the sessions that are open, each with the Deferred that fires
        with its L{SessionEnd}. The Deferreds are the factory's own: ask
        L{Session.whenEnded} for one of yours.
    @ivar closing: why new sessions are closed at once; None while they are
        welcome.
    @ivar keepAlive: for the sessions' sockets; None for none.
    @ivar abortAfter: seconds that a session which was closed waits for its peer
        before it is aborted.
    """

    noisy = False
    closing: EndReason | None = None

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime | None = None,
        keepAlive: KeepAlive | None = KeepAlive(),  # noqa: B008 - frozen
        abortAfter: float = DEFAULT_ABORT_AFTER,
    ) -> None:
        """
        @param clock: where the time comes from; the reactor by default.
        """
        self.sessions: dict[Session, Deferred[SessionEnd]] = {}
        self._clock = clock
        self.keepAlive = keepAlive
        self.abortAfter = abortAfter

    @property
    def clock(self) -> IReactorTime:
        if self._clock is None:
            from twisted.internet import reactor

            self._clock = IReactorTime(reactor)
        return self._clock

    def sessionStarted(self, session: Session) -> None:
        """
        Record a session. Called by the session.
        """
        self.sessions[session] = Deferred()

    def sessionEnded(self, session: Session, end: SessionEnd) -> None:
        """
        Strike a session off, and fire its Deferred. Called by the session.
        """
        self.sessions.pop(session).callback(end)

    def whenEnded(self) -> "Sequence[Deferred[SessionEnd]]":
        """
        One Deferred, of the caller's own, for the end of every open session.
        """
        return [session.whenEnded() for session in self.sessions]

    def closeSessions(self, reason: EndReason) -> None:
        """
        L{Close<Session.close>} every session, and every one that is still to
        come.
        """
        self.closing = reason
        for session in list(self.sessions):
            try:
                session.close(reason)
            except Exception:
                self._logFailure(session, "be closed")
                session.abort()

    def abortSessions(self) -> None:
        """
        L{Abort<Session.abort>} every session.
        """
        for session in list(self.sessions):
            try:
                session.abort()
            except Exception:
                self._logFailure(session, "be aborted")

    def _logFailure(self, session: Session, what: str) -> None:
        # As text: whoever keeps the event must not keep the session.
        self._log.failure("{session} cannot {what}", session=repr(session), what=what)

    def forgetSessions(self) -> None:
        """
        Declare every session lost whose transport does not say so even when it
        is aborted, so that nobody waits for it for ever.
        """
        aborted = Failure(ConnectionAborted())  # type: ignore[no-untyped-call]
        for session in list(self.sessions):
            self._log.error(
                "{session} does not end, not even aborted", session=repr(session)
            )
            try:
                session.connectionLost(aborted)
            except Exception:
                self._logFailure(session, "end")
            session.forget(aborted)
