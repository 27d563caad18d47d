"""
A worker, in the tests' own process: a parent at the other end of its channel.
"""

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorSocket
from twisted.logger import Logger

from tests.support.certificates import make_certificate
from tests.support.clients import ServedTestCase, connect, in_thread, turn, until
from twisted_echo.command.workers.adopted import AdoptedEndpoint
from twisted_echo.command.workers.binding import bind
from twisted_echo.command.workers.channel import (
    Accept,
    Channel,
    Finish,
    GetSessions,
    GetSnapshot,
    Log,
    Reload,
    SetState,
    StopNow,
    WorkerSettings,
)
from twisted_echo.command.workers.log_relay import LogSender
from twisted_echo.command.workers.worker import Worker
from twisted_echo.echo import EchoConfig, EchoFactory
from twisted_echo.metrics import Snapshot

TCP = "tcp:0:interface=127.0.0.1"


class Reactor:
    """
    The tests' reactor, which a worker does not stop.
    """

    def __init__(self) -> None:
        self.stopped: Deferred[None] = Deferred()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def stop(self) -> None:
        self.stopped.callback(None)


class Parent(Channel):
    """
    @ivar heard: the states that the worker has told.
    @ivar logged: what it has logged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.logged: list[str] = []
        self.last: Snapshot | None = None
        self.isLost = False

    @SetState.responder
    def state(self, state: str) -> dict[str, Any]:
        self.heard.append(state)
        return {}

    @Log.responder
    def log(self, event: str) -> dict[str, Any]:
        self.logged.append(json.loads(event)["log_text"])
        return {}

    @Finish.responder
    def finish(self, snapshot: Any) -> dict[str, Any]:
        self.last = Snapshot.fromJSON(snapshot)
        return {}

    def lost(self) -> None:
        self.isLost = True


class WorkerTests(ServedTestCase):
    def start(
        self, listen: str = TCP, bottom: str = TCP, workers: int = 1, **more: Any
    ) -> Worker:
        """
        Start a worker, which has ended when the test has.

        @param workers: how many there are.
        """
        (bound,) = bind([bottom], workers)
        self.addCleanup(bound.close)
        self.bound = bound
        self.address: Any = bound.address
        config = EchoConfig(listen=[listen], abortAfter=0.5, **more)
        settings = WorkerSettings(
            number=0,
            config=config,
            proxyFrom=(),
            isOurs=[True],
            sockets=[len(bound.sockets)],
            reactor="none",
        )
        ours, theirs = socket.socketpair()
        self.reactor, self.parent = Reactor(), Parent()
        self.parent.open(IReactorSocket(reactor), ours)
        # What this process logs would come back to it.
        self.sender = LogSender(reactor.callFromThread)  # type: ignore[attr-defined]
        running: Any = self.reactor
        worker = Worker(running, settings, self.sender)
        self.addCleanup(self.endOf, worker)
        sockets = [each.dup() for each in bound.sockets]
        for each in sockets:
            # One that is not used, for the worker cannot start.
            self.addCleanup(each.close)
        worker.start(theirs, sockets)
        return worker

    async def endOf(self, worker: Worker) -> None:
        worker.drain()
        if not self.reactor.stopped.called:
            await self.reactor.stopped
        self.parent.close()
        await until(lambda: self.parent.isLost and worker.transport is None)

    async def client_of(self) -> socket.socket:
        client = connect(self.address)
        self.addCleanup(client.close)
        client.sendall(b"hello\n")
        self.assertEqual(await in_thread(client.recv, 6), b"hello\n")
        return client

    async def test_serves(self) -> None:
        """
        It says that it listens, and tells its numbers and its sessions.
        """
        self.start()
        await until(lambda: self.parent.heard)
        self.assertEqual(self.parent.heard, ["listening"])
        clients = [await self.client_of() for _ in range(3)]
        answer = await self.parent.ask(GetSnapshot)
        snapshot = Snapshot.fromJSON(answer["snapshot"])
        self.assertEqual((snapshot.opened, snapshot.sessions), (3, 3))
        answer = await self.parent.ask(GetSessions, after=0, limit=2)
        first, second = answer["rows"]
        answer = await self.parent.ask(GetSessions, after=second["id"], limit=2)
        (third,) = answer["rows"]
        ports = {str(each.getsockname()[1]) for each in clients}
        for row in first, second, third:
            self.assertIn(str(row["peer"]).rpartition(":")[2], ports)

    async def opened(self) -> int:
        answer = await self.parent.ask(GetSnapshot)
        return Snapshot.fromJSON(answer["snapshot"]).opened

    async def test_accept(self) -> None:
        """
        It accepts from the sockets that it is told to, and leaves what comes by the
        others to other processes.
        """
        self.start(workers=2)

        def come(count: int) -> None:
            for _ in range(count):
                self.addCleanup(connect(self.address).close)

        async def served(count: int) -> None:
            while await self.opened() < count:
                await turn()

        def waiting(place: int) -> int:
            for count in range(100):
                try:
                    accepted, _ = self.bound.sockets[place].accept()
                except BlockingIOError:
                    return count
                accepted.close()
            raise AssertionError("there is no end of them")

        come(40)
        others = waiting(1)
        self.assertTrue(0 < others < 40)
        self.assertEqual(await self.opened(), 0)
        await self.parent.ask(Accept, partitions=[0])
        await served(40 - others)
        come(40)
        await self.parent.ask(Accept, partitions=[1, 0])
        await served(80 - others)
        await self.parent.ask(Accept, partitions=[])
        come(5)
        self.assertEqual(await self.opened(), 80 - others)
        self.assertEqual(waiting(0) + waiting(1), 5)

    async def test_acceptShared(self) -> None:
        """
        A socket that all workers have is accepted from always.
        """
        self.start("unix:x", f"unix:{self.mktemp()}", workers=3)
        await self.client_of()
        await self.parent.ask(Accept, partitions=[])
        await self.client_of()

    async def test_drain(self) -> None:
        """
        It ends in order, whatever often it is told to: sessions, its last numbers.
        What waits in the backlog it leaves.
        """
        worker = self.start()
        client = await self.client_of()
        worker.drain()
        worker.drain()
        late = connect(self.address)
        self.addCleanup(late.close)
        self.assertEqual(await in_thread(client.recv, 1), b"")
        client.close()
        await self.reactor.stopped
        self.assertEqual(self.parent.heard[0], "listening")
        self.assertEqual(set(self.parent.heard[1:]), {"draining"})
        assert self.parent.last is not None
        self.assertEqual((self.parent.last.opened, self.parent.last.sessions), (1, 0))
        self.assertEqual(worker.status, 0)
        accepted, _ = self.bound.sockets[0].accept()
        accepted.close()

    async def test_parentDies(self) -> None:
        """
        It drains. Nobody else has the sockets, so it deals with the backlog, too.
        """
        worker = self.start()
        client = await self.client_of()
        waiting = connect(self.address)
        self.addCleanup(waiting.close)
        for own in self.bound.sockets:
            own.close()
        self.parent.close()
        for each in client, waiting:
            self.assertEqual(await in_thread(each.recv, 1), b"")
            each.close()
        await self.reactor.stopped
        self.assertEqual(worker.status, 0)
        self.assertRaises(ConnectionRefusedError, connect, self.address)

    async def test_stopNow(self) -> None:
        worker = self.start(drain=60.0)
        client = await self.client_of()
        worker.drain()
        await until(lambda: "draining" in self.parent.heard)
        await self.parent.ask(StopNow)
        await self.reactor.stopped
        self.assertRaises(ConnectionResetError, client.recv, 1)

    async def test_stopNowFirst(self) -> None:
        """
        The signal that it is to end by can come after that.
        """
        self.start(drain=60.0)
        client = await self.client_of()
        await self.parent.ask(StopNow)
        await self.reactor.stopped
        self.assertRaises(ConnectionResetError, client.recv, 1)

    async def test_reload(self) -> None:
        """
        Broken files leave it with what it had.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        make_certificate(folder)
        key, cert = folder / "key.pem", folder / "cert.pem"
        worker = self.start(
            f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={cert}"
        )
        assert worker._service is not None
        (listening,) = worker._service._withTLS
        before = listening.certificates.context
        shutil.move(key, folder / "away.pem")
        await self.parent.ask(Reload)
        self.assertIs(listening.certificates.context, before)
        shutil.move(folder / "away.pem", key)
        await self.parent.ask(Reload)
        self.assertIsNot(listening.certificates.context, before)

    async def test_cannotStart(self) -> None:
        """
        It says why, and ends with status 1; before that, it has no numbers.
        """
        worker = self.start("ssl:0:privateKey=/no/such/key.pem")
        self.flushLoggedErrors()
        self.assertEqual(worker.status, 1)
        asked = [
            self.parent.ask(GetSnapshot),
            self.parent.ask(GetSessions, after=0, limit=2),
            self.parent.ask(StopNow),
        ]
        snapshot, sessions, _ = [await each for each in asked]
        self.assertEqual(Snapshot.fromJSON(snapshot["snapshot"]), Snapshot())
        self.assertEqual(sessions["rows"], [])
        await self.reactor.stopped

    async def test_lastWords(self) -> None:
        """
        What it has logged has reached the parent when it ends, even if there is more
        than the channel takes at once.
        """
        worker = self.start()
        log = Logger("worker", observer=self.sender)
        for n in range(100):
            log.info("{n} {text}", n=n, text="x" * 2000)
        worker.drain()
        await self.reactor.stopped
        self.assertEqual(
            [each.partition(" ")[0] for each in self.parent.logged],
            [str(n) for n in range(100)],
        )


