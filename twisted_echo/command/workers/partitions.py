"""
Which worker accepts from which listening sockets.

The kernel divides new connections among the TCP sockets of all workers, whether anybody
accepts from them or not. The sockets that were opened for worker I{n} are partition
I{n}.

What must hold: while there is a worker that listens, each partition is assigned to
exactly one; partition I{n} to worker I{n} unless that does not listen. A worker gives a
partition of another's up when the other accepts from it, so that at no moment nobody
does.
"""

from collections.abc import Container, Mapping

__all__ = ["assignPartitions"]


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
