"""
What the command's service is made of, as it sees them: what is served, the admin port,
and the manager that is told.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress

from twisted_echo.limits import Limits
from twisted_echo.metrics import Observation
from twisted_echo.service import State

__all__ = ["AdminPort", "Manager", "Served"]


class Served(Protocol):
    """
    What is served: the echo service of this process, or of many.
    """

    state: State

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
        How much there may be at once, in each process.
        """

    @property
    def stopsWithin(self) -> float:
        """
        Seconds that a stop takes at the most; what is left of them, once it has begun.
        """

    @property
    def canReload(self) -> bool:
        """
        Whether there is something to load anew.
        """

    def privilegedStartService(self) -> None: ...

    def startService(self) -> None: ...

    def stopService(self) -> "Deferred[Any]": ...

    def whenListening(self) -> "Deferred[None]": ...

    def hurry(self) -> "Deferred[int]":
        """
        Wait no longer for the sessions that are left.

        @return: how many those were.
        """

    @property
    def isAccepting(self) -> bool:
        """
        Whether somebody accepts what comes, while it listens.
        """

    def reload(self) -> None:
        """
        Load keys and certificates anew.
        """

    def observe(self) -> "Deferred[Observation]":
        """
        Its numbers.
        """

    def sessionsPage(self, after: str, limit: int) -> "Deferred[dict[str, Any]]":
        """
        Some of its sessions.
        """


class AdminPort(Protocol):
    """
    What shows it over HTTP.
    """

    @property
    def address(self) -> IAddress | None: ...

    def open(self, observed: Any) -> "Deferred[None]": ...

    def close(self) -> "Deferred[None]": ...


class Manager(Protocol):
    """
    Who is told how the service gets on, such as systemd.
    """

    def ready(self, status: str) -> None: ...

    def status(self, status: str) -> None: ...

    def stopping(self, within: float, status: str) -> None: ...

    def reloading(self) -> None: ...

    def close(self) -> None: ...
