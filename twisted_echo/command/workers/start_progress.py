"""
How far the start of all workers is.
"""

__all__ = ["StartProgress"]

_TRIES = 3
"""
How often each worker may fail to start, before none is said to be able to.
"""


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
        A worker listens.
        """
        self._listened.add(number)

    def workerFailed(self, number: int) -> None:
        """
        A worker has ended without having listened.
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
