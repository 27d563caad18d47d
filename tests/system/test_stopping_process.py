"""
A stop of the command, in a process of its own: clients whose lines arrived while it
could not run, thousands of clients in the backlog, and the tables of
C{docs/stopping.md} under several reactors.
"""

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.paths import PROJECT
from tests.support.peer import Peer
from tests.support.processes import (
    Server,
    finished,
    new_folder,
    read_to_end,
    round_trip,
)
from tests.support.processes import connect as connect_to


class ProcessTests(SynchronousTestCase):
    """
    Of the command.
    """

    def stop(self, server: Server, send: Callable[[], object]) -> None:
        """
        Have something sent while the server's process does not run, and a stop begin.
        """
        os.kill(server.process.pid, signal.SIGSTOP)
        send()
        os.kill(server.process.pid, signal.SIGTERM)
        os.kill(server.process.pid, signal.SIGCONT)

    def test_stalled(self) -> None:
        """
        Lines that came while the process was stopped are answered, those of clients
        that nobody has accepted, too.
        """
        server = Server.start(self)
        sessions = [connect_to(self, server.address) for _ in range(5)]
        for client in sessions:
            self.assertEqual(round_trip(client, b"a\n"), b"a\n")
        waiting: list[socket.socket] = []

        def send() -> None:
            waiting.extend(connect_to(self, server.address) for _ in range(5))
            for client in sessions + waiting:
                client.sendall(b"line\nrest")

        self.stop(server, send)
        for client in sessions + waiting:
            self.assertEqual(read_to_end(client), b"line\n")
            client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))

    @slow
    def test_thousands(self) -> None:
        """
        Thousands of TLS clients in the backlog, which have said hello, are ended in
        order, and on time.
        """
        folder = new_folder(self)
        make_certificate(folder)
        files = f"privateKey={folder / 'key.pem'}:certKey={folder / 'cert.pem'}"
        # (It takes a busy client more than the default to close so many.)
        server = Server.start(
            self, "--abort-after=1m", listen=[f"ssl:0:interface=127.0.0.1:{files}"]
        )
        peers: list[Peer] = []

        def send() -> None:
            address = IPv4Address("TCP", *server.address)
            for _ in range(
                min(3000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
            ):
                peers.append(Peer(address, "ssl"))
                self.addCleanup(peers[-1].socket.close)
                peers[-1].put(peers[-1].beginning)

        self.stop(server, send)
        self.assertEqual({peer.leave() for peer in peers}, {b""})
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))

    @slow
    def test_reactors(self) -> None:
        """
        What clients get does not depend on the reactor.
        """
        cases = [
            "tests.system.test_stopping.TableTests",
            "tests.system.test_last_read.LastReadTests",
        ]
        for name in "epoll", "asyncio", "eager", "eager-asyncio":
            run = [sys.executable, "-m", "twisted.trial", f"--reactor={name}", *cases]
            path = {"PYTHONPATH": str(PROJECT)}
            tested = finished(self, run, env=path)
            self.assertEqual(tested.wait(), 0, tested.report(name))
