"""
How near a service is to its limits.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from twisted_echo.admin.status_page.figure_format import bytesText, countText
from twisted_echo.metrics import Observation, Snapshot
from twisted_echo.process_figures import ProcessFigures

__all__ = ["Usage", "nearest", "usages", "workerUsages"]


class Usage(NamedTuple):
    """
    How much of a limit is used.

    @ivar name: what is limited.
    @ivar used: how much of it there is.
    @ivar limit: how much of it there may be; 0 if there is no limit.
    @ivar text: writes such a number.
    @ivar owner: the process whose limit it is, such as C{worker 1}; empty if there is
        only one, or for the sum of all workers.
    """

    name: str
    used: int
    limit: int
    text: Callable[[float], str]
    owner: str = ""

    @property
    def share(self) -> float:
        """
        The share of the limit that is used: from 0 to 1, or more for what is over it.
        """
        return self.used / self.limit if self.limit else 0.0


def usages(seen: Observation) -> list[Usage]:
    """
    The limits of the service: of several workers the sums of theirs, and for
    descriptors, of which each process has its own, the process that is nearest.
    """
    files = [
        *_ofProcess(seen.process, "parent" if seen.workers else ""),
        *(
            usage
            for name, worker in seen.workers.items()
            for usage in _ofProcess(worker.process, f"worker {name}")
        ),
    ]
    fullest = nearest(files)
    return [*_ofSnapshot(seen.total), *([] if fullest is None else [fullest])]


def workerUsages(seen: Observation) -> dict[str, list[Usage]]:
    """
    The limits of each worker, by its number.
    """
    return {
        name: [
            *_ofSnapshot(worker.snapshot or Snapshot(), f"worker {name}"),
            *_ofProcess(worker.process, f"worker {name}"),
        ]
        for name, worker in seen.workers.items()
    }


def nearest(candidates: list[Usage]) -> Usage | None:
    """
    The one of some limits that is nearest; None if there is none.
    """
    limited = [each for each in candidates if each.limit]
    return max(limited, key=lambda each: each.share, default=None)


def _ofSnapshot(snapshot: Snapshot, owner: str = "") -> Iterator[Usage]:
    if snapshot.maxSessions is not None:
        used = snapshot.sessions + snapshot.handshakes
        most = snapshot.maxSessions
        yield Usage("sessions and handshakes", used, most, countText, owner)
    if snapshot.maxPendingBytes is not None:
        used, most = snapshot.pendingBytes, snapshot.maxPendingBytes
        yield Usage("memory held for clients", used, most, bytesText, owner)


def _ofProcess(process: ProcessFigures | None, owner: str) -> Iterator[Usage]:
    if process is not None:
        used, most = process.openFiles, process.maxFiles or 0
        yield Usage("open files", used, most, countText, owner)
