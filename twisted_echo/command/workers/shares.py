"""
Which worker accepts from which sockets.

The kernel divides new connections among the TCP sockets of all workers, whether anybody
accepts from them or not. The sockets that were opened for worker I{n} are share I{n}.

What must hold: while there is a worker that listens, each share is for exactly one;
share I{n} is for worker I{n} unless it does not listen. Who serves a share that is for
another gives it up when that one serves it, so there is no moment without anybody.
"""

from collections.abc import Container, Mapping

__all__ = ["divide"]


def divide(shares: int, serving: Mapping[int, Container[int]]) -> dict[int, list[int]]:
    """
    Say which shares each worker that listens is to serve.

    @param shares: how many there are.
    @param serving: which each worker that listens serves now, by its number.
    @return: the shares by those numbers.
    """
    workers = sorted(serving)
    divided: dict[int, list[int]] = {worker: [] for worker in workers}
    for share in range(shares if workers else 0):
        owner = share if share in serving else workers[share % len(workers)]
        isServed = share in serving[owner]
        for worker in workers:
            if worker == owner or (share in serving[worker] and not isServed):
                divided[worker].append(share)
    return divided
