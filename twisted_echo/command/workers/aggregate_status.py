"""
The numbers and sessions of all workers together, in the form of one service's.

What must hold: a worker that does not answer, or dies, does not delay the answers
of the others; sums never decrease.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from twisted_echo.admin.status_view import SessionsPage
from twisted_echo.command.workers.channel import Answer, GetSessions, GetWaiting
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.lifecycle import State
from twisted_echo.metrics import Observation, Snapshot, WorkerObservation
from twisted_echo.process_figures import figuresOf

__all__ = ["AggregateStatus", "sessionsPage"]

_ANSWERS_WITHIN = 2.0
"""
Seconds that a worker has to answer.
"""
_GONE = "gone"
"""
The state of a worker that has no process.
"""


class AggregateStatus:
    """
    The numbers of all workers, including workers that are gone.
    """

    def __init__(
        self, workers: Callable[[], list[WorkerProcess]], clock: IReactorTime
    ) -> None:
        """
        @param workers: gives the live ones, which may be others when they have
            answered: what is gone by then counts as gone.
        """
        self._workers = workers
        self._clock = clock
        self._gone = Snapshot()
        self._ownSnapshot: Callable[[], Snapshot] = Snapshot

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

    def countOwn(self, snapshot: Callable[[], Snapshot]) -> None:
        """
        Count what the parent itself serves from now on.

        @param snapshot: gives its numbers.
        """
        self._ownSnapshot = snapshot

    def settleOwn(self) -> None:
        """
        Keep the last numbers of what the parent itself has served.
        """
        self.settle(self._ownSnapshot())
        self._ownSnapshot = Snapshot

    def snapshots(self) -> "Deferred[dict[str, Snapshot]]":
        """
        Ask the workers for their numbers.

        @return: those of each that is alive, by its number. Of one that does not answer
            in time, the last that are known.
        """

        def gathered(_: object) -> dict[str, Snapshot]:
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
        return sum(snapshots.values(), self._gone + self._ownSnapshot())

    def observe(
        self,
        state: State,
        restarts: Mapping[int, Mapping[str, int]],
        build: Mapping[str, str],
    ) -> "Deferred[Observation]":
        """
        Ask the workers, and sum up.

        @param state: of the service that they are together.
        @param restarts: of each worker that there is to be, by its number, how often it
            was replaced, by cause.
        @param build: which software this is.
        """

        async def observed() -> Observation:
            snapshots = await self.snapshots()
            return Observation(
                total=self.total(snapshots),
                workers=self._eachWorker(snapshots, restarts),
                process=figuresOf(os.getpid()),
                state=state.value,
                states=tuple(each.value for each in State),
                build=build,
            )

        return Deferred.fromCoroutine(observed())

    def _eachWorker(
        self,
        snapshots: Mapping[str, Snapshot],
        restarts: Mapping[int, Mapping[str, int]],
    ) -> dict[str, WorkerObservation]:
        # One that drains comes before its successor, which takes its place here.
        alive = {worker.number: worker for worker in self._workers()}
        return {
            str(number): WorkerObservation(
                state=alive[number].state.value if number in alive else _GONE,
                restarts=dict(causes),
                snapshot=snapshots.get(str(number)),
                process=figuresOf(alive[number].pid) if number in alive else None,
            )
            for number, causes in restarts.items()
        }

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

    def waitingSessions(self, limit: int) -> "Deferred[list[dict[str, Any]]]":
        """
        Ask all workers for the waiting sessions, the longest waiting first. A
        worker that does not answer has none.

        @param limit: how many of each worker.
        """
        asked = [
            _rows(each, each.channel.ask(GetWaiting, limit=limit), self._clock)
            for each in self._workers()
        ]

        def gathered(found: list[tuple[bool, list[dict[str, Any]]]]) -> list[Any]:
            rows = [row for _, own in found for row in own]
            return sorted(rows, key=lambda row: row["waited"], reverse=True)

        return DeferredList(asked).addCallback(gathered)


def _rows(
    worker: WorkerProcess, asked: "Deferred[Answer]", clock: IReactorTime
) -> "Deferred[list[dict[str, Any]]]":
    """
    The rows of a worker's answer, with its number and process. One that has died
    meanwhile has none; one that hangs lists none.
    """
    number, pid = _place(worker)
    asked.addTimeout(_ANSWERS_WITHIN, clock).addErrback(lambda _: {"rows": []})
    return asked.addCallback(
        lambda answer: [{**row, "worker": number, "pid": pid} for row in answer["rows"]]
    )


class _Cursor(NamedTuple):
    """
    A session: the place where a page ends.
    """

    worker: int
    pid: int
    session: int

    @classmethod
    def parse(cls, text: str) -> "_Cursor":
        """
        Read a cursor from its text.

        @raise ValueError: if the text is not a cursor's.
        """
        numbers = (text or "0:0:0").split(":")
        if len(numbers) != 3 or not all(each.isdecimal() for each in numbers):
            raise ValueError(
                f"after must be the 'next' of another answer, got {text!r}"
            )
        return cls(*map(int, numbers))

    def __str__(self) -> str:
        return f"{self.worker}:{self.pid}:{self.session}"


def sessionsPage(
    workers: Iterable[WorkerProcess], clock: IReactorTime, after: str, limit: int
) -> "Deferred[dict[str, Any]]":
    """
    List some open sessions, worker by worker.

    @param after: where the page before this one has ended: its C{next}; empty for the
        first.
    @return: C{sessions}, rows that have the number of their C{worker} and the process
        C{pid}, and C{next}, None if there are no further pages.
    @raise ValueError: if C{after} is not what a page has given.
    """
    cursor = _Cursor.parse(after)
    # A number may be two processes: one that drains, and its successor.
    start = cursor[:2]
    left = sorted(
        (each for each in workers if _place(each) >= start), key=_place, reverse=True
    )
    rows: list[dict[str, Any]] = []

    async def askEach() -> dict[str, Any]:
        # (A function that called itself would keep each page until the garbage
        # collector came by, a megabyte at a time.)
        while left and len(rows) < limit:
            worker = left.pop()
            number, pid = _place(worker)
            asked = worker.channel.ask(
                GetSessions,
                after=cursor.session if (number, pid) == start else 0,
                limit=limit - len(rows),
            )
            rows.extend(await _rows(worker, asked, clock))
        return {"sessions": rows, "next": _next(rows, cursor, limit)}

    return Deferred.fromCoroutine(askEach())


def _next(rows: list[dict[str, Any]], cursor: _Cursor, limit: int) -> str | None:
    """
    The cursor of the page after one that has these rows.
    """
    if len(rows) < limit:
        return None
    if rows:
        last = rows[-1]
        cursor = _Cursor(last["worker"], last["pid"], last["id"])
    return str(cursor)


def _place(worker: WorkerProcess) -> tuple[int, int]:
    return worker.number, worker.pid
