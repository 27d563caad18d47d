"""
Workers that are killed, or that hang.
"""

import contextlib
import select
import signal
import socket
import ssl
import time
import urllib.request

from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.processes import (
    DEADLINE,
    new_folder,
    read_to_end,
    round_trip,
    wait_until,
)
from tests.support.workers_case import (
    WorkersTestCase,
    freeze,
    kill,
    marked,
    owners,
)


class KilledTests(WorkersTestCase):
    """
    A worker that dies takes nobody with it, and comes back.
    """

    def test_brokenCertificate(self) -> None:
        """
        While a worker cannot start, for its certificate has been broken since, no
        client waits for it, and the service is ready.
        """
        folder = new_folder(self)
        make_certificate(folder)
        server, service = self.start(
            "--admin",
            "0",
            listen=["ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"],
            folder=folder,
        )
        found = server.wait_for(r"admin on (127\.0\.0\.1:\d+);")
        good = (folder / "cert.pem").read_bytes()
        (folder / "cert.pem").write_bytes(b"broken")
        kill(service.pids[1])
        server.wait_for(
            r"worker 1 could not start \(start-failed, status 1\); its successor"
        )
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

        def assert_served() -> None:
            for _ in range(24):
                plain = socket.create_connection(server.address, DEADLINE)
                with context.wrap_socket(plain) as client:
                    self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")

        assert_served()
        with urllib.request.urlopen(f"http://{found[1]}/readyz", timeout=20) as answer:
            self.assertEqual(answer.status, 200)
        (folder / "cert.pem").write_bytes(good)
        wait_until(lambda: server.stdout.count("worker 1 listens") == 2)
        assert_served()

    def test_stopWhileOneComesBack(self) -> None:
        """
        When the stop has begun, nothing starts any more, nor is said to.
        """
        server, service = self.start()
        pid = service.pids[0]
        kill(pid)
        server.wait_for(r"its successor starts")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        _, _, after = server.stdout.partition("its successor starts")
        self.assertIn("stopped all 2 workers", after)
        for word in ("starts", "drains"):
            self.assertNotIn(word, after)
        self.assertEqual(marked(service.mark), {})

    def test_othersDoNotNotice(self) -> None:
        """
        Only the killed worker's own connections end.
        """
        server, service = self.start(workers=3)
        found = self.clients_of_each(server, service, 3)
        before = service.pids
        kill(before[1])
        for client in found.pop(before[1]):
            # A reset, or end-of-file if everything had been read.
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(read_to_end(client), b"")
        for clients in found.values():
            for client in clients:
                self.assertEqual(round_trip(client, b"still\n"), b"still\n")
        server.wait_for(
            # At once, if it had lived five seconds by then.
            r"worker 1 has ended \(killed, signal SIGKILL\); its successor starts"
            r" (in 100ms|at once)\n"
        )
        service.successor(1, before[1])
        self.clients_of_each(server, service)
        for clients in found.values():
            for client in clients:
                self.assertEqual(round_trip(client, b"there\n"), b"there\n")
        self.assertEqual({**service.pids, 1: 0}, {**before, 1: 0})

    def test_queueWaits(self) -> None:
        """
        Connections that wait for a worker when it is killed are served: by the other
        one, or by its successor.
        """
        server, service = self.start()
        parent, pid, other = server.process.pid, service.pids[0], service.pids[1]
        clients: list[socket.socket] = []
        waiting: list[socket.socket] = []

        def settled() -> bool:
            served = select.select(clients, [], [], 0)[0]
            waiting[:] = [each for each in clients if each not in served]
            return set(owners(waiting, [other])) <= {None}

        def someWait() -> bool:
            # The parent has the other one serve in place of one that does not answer.
            freeze(parent)
            freeze(pid)
            clients[:] = [self.connect(server.address) for _ in range(50)]
            for number, client in enumerate(clients):
                client.sendall(b"%d\n" % number)
            wait_until(settled)
            # Each serves its part, none of all 50 once in a thousand million million
            # times. But the first that listens serves for both, until the parent has
            # told it otherwise.
            if 0 < len(waiting) < 50:
                return True
            kill(pid, signal.SIGCONT)
            kill(parent, signal.SIGCONT)
            return False

        wait_until(someWait)
        kill(pid)
        kill(parent, signal.SIGCONT)
        for number, client in enumerate(clients):
            line = b"%d\n" % number
            self.assertEqual(client.recv(len(line), socket.MSG_WAITALL), line)
            self.assertEqual(round_trip(client, b"more\n"), b"more\n")
        server.wait_for(r"worker 0 has ended \(killed, signal SIGKILL\)")

    def test_backOff(self) -> None:
        """
        A worker that dies again and again as soon as it has started comes back later
        and later.
        """
        server, service = self.start()
        (client, *_) = self.clients_of_each(server, service)[service.pids[0]]
        pid = service.pids[1]
        kill(pid)
        # At once, if it had lived five seconds by then.
        found = server.wait_for(
            r"worker 1 has ended \(killed, signal SIGKILL\); its successor starts"
            r" (in (\d+)ms|at once)\n"
        )
        delay = int(found[2] or 50)
        pid = service.successor(1, pid)
        for _ in range(3):
            delay *= 2
            kill(pid)
            server.wait_for(
                rf"worker 1 (has ended|could not start) \([a-z-]+, signal SIGKILL\);"
                rf" its successor starts in {delay}ms\n"
            )
            pid = service.successor(1, pid)
        self.assertEqual(round_trip(client, b"still\n"), b"still\n")
        client.close()

    @slow
    def test_rollingRestart(self) -> None:
        """
        A worker that is told to end lets its clients finish, while its successor
        serves new ones.
        """
        server, service = self.start("--drain", "60")
        before = service.pids
        old, *others = self.clients_of_each(server, service)[before[0]]
        for client in others:
            client.close()
        kill(before[0], signal.SIGTERM)
        server.wait_for(r"worker 0 drains; its successor starts")
        successor = service.successor(0, before[0])
        self.assertIn(before[0], marked(service.mark))
        clients = self.clients_of_each(server, service)
        self.assertEqual(set(clients), {successor, before[1]})
        self.assertEqual(round_trip(old, b"still\n"), b"still\n")
        old.close()
        wait_until(lambda: before[0] not in marked(service.mark))
        for client, *_ in clients.values():
            self.assertEqual(round_trip(client, b"still\n"), b"still\n")
        self.assert_stops(server, service)


