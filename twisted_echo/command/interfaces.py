"""
The interfaces of the command service's parts: the service itself, the admin port, and
the service manager.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress

from twisted_echo.lifecycle import State
from twisted_echo.metrics import Observation
from twisted_echo.session.limits import Limits

__all__ = ["AdminPort", "Manager", "Served"]


class Served(Protocol):
    """
    The echo service of this process, or of many.
    """

    @property
    def state(self) -> State:
        """
        What the service is doing.
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
        Whether there are keys or certificates to load anew.
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
        Whether some process accepts from every socket, while it listens.
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

    @property
    def canReload(self) -> bool: ...

    @property
    def notAfter(self) -> Mapping[str, int]: ...

    def reload(self) -> None: ...

    def open(self, observed: Any) -> "Deferred[None]": ...

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
