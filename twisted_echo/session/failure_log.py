"""
Log what goes wrong in the code of sessions: exceptions, and faults.

What must hold: an exception is logged a few times a minute at most, a fault once.
"""

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.session.session import Session
from twisted_echo.session.session_log import SessionLog

__all__ = ["LogsFailures", "nameOf"]


def nameOf(session: Session) -> str:
    """
    Name a session for the log. Its code may be wrong.
    """
    # (Its own `repr` may be a subclass's, and raise.)
    return f"session {session.serial} ({type(session).__qualname__})"


class LogsFailures:
    """
    A base class of factories, which log what goes wrong.

    @ivar sessionLog: what logs it.
    @ivar faults: the faults found in the code of the sessions, a sentence each, such as
        C{Upper.connectionMade must call super().connectionMade()}.
    """

    _log = Logger()
    sessionLog: SessionLog
    faults: dict[str, None]

    @property
    def clock(self) -> IReactorTime:
        """
        Where the time comes from.
        """
        raise NotImplementedError

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
        Log an exception that a session's code has raised. Called by the session and by
        what watches it.

        @param what: what it could not do.
        """
        self.logFailure(
            "{session} cannot {what}",
            event="session-failed",
            session=nameOf(session),
            what=what,
        )

    def handshakeFailed(self) -> None:
        """
        Log that a handshake cannot be ended.
        """
        self.logFailure("cannot end a handshake", event="handshake-end-failed")

    def recordFault(self, fault: str) -> None:
        """
        Log, once, that the code of a session is wrong.
        """
        if fault not in self.faults:
            self.faults[fault] = None
            self._log.error("{fault}", event="session-fault", fault=fault)
