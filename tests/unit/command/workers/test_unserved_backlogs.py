"""
L{twisted_echo.command.workers.unserved_backlogs}: who waits in a backlog at a stop.
"""

import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from tests.support.certificates import make_certificate
from tests.support.clients import (
    connect,
    in_thread,
    read_to_end,
)
from tests.support.marks import slow
from tests.support.supervisor import TCP, SupervisorTestCase
from twisted_echo.command.workers.supervisor import Supervisor


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
        for worker in supervisor._monitor.workers:
            os.kill(worker.pid, signal.SIGSTOP)
        clients = []
        for number in range(self.COUNT):
            client = connect(supervisor.addresses[number % len(supervisor.addresses)])
            self.addCleanup(client.close)
            client.sendall(sends())
            clients.append(client)
        return clients

    def go_on(self, supervisor: Supervisor) -> None:
        for worker in supervisor._monitor.workers:
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
        self.assertEqual(supervisor.status.total({}).opened, self.COUNT)

    async def test_byOneWorkerAndTheParent(self) -> None:
        """
        A worker that ends by itself just then leaves its backlog to the parent.
        """
        supervisor = self.supervisor(drain=60.0)
        clients = await self.waiting(supervisor)
        for worker in supervisor._monitor.workers:
            if worker.number == 0:
                os.kill(worker.pid, signal.SIGTERM)
        self.go_on(supervisor)
        stopped = supervisor.stopService()
        await self.assert_served(clients)
        await stopped
        self.assertEqual(supervisor.status.total({}).opened, self.COUNT)

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
        self.assertEqual(supervisor.status.total({}).opened, self.COUNT)

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
            self.assertEqual(supervisor.status.total({}).opened, self.COUNT)

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
            total = supervisor.status.total({})
            self.assertEqual(sum(total.refused.values()), self.COUNT, total)
