"""
Clients that are too many, against a real C{twistd echo} with limits.
"""

import re
import signal
import time
from select import select

from tests.support.fault_clients import (
    Background,
    exchange,
)
from tests.support.faults import (
    EAGER_ASYNCIO,
    EPOLL,
    NO_DEADLINES,
    FaultTestCase,
    numbered,
    write_until_cut_off,
)
from tests.support.marks import slow
from tests.support.processes import Server, wait_until
from twisted_echo.testing.command_process import Books


class LimitFaultTests(FaultTestCase):
    """
    Clients that are too many.
    """

    def test_fullWaits(self) -> None:
        """
        Over the limit, connections wait in the backlog, in order, until one of
        the old ones ends.
        """
        server = self.serve("--max-sessions=3", "--when-full=wait")
        old = [self.client(server) for _ in range(3)]
        for client in old:
            self.assertEqual(client.round_trip(b"hello\n"), b"hello\n")
        new = [self.client(server, handshake=False) for _ in range(2)]
        first = new[0].hello() if self.tls else b"me\n"
        new[0].socket.sendall(first)
        for _ in range(200):
            self.assertEqual(old[2].round_trip(b"still\n"), b"still\n")
        self.assertEqual(select([new[0].socket], [], [], 0)[0], [])
        for client, ends in zip(new, old, strict=False):
            ends.close()
            if self.tls:
                client.handshake()
            elif client is new[0]:
                self.assertEqual(client.read_exactly(3), b"me\n")
            self.assertEqual(client.round_trip(b"now\n"), b"now\n")
        for client in (old[2], *new):
            client.close()
        books = self.books(server)
        self.assertEqual((books.served, books.refused), (5, 0))

    def test_fullRefuses(self) -> None:
        """
        Over the limit, connections are closed at once, and counted.
        """
        server = self.serve("--max-sessions=3", "--when-full=refuse")
        old = [self.client(server) for _ in range(3)]
        for client in old:
            self.assertEqual(client.round_trip(b"hello\n"), b"hello\n")
        start = self.vitals.descriptors()
        for _ in range(50):
            self.assert_refused(server)
        told = server.wait_for("refused: refused-full")
        self.assertIn("127.0.0.1", server.stdout[: told.end()].splitlines()[-1])
        self.assertLess(server.stdout.count("refused-full"), 15)
        wait_until(lambda: self.vitals.descriptors() == start)
        old[0].close()
        wait_until(lambda: self.vitals.descriptors() < start)
        new = self.client(server)
        self.assertEqual(new.round_trip(b"now\n"), b"now\n")
        for client in (*old, new):
            client.close()
        books = self.books(server)
        self.assertEqual((books.served, books.refusals), (4, {"refused-full": 50}))

    def assert_refused(self, server: Server, source: str = "127.0.0.1") -> None:
        """
        A client gets not one byte of an answer.
        """
        client = self.client(server, handshake=False, source=source)
        try:
            if self.tls:
                client.handshake()
            client.send(b"hello\n")
            received = client.receive()
        except TimeoutError:
            raise
        except (OSError, EOFError):
            received = b""
        client.close()
        self.assertEqual(received, b"")

    def test_fullForOnePeer(self) -> None:
        """
        An address has only so many sessions; another one has its own.
        """
        server = self.serve("--max-sessions-per-peer=2")
        old = [self.client(server) for _ in range(2)]
        for client in old:
            self.assertEqual(client.round_trip(b"hello\n"), b"hello\n")
        start = self.vitals.descriptors()
        self.assert_refused(server)
        server.wait_for("refused: refused-peer")
        other = self.client(server, source="127.0.0.2")
        self.assertEqual(other.round_trip(b"hello\n"), b"hello\n")
        old[0].close()
        wait_until(lambda: self.vitals.descriptors() == start)
        new = self.client(server)
        self.assertEqual(new.round_trip(b"now\n"), b"now\n")
        for client in (old[1], other, new):
            client.close()
        books = self.books(server)
        self.assertEqual((books.served, books.refusals), (4, {"refused-peer": 1}))

    def test_tooMuchForAll(self) -> None:
        """
        What is held for all sessions together is bounded, though each one is
        within its own bounds.
        """
        # (What they send between the stop and the cut is read and forgotten, as fast as
        # the machine can: that is to be no long time.)
        server = self.serve(*NO_DEADLINES, "--max-buffered=100000", "--abort-after=0.1")
        other = self.client(server)
        # Others of them are ended before they have sent all.
        deaf = [self.client(server, buffer=4096) for _ in range(40)]
        writers = [
            Background(
                lambda client=each: write_until_cut_off(
                    client, numbered(1 << 16), 10**9
                )
            )
            for each in deaf
        ]
        server.wait_for("ended: over-buffered")
        self.wait_for_no_one(1 + 30)
        self.assertEqual(other.round_trip(b"still\n"), b"still\n")
        other.leave()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        for writer in writers:
            writer.result()
        self.assert_calm(server)
        books = Books.of(server.stdout)
        self.assertGreaterEqual(books.ended["over-buffered"], 10, str(books))
        self.assertEqual(books.served, 41)

    def test_outOfDescriptors(self) -> None:
        """
        Old sessions live on, the processor rests, the log is told once, and
        when sessions end there is room for new ones.
        """
        server = self.serve(*NO_DEADLINES, "--max-sessions=0", files=64)
        room = 64 - self.vitals.descriptors()
        old = [self.client(server) for _ in range(room - 8)]
        for client in old:
            self.assertEqual(client.round_trip(b"hello\n"), b"hello\n")
        before = len(server.stdout)
        more = [self.client(server, handshake=False) for _ in range(80)]
        told = r"(?i)EMFILE|too many open files|descriptors?\b"
        wait_until(lambda: re.search(told, server.stdout[before:]) is not None)
        for client in old:
            self.assertEqual(client.round_trip(b"still\n"), b"still\n")
        # Some wall time, in which processor time is measured.
        cpu = self.vitals.cpu()
        time.sleep(0.5)
        self.assertLess(self.vitals.cpu() - cpu, 0.2)
        self.assertLess(server.stdout.count("\n", before), 10)
        for client in (*more, *old[1:]):
            client.close()
        self.assertEqual(old[0].round_trip(b"still\n"), b"still\n")
        wait_until(lambda: self.vitals.descriptors() < 40)
        # Those that went while they waited are still taken, and can once more be
        # too many.
        wait_until(lambda: self.is_served(server))
        old[0].close()
        lines = server.stdout[before:].splitlines()
        self.assertEqual(len([each for each in lines if re.search(told, each)]), 1)
        self.assertLess(len(lines), 15)
        self.books(server)

    def is_served(self, server: Server) -> bool:
        """
        Whether a new client is, or is cut off.
        """
        try:
            with self.client(server) as client:
                return bool(exchange(client, [b"hello"]) == b"hello")
        except TimeoutError:
            raise
        except (OSError, EOFError):
            return False


class TLSLimitFaultTests(LimitFaultTests):
    """
    With TLS.
    """

    tls = True


@slow
class EPollLimitFaultTests(LimitFaultTests):
    """
    By Twisted's epoll reactor.
    """

    reactor = EPOLL


@slow
class EPollTLSLimitFaultTests(LimitFaultTests):
    """
    With TLS, by Twisted's epoll reactor.
    """

    tls = True
    reactor = EPOLL


@slow
class EagerAsyncioLimitFaultTests(LimitFaultTests):
    """
    By the eager reactor on asyncio's loop.
    """

    reactor = EAGER_ASYNCIO
