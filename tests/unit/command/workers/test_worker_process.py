"""
L{twisted_echo.command.workers.worker_process}: its states, and how it has ended.
"""

import signal
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_workers import FakeProcess
from twisted_echo.command.workers.worker_exit import WorkerExit
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.command.workers.worker_start import StartProgress
from twisted_echo.command.workers.worker_state import WorkerState


class Owner:
    """
    Notes the states.
    """

    def __init__(self) -> None:
        self.clock: Any = Clock()
        self.states: list[WorkerState] = []

    def settingsOf(self, number: int) -> bytes:
        return b"settings"

    def processChanged(self, worker: WorkerProcess) -> None:
        self.states.append(worker.state)

    def processAccepts(self) -> None:
        pass

    def processGone(self, worker: WorkerProcess) -> None:
        pass


class StateTests(SynchronousTestCase):
    """
    L{WorkerState}, by what changes it.
    """

    def setUp(self) -> None:
        self.owner = Owner()

    def process(self, state: WorkerState) -> WorkerProcess:
        process = WorkerProcess(self.owner, 0)
        process.transport = FakeProcess(7)  # type: ignore[assignment]
        process.state = state
        self.owner.states.clear()
        return process

    def test_reported(self) -> None:
        """
        What a worker says of itself counts, unless it was told to end meanwhile or has
        said so before.
        """
        told = set(WorkerState)
        for said, before in (
            (WorkerState.LISTENING, {WorkerState.STARTING, WorkerState.UNRESPONSIVE}),
            (
                WorkerState.DRAINING,
                told - {WorkerState.HUNG, WorkerState.DRAINING},
            ),
        ):
            for state in WorkerState:
                process = self.process(state)
                process.stateReported(said)
                changes = state in before
                self.assertIs(process.state, said if changes else state)
                self.assertEqual(self.owner.states, [said] * changes)

    def test_listened(self) -> None:
        """
        That it has listened stays known.
        """
        process = self.process(WorkerState.STARTING)
        process.stateReported(WorkerState.DRAINING)
        self.assertFalse(process.hasListened)
        process = self.process(WorkerState.STARTING)
        process.stateReported(WorkerState.LISTENING)
        process.drain()
        self.assertTrue(process.hasListened)
        self.assertIs(process.state, WorkerState.ENDING)

    def test_drains(self) -> None:
        """
        One that drains by itself does so, whatever it is told.
        """
        process = self.process(WorkerState.DRAINING)
        process.drain()
        self.assertIs(process.state, WorkerState.DRAINING)


class ExitTests(SynchronousTestCase):
    def test_exit(self) -> None:
        """
        The fields and the words of every end.
        """
        for reason, fields, text, isOrderly in (
            (None, (None, None), "no process could be made", False),
            (ProcessDone(None), (0, None), "status 0", True),
            (ProcessTerminated(exitCode=3), (3, None), "status 3", False),
            (
                ProcessTerminated(signal=signal.SIGKILL),
                (None, "SIGKILL"),
                "signal SIGKILL",
                False,
            ),
        ):
            exit = WorkerExit(None if reason is None else Failure(reason))
            self.assertEqual((exit["status"], exit["signal"]), fields)
            self.assertEqual(str(exit), text)
            self.assertEqual(exit.isOrderly, isOrderly)
            self.assertEqual(exit.isBySignal, fields[1] is not None)


class ProgressTests(SynchronousTestCase):
    def test_tried(self) -> None:
        """
        Each has listened, or failed once.
        """
        progress = StartProgress(2)
        self.assertFalse(progress.haveAllTried)
        progress.workerListens(1)
        self.assertFalse(progress.haveAllTried)
        progress.workerFailed(0)
        self.assertTrue(progress.haveAllTried)

    def test_failed(self) -> None:
        """
        Each has failed three times, and none has ever listened.
        """
        progress = StartProgress(2)
        for tries in range(3):
            self.assertFalse(progress.hasFailed, tries)
            progress.workerFailed(0)
            self.assertFalse(progress.hasFailed, tries)
            progress.workerFailed(1)
        self.assertTrue(progress.hasFailed)
        progress.workerListens(1)
        self.assertFalse(progress.hasFailed)
