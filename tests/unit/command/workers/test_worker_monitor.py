"""
L{twisted_echo.command.workers.worker_monitor}: workers that come back.
"""

import os
import signal
import socket
from typing import Any

from twisted.internet.error import (
    ConnectionDone,
    ProcessDone,
    ProcessTerminated,
)
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_workers import FakeReactor
from twisted_echo import EchoConfig
from twisted_echo.command.workers.channel import CHANNEL, WorkerSettings
from twisted_echo.command.workers.worker_monitor import CAUSES, WorkerMonitor
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.metrics import Snapshot


class MonitorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.changed: list[tuple[int, str]] = []
        self.gone: list[WorkerProcess] = []
        self.asked: dict[Any, bytes] = {}
        self.socket = socket.socket()
        self.addCleanup(self.socket.close)
        self.monitor = WorkerMonitor(self.reactor, self, 10.0)  # type: ignore[arg-type]

    def start(self) -> list[Any]:
        """
        Start two workers.
        """
        settings = [
            WorkerSettings(
                number=n,
                config=EchoConfig(),
                proxyFrom=(),
                isOurs=[True],
                sockets=[1],
                reactor="x",
            )
            for n in range(2)
        ]
        self.monitor.start(settings, [self.socket])
        return self.reactor.processes

    def heard(self, process: Any) -> list[str]:
        """
        The commands that a worker was sent, since this was called last.
        """
        sent = process.end.transport
        data, commands = sent.value(), []
        sent.clear()
        for box in amp.parseString(data):
            commands.append(box[b"_command"].decode())
            if b"_ask" in box:
                self.asked[process] = box[b"_ask"]
        return commands

    def answer(self, process: Any) -> None:
        """
        A worker answers what it was asked last.
        """
        answer = amp.AmpBox({b"_answer": self.asked.pop(process)})
        process.end.dataReceived(answer.serialize())

    def present(self, number: int) -> Any:
        """
        The process that is not on its way out.
        """
        (found,) = [w for w in self.monitor.workers if w.number == number]
        return found

    def workerChanged(self, worker: WorkerProcess) -> None:
        self.changed.append((worker.number, worker.state.value))

    def workerAccepts(self) -> None:
        pass

    def workerGone(self, worker: WorkerProcess) -> None:
        self.gone.append(worker)

    def end(self, process: Any, reason: Exception | None = None) -> None:
        """
        A process ends.
        """
        process.transport.isAlive = False
        process.processEnded(Failure(reason or ProcessTerminated(signal=9)))
        process.end.connectionLost(Failure(ConnectionDone()))

    def say(self, process: Any, state: str) -> None:
        process.channel._setState(state)

    def test_started(self) -> None:
        """
        A worker gets its settings, its channel and its socket, and nothing that is
        meant for its parent; it is born deaf to signals.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.patch(os, "environ", {**os.environ, "LISTEN_FDS": "1", "A": "b"})
        self.start()
        first, second = self.reactor.processes
        self.assertEqual((first.number, second.number), (0, 1))
        self.assertIn(b"EchoConfig", first.transport.written)
        descriptors = self.reactor.descriptors[0]
        self.assertEqual(sorted(descriptors), [0, 1, 2, CHANNEL, CHANNEL + 1])
        self.assertEqual(descriptors[CHANNEL + 1], self.socket.fileno())
        environment = self.reactor.environments[0]
        self.assertNotIn("LISTEN_FDS", environment)
        self.assertEqual(environment["A"], "b")
        held = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2}
        self.assertLessEqual(held, self.reactor.masks[0])
        self.assertEqual(signal.pthread_sigmask(signal.SIG_BLOCK, ()), before)

    def test_backOff(self) -> None:
        """
        From a tenth of a second, doubling, to half a minute; not for one that has
        listened and lived for five seconds. The other worker is left alone.
        """
        self.start()
        # It takes its time to fail.
        self.reactor.advance(6)
        for delay in [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30]:
            started = len(self.reactor.processes)
            self.end(self.present(0))
            self.reactor.advance(delay - 0.001)
            self.assertEqual(len(self.reactor.processes), started)
            self.reactor.advance(0.002)
            self.assertEqual(len(self.reactor.processes), started + 1)
        self.say(self.present(0), "listening")
        self.reactor.advance(5)
        self.end(self.present(0))
        self.reactor.advance(0)
        self.end(self.present(0))
        self.reactor.advance(0.099)
        self.assertEqual(len(self.reactor.processes), started + 2)
        self.reactor.advance(0.002)
        self.assertEqual(len(self.reactor.processes), started + 3)
        self.assertEqual({each.number for each in self.gone}, {0})

    def test_goneWhenHeard(self) -> None:
        """
        A worker is gone when its process has ended and its channel, in either order.
        """
        self.start()
        first, second = self.reactor.processes
        first.processEnded(Failure(ProcessDone(None)))
        self.assertEqual(self.gone, [])
        first.end.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.gone, [first])
        second.end.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.gone, [first])
        second.processEnded(Failure(ProcessDone(None)))
        self.assertEqual(self.gone, [first, second])

    def test_cannotSpawn(self) -> None:
        """
        No process to be had: it tries again.
        """
        self.reactor.failure = BlockingIOError("no more processes")
        self.start()
        self.assertEqual(len(self.flushLoggedErrors(BlockingIOError)), 2)
        self.reactor.failure = None
        self.reactor.advance(0.1)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_cannotTalk(self) -> None:
        """
        No descriptor to talk by: the worker finds its channel at an end, ends, and is
        followed by another.
        """
        self.reactor.cannotAdopt = True
        self.start()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)
        self.reactor.cannotAdopt = False
        first, second = self.reactor.processes
        self.assertEqual(self.gone, [])
        first.processEnded(Failure(ProcessDone(None)))
        self.assertEqual(self.gone, [first])
        self.reactor.advance(0.1)
        self.assertEqual(len(self.reactor.processes), 3)
        second.processEnded(Failure(ProcessDone(None)))

    def test_drainsByItself(self) -> None:
        """
        A worker that somebody told to drain has a successor at once, while it
        finishes; not for longer than any stop may take.
        """
        self.start()
        old = self.reactor.processes[0]
        self.say(old, "listening")
        self.say(old, "draining")
        self.reactor.advance(0.1)
        successor = self.reactor.processes[2]
        self.assertEqual(successor.number, 0)
        self.assertEqual(
            set(self.monitor.workers), {old, successor, self.reactor.processes[1]}
        )
        # It says so once more at its end.
        self.say(old, "draining")
        self.reactor.advance(9.8)
        self.assertEqual(old.transport.signals, [])
        self.reactor.advance(0.2)
        self.assertEqual(old.transport.signals, ["KILL"])
        self.end(old)
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 3)
        self.assertEqual(self.gone, [old])

    def test_stop(self) -> None:
        """
        All are told to drain, and waited for; nobody takes their places.
        """
        self.start()
        first, second = self.reactor.processes
        stopped = self.monitor.stop()
        for each in first, second:
            self.assertEqual(self.heard(each), ["Drain"])
            self.say(each, "draining")
        self.end(first, ProcessDone(None))
        self.assertNoResult(stopped)
        self.end(second, ProcessDone(None))
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(len(self.reactor.processes), 2)

    def test_stopWhileWaiting(self) -> None:
        """
        One that was to come back does not.
        """
        self.start()
        first, second = self.reactor.processes
        self.end(first)
        stopped = self.monitor.stop()
        self.end(second)
        self.successResultOf(stopped)
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_stopWithOneLeaving(self) -> None:
        """
        One that drains for its own reasons is waited for, too.
        """
        self.start()
        old, other = self.reactor.processes
        self.say(old, "listening")
        self.say(old, "draining")
        self.reactor.advance(0.1)
        stopped = self.monitor.stop()
        self.end(other)
        self.end(self.reactor.processes[2])
        self.assertNoResult(stopped)
        self.end(old)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopHasAnEnd(self) -> None:
        """
        A worker that does not end is killed; one that does not end even so is waited
        for no longer.
        """
        self.start()
        first, second = self.reactor.processes
        stopped = self.monitor.stop()
        self.end(first)
        self.reactor.advance(10)
        self.assertEqual(second.transport.signals, ["KILL"])
        self.assertNoResult(stopped)
        self.reactor.advance(5)
        self.successResultOf(stopped)
        # Too late.
        self.end(second)

    def test_stopWithAStall(self) -> None:
        """
        If the parent itself was stopped, perhaps together with its workers, these have
        five seconds more; once.
        """
        first, second = self.start()
        stopped = self.monitor.stop()
        self.reactor.advance(3600)
        for each in first, second:
            self.assertEqual(each.transport.signals, [])
        self.end(first, ProcessDone(None))
        self.assertNoResult(stopped)
        self.reactor.advance(5)
        self.assertEqual(second.transport.signals, ["KILL"])
        self.reactor.advance(5)
        self.successResultOf(stopped)
        self.end(second)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopNow(self) -> None:
        """
        A worker that hangs does not make a stop at once take its whole time;
        nor does one that has left before.
        """
        self.monitor = WorkerMonitor(self.reactor, self, 600.0)  # type: ignore[arg-type]
        self.start()
        old, other = self.reactor.processes
        self.say(old, "listening")
        self.say(old, "draining")
        self.reactor.advance(0.1)
        stopped = self.monitor.stop()
        self.reactor.advance(1)
        self.monitor.stopNow()
        self.reactor.advance(4)
        # Which gives them no more time.
        self.monitor.stopNow()
        self.reactor.advance(1)
        for each in old, other:
            self.assertEqual(each.transport.signals, ["KILL"])
        self.assertNoResult(stopped)
        self.reactor.advance(5)
        self.successResultOf(stopped)
        for each in self.reactor.processes:
            self.end(each)
        self.monitor.stopNow()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_hangs(self) -> None:
        """
        A worker that does not answer is unresponsive after three seconds, from when its
        connections are left to others, and killed after fifteen; it is followed at
        once, and counted.
        """
        first, second = self.start()
        for each in first, second:
            self.say(each, "listening")
        self.changed.clear()
        for _ in range(3):
            self.reactor.advance(1)
            self.assertEqual(self.heard(second), ["Ping"])
            self.answer(second)
        self.assertEqual(self.heard(first), ["Ping"])
        self.assertEqual(self.changed, [])
        self.reactor.advance(1)
        self.assertEqual(self.changed, [(0, "unresponsive")])
        for _ in range(11):
            self.reactor.advance(1)
            self.heard(second)
            self.answer(second)
        # It is asked once.
        self.assertEqual(self.heard(first), [])
        self.assertEqual(first.transport.signals, [])
        self.reactor.advance(1)
        self.assertEqual(first.transport.signals, ["KILL"])
        self.assertEqual(self.changed, [(0, "unresponsive"), (0, "hung")])
        self.end(first)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.processes), 3)
        self.assertEqual(self.monitor.restarts[0]["hung"], 1)
        self.assertEqual(second.transport.signals, [])

    def test_isSlow(self) -> None:
        """
        A worker that answers late goes on, with its whole time.
        """
        first, _ = self.start()
        self.say(first, "listening")
        self.changed.clear()
        for _ in range(3):
            for _ in range(15):
                self.reactor.advance(1)
            self.heard(first)
            self.answer(first)
        self.assertEqual(first.transport.signals, [])
        self.assertEqual(self.changed, [(0, "unresponsive"), (0, "listening")] * 3)

    def test_parentStalls(self) -> None:
        """
        Time in which the parent itself was stopped is no evidence against a worker,
        however long that was, and whatever it had not answered before.
        """
        first, second = self.start()
        self.say(first, "listening")
        for _ in range(14):
            self.reactor.advance(1)
        self.reactor.advance(3600)
        for _ in range(13):
            self.reactor.advance(1)
        for each in first, second:
            self.assertEqual(each.transport.signals, [])
        self.reactor.advance(1)
        self.assertEqual(first.transport.signals, ["KILL"])

    def test_hangsAtTheStart(self) -> None:
        """
        A worker that neither listens nor ends has a minute.
        """
        first, second = self.start()
        self.say(second, "listening")
        for _ in range(59):
            self.reactor.advance(1)
            if "Ping" in self.heard(second):
                self.answer(second)
        self.assertEqual(first.transport.signals, [])
        self.reactor.advance(1)
        self.assertEqual(first.transport.signals, ["KILL"])
        self.end(first)
        self.assertEqual(self.monitor.restarts[0]["start-failed"], 1)
        self.assertEqual(second.transport.signals, [])

    def test_restarts(self) -> None:
        """
        They are counted for each worker, by why.
        """
        first, second = self.start()
        # One that cannot start says so too before it ends.
        self.say(first, "draining")
        self.reactor.advance(0.2)
        self.assertEqual(len(self.reactor.processes), 2)
        self.end(first, ProcessTerminated(exitCode=1))
        self.reactor.advance(0.1)
        third = self.present(0)
        self.say(third, "listening")
        self.end(third)
        self.say(second, "listening")
        self.say(second, "draining")
        self.end(second, ProcessDone(None))
        self.reactor.advance(0.2)
        fourth = self.present(1)
        self.say(fourth, "listening")
        self.end(fourth, ProcessTerminated(exitCode=3))
        none = dict.fromkeys(CAUSES, 0)
        counts = {
            0: {**none, "start-failed": 1, "killed": 1},
            1: {**none, "drained": 1, "exited": 1},
        }
        self.assertEqual(self.monitor.restarts, counts)

    def test_howSoon(self) -> None:
        """
        The log says how soon the next worker starts, and why.
        """
        said: list[str] = []
        from twisted.logger import formatEvent, globalLogPublisher

        def hear(event: Any) -> None:
            if event.get("event") == "worker-ended":
                said.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, hear)  # type: ignore[arg-type]
        first, _ = self.start()
        self.say(first, "listening")
        # More than it can be told apart from by a floating-point number.
        self.reactor.advance(5.1)
        self.end(first)
        self.reactor.advance(0)
        self.end(self.present(0))
        self.assertEqual(
            said,
            [
                "worker 0 has ended (killed, signal SIGKILL); its successor starts"
                " at once",
                "worker 0 could not start (start-failed, signal SIGKILL); its successor"
                " starts in 100ms",
            ],
        )

    def test_nothingStartsAfterTheStop(self) -> None:
        """
        From the moment that the stop begins: not one that waited to come back, that is
        replaced, that dies or drains meanwhile, or that had just been started.
        """
        first, second = self.start()
        self.say(second, "listening")
        self.say(second, "draining")
        self.end(first)
        self.reactor.advance(0.05)
        said: list[str] = []
        from twisted.logger import formatEvent, globalLogPublisher

        def hear(event: Any) -> None:
            said.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, hear)  # type: ignore[arg-type]
        stopped = self.monitor.stop()
        self.end(second)
        self.reactor.advance(100)
        self.successResultOf(stopped)
        self.assertEqual(len(self.reactor.processes), 2)
        first, second = self.start()[2:]
        stopped = self.monitor.stop()
        for each in first, second:
            self.say(each, "listening")
        self.end(first)
        self.say(second, "draining")
        self.reactor.advance(1)
        self.end(second, ProcessDone(None))
        self.successResultOf(stopped)
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 4)
        self.assertEqual(
            said,
            [f"worker {n} has not ended in order (signal SIGKILL)" for n in (1, 0)],
        )

    def test_printed(self) -> None:
        """
        What a worker prints is logged by lines, with its number; no line is endless.
        """
        self.start()
        first, _ = self.reactor.processes
        lines: list[Any] = []
        from twisted.logger import formatEvent, globalLogPublisher

        def hear(event: Any) -> None:
            if "line" in event:
                lines.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, hear)  # type: ignore[arg-type]
        first.errReceived(b"one\ntw")
        first.errReceived(b"o\n\xff")
        first.outReceived(b"x" * 10_000)
        self.end(first)
        self.assertEqual(
            lines,
            [
                "[worker 0] printed to stderr: one",
                "[worker 0] printed to stderr: two",
                f"[worker 0] printed to stdout: {'x' * 10_000}",
                "[worker 0] printed to stderr: \\xff",
            ],
        )

    def test_noAnswer(self) -> None:
        """
        A worker that hangs is asked once, and its last numbers are good enough.
        """
        self.start()
        first, _ = self.reactor.processes
        first.snapshot = Snapshot(opened=3)
        sent = first.end.transport
        one, two = first.updateSnapshot(), first.updateSnapshot()
        asked = len(sent.value())
        self.assertNoResult(one)
        self.reactor.advance(2)
        self.successResultOf(one)
        self.successResultOf(two)
        three, four = first.updateSnapshot(), first.updateSnapshot()
        self.reactor.advance(1)
        self.assertNoResult(three)
        self.reactor.advance(1)
        self.successResultOf(three)
        self.successResultOf(four)
        self.assertEqual(len(sent.value()), asked)
        self.assertEqual(first.snapshot.opened, 3)
        five = first.updateSnapshot()
        self.end(first)
        self.successResultOf(five)
