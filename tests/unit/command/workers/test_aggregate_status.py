"""
L{twisted_echo.command.workers.aggregate_status}.
"""

import gc
import os
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.command.workers.aggregate_status import (
    AggregateStatus,
    sessionsPage,
)
from twisted_echo.command.workers.channel import GetWaiting
from twisted_echo.command.workers.worker_state import WorkerState
from twisted_echo.lifecycle import State
from twisted_echo.metrics import Snapshot
from twisted_echo.process_figures import figuresOf


class FakeWorker:
    """
    A worker that has answered.
    """

    def __init__(self, number: int, pid: int, state: WorkerState) -> None:
        self.number, self.name, self.pid = number, str(number), pid
        self.state = state
        self.snapshot = Snapshot(opened=pid)

    def updateSnapshot(self) -> Any:
        return succeed(None)


class ObservationTests(SynchronousTestCase):
    def test_workers(self) -> None:
        """
        Each worker is there with its state, its restarts, and the figures of its
        process: of a successor, if there is one, whose numbers are those of both; also
        a worker that has no process.
        """
        own, parent = os.getpid(), os.getppid()
        workers: Any = [
            FakeWorker(1, parent, WorkerState.DRAINING),
            FakeWorker(0, parent, WorkerState.DRAINING),
            FakeWorker(1, own, WorkerState.LISTENING),
        ]
        status = AggregateStatus(lambda: workers, Clock())
        restarts = {0: {"hung": 0}, 1: {"hung": 2}, 2: {"hung": 1}}
        seen = self.successResultOf(status.observe(State.LISTENING, restarts, {}))
        self.assertEqual(
            {
                name: (each.state, each.restarts, each.snapshot)
                for name, each in seen.workers.items()
            },
            {
                "0": ("draining", {"hung": 0}, Snapshot(opened=parent)),
                "1": ("listening", {"hung": 2}, Snapshot(opened=parent + own)),
                "2": ("gone", {"hung": 1}, None),
            },
        )
        began = [
            None if each.process is None else each.process.startTime
            for each in (*seen.workers.values(), seen)
        ]
        expected = [figuresOf(pid) for pid in (parent, own, 0, own)]
        self.assertEqual(began, [each and each.startTime for each in expected])


class WaitingTests(SynchronousTestCase):
    def test_merged(self) -> None:
        """
        Those of all workers, the longest first, with the worker's number and process.
        One that is gone, and one that does not answer in time, have none.
        """
        clock = Clock()
        answers: dict[int, Any] = {
            0: succeed({"rows": [{"id": 1, "waited": 2.0}]}),
            1: succeed({"rows": [{"id": 9, "waited": 3.0}, {"id": 4, "waited": 1.0}]}),
            2: fail(ConnectionDone()),
            3: Deferred(),
        }

        class Asked(FakeWorker):
            channel = property(lambda self: self)

            def ask(self, command: Any, limit: int) -> Any:
                assert (command, limit) == (GetWaiting, 5)
                return answers[self.number]

        workers: Any = [Asked(n, 70 + n, WorkerState.LISTENING) for n in answers]
        status = AggregateStatus(lambda: workers, clock)
        waiting = status.waitingSessions(5)
        self.assertNoResult(waiting)
        clock.advance(2)
        self.assertEqual(
            self.successResultOf(waiting),
            [
                {"id": 9, "waited": 3.0, "worker": 1, "pid": 71},
                {"id": 1, "waited": 2.0, "worker": 0, "pid": 70},
                {"id": 4, "waited": 1.0, "worker": 1, "pid": 71},
            ],
        )


class PagesTests(SynchronousTestCase):
    def test_noGarbage(self) -> None:
        """
        A page of sessions is gone when it has been shown, without the garbage
        collector: it may be a megabyte.
        """

        class Answering:
            number, pid, channel = 0, 1, property(lambda self: self)

            def ask(self, command: Any, after: int, limit: int) -> Any:
                return succeed({"rows": [{"id": each} for each in range(limit)]})

        workers: Any = [Answering()]
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        page = self.successResultOf(sessionsPage(workers, Clock(), "", 3))
        self.assertEqual((len(page["sessions"]), page["next"]), (3, "0:1:2"))
        self.assertEqual(gc.collect(), 0)
