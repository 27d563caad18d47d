"""
Which worker accepts from which sockets.

The kernel divides new connections among the TCP sockets of all workers, whether anybody
accepts from them or not. The sockets that were opened for worker I{n} are share I{n}.

What must hold: while there is a worker that listens, each share is served by exactly
one; worker I{n} serves share I{n} unless it does not listen.
"""

from collections.abc import Sequence

__all__ = ["divide"]


def divide(shares: int, serving: Sequence[int]) -> dict[int, list[int]]:
    """
    Say which shares each worker that listens is to serve.

    @param shares: how many there are.
    @param serving: the numbers of the workers that listen, ascending.
    @return: the shares by those numbers.
    """
    divided: dict[int, list[int]] = {worker: [] for worker in serving}
    for share in range(shares if serving else 0):
        isThere = share in divided
        divided[share if isThere else serving[share % len(serving)]].append(share)
    return divided
