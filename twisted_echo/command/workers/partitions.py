"""
Which worker accepts from which listening sockets.

The kernel divides new connections among the TCP sockets of all workers, whether anybody
accepts from them or not. The sockets that were opened for worker I{n} are partition
I{n}.

What must hold: while there is a worker that listens, each partition is assigned to
exactly one; partition I{n} to worker I{n} unless that does not listen. A worker gives
up a partition of another worker only when the other accepts from it, so that some
worker always does.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Protocol

__all__ = ["AcceptingWorker", "Partitions", "assignPartitions"]


class AcceptingWorker(Protocol):
    """
    A worker that listens.
    """

    @property
    def number(self) -> int:
        """
        Which worker it is.
        """

    @property
    def accepted(self) -> set[int]:
        """
        The partitions that it is known to accept from.
        """

    def acceptFrom(self, partitions: list[int]) -> None:
        """
        Make it accept from these partitions, and no others.
        """


class Partitions:
    """
    The partitions of all workers.
    """

    def __init__(
        self, count: int, listening: Callable[[], Iterable[AcceptingWorker]]
    ) -> None:
        """
        @param count: how many there are, one for each worker.
        @param listening: gives the workers that listen.
        """
        self._count = count
        self._listening = listening

    @property
    def areAllAccepted(self) -> bool:
        """
        Whether some worker accepts from each.
        """
        accepted = [each.accepted for each in self._listening()]
        return len(set().union(*accepted)) == self._count

    def assign(self) -> None:
        """
        Assign them to the workers that listen.
        """
        listening = {each.number: each for each in self._listening()}
        accepting = {number: each.accepted for number, each in listening.items()}
        for number, assigned in assignPartitions(self._count, accepting).items():
            listening[number].acceptFrom(assigned)


def assignPartitions(
    count: int, accepting: Mapping[int, Container[int]]
) -> dict[int, list[int]]:
    """
    Say from which partitions each worker that listens is to accept.

    @param count: how many partitions there are.
    @param accepting: from which each worker that listens accepts now, by its number.
    @return: the partitions by those numbers.
    """
    workers = sorted(accepting)
    assigned: dict[int, list[int]] = {worker: [] for worker in workers}
    for partition in range(count if workers else 0):
        owner = (
            partition if partition in accepting else workers[partition % len(workers)]
        )
        isTaken = partition in accepting[owner]
        for worker in workers:
            isKept = partition in accepting[worker] and not isTaken
            if worker == owner or isKept:
                assigned[worker].append(partition)
    return assigned
