"""
L{twisted_echo.command.workers.supervisor}: the service that workers are together.
"""

import os
import signal
import socket
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    CannotListenError,
)
from twisted.logger import capturedLogs

from tests.support.clients import (
    connect,
    in_thread,
    pump,
    until,
)
from tests.support.der_certificates import CertificateFiles, expiring
from tests.support.marks import slow
from tests.support.supervisor import TCP, SupervisorTestCase
from twisted_echo import EchoConfig
from twisted_echo.command.workers.supervisor import Supervisor
from twisted_echo.command.workers.worker_start import NoWorkers
from twisted_echo.command.workers.worker_state import WorkerState
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.lifecycle import IllegalTransition, State
from twisted_echo.session.ends.end_reason import EndReason


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
            self.assertEqual(supervisor.stopsWithin, 22)
            one, two = supervisor.stopService(), supervisor.stopService()
            self.assertEqual(supervisor.state, State.DRAINING)
            self.assertTrue(0 < supervisor.stopsWithin < 22)
            await one
            await two
            self.assertEqual(supervisor.state, State.STOPPED)
            self.assertRaises(ConnectionRefusedError, connect, address)
        await self.assertFailure(supervisor.whenListening(), IllegalTransition)

    def test_reloadsItsOwn(self) -> None:
        """
        The certificates of the service that deals with the rest at a stop are loaded
        again, too; one that is broken stays as it was.
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
        self.assertRegex(
            str(error), f"the user of the workers, .*, cannot run {__file__}"
        )
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
        snapshots = await supervisor.status.snapshots()
        self.assertEqual(list(snapshots), ["0", "1"])
        for each in snapshots.values():
            self.assertEqual(each.opened, each.sessions)
        total = supervisor.status.total(snapshots)
        self.assertEqual((total.opened, total.sessions), (20, 20))
        lives = snapshots["0"].sessions
        (victim,) = [each for each in supervisor._monitor.workers if each.number == 0]
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: victim not in supervisor._monitor.workers)
        total = supervisor.status.total(await supervisor.status.snapshots())
        self.assertEqual((total.opened, total.sessions), (20, 20 - lives))
        for client in clients:
            client.close()
        await supervisor.stopService()
        self.assertEqual(await supervisor.status.snapshots(), {})
        total = supervisor.status.total({})
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
            told.append(
                (supervisor.isAccepting, len(supervisor._monitor.listeningWorkers))
            )

        self.patch(supervisor, "_workersChanged", hear)
        (victim,) = [each for each in supervisor._monitor.workers if each.number == 0]
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: victim not in supervisor._monitor.workers)
        await until(lambda: supervisor.isAccepting)
        await until(lambda: len(supervisor._monitor.listeningWorkers) == 2)
        self.assertEqual(told[-1], (True, 2))
        own = [(0, {0}), (1, {1})]
        await until(
            lambda: [(w.number, w.accepted) for w in supervisor._monitor.workers] == own
        )

    async def test_pages(self) -> None:
        """
        All sessions, worker by worker, page by page.
        """
        supervisor = self.supervisor()
        supervisor.startService()
        await supervisor.whenListening()
        await self.clients(supervisor, 20)
        whole = await supervisor.sessionsPage("", 100)
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

    async def test_waiting(self) -> None:
        """
        The workers tell of the sessions that wait.
        """
        supervisor = self.supervisor()
        supervisor.startService()
        await supervisor.whenListening()
        clients = await self.clients(supervisor, 2)
        self.assertEqual(await supervisor.waitingSessions(5), [])
        clients[0].sendall(b"half of a line" * 1000)
        while not (rows := await supervisor.waitingSessions(5)):
            pass
        (row,) = rows
        host, port = clients[0].getsockname()
        self.assertEqual((row["peer"], row["waitsFor"]), (f"{host}:{port}", "input"))
        pids = {each.number: each.pid for each in supervisor._monitor.workers}
        self.assertEqual(pids[row["worker"]], row["pid"])

    async def test_stopNow(self) -> None:
        """
        Who is still waited for is cut off.
        """
        supervisor = self.supervisor(drain=60.0)
        supervisor.startService()
        await supervisor.whenListening()
        clients = await self.clients(supervisor, 5)
        stopped = supervisor.stopService()
        await until(
            lambda: all(
                w.state is WorkerState.DRAINING for w in supervisor._monitor.workers
            )
        )
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
        for worker in supervisor._monitor.workers:
            os.kill(worker.pid, signal.SIGSTOP)
        waiting = [connect(supervisor.addresses[0]) for _ in range(10)]
        stopped = supervisor.stopService()
        supervisor.stopNow()
        self.assertLess(supervisor.stopsWithin, 11)
        for worker in supervisor._monitor.workers:
            os.kill(worker.pid, signal.SIGKILL)
        served: list[int] = []
        stopped.addCallback(served.append)  # type: ignore[call-overload]
        await until(lambda: served)
        total = supervisor.status.total({})
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
        before = await supervisor.status.snapshots()
        (victim,) = [each for each in supervisor._monitor.workers if each.number == 1]
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            snapshots = await supervisor.status.snapshots()
            self.assertEqual(snapshots, before)
            page = await supervisor.sessionsPage("", 100)
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
        self.assertEqual(supervisor._monitor.workers, [])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 6)
