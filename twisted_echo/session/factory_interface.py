"""
What sessions ask of their factory.
"""

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twisted_echo.net.sockets import KeepAlive
from twisted_echo.scheduling.fair_clock import FairClock
from twisted_echo.session.ends.closing_deadlines import ClosingDeadlines
from twisted_echo.session.ends.end_reason import EndReason, SessionEnd

if TYPE_CHECKING:
    from twisted_echo.session.session import Session

__all__ = ["FactoryInterface"]


class FactoryInterface(Protocol):
    """
    The record of all sessions:
    L{SessionFactory<twisted_echo.session.factory.SessionFactory>}.
    """

    abortAfter: float
    closing: EndReason | None
    keepAlive: KeepAlive | None
    sessions: "dict[Session, Deferred[SessionEnd]]"

    @property
    def clock(self) -> IReactorTime: ...

    @property
    def fairClock(self) -> FairClock: ...

    @property
    def closingDeadlines(self) -> ClosingDeadlines: ...

    def sessionStarted(self, session: "Session") -> None: ...

    def endSent(self, connection: object) -> None: ...

    def sessionEnded(self, session: "Session", end: SessionEnd) -> None: ...

    def inputStopped(self, session: "Session") -> None: ...

    def inputStarted(self, session: "Session") -> None: ...

    def sessionFailed(self, session: "Session", what: str) -> None: ...

    def recordFault(self, fault: str) -> None: ...

    def logFailure(
        self, text: str, *, event: str, failure: Failure | None = None
    ) -> None: ...

    def heldMore(self, session: "Session") -> None: ...
