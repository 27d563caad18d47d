"""
What sessions ask of their factory.
"""

from typing import Protocol, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twisted_echo.net.sockets import KeepAlive
from twisted_echo.scheduling.fair_clock import FairClock
from twisted_echo.session.ends.closing_deadlines import ClosingDeadlines
from twisted_echo.session.ends.end_reason import EndReason, SessionEnd

__all__ = ["FactoryInterface"]

# The sessions are not named, for they are made of what asks this.
_Session = TypeVar("_Session", contravariant=True)


class FactoryInterface(Protocol[_Session]):
    """
    The record of all sessions:
    L{SessionFactory<twisted_echo.session.factory.SessionFactory>}.
    """

    abortAfter: float
    closing: EndReason | None
    keepAlive: KeepAlive | None

    @property
    def clock(self) -> IReactorTime: ...

    @property
    def fairClock(self) -> FairClock: ...

    @property
    def closingDeadlines(self) -> ClosingDeadlines: ...

    def sessionStarted(self, session: _Session) -> None: ...

    def endSent(self, connection: object) -> None: ...

    def sessionEnded(self, session: _Session, end: SessionEnd) -> None: ...

    def inputStopped(self, session: _Session) -> None: ...

    def inputStarted(self, session: _Session) -> None: ...

    def sessionFailed(self, session: _Session, what: str) -> None: ...

    def recordFault(self, fault: str) -> None: ...

    def logFailure(
        self, text: str, *, event: str, failure: Failure | None = None
    ) -> None: ...

    def heldMore(self, session: _Session) -> None: ...
