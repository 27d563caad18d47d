"""
Workers that come back, and the service that they are together.
"""

import contextlib
import gc
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectionDone,
    ProcessDone,
    ProcessExitedAlready,
    ProcessTerminated,
)
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.clients import (
    ServedTestCase,
    connect,
    in_thread,
    pump,
    read_to_end,
    until,
)
from tests.support.der_certificates import CertificateFiles, expiring
from tests.support.marks import slow
from twisted_echo import EchoConfig
from twisted_echo.command.workers.channel import CHANNEL, Settings
from twisted_echo.command.workers.inquiry import askSessions
from twisted_echo.command.workers.supervisor import NoWorkers, Supervisor
from twisted_echo.command.workers.watch import HUNG_AFTER
from twisted_echo.command.workers.worker_monitor import WorkerMonitor
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.lifecycle import IllegalTransition, State
from twisted_echo.metrics import Snapshot
from twisted_echo.session.end_reason import EndReason

TCP = "tcp:0:interface=127.0.0.1"


class FakeProcess:
    """
    What C{spawnProcess} gives to a protocol.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.signals: list[str] = []
        self.written = b""
        self.isAlive = True

    def write(self, data: bytes) -> None:
        self.written += data

    def closeStdin(self) -> None:
        """
        It has read all.
        """

    def signalProcess(self, name: str) -> None:
        if not self.isAlive:
            raise ProcessExitedAlready()
        self.signals.append(name)


class FakeReactor(Clock):
    """
    Starts processes that do nothing.

    @ivar processes: the protocols of all that were started, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Any] = []
        self.descriptors: list[dict[int, Any]] = []
        self.environments: list[dict[str, str]] = []
        self.failure: Exception | None = None
        self.cannotAdopt = False
        self.masks: list[set[Any]] = []

    def spawnProcess(
        self, protocol: Any, executable: str, args: Any, **more: Any
    ) -> None:
        if self.failure is not None:
            raise self.failure
        self.masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        self.descriptors.append(more["childFDs"])
        self.environments.append(more["env"])
        self.processes.append(protocol)
        protocol.makeConnection(FakeProcess(len(self.processes)))

    def adoptStreamConnection(self, descriptor: int, family: Any, factory: Any) -> None:
        if self.cannotAdopt:
            raise OSError("no more descriptors")
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.processes[-1].end = protocol


class MonitorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.changed: list[tuple[int, str]] = []
        self.gone: list[WorkerProcess] = []
        self.asked: dict[Any, bytes] = {}
        self.socket = socket.socket()
        self.addCleanup(self.socket.close)
        self.monitor = WorkerMonitor(self.reactor, self, 10.0)

    def start(self) -> list[Any]:
        """
        Start two workers.
        """
        settings = [
            Settings(
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
        self.changed.append((worker.number, worker.state))

    def workerServes(self) -> None:
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
        self.monitor = WorkerMonitor(self.reactor, self, 600.0)
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
        A worker that does not answer is silent after three seconds, from when its
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
        self.assertEqual(self.changed, [(0, "silent")])
        for _ in range(11):
            self.reactor.advance(1)
            self.heard(second)
            self.answer(second)
        # It is asked once.
        self.assertEqual(self.heard(first), [])
        self.assertEqual(first.transport.signals, [])
        self.reactor.advance(1)
        self.assertEqual(first.transport.signals, ["KILL"])
        self.assertEqual(self.changed, [(0, "silent"), (0, "hung")])
        self.end(first)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.processes), 3)
        self.assertEqual(self.monitor.restarts["hung"], 1)
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
        self.assertEqual(self.changed, [(0, "silent"), (0, "listening")] * 3)

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
        self.assertEqual(self.monitor.restarts["start-failed"], 1)
        self.assertEqual(second.transport.signals, [])

    def test_restarts(self) -> None:
        """
        They are counted by why.
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
        self.assertEqual(
            self.monitor.restarts,
            {"start-failed": 1, "killed": 1, "drained": 1, "exited": 1, "hung": 0},
        )

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
                "worker 0 has ended: by SIGKILL; another one starts at once",
                "worker 0 could not start: by SIGKILL; another one starts in 100ms",
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
            [f"worker {n} has not ended in order: by SIGKILL" for n in (1, 0)],
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
                "[worker 0] one",
                "[worker 0] two",
                f"[worker 0] {'x' * 10_000}",
                "[worker 0] \\xff",
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
        one, two = first.ask(), first.ask()
        asked = len(sent.value())
        self.assertNoResult(one)
        self.reactor.advance(2)
        self.successResultOf(one)
        self.successResultOf(two)
        three, four = first.ask(), first.ask()
        self.reactor.advance(1)
        self.assertNoResult(three)
        self.reactor.advance(1)
        self.successResultOf(three)
        self.successResultOf(four)
        self.assertEqual(len(sent.value()), asked)
        self.assertEqual(first.snapshot.opened, 3)
        five = first.ask()
        self.end(first)
        self.successResultOf(five)


class SupervisorTestCase(ServedTestCase):
    def supervisor(
        self,
        *listen: str,
        workers: int = 2,
        hungAfter: float = HUNG_AFTER,
        **more: Any,
    ) -> Supervisor:
        listen = listen or (TCP,)
        config = EchoConfig(listen=listen, abortAfter=1.0, **more)
        listening = [parseEndpoint(reactor, each) for each in listen]
        supervisor = Supervisor(
            config, reactor, listening, workers, hungAfter=hungAfter
        )
        self.addCleanup(self.endOf, supervisor)
        return supervisor

    async def endOf(self, supervisor: Supervisor) -> None:
        stopped = supervisor.stopService()
        supervisor.stopNow()
        await stopped

    async def clients(self, supervisor: Supervisor, count: int) -> list[socket.socket]:
        """
        So many clients that are being served.
        """
        clients = []
        for _ in range(count):
            client = connect(supervisor.addresses[0])
            self.addCleanup(client.close)
            clients.append(client)
            client.sendall(b"hello\n")
            self.assertEqual(await in_thread(client.recv, 6), b"hello\n")
        return clients


def _who(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["worker"], row["pid"], row["id"], row["peer"]


class SupervisorTests(SupervisorTestCase):
    """
    Real workers, on the reactor of the tests.
    """

    async def test_lifecycle(self) -> None:
        """
        It listens when all do, serves, stops, and starts again.
        """
        supervisor = self.supervisor()
        self.assertEqual(supervisor.state, State.IDLE)
        await supervisor.stopService()
        for _ in range(2):
            supervisor.privilegedStartService()
            self.assertEqual(supervisor.state, State.STARTING)
            address = supervisor.addresses[0]
            supervisor.startService()
            self.assertRaises(IllegalTransition, supervisor.privilegedStartService)
            await supervisor.whenListening()
            self.assertEqual(supervisor.state, State.LISTENING)
            client = connect(address)
            self.addCleanup(client.close)
            got = await in_thread(pump, client, b"hello\nrest")
            self.assertEqual(got, b"hello\nrest")
            self.assertIsNone(supervisor.stopsBy)
            one, two = supervisor.stopService(), supervisor.stopService()
            self.assertEqual(supervisor.state, State.DRAINING)
            assert supervisor.stopsBy is not None
            now = reactor.seconds()  # type: ignore[attr-defined]
            self.assertTrue(0 < supervisor.stopsBy - now < 25)
            await one
            await two
            self.assertEqual(supervisor.state, State.STOPPED)
            self.assertRaises(ConnectionRefusedError, connect, address)
        await self.assertFailure(supervisor.whenListening(), IllegalTransition)

    def test_reloadsItsOwn(self) -> None:
        """
        The certificates of the service that deals with the rest at a stop are loaded
        anew, too; one that is broken stays as it was.
        """

        class Certificates:
            loaded = 0

            def reload(self) -> None:
                self.loaded += 1
                raise ValueError("broken")

        supervisor = self.supervisor(TCP, TCP)
        first, second = certificates = Certificates(), Certificates()
        for each, its in zip(supervisor._listening, certificates, strict=True):
            each.certificates = its
        supervisor.reload()
        self.assertEqual((first.loaded, second.loaded), (1, 1))

    async def test_expiry(self) -> None:
        """
        It warns of certificates that expire, for all workers, until it stops.
        """
        files = CertificateFiles(a=expiring(10, now=datetime.now(UTC)))
        supervisor = self.supervisor(workers=1)
        supervisor._listening[0].certificates = files.certificates
        with capturedLogs() as events:
            supervisor.startService()
            self.assertEqual(len(files.certificates.watchers), 1)
            await supervisor.stopService()
        told = [each for each in events if each.get("event") == "certificate-expires"]
        self.assertEqual([each["file"] for each in told], ["a"])
        self.assertEqual(files.certificates.watchers, set())

    async def test_cannotRun(self) -> None:
        """
        Where this user, perhaps that of C{--uid}, has no right to run Python, it says
        so, and tries to start nothing.
        """
        self.patch(sys, "executable", __file__)
        supervisor = self.supervisor()
        error = self.assertRaises(NoWorkers, supervisor.startService)
        self.assertIn(f"{__file__} cannot be run by the user that", str(error))
        self.assertEqual(supervisor.state, State.STOPPED)
        self.assertEqual(supervisor.addresses, [])

    async def test_stopWhileStarting(self) -> None:
        """
        Even a worker that has just been born ends in order.
        """
        supervisor = self.supervisor()
        supervisor.startService()
        waiting = supervisor.whenListening()
        stopped = supervisor.stopService()
        await self.assertFailure(waiting, IllegalTransition)
        await stopped

    async def test_boundOnly(self) -> None:
        """
        Stopped before it was started, after the sockets were bound: nothing is left.
        """
        supervisor = self.supervisor()
        supervisor.privilegedStartService()
        address = supervisor.addresses[0]
        client = connect(address)
        self.addCleanup(client.close)
        await supervisor.stopService()
        self.assertEqual(client.recv(1), b"")
        self.assertRaises(ConnectionRefusedError, connect, address)

    async def test_numbers(self) -> None:
        """
        The numbers of each worker, and their sum, which never decreases: not when a
        worker dies, nor when all have ended.
        """
        supervisor = self.supervisor()
        supervisor.startService()
        await supervisor.whenListening()
        clients = await self.clients(supervisor, 20)
        snapshots = await supervisor.inquiry.snapshots()
        self.assertEqual(list(snapshots), ["0", "1"])
        for each in snapshots.values():
            self.assertEqual(each.opened, each.sessions)
        total = supervisor.inquiry.total(snapshots)
        self.assertEqual((total.opened, total.sessions), (20, 20))
        lives = snapshots["0"].sessions
        (victim,) = [each for each in supervisor._alive() if each.number == 0]
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: victim not in supervisor._alive())
        total = supervisor.inquiry.total(await supervisor.inquiry.snapshots())
        self.assertEqual((total.opened, total.sessions), (20, 20 - lives))
        for client in clients:
            client.close()
        await supervisor.stopService()
        self.assertEqual(await supervisor.inquiry.snapshots(), {})
        total = supervisor.inquiry.total({})
        # Those of the worker that was killed ended uncounted.
        self.assertEqual((total.opened, total.sessions), (20, 0))
        self.assertEqual(sum(total.ended.values()), 20 - lives)

    async def test_handedOver(self) -> None:
        """
        From when another worker accepts in the place of one that has died, it is not
        without anybody for a moment, and ready, until the successor does.
        """
        supervisor = self.supervisor()
        supervisor.startService()
        await supervisor.whenListening()
        told: list[tuple[bool, int]] = []
        changed = supervisor._workersChanged

        def hear() -> None:
            changed()
            told.append((supervisor.isAccepting, len(supervisor._listeningWorkers())))

        self.patch(supervisor, "_workersChanged", hear)
        (victim,) = [each for each in supervisor._alive() if each.number == 0]
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: victim not in supervisor._alive())
        await until(lambda: supervisor.isAccepting)
        await until(lambda: len(supervisor._listeningWorkers()) == 2)
        self.assertEqual(told[-1], (True, 2))
        served = {0: {0}, 1: {1}}
        await until(lambda: {w.number: w.serves for w in supervisor._alive()} == served)

    async def test_pages(self) -> None:
        """
        All sessions, worker by worker, page by page.
        """
        supervisor = self.supervisor()
        supervisor.startService()
        await supervisor.whenListening()
        await self.clients(supervisor, 20)
        whole = await supervisor.sessionsPage()
        self.assertEqual(len(whole["sessions"]), 20)
        self.assertIsNone(whole["next"])
        self.assertEqual({each["worker"] for each in whole["sessions"]}, {0, 1})
        for limit in (1, 3, 20, 50):
            rows, after, pages = [], "", 0
            while after is not None:
                page = await supervisor.sessionsPage(after, limit)
                self.assertLessEqual(len(page["sessions"]), limit)
                rows += page["sessions"]
                after, pages = page["next"], pages + 1
            self.assertEqual(list(map(_who, rows)), list(map(_who, whole["sessions"])))
            self.assertEqual(pages, 20 // limit + 1)
            self.assertEqual(page["total"], 20)
        for bad in ("x", "1", "1:2", "1:2:x", "-1:2:3", "1:2:3:4"):
            self.assertRaises(ValueError, supervisor.sessionsPage, bad, 10)

    async def test_stopNow(self) -> None:
        """
        Who is still waited for is cut off.
        """
        supervisor = self.supervisor(drain=60.0)
        supervisor.startService()
        await supervisor.whenListening()
        clients = await self.clients(supervisor, 5)
        stopped = supervisor.stopService()
        await until(lambda: all(w.state == "draining" for w in supervisor._alive()))
        supervisor.stopNow()
        await stopped
        for client in clients:
            self.assertRaises(ConnectionResetError, client.recv, 1)

    async def test_stopNowFirst(self) -> None:
        """
        Who comes to be served after that, out of a backlog, is cut off, too.
        """
        supervisor = self.supervisor(drain=60.0)
        # Longer than the test waits.
        supervisor._config = replace(supervisor._config, abortAfter=600.0)
        supervisor.startService()
        await supervisor.whenListening()
        for worker in supervisor._alive():
            os.kill(worker.pid, signal.SIGSTOP)
        waiting = [connect(supervisor.addresses[0]) for _ in range(10)]
        stopped = supervisor.stopService()
        supervisor.stopNow()
        assert supervisor.stopsBy is not None
        now = reactor.seconds()  # type: ignore[attr-defined]
        self.assertLess(supervisor.stopsBy - now, 11)
        for worker in supervisor._alive():
            os.kill(worker.pid, signal.SIGKILL)
        served: list[int] = []
        stopped.addCallback(served.append)  # type: ignore[call-overload]
        await until(lambda: served)
        assert supervisor._rest is None
        total = supervisor.inquiry.total({})
        self.assertEqual(total.ended, {EndReason.ABORTED_IN_DRAIN.value: total.opened})
        for client in waiting:
            client.close()

    @slow
    async def test_workerHangs(self) -> None:
        """
        Nothing of a worker's that hangs keeps the others' numbers back.
        """
        supervisor = self.supervisor()
        supervisor.startService()
        await supervisor.whenListening()
        await self.clients(supervisor, 10)
        before = await supervisor.inquiry.snapshots()
        (victim,) = [each for each in supervisor._alive() if each.number == 1]
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            snapshots = await supervisor.inquiry.snapshots()
            self.assertEqual(snapshots, before)
            page = await supervisor.sessionsPage()
            self.assertEqual({each["worker"] for each in page["sessions"]}, {0})
        finally:
            os.kill(victim.pid, signal.SIGCONT)

    async def test_cannotBind(self) -> None:
        """
        As any service: with what the endpoint fails with; it can try again.
        """
        given = socket.create_server(("127.0.0.1", 0))
        supervisor = self.supervisor(
            f"tcp:{given.getsockname()[1]}:interface=127.0.0.1"
        )
        with given:
            self.assertRaises(CannotListenError, supervisor.privilegedStartService)
            self.assertEqual(supervisor.state, State.IDLE)
        supervisor.startService()
        await supervisor.whenListening()

    def test_otherKinds(self) -> None:
        """
        What many processes cannot listen on is refused at once.
        """
        listening = parseEndpoint(reactor, "haproxy:tcp:0")
        listening.plainDescription = "stdio:"
        config = EchoConfig(listen=["stdio:"])
        error = self.assertRaises(
            ValueError, Supervisor, config, reactor, [listening], 2
        )
        self.assertIn("stdio", str(error))


class SharesTests(SupervisorTestCase):
    """
    Somebody accepts from every socket, as long as one worker does.
    """

    async def started(self, *listen: str, **more: Any) -> Supervisor:
        supervisor = self.supervisor(*listen, **more)
        supervisor.startService()
        await supervisor.whenListening()
        return supervisor

    def worker(self, supervisor: Supervisor, number: int) -> WorkerProcess:
        (found,) = [each for each in supervisor._alive() if each.number == number]
        return found

    @slow
    async def test_cannotStart(self) -> None:
        """
        While a worker cannot start, nobody waits for it; when it can, it serves again.
        """
        supervisor = await self.started(TCP, f"unix:{self.mktemp()}", workers=3)
        settings = supervisor._monitor._settings
        good, settings[1] = settings[1], b"broken on purpose"
        victim = self.worker(supervisor, 1)
        os.kill(victim.pid, signal.SIGKILL)
        restarts = supervisor._monitor.restarts
        await until(lambda: restarts["start-failed"] >= 2)
        self.assertTrue(supervisor.isAccepting)
        await self.clients(supervisor, 24)
        settings[1] = good
        await until(
            lambda: (
                [each.serves for each in supervisor._listeningWorkers()]
                == [{0}, {1}, {2}]
            )
        )
        await self.clients(supervisor, 24)
        counted = supervisor.inquiry.total(await supervisor.inquiry.snapshots())
        self.assertEqual(counted.opened, 48)

    @slow
    async def test_neverStarts(self) -> None:
        """
        If one worker is never able to start, the service listens all the same.
        """
        supervisor = self.supervisor()
        start = supervisor._monitor._start

        def startOr(place: Any) -> None:
            supervisor._monitor._settings[1] = b"broken on purpose"
            start(place)

        supervisor._monitor._start = startOr  # type: ignore[method-assign]
        supervisor.startService()
        await supervisor.whenListening()
        self.assertTrue(supervisor.isAccepting)
        await self.clients(supervisor, 24)

    async def test_noneIsThere(self) -> None:
        """
        If no worker lives, it is not ready, and clients wait for the first that does.
        """
        supervisor = await self.started()
        dead = supervisor._alive()
        for worker in dead:
            os.kill(worker.pid, signal.SIGKILL)
        await until(lambda: not set(dead) & set(supervisor._alive()))
        self.assertFalse(supervisor.isAccepting)
        await self.clients(supervisor, 10)
        await until(lambda: supervisor.isAccepting)

    @slow
    async def test_hangs(self) -> None:
        """
        A worker that hangs is found out: another one serves its connections, those that
        it had not accepted too, and it is replaced.
        """
        supervisor = await self.started(hungAfter=5.0)
        victim = self.worker(supervisor, 1)
        os.kill(victim.pid, signal.SIGSTOP)
        await self.clients(supervisor, 20)
        await until(lambda: victim.state == "hung")
        await until(lambda: len(supervisor._listeningWorkers()) == 2)
        self.assertNotIn(victim, supervisor._alive())
        self.assertGreaterEqual(supervisor._monitor.restarts["hung"], 1)
        await self.clients(supervisor, 20)

    @slow
    async def test_comesBack(self) -> None:
        """
        One that was only slow goes on, with the clients that it had.
        """
        supervisor = await self.started()
        victim = self.worker(supervisor, 1)
        clients = await self.clients(supervisor, 10)
        os.kill(victim.pid, signal.SIGSTOP)
        await until(lambda: victim.state == "silent")
        await self.clients(supervisor, 10)
        os.kill(victim.pid, signal.SIGCONT)
        await until(lambda: victim.state == "listening")
        for client in clients:
            client.sendall(b"still\n")
            self.assertEqual(await in_thread(client.recv, 6), b"still\n")


class BacklogTests(SupervisorTestCase):
    """
    What waits in the backlogs when the service stops is served by the rules of one
    process.
    """

    COUNT = 300

    async def waiting(
        self, supervisor: Supervisor, sends: Callable[[], bytes] = lambda: b"hello\n"
    ) -> list[socket.socket]:
        """
        Clients that no worker has accepted yet, for all workers are stopped.

        @param sends: what each of them says first.
        """
        supervisor.startService()
        await supervisor.whenListening()
        for worker in supervisor._alive():
            os.kill(worker.pid, signal.SIGSTOP)
        clients = []
        for number in range(self.COUNT):
            client = connect(supervisor.addresses[number % len(supervisor.addresses)])
            self.addCleanup(client.close)
            client.sendall(sends())
            clients.append(client)
        return clients

    def go_on(self, supervisor: Supervisor) -> None:
        for worker in supervisor._alive():
            os.kill(worker.pid, signal.SIGCONT)

    async def assert_served(self, clients: list[socket.socket]) -> None:
        for client in clients:
            self.assertEqual(await in_thread(client.recv, 6), b"hello\n")
        for client in clients:
            client.sendall(b"again\n")
            self.assertEqual(await in_thread(client.recv, 6), b"again\n")
            client.close()

    async def test_byWorkers(self) -> None:
        """
        Each worker accepts what waits for it, and clients have their time to finish.
        """
        path = self.mktemp()
        supervisor = self.supervisor(TCP, f"unix:{path}", drain=60.0)
        clients = await self.waiting(supervisor)
        stopped = supervisor.stopService()
        self.go_on(supervisor)
        await self.assert_served(clients)
        await stopped
        self.assertEqual(supervisor.inquiry.total({}).opened, self.COUNT)

    async def test_byOneWorkerAndTheParent(self) -> None:
        """
        A worker that ends by itself just then leaves its backlog to the parent.
        """
        supervisor = self.supervisor(drain=60.0)
        clients = await self.waiting(supervisor)
        for worker in supervisor._alive():
            if worker.number == 0:
                os.kill(worker.pid, signal.SIGTERM)
        self.go_on(supervisor)
        stopped = supervisor.stopService()
        await self.assert_served(clients)
        await stopped
        self.assertEqual(supervisor.inquiry.total({}).opened, self.COUNT)

    async def test_byTheParent(self) -> None:
        """
        What workers do not accept, for they hang, the parent does, by the same rules.
        """
        path = self.mktemp()
        supervisor = self.supervisor(TCP, f"unix:{path}", drain=60.0)
        clients = await self.waiting(supervisor)
        stopped = supervisor.stopService()
        await self.assert_served(clients)
        self.go_on(supervisor)
        await stopped
        self.assertEqual(supervisor.inquiry.total({}).opened, self.COUNT)

    @slow
    async def test_proxied(self) -> None:
        """
        A connection whose PROXY header has arrived is served like any other.
        """
        for areWorkersThere in True, False:
            supervisor = self.supervisor(f"haproxy:{TCP}", drain=60.0)
            clients = await self.waiting(
                supervisor, lambda: b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello\n"
            )
            stopped = supervisor.stopService()
            if areWorkersThere:
                self.go_on(supervisor)
            await self.assert_served(clients)
            self.go_on(supervisor)
            await stopped
            self.assertEqual(supervisor.inquiry.total({}).opened, self.COUNT)

    @slow
    async def test_TLS(self) -> None:
        """
        A TLS client that has said hello is not reset.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        make_certificate(folder)
        key, cert = folder / "key.pem", folder / "cert.pem"

        def hello() -> bytes:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            with contextlib.suppress(ssl.SSLWantReadError):
                context.wrap_bio(incoming, outgoing).do_handshake()
            return outgoing.read()

        for areWorkersThere in True, False:
            supervisor = self.supervisor(
                f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={cert}",
                drain=60.0,
            )
            clients = await self.waiting(supervisor, hello)
            stopped = supervisor.stopService()
            if areWorkersThere:
                self.go_on(supervisor)
            for client in clients:
                # A reset would be raised.
                await in_thread(read_to_end, client)
            self.go_on(supervisor)
            await stopped
            total = supervisor.inquiry.total({})
            self.assertEqual(sum(total.refused.values()), self.COUNT, total)


class NeverReadyTests(SupervisorTestCase):
    """
    No worker can start.
    """

    async def test_tellsSo(self) -> None:
        """
        The service fails, stops, and tells whoever waits for it.
        """
        told: Deferred[str] = Deferred()
        supervisor = self.supervisor()
        supervisor._onFailure = told.callback
        # A folder has the permission of a program, and is none.
        self.patch(sys, "executable", os.sep)
        supervisor.startService()
        await self.assertFailure(supervisor.whenListening(), NoWorkers)
        self.assertIn("no worker can start", await told)
        self.assertEqual(supervisor.state, State.STOPPED)
        self.assertEqual(supervisor._alive(), [])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 6)


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
        page = self.successResultOf(askSessions(workers, Clock(), "", 3))
        self.assertEqual((len(page["sessions"]), page["next"]), (3, "0:1:2"))
        self.assertEqual(gc.collect(), 0)
