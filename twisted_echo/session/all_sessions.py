"""
Close, abort or forget all sessions and handshakes of a factory.

What must hold: an exception that one of them raises does not keep the others from it.
"""

from collections.abc import Sequence
from contextlib import suppress

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from twisted_echo.scheduling.waiters import Waiters
from twisted_echo.session.bounds.admission import Admission
from twisted_echo.session.bounds.timeouts import Handshake
from twisted_echo.session.ends.end_reason import EndReason, SessionEnd
from twisted_echo.session.failure_log import LogsFailures, nameOf
from twisted_echo.session.session import Session

__all__ = ["AllSessions"]


class AllSessions(LogsFailures):
    """
    A base class of factories: their stop, and what they do with all of their sessions.

    @ivar sessions: the sessions that are open, each with the Deferred that fires
        with its L{SessionEnd}. The Deferreds are the factory's own: ask
        L{Session.whenEnded} for one of yours.
    @ivar handshakes: the connections that are to become sessions, in the order in which
        they came, each with the address of the peer for which it counts; None if that
        is not known yet.
    @ivar admission: which connections may become sessions.
    @ivar closing: why new sessions are closed at once; None while they are
        welcome.
    """

    closing: EndReason | None = None
    admission: Admission

    def __init__(self) -> None:
        super().__init__()
        self.sessions: dict[Session, Deferred[SessionEnd]] = {}
        self.handshakes: dict[Handshake, IAddress | None] = {}
        self._untilNoHandshakes: Waiters[None] = Waiters()

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

    def endSent(self, connection: object) -> None:
        """
        Record that a peer is being sent its end-of-file. Called by a session, or by a
        handshake.
        """
        self.admission.endSent(connection)

    # All of them

    def whenEnded(self) -> "Sequence[Deferred[SessionEnd]]":
        """
        Return one Deferred, of the caller's own, for the end of every open session.
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

    def _handshakesChanged(self) -> None:
        if not self.handshakes:
            self._untilNoHandshakes.notify(None)

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
        End every session, because their time is over: L{expire<Session.expire>} them,
        and cut off the handshakes.
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
        End every session and handshake whose transport does not report its end even
        after an abort, so that no caller waits for it for ever.
        """
        for handshake in list(self.handshakes):
            self._log.error(
                "a handshake was aborted, and does not end; the stop does not wait for"
                " it",
                event="handshake-forgotten",
            )
            del self.handshakes[handshake]
            self.admission.forget(handshake)
        self._handshakesChanged()
        aborted = Failure(ConnectionAborted())
        for session in list(self.sessions):
            self._log.error(
                "{session} was aborted, and does not end; the stop does not wait for"
                " it",
                event="session-forgotten",
                session=nameOf(session),
            )
            try:
                session.connectionLost(aborted)
            except Exception:
                self.sessionFailed(session, "end")
            Session.unregister(session, aborted)
