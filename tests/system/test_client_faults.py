"""
Clients that misbehave, one fault at a time, against a real C{twistd echo}.

What C{test_command_errors.py} shows already is not here: a port in use, a port below
1024 without rights, clients that nobody stops reading or writing at a stop.
"""

import contextlib
import random
import signal
import socket
import time

from tests.support.fault_clients import (
    Background,
    Client,
    Flood,
    Stopwatch,
    exchange,
)
from tests.support.faults import (
    EAGER_ASYNCIO,
    EPOLL,
    MIB,
    SLACK,
    FaultTestCase,
    numbered,
    only,
    write_until_cut_off,
)
from tests.support.marks import slow
from tests.support.processes import DEADLINE, Server
from twisted_echo.testing.command_process import Books


class ClientFaultTests(FaultTestCase):
    """
    What a client can do to a connection, whether it talks TLS or not.
    """

    def test_oneByteAtATime(self) -> None:
        """
        Bytes of lines, and under TLS those of its records too.
        """
        server = self.serve()
        sent = b"a line\n\n\x00\xff\r\n" * 10 + b"rest"
        client = self.client(server)
        self.assertEqual(exchange(client, (sent[n : n + 1] for n in range(124))), sent)
        client.close()
        if self.tls:
            client = self.client(server, piece=1)
            self.assertEqual(exchange(client, [sent]), sent)
            client.close()
        books = self.books(server)
        self.assertEqual(books.ended, {"peer-closed": 1 + self.tls})

    def test_allByteValuesInRandomCuts(self) -> None:
        server = self.serve()
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        chance = random.Random(seed)
        for size in (256, 5_000, 400_000):
            values = list(range(256)) * (size // 256 + 1)
            chance.shuffle(values)
            sent = bytes(values[:size])
            cuts = sorted(chance.choices(range(size + 1), k=chance.randrange(1, 200)))
            pieces = [
                sent[start:end]
                for start, end in zip([0, *cuts], [*cuts, size], strict=True)
            ]
            with self.client(server) as client:
                received = exchange(client, pieces)
            self.assertTrue(received == sent, f"seed {seed}")
        self.assertEqual(self.books(server).ended, {"peer-closed": 3})

    def test_lineWithoutEnd(self) -> None:
        """
        The lines before it are answered, it is not, and one who goes on sending
        it for ever is cut off.
        """
        server = self.serve("--max-length=1000", "--abort-after=0.5")
        polite, endless = self.client(server), self.client(server)
        polite.send(b"a\nb\n" + b"x" * 5_000)
        self.assertEqual(polite.read_to_end(), b"a\nb\n")
        self.wait_for_end_of_line(server, polite)
        before = self.vitals.memory()
        endless.send(b"a\nb\n")
        self.assertEqual(endless.read_exactly(4), b"a\nb\n")
        end = Background(endless.receive)
        began = Stopwatch()
        write_until_cut_off(endless, b"x" * (1 << 17), 1 << 40)
        self.assertLess(began(), 0.5 + SLACK)
        # Its own reset may have come before it looked.
        try:
            self.assertEqual(end.result(), b"")
        except OSError as error:
            self.assertNotIsInstance(error, TimeoutError)
        self.assertLess(self.vitals.memory() - before, 16 * MIB)
        books = self.books(server)
        self.assertEqual(books.ended["line-too-long"] + books.ended["aborted"], 2)

    def wait_for_end_of_line(self, server: Server, client: Client) -> None:
        client.close()
        server.wait_for("line-too-long|over the limit of 1000")

    def test_writerThatNeverReads(self) -> None:
        """
        Ten clients have 200 MB to send and read nothing. The server does not
        hold it, and cuts them off at the deadline; others are not slowed.
        """
        server = self.serve(*only("write-timeout", 0.6))
        other = self.client(server)
        deaf = [self.client(server) for _ in range(10)]
        before = self.vitals.memory()
        piece, limit = numbered(1 << 16), 20_000_000
        writers = [
            Background(lambda client=each: write_until_cut_off(client, piece, limit))
            for each in deaf
        ]
        began, peak = Stopwatch(), before
        while any(writer.is_alive() for writer in writers):
            self.assertEqual(other.round_trip(b"still\n"), b"still\n")
            peak = max(peak, self.vitals.memory())
        self.assertGreaterEqual(began(), 0.6)
        for writer in writers:
            _, waited = writer.result()
            self.assertLess(waited, 0.6 + 0.15 + SLACK)
        self.assertLess(peak - before, 16 * MIB)
        server.wait_for("ended: write-timeout")
        other.leave()
        books = self.books(server)
        self.assertEqual(books.ended, {"write-timeout": 10, "peer-closed": 1})

    def test_pausedSessionWhosePeerHasGone(self) -> None:
        """
        A session that is not read from does not hear of its client's end. It is
        found all the same.
        """
        server = self.serve(*only("write-timeout", 1.5))
        gone = self.client(server, buffer=4096)
        gone.socket.settimeout(0.1)
        lines = numbered(1 << 16)
        # On a slow machine the deadline may come before all is full.
        with contextlib.suppress(TimeoutError, ConnectionError):
            while True:
                gone.send(lines)
        gone.reset()
        self.wait_for_no_one()
        self.assertEqual(self.books(server).served, 1)

    def test_slowReaderIsSpared(self) -> None:
        """
        Progress, however slow, is progress: a client that reads a little at a
        time gets everything, though all of it takes longer than the deadline.
        """
        server = self.serve(*only("write-timeout", 0.5))
        client = self.client(server, buffer=4096)
        sent = numbered(8 * MIB)
        sender = Background(lambda: client.send(sent, finish=True))
        began, received = Stopwatch(), bytearray()
        while chunk := client.receive():
            received += chunk
            if began() < 1.2:
                time.sleep(0.005)
        sender.result()
        self.assertTrue(received == sent)
        client.close()
        self.assertEqual(self.books(server).ended, {"peer-closed": 1})

    def test_halfCloseAfter50MB(self) -> None:
        server = self.serve()
        sent = numbered(50_000_000)
        before = self.vitals.memory()
        with self.client(server) as client:
            received = exchange(client, [sent])
        self.assertTrue(received == sent, len(received))
        self.assertLess(self.vitals.memory() - before, 16 * MIB)
        self.assertEqual(self.books(server).ended, {"peer-closed": 1})

    def test_everythingAtOnceThenEnd(self) -> None:
        """
        Every byte comes back when end-of-file comes with the data.
        """
        server = self.serve()
        for size in (0, 1, 15_000, 3_000_000):
            for _ in range(5):
                with self.client(server) as client:
                    received = exchange(client, [numbered(size)])
                self.assertTrue(received == numbered(size), (size, len(received)))
        self.assertEqual(self.books(server).ended, {"peer-closed": 20})

    def test_resetInMidWrite(self) -> None:
        """
        Clients go away while they are sent answers; nobody else notices.
        """
        server = self.serve(*only("write-timeout", 0.5))
        other = self.client(server)
        for _ in range(20):
            client = self.client(server)
            sender = Background(lambda client=client: client.send(numbered(MIB)))
            self.assertNotEqual(client.receive(), b"")
            client.socket.shutdown(socket.SHUT_RD)
            client.reset()
            with contextlib.suppress(OSError):
                sender.result()
            self.assertEqual(other.round_trip(b"still\n"), b"still\n")
        other.leave()
        self.wait_for_no_one()
        books = self.books(server)
        self.assertEqual(books.served, 21)
        self.assertEqual(books.ended["peer-closed"], 1, str(books))

    def check_connect_and_reset(self, number: int) -> None:
        server = self.serve()

        def reset(times: int) -> None:
            for _ in range(times):
                client = self.raw_dial(server)
                client.reset()

        # Under TLS what one leaves waits for a run of the garbage collector, so
        # it is some time before there is no more of it than ever.
        reset(number // 2)
        self.wait_for_no_one()
        before = self.vitals.memory()
        reset(number - number // 2)
        client = self.client(server)
        self.assertEqual(client.round_trip(b"still\n"), b"still\n")
        client.close()
        self.wait_for_no_one()
        self.assertLess(self.vitals.memory() - before, 16 * MIB)
        books = self.books(server)
        self.assertEqual(books.served + books.refused, number + 1, str(books))
        # An attacker does not fill the disk.
        self.assertLess(server.stdout.count("\n"), 100)

    def raw_dial(self, server: Server) -> Client:
        """
        Connect, for a client that closes by itself.
        """
        return Client(socket.create_connection(server.address, DEADLINE))

    def test_connectAndReset(self) -> None:
        self.check_connect_and_reset(3000)

    @slow
    def test_connectAndResetOften(self) -> None:
        self.check_connect_and_reset(10_000)

    def test_stopUnderLoad(self) -> None:
        """
        SIGTERM while clients send without pause: each gets whole lines, the
        first that it sent, then end-of-file, and no reset.
        """
        server = self.serve("--abort-after=25")
        floods = [Flood(self.client(server), f"client {n}") for n in range(6)]
        for flood in floods:
            self.assertTrue(flood.busy.wait(DEADLINE))
        server.process.send_signal(signal.SIGTERM)
        for flood in floods:
            flood.check()
        took = Stopwatch()
        for flood in floods:
            flood.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assertLess(took(), 20)
        self.assert_calm(server)
        books = Books.of(server.stdout)
        self.assertEqual((books.sessions, books.ended), (6, {"stopped": 6}))

    def test_stopTwice(self) -> None:
        """
        A second SIGTERM, while the first one waits for a client that does not
        end, changes nothing worse than the patience.
        """
        server = self.serve("--abort-after=0.5")
        client = self.client(server)
        self.assertEqual(client.round_trip(b"hello\n"), b"hello\n")
        began = Stopwatch()
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(client.read_to_end(), b"")
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertLess(began(), 0.5 + SLACK)
        self.assert_calm(server)

    def test_peerThatIgnoresEndOfFile(self) -> None:
        """
        Who is sent end-of-file and does not end is cut off.
        """
        server = self.serve("--max-length=10", "--abort-after=0.5")
        client = self.client(server)
        began = Stopwatch()
        client.send(b"a\n" + b"x" * 20 + b"\n")
        self.assertEqual(client.read_to_end(), b"a\n")
        client.wait_for_reset()
        self.assert_on_time(began(), 0.5)
        self.wait_for_no_one()
        self.assertEqual(self.books(server).served, 1)

    def check_million(self, pipelines: int, bound: float) -> None:
        server = self.serve()
        sent = b"".join(b"line %d\n" % n for n in range(1_000_000))
        lines = [self.client(server) for _ in range(pipelines)]
        other = self.client(server)
        other.round_trip(b"before\n")
        millions = [
            Background(lambda client=client: exchange(client, [sent]))
            for client in lines
        ]
        waits = []
        while any(each.is_alive() for each in millions):
            began = Stopwatch()
            self.assertEqual(other.round_trip(b"while\n"), b"while\n")
            waits.append(began())
        for each in millions:
            self.assertTrue(each.result() == sent)
        waits.sort()
        self.assertGreater(len(waits), 10)
        self.assertLess(waits[-1], 1)
        self.assertLess(waits[int(len(waits) * 0.99)], bound)

    def test_millionLinesBesidePingPong(self) -> None:
        self.check_million(1, 0.1)

    @slow
    def test_severalMillionLinesBesidePingPong(self) -> None:
        # All of them are in this one process, and wait for one another.
        self.check_million(8, 0.3)


class TLSClientFaultTests(ClientFaultTests):
    """
    With TLS.
    """

    tls = True


@slow
class EPollClientFaultTests(ClientFaultTests):
    """
    By Twisted's epoll reactor.
    """

    reactor = EPOLL


@slow
class EPollTLSClientFaultTests(ClientFaultTests):
    """
    With TLS, by Twisted's epoll reactor.
    """

    tls = True
    reactor = EPOLL


@slow
class EagerAsyncioClientFaultTests(ClientFaultTests):
    """
    By the eager reactor on asyncio's loop.
    """

    reactor = EAGER_ASYNCIO
