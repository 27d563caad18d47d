"""
The start of workers: the settings of each, a check that they are able to start, and the
state that they have reached together.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network

from twisted_echo.command.file_access import unreadable, unusable
from twisted_echo.command.workers.binding import BoundEndpoint
from twisted_echo.command.workers.channel import WorkerSettings
from twisted_echo.echo import EchoConfig

__all__ = ["NoWorkers", "StartProgress", "checkAccess", "workerSettings"]


class NoWorkers(Exception):
    """
    No worker is able to start.
    """


def checkAccess(files: Iterable[str]) -> None:
    """
    Check that the present user may start workers, and that they may read their files.
    (When a service starts, twistd has become the user of C{--uid}.)

    @raise NoWorkers: if not, with what is missing.
    """
    for paths, use in (
        (unreadable([*files]), "read"),
        (unreadable([__file__]), "read"),
        (unusable([sys.executable], os.X_OK), "run"),
    ):
        if paths:
            raise NoWorkers(
                f"the user of the workers, number {os.geteuid()}, cannot {use}"
                f" {', '.join(paths)}"
            )


_TRIES = 3
"""
How often each worker may fail to start, before none is said to be able to.
"""


def workerSettings(
    workers: int,
    config: EchoConfig,
    proxyFrom: Sequence[IPv4Network | IPv6Network],
    bound: Sequence[BoundEndpoint],
    reactor: object,
) -> list[WorkerSettings]:
    """
    Make the settings of each worker.

    @param reactor: the parent's; each worker installs its like.
    """
    return [
        WorkerSettings(
            number=number,
            config=config,
            proxyFrom=proxyFrom,
            isOurs=[each.isOurs for each in bound],
            sockets=[len(each.sockets) for each in bound],
            reactor=type(reactor).__module__,
        )
        for number in range(workers)
    ]


class StartProgress:
    """
    Which workers have ever listened, and how often each could not start.

    @cvar tries: how often each may fail before L{hasFailed}.
    """

    tries = _TRIES

    def __init__(self, workers: int) -> None:
        self._listened: set[int] = set()
        self._failures = dict.fromkeys(range(workers), 0)

    def workerListens(self, number: int) -> None:
        """
        Record that a worker listens.
        """
        self._listened.add(number)

    def workerFailed(self, number: int) -> None:
        """
        Record that a worker has ended without having listened.
        """
        self._failures[number] += 1

    @property
    def haveAllTried(self) -> bool:
        """
        Whether every worker has listened once, or could not start.
        """
        return all(
            failures or number in self._listened
            for number, failures in self._failures.items()
        )

    @property
    def hasFailed(self) -> bool:
        """
        Whether no worker is able to start.
        """
        return not self._listened and min(self._failures.values()) >= _TRIES