class AdoptedTests(ServedTestCase):
    """
    A socket that was handed down.
    """

    async def test_unix(self) -> None:
        """
        Who stops listening leaves the socket listening, its file, its mode and its
        backlog.
        """
        path = self.mktemp()
        (bound,) = bind([f"unix:{path}:mode=600"], 1)
        self.addCleanup(bound.close)
        before = os.stat(path)
        for _ in range(2):
            endpoint = AdoptedEndpoint(reactor, bound.sockets[0].dup())
            service = self.serve(EchoFactory(), endpoint)
            client = connect(service.addresses[0])
            self.addCleanup(client.close)
            client.sendall(b"hello\n")
            self.assertEqual(await in_thread(client.recv, 6), b"hello\n")
            client.close()
            await service.stopService()
            late = connect(bound.address)
            self.addCleanup(late.close)
            after = os.stat(path)
            self.assertEqual(
                (after.st_ino, after.st_mode), (before.st_ino, before.st_mode)
            )
            accepted, _ = bound.sockets[0].accept()
            accepted.close()

    async def test_owned(self) -> None:
        """
        Whoever owns it ends it.
        """
        (bound,) = bind([TCP], 1)
        self.addCleanup(bound.close)
        waiting = connect(bound.address)
        self.addCleanup(waiting.close)
        endpoint = AdoptedEndpoint(reactor, bound.sockets[0], isOwned=True)
        service = self.serve(EchoFactory(), endpoint)
        stopped = service.stopService()
        self.assertEqual(await in_thread(waiting.recv, 1), b"")
        waiting.close()
        await stopped
        self.assertRaises(ConnectionRefusedError, connect, bound.address)
