"""
The interfaces between the parts of the command.

Each protocol is what one user of the echo service needs of it; L{Served} is all of
them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IReactorCore,
    IReactorFromThreads,
    IReactorTime,
)

from twisted_echo.admin.status_view import SessionsPage, StatusSource
from twisted_echo.lifecycle import State
from twisted_echo.metrics import Observation
from twisted_echo.session.bounds.limits import Limits

__all__ = [
    "AdminPort",
    "Described",
    "ICommandReactor",
    "Manager",
    "Observable",
    "Reloadable",
    "Served",
    "Startable",
    "Stoppable",
]


class ICommandReactor(IReactorCore, IReactorFromThreads, IReactorTime):
    """
    What the command needs of a reactor. No reactor declares it by this name.
    """


class Startable(Protocol):
    """
    The echo service, for the start.
    """

    def privilegedStartService(self) -> None: ...

    def startService(self) -> None: ...

    def whenListening(self) -> "Deferred[None]": ...


class Described(Protocol):
    """
    The echo service, for the line that says what has started.
    """

    @property
    def addresses(self) -> Sequence[IAddress]:
        """
        Where it listens.
        """

    @property
    def workerCount(self) -> int:
        """
        How many processes serve.
        """

    @property
    def limits(self) -> Limits:
        """
        The limits of each process.
        """


class Observable(Protocol):
    """
    The echo service, for readiness, metrics and status reports.
    """

    @property
    def state(self) -> State: ...

    @property
    def isAccepting(self) -> bool:
        """
        Whether some process accepts from every socket, while the service listens.
        """

    def observe(self) -> "Deferred[Observation]":
        """
        Observe the numbers of the service.
        """

    def sessionsPage(self, after: str, limit: int) -> "Deferred[SessionsPage]":
        """
        List some of the open sessions.
        """

    def waitingSessions(self, limit: int) -> "Deferred[list[dict[str, Any]]]":
        """
        List the sessions that wait.
        """


class Reloadable(Protocol):
    """
    Something with keys and certificates, for SIGHUP.
    """

    @property
    def canReload(self) -> bool:
        """
        Whether there are keys or certificates to load again.
        """

    def reload(self) -> None:
        """
        Load keys and certificates again.
        """


class Stoppable(Protocol):
    """
    The echo service, for the stop.
    """

    @property
    def state(self) -> State: ...

    @property
    def stopsWithin(self) -> float:
        """
        Seconds that a stop takes at the most; what is left of them, once it has begun.
        """

    def stopService(self) -> "Deferred[Any]": ...

    def stopNow(self) -> "Deferred[Any]":
        """
        Stop, and wait for no client. A stop that has begun goes on like this.
        """

    def observe(self) -> "Deferred[Observation]":
        """
        Observe the numbers of the service.
        """


class Served(Startable, Described, Observable, Reloadable, Stoppable, Protocol):
    """
    The echo service of this process, or of many.
    """


class AdminPort(Reloadable, Protocol):
    """
    The HTTP server that shows the status of the service.
    """

    @property
    def address(self) -> IAddress | None: ...

    @property
    def notAfter(self) -> Mapping[str, int]:
        """
        When its certificates expire, by their files.
        """

    def open(self, source: StatusSource) -> "Deferred[None]": ...

    def close(self) -> "Deferred[None]": ...


class Manager(Protocol):
    """
    A service manager, such as systemd, that follows the state of the service.
    """

    def ready(self, status: str) -> None: ...

    def status(self, status: str) -> None: ...

    def stopping(self, within: float, status: str) -> None: ...

    def reloading(self) -> None: ...

    def close(self) -> None: ...
