"""
Clients that take their time, against a real C{twistd echo} with deadlines.
"""

from tests.support.fault_clients import (
    Background,
    Stopwatch,
)
from tests.support.faults import (
    EAGER_ASYNCIO,
    EPOLL,
    NO_DEADLINES,
    FaultTestCase,
    only,
)
from tests.support.marks import slow


class DeadlineFaultTests(FaultTestCase):
    """
    Clients that take their time.
    """

    def test_idle(self) -> None:
        """
        Who is silent gets end-of-file in time, half a line or not; who is not
        silent, is not.
        """
        server = self.serve(*only("idle-timeout", 0.5))
        other = self.client(server)
        began = Stopwatch()
        idle, half = self.client(server), self.client(server)
        self.assertEqual(idle.round_trip(b"hello\n"), b"hello\n")
        half.send(b"hello\nhal")
        self.assertEqual(half.read_exactly(6), b"hello\n")
        ends = [
            Background(lambda client=client: (client.read_to_end(), began()))
            for client in (idle, half)
        ]
        while any(end.is_alive() for end in ends):
            self.assertEqual(other.round_trip(b"still\n"), b"still\n")
        for client, end in zip((idle, half), ends, strict=True):
            received, took = end.result()
            self.assertEqual(received, b"")
            self.assert_on_time(took, 0.5)
            client.close()
            self.wait_for_end(server, client, "idle")
        other.leave()
        self.assertEqual(self.books(server).ended, {"idle": 2, "peer-closed": 1})

    def test_unfinishedLine(self) -> None:
        """
        A byte now and then does not extend the time for a line; a line that
        ends, does.
        """
        server = self.serve(*only("line-timeout", 0.5))
        other, drip = self.client(server), self.client(server)
        began = Stopwatch()
        drip.send(b"hello\nhal")
        self.assertEqual(drip.read_exactly(6), b"hello\n")
        end = Background(lambda: (drip.read_to_end(), began()))
        while end.is_alive():
            # Half a line first, so that it always has one that has just begun.
            other.send(b"st")
            other.send(b"ill\n")
            self.assertEqual(other.read_exactly(6), b"still\n")
            try:
                drip.send(b"l")
            except OSError:
                self.assertGreater(began(), 0.5)
        received, took = end.result()
        self.assertEqual(received, b"")
        self.assert_on_time(took, 0.5)
        drip.close()
        self.wait_for_end(server, drip, "line-timeout")
        other.leave()
        books = self.books(server)
        self.assertEqual(books.ended, {"line-timeout": 1, "peer-closed": 1})

    def test_deadlinesOff(self) -> None:
        """
        C{0} is no deadline, not one that has passed. Another session's, which
        strikes, proves that there was time for it.
        """
        server = self.serve(*NO_DEADLINES, "--abort-after=0.5", "--max-length=20")
        silent = self.client(server, handshake=False)
        half, idle, ended = (self.client(server) for _ in range(3))
        half.send(b"half")
        self.assertEqual(idle.round_trip(b"hello\n"), b"hello\n")
        ended.send(b"x" * 30)
        self.assertEqual(ended.read_to_end(), b"")
        ended.wait_for_reset()
        if self.tls:
            silent.handshake()
        for client in (silent, idle):
            self.assertEqual(client.round_trip(b"hello\n"), b"hello\n")
        half.send(b" a line\n")
        self.assertEqual(half.read_exactly(12), b"half a line\n")


class TLSDeadlineFaultTests(DeadlineFaultTests):
    """
    With TLS.
    """

    tls = True


@slow
class EPollDeadlineFaultTests(DeadlineFaultTests):
    """
    By Twisted's epoll reactor.
    """

    reactor = EPOLL


@slow
class EPollTLSDeadlineFaultTests(DeadlineFaultTests):
    """
    With TLS, by Twisted's epoll reactor.
    """

    tls = True
    reactor = EPOLL


@slow
class EagerAsyncioDeadlineFaultTests(DeadlineFaultTests):
    """
    By the eager reactor on asyncio's loop.
    """

    reactor = EAGER_ASYNCIO