class HangingTests(WorkersTestCase):
    """
    A worker that hangs is replaced, and no other.
    """

    @slow
    def test_hangs(self) -> None:
        """
        New clients do not notice. The metrics say that it was restarted.
        """
        server, service = self.start("--admin", "0")
        found = server.wait_for(r"admin on (127\.0\.0\.1:\d+);")
        before = service.pids
        kill(before[1], signal.SIGSTOP)
        for _ in range(20):
            client = self.connect(server.address)
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        server.wait_for(r"worker 1 has not answered for 15s, and is killed")
        service.successor(1, before[1])
        wait_until(lambda: server.stdout.count("worker 1 listens") == 2)
        self.clients_of_each(server, service)
        self.assertEqual(service.pids[0], before[0])
        with urllib.request.urlopen(f"http://{found[1]}/metrics", timeout=20) as page:
            text = page.read().decode()
        for worker, count in ("0", 0), ("1", 1):
            labels = f'cause="hung",worker="{worker}"'
            self.assertIn(
                f"twisted_echo_worker_restarts_total{{{labels}}} {count}.0", text
            )

    @slow
    def test_allAreStopped(self) -> None:
        """
        When a machine was suspended, or a terminal has stopped all processes, no worker
        is killed, whichever process continues first.
        """
        server, service = self.start()
        before = service.pids
        clients = self.clients_of_each(server, service)
        everybody = [server.process.pid, *before.values()]
        for order in everybody, everybody[::-1]:
            for pid in order:
                kill(pid, signal.SIGSTOP)
            # Longer than a worker may take to answer.
            time.sleep(17)
            for pid in order:
                kill(pid, signal.SIGCONT)
                time.sleep(0.5)
            for each in clients.values():
                for client in each:
                    self.assertEqual(round_trip(client, b"still\n"), b"still\n")
        self.assertEqual(service.pids, before)
        self.assert_stops(server, service)
