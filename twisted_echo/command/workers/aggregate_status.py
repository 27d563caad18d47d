"""
The numbers and sessions of all workers, as those of one service.

What must hold: a worker that does not answer, or dies, does not keep back what the
others answer; sums never decrease.
"""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from twisted_echo.admin.status_view import SessionsPage
from twisted_echo.command.workers.channel import GetSessions
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.metrics import Snapshot

__all__ = ["AggregateStatus", "sessionsPage"]

_ANSWERS_WITHIN = 2.0
"""
Seconds that a worker has to answer.
"""


class AggregateStatus:
    """
    The numbers of all workers, those that are gone included.

    @ivar ownSnapshot: gives what the parent itself has counted.
    """

    def __init__(
        self, workers: Callable[[], list[WorkerProcess]], clock: IReactorTime
    ) -> None:
        """
        @param workers: gives those that are alive, which may be others when they have
            answered: what is gone by then counts as gone.
        """
        self._workers = workers
        self._clock = clock
        self._gone = Snapshot()
        self.ownSnapshot: Callable[[], Snapshot] = Snapshot

    @property
    def settled(self) -> Snapshot:
        """
        The numbers of the workers that are gone.
        """
        return self._gone

    def settle(self, snapshot: Snapshot) -> None:
        """
        Keep the last numbers of a worker that is gone.
        """
        self._gone += snapshot.cumulative()

    def snapshots(self) -> "Deferred[dict[str, Snapshot]]":
        """
        Ask the workers for their numbers.

        @return: those of each that is alive, by its number. Of one that does not answer
            in time, the last that are known.
        """

        def gathered(_: Any) -> dict[str, Snapshot]:
            found: dict[str, Snapshot] = {}
            for worker in sorted(self._workers(), key=lambda each: each.number):
                # One that drains has a successor, which has its number.
                before = found.get(worker.name)
                found[worker.name] = (
                    worker.snapshot if before is None else before + worker.snapshot
                )
            return found

        updates = DeferredList([each.updateSnapshot() for each in self._workers()])
        return updates.addCallback(gathered)

    def total(self, snapshots: dict[str, Snapshot]) -> Snapshot:
        """
        Sum up.

        @param snapshots: what L{snapshots} has just fired with.
        """
        return sum(snapshots.values(), self._gone + self.ownSnapshot())

    def sessionsPage(self, after: str, limit: int) -> "Deferred[SessionsPage]":
        """
        List some open sessions: the module's L{sessionsPage}, with the C{total} of all
        processes.
        """
        page = sessionsPage(self._workers(), self._clock, after, limit)

        async def counted() -> SessionsPage:
            found = await page
            total = self.total(await self.snapshots()).sessions
            return SessionsPage(
                sessions=found["sessions"], next=found["next"], total=total
            )

        return Deferred.fromCoroutine(counted())


def sessionsPage(
    workers: Iterable[WorkerProcess], clock: IReactorTime, after: str, limit: int
) -> "Deferred[dict[str, Any]]":
    """
    List some open sessions, worker by worker.

    @param after: where the page before this one has ended: its C{next}; empty for the
        first.
    @return: C{sessions}, rows that have the number of their C{worker} and the process
        C{pid}, and C{next}, None if there are no more.
    @raise ValueError: if C{after} is not what a page has given.
    """
    numbers = (after or "0:0:0").split(":")
    if len(numbers) != 3 or not all(each.isdecimal() for each in numbers):
        raise ValueError(f"after must be what a page gives as next, got {after!r}")
    # A number may be two processes: one that drains, and its successor.
    start, last = (int(numbers[0]), int(numbers[1])), int(numbers[2])
    rows: list[dict[str, Any]] = []
    left = sorted(
        (each for each in workers if _place(each) >= start), key=_place, reverse=True
    )

    async def askEach() -> dict[str, Any]:
        # (A function that called itself would keep each page until the garbage
        # collector came by, a megabyte at a time.)
        while left and len(rows) < limit:
            worker = left.pop()
            number, pid = _place(worker)
            asked = worker.channel.ask(
                GetSessions,
                after=last if (number, pid) == start else 0,
                limit=limit - len(rows),
            )
            # A worker that has died meanwhile has no sessions; one that hangs lists
            # none.
            asked.addTimeout(_ANSWERS_WITHIN, clock).addErrback(lambda _: {"rows": []})
            answer = await asked
            rows.extend({**row, "worker": number, "pid": pid} for row in answer["rows"])
        if len(rows) < limit:
            return {"sessions": rows, "next": None}
        row = rows[-1] if rows else {"worker": start[0], "pid": start[1], "id": 0}
        cursor = f"{row['worker']}:{row['pid']}:{row['id']}"
        return {"sessions": rows, "next": cursor}

    return Deferred.fromCoroutine(askEach())


def _place(worker: WorkerProcess) -> tuple[int, int]:
    return worker.number, worker.pid
