"""
Peers that misbehave, one fault at a time, against a real C{twistd echo}.

What C{test_command.py} shows already is not here: a port in use, a port below 1024
without rights, clients that nobody stops reading or writing at a stop.
"""

import contextlib
import random
import re
import signal
import socket
import ssl
import time
import warnings
from select import select

from tests.support.certificates import make_certificate
from tests.support.faults import (
    EPOLL,
    HEADER_V1,
    HEADER_V2,
    MIB,
    SLACK,
    Background,
    Books,
    Client,
    FaultTestCase,
    Flood,
    Stopwatch,
    TLSClient,
    exchange,
    is_cut_off,
    slow,
)
from tests.support.processes import DEADLINE, Server, wait_until

NO_DEADLINES = (
    "--idle-timeout=0",
    "--line-timeout=0",
    "--write-timeout=0",
    "--handshake-timeout=0",
)


def only(name: str, seconds: float) -> tuple[str, ...]:
    """
    The options for one deadline and no other, so that its lateness is its own.
    """
    others = (each for each in NO_DEADLINES if not each.startswith(f"--{name}="))
    return (*others, f"--{name}={seconds}")


def numbered(size: int) -> bytes:
    """
    C{size} bytes of lines that all differ, the last one perhaps without its end.
    """
    # Made by doubling: a join of a million lines takes longer than their echo.
    step = b"".join(b"%07d %s\n" % (n, b"x" * (n % 90)) for n in range(20_000))
    return (step * (size // len(step) + 1))[:size]


def write_until_cut_off(client: Client, data: bytes, limit: int) -> tuple[int, float]:
    """
    Send and never read, until that is an error.

    @return: how many bytes were taken, and how many seconds passed between the
        last of them and the error.
    """
    sent, last = 0, Stopwatch()
    try:
        while sent < limit:
            if not isinstance(client, TLSClient):
                sent += client.socket.send(data)
            else:
                client.send(data)
                sent += len(data)
            last = Stopwatch()
    except TimeoutError:
        raise
    except OSError:
        return sent, last()
    raise AssertionError(f"{sent} bytes were taken of a client that does not read")


class Faults:
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


class NetworkFaults:
    """
    What networks do, by the fault proxy that users have, too.
    """

    def test_cutAtEveryByte(self: FaultTestCase) -> None:
        """
        Wherever a connection is cut, in either direction, by an end or by a reset: what
        came before is the beginning of the answers, and nothing is left of it.
        """
        server = self.serve("--log-sessions=none")
        proxy = self.proxy(server)
        sent = b"one\ntwo\n"
        # Of TLS, its handshake and its records: every so many bytes of them.
        cuts = range(1, 2500, 97) if self.tls else range(len(sent) + 1)
        for flow in (proxy.to_server, proxy.to_client):
            for by in ("end", "reset"):
                flow.cut_by = by
                for cut in cuts:
                    flow.cut_after = cut
                    got = b""
                    # (A reset may even come before it has connected.)
                    with (
                        contextlib.suppress(OSError, EOFError),
                        self.client(server, through=proxy, handshake=False) as client,
                    ):
                        if self.tls:
                            client.handshake()
                        client.send(sent, finish=True)
                        while data := client.receive():
                            got += data
                    self.assertTrue(sent.startswith(got), (flow, by, cut, got))
                    if not self.tls and by == "end":
                        self.assertEqual(len(got), cut)
            flow.cut_after = None
        whole = self.client(server, through=proxy)
        self.assertEqual(exchange(whole, [sent]), sent)
        whole.close()
        self.books(server)

    def test_stalled(self: FaultTestCase) -> None:
        """
        Whatever waits on the way meanwhile, nothing is lost when it moves again.
        """
        server = self.serve()
        proxy = self.proxy(server)
        client = self.client(server, through=proxy)
        self.assertEqual(client.round_trip(b"before\n"), b"before\n")
        sent = numbered(4 * MIB)
        proxy.to_client.stall()
        echo = Background(lambda: exchange(client, [sent]))
        before = proxy.to_client.forwarded
        wait_until(lambda: proxy.to_server.forwarded > 1 << 16)
        self.assertEqual(proxy.to_client.forwarded, before)
        proxy.to_client.release()
        self.assertEqual(echo.result(), sent)
        client.close()
        self.books(server)

    def test_piecesWithDelays(self: FaultTestCase) -> None:
        """
        Every byte by itself, and some of them late.
        """
        server = self.serve()
        proxy = self.proxy(server)
        for flow in (proxy.to_server, proxy.to_client):
            flow.pieces, flow.delay = 1, 0.0001
        client = self.client(server, through=proxy)
        sent = b"".join(b"%d\n" % each for each in range(50))
        self.assertEqual(exchange(client, [sent]), sent)
        client.close()
        self.books(server)

    def test_resetOnTheWay(self: FaultTestCase) -> None:
        """
        A reset in mid-answer ends that session, and no other.
        """
        server = self.serve()
        proxy = self.proxy(server)
        other = self.client(server)
        clients = [self.client(server, through=proxy) for _ in range(5)]
        for client in clients:
            self.assertEqual(client.round_trip(b"x\n"), b"x\n")
            client.send(b"y\n")
        proxy.reset()
        for client in clients:
            with self.assertRaises(OSError):
                while client.receive():
                    pass
                raise ConnectionError("it is an end, not a reset")
            client.close()
        self.assertEqual(other.round_trip(b"still\n"), b"still\n")
        other.leave()
        self.books(server)

    def test_endThatNeverArrives(self: FaultTestCase) -> None:
        """
        A server whose peer's end-of-file is lost has a deadline for it.
        """
        server = self.serve(*only("idle-timeout", 0.5), "--abort-after=0.5")
        proxy = self.proxy(server)
        proxy.to_server.drop_fin = True
        client = self.client(server, through=proxy)
        self.assertEqual(client.round_trip(b"x\n"), b"x\n")
        client.socket.shutdown(socket.SHUT_WR)
        server.wait_for("session of [^\n]* ended: idle")
        self.wait_for_no_one()
        client.close()
        self.books(server)


class DeadlineFaults:
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


class LimitFaults:
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
                lambda client=each: write_until_cut_off(client, numbered(1 << 16), 1e9)
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


class ProxyFaults:
    """
    What can be wrong with the header of the PROXY protocol.
    """

    def test_announcedPeer(self) -> None:
        """
        The log knows the client that the header tells of, and the header may
        come in any pieces.
        """
        server = self.serve("--max-length=10", proxy=True)
        for number, header in enumerate((HEADER_V1, HEADER_V2), 1):
            client = self.client(server, header=header)
            client.send(b"a\n" + b"x" * 20 + b"\n")
            self.assertEqual(client.read_to_end(), b"a\n")
            client.close()
            wait_until(
                lambda number=number: len(self.told_of(server, "192.0.2.1")) == number
            )
        for line in self.told_of(server, "192.0.2.1"):
            self.assertIn("40000", line)
            self.assertIn("line-too-long", line)
        self.assertEqual(self.books(server).ended, {"line-too-long": 2})

    def told_of(self, server: Server, peer: str) -> list[str]:
        """
        The lines of the log that name a peer and its session's end.
        """
        return [
            line
            for line in server.stdout.splitlines()
            if peer in line and " ended: " in line
        ]

    def test_headerCutAnywhere(self) -> None:
        """
        A header, cut at any byte, is a header; without its rest, it is none.
        """
        server = self.serve(proxy=True)
        complete = cut = 0
        for header in (HEADER_V1, HEADER_V2):
            for place in range(1, len(header)):
                client = self.client(server, header=header[:place], handshake=False)
                # Not before the first part has been read: the second one would
                # only be the end of the first. Another client's turn is that.
                self.assert_echoes(server)
                client.socket.sendall(header[place:])
                client.handshake()
                client.send(b"hello", finish=True)
                self.assertEqual(client.read_to_end(), b"hello")
                client.close()
                complete += 2
                short = self.client(server, header=header[:place], handshake=False)
                short.socket.shutdown(socket.SHUT_WR)
                self.assertTrue(is_cut_off(short))
                short.close()
                cut += 1
        books = self.books(server)
        self.assertEqual(books.ended, {"peer-closed": complete})
        self.assertEqual(books.refusals, {"bad-proxy-header": cut})

    def assert_echoes(self, server: Server) -> None:
        with self.client(server, header=HEADER_V1) as client:
            client.send(b"hello", finish=True)
            self.assertEqual(client.read_to_end(), b"hello")

    def test_headerAndAllElseAtOnce(self) -> None:
        """
        What follows the header in the same segment is not lost, nor is the
        end-of-file.
        """
        server = self.serve(proxy=True)
        unknown = b"PROXY UNKNOWN\r\n"
        local = HEADER_V2[:12] + b"\x20\x00\x00\x00"
        for header in (HEADER_V1, HEADER_V2, unknown, local):
            for size in (0, 1, 15_000, 3_000_000):
                client = self.client(server, handshake=False)
                if self.tls:
                    client.socket.sendall(header + client.hello())
                    client.handshake()
                    received = exchange(client, [numbered(size)])
                else:
                    received = exchange(client, [header + numbered(size)])
                self.assertTrue(received == numbered(size), (header, len(received)))
                client.close()
        self.assertEqual(self.books(server).ended, {"peer-closed": 16})

    def test_garbageForHeader(self) -> None:
        """
        It ends its connection, is counted, and nothing of it gets into the log
        that would look like a line of it.
        """
        v2 = HEADER_V2[:12]
        garbage = [
            b"\r\n",
            b"\n" * 200,
            b"GET / HTTP/1.0\r\n\r\n",
            b"hello, this is no header\n",
            b"\x00" * 300,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 300,
            bytes(range(256)),
            b"PROXY\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 40000\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 7 8\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 x 7\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 7\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 7\r\n",
            b"PROXY TCP4 a\nFAKE 192.0.2.2 40000 7\r\n",
            b"PROXY TCP4 a\nFAKE\x1b[31m 40000 7\r\n",
            b"PROXY TCP4 192.0.2.1\nFAKE 192.0.2.2 40000 7\r\n",
            b"PROXY TCP4 999.0.2.1 192.0.2.2 40000 7\r\n",
            b"PROXY TCP4 ::1 ::1 40000 7\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 40000 7\r\n",
            b"PROXY TCP6 \xff\xfe \xff 40000 7\r\n",
            b"PROXY \xff\xfe 192.0.2.1 192.0.2.2 40000 7\r\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.2 40000 7\r\n",
            b"PROXY TCP4 " + b"1" * 60_000,
            b"PROXY UNKNOWN " + b"x" * 60_000 + b"\r\n",
            # A version that is not 2, a command and a family that do not exist, an
            # address that is too short for its family.
            v2 + b"\x11" + HEADER_V2[13:],
            v2 + b"\x2f" + HEADER_V2[13:],
            v2 + b"\x21\x4f" + HEADER_V2[14:],
            v2 + b"\x21\x11\x00\x04abcd",
            v2 + b"\x21\x21\x00\x0c" + b"\n" * 12,
        ]
        server = self.serve(*only("handshake-timeout", 5), proxy=True)
        for each in garbage:
            client = self.client(server, header=each, handshake=False)
            # Whoever waits for more of it will see that there is none.
            with contextlib.suppress(OSError):
                client.socket.shutdown(socket.SHUT_WR)
            self.assertTrue(is_cut_off(client), each)
            client.close()
        self.assert_echoes(server)
        books = self.books(server)
        self.assertEqual(books.ended, {"peer-closed": 1})
        self.assertEqual(books.refusals, {"bad-proxy-header": len(garbage)})
        for line in server.stdout.splitlines():
            self.assertNotRegex(line, r"\AFAKE|\x1b")
        # A few lines for a few reasons, not one for each.
        self.assertLess(server.stdout.count("bad-proxy-header"), 15)

    def test_hugeHeader(self) -> None:
        """
        One that says it is 64 KiB long, and takes its time, is not kept.
        """
        server = self.serve(*only("handshake-timeout", 0.8), proxy=True)
        client = self.client(
            server, header=HEADER_V2[:14] + b"\xff\xff" + b"x" * 100, handshake=False
        )
        began = Stopwatch()
        self.assertTrue(is_cut_off(client))
        self.assertLess(began(), 1 + SLACK)
        client.close()
        self.assertEqual(self.books(server).refused, 1)

    def test_delayedHeader(self) -> None:
        """
        A header that does not come, or not to its end, or a byte at a time, has
        a deadline.
        """
        server = self.serve(*only("handshake-timeout", 0.5), proxy=True)
        began = Stopwatch()
        silent = self.client(server, handshake=False)
        half = self.client(server, header=HEADER_V1[:20], handshake=False)
        drip = self.client(server, handshake=False)
        ends = [
            Background(lambda client=client: (is_cut_off(client), began()))
            for client in (silent, half, drip)
        ]
        for place in range(len(HEADER_V1) - 2):
            if not ends[2].is_alive():
                break
            try:
                drip.socket.sendall(HEADER_V1[place : place + 1])
            except OSError:
                break
            ends[2].join(0.05)
        for end in ends:
            cut, took = end.result()
            self.assertTrue(cut)
            self.assert_on_time(took, 0.5)
        books = self.books(server)
        self.assertEqual(books.refusals, {"handshake-timeout": 3})

    def test_proxyThatMayNot(self) -> None:
        """
        A header is believed only of those who may send one.
        """
        server = self.serve(
            "--proxy-from=192.0.2.0/24", "--proxy-from=127.0.0.2/32", proxy=True
        )
        client = self.client(server, header=HEADER_V1, handshake=False)
        self.assertTrue(is_cut_off(client))
        client.close()
        server.wait_for("refused: refused-proxy")
        trusted = self.client(server, header=HEADER_V1, source="127.0.0.2")
        self.assertEqual(trusted.round_trip(b"hello\n"), b"hello\n")
        trusted.close()
        books = self.books(server)
        self.assertEqual((books.served, books.refusals), (1, {"refused-proxy": 1}))

    def test_fullForOnePeerBehindProxy(self) -> None:
        """
        The peer that is announced is the one that counts.
        """
        server = self.serve("--max-sessions-per-peer=1", proxy=True)
        old = self.client(server, header=HEADER_V1)
        self.assertEqual(old.round_trip(b"hello\n"), b"hello\n")
        client = self.client(server, header=HEADER_V2, handshake=False)
        self.assertTrue(is_cut_off(client))
        client.close()
        other = self.client(server, header=HEADER_V1.replace(b"2.1 ", b"2.9 ", 1))
        self.assertEqual(other.round_trip(b"hello\n"), b"hello\n")
        for client in (old, other):
            client.close()
        books = self.books(server)
        self.assertEqual((books.served, books.refusals), (2, {"refused-peer": 1}))

    def test_fullRefusesBehindProxy(self) -> None:
        server = self.serve("--max-sessions=1", "--when-full=refuse", proxy=True)
        old = self.client(server, header=HEADER_V1)
        self.assertEqual(old.round_trip(b"hello\n"), b"hello\n")
        for header in (HEADER_V1, HEADER_V2):
            client = self.client(server, handshake=False)
            client.socket.sendall(header)
            self.assertTrue(is_cut_off(client))
            client.close()
        self.assertEqual(old.round_trip(b"still\n"), b"still\n")
        old.close()
        books = self.books(server)
        self.assertEqual((books.served, books.refusals), (1, {"refused-full": 2}))


class TLSFaults:
    """
    What only a client of TLS can do.
    """

    def test_olderTLSThenEnd(self) -> None:
        """
        In TLS 1.2 too, every byte comes back after C{close_notify}.
        """
        server = self.serve()
        context = self.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        for size in (1, 15_000, 3_000_000):
            with self.client(server, context=context) as client:
                received = exchange(client, [numbered(size)])
            self.assertTrue(received == numbered(size), (size, len(received)))
        self.assertEqual(self.books(server).ended, {"peer-closed": 3})

    def test_endWithoutFarewell(self) -> None:
        """
        A client that ends TCP and not TLS takes nobody along.
        """
        server = self.serve()
        client = self.client(server)
        self.assertEqual(client.round_trip(b"hello\n"), b"hello\n")
        client.socket.shutdown(socket.SHUT_WR)
        try:
            client.read_to_end()
        except OSError as error:
            self.assertNotIsInstance(error, TimeoutError)
        client.close()
        self.wait_for_no_one()
        self.assertEqual(self.books(server).served, 1)

    def test_unfinishedHandshake(self) -> None:
        """
        Silence, half a C{ClientHello}, and one that comes a byte at a time all
        have a deadline.
        """
        server = self.serve(*only("handshake-timeout", 0.5))
        began = Stopwatch()
        silent, half, drip = (self.client(server, handshake=False) for _ in range(3))
        hello = half.hello()
        half.socket.sendall(hello[: len(hello) // 2])
        ends = [
            Background(lambda client=client: (is_cut_off(client), began()))
            for client in (silent, half, drip)
        ]
        for place in range(len(hello) - 1):
            try:
                drip.socket.sendall(hello[place : place + 1])
            except OSError:
                break
            if not ends[2].is_alive():
                break
            ends[2].join(0.05)
        for end in ends:
            cut, took = end.result()
            self.assertTrue(cut)
            self.assert_on_time(took, 0.5)
        self.wait_for_no_one()
        with self.client(server) as client:
            self.assertEqual(exchange(client, [b"hello"]), b"hello")
        books = self.books(server)
        self.assertEqual(books.ended, {"peer-closed": 1})
        self.assertEqual(books.refusals, {"handshake-timeout": 3})

    def test_noTLS(self) -> None:
        """
        Whoever speaks another language is sent away, and counted.
        """
        server = self.serve()
        garbage = (b"GET / HTTP/1.0\r\n\r\n", b"\n" * 100, b"\x16\x03\x01" * 200)
        for each in garbage:
            client = self.raw(server)
            client.send(each, finish=True)
            try:
                while client.receive():
                    # The alert that says so.
                    pass
            except TimeoutError:
                raise
            except OSError:
                pass
            client.close()
        books = self.books(server)
        self.assertEqual(books.refusals, {"handshake-failed": len(garbage)})

    def test_oldTLS(self) -> None:
        """
        TLS 1.1 is refused, by the server.
        """
        server = self.serve()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.folder / "cert.pem")
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(ssl.SSLError) as caught:
            self.client(server, context=context)
        self.assertEqual(caught.exception.reason, "TLSV1_ALERT_PROTOCOL_VERSION")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.client(server, context=context) as client:
            self.assertEqual(exchange(client, [b"hello"]), b"hello")
        books = self.books(server)
        self.assertEqual(books.refusals, {"handshake-failed": 1})

    def test_renewedCertificate(self) -> None:
        """
        SIGHUP: new connections get the new certificate, old ones go on. If a file
        is broken, the log says so once, and the old certificate stays.
        """
        server = self.serve()
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anyone.check_hostname = False
        anyone.verify_mode = ssl.CERT_NONE

        def shown() -> bytes:
            with self.client(server, context=anyone) as client:
                self.assertEqual(exchange(client, [b"hello"]), b"hello")
                return client.certificate

        old = self.client(server)
        first = shown()
        make_certificate(self.folder)
        self.assertEqual(shown(), first)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: shown() != first)
        second, good = shown(), (cert.read_bytes(), key.read_bytes())
        self.assertEqual(ssl.PEM_cert_to_DER_cert(good[0].decode()), second)
        self.assertEqual(old.round_trip(b"still\n"), b"still\n")

        make_certificate(self.folder)
        other = key.read_bytes()
        for number, (certificate, secret) in enumerate(
            ((b"FAKE\n", good[1]), (good[0], b""), (good[0], other)), 1
        ):
            cert.write_bytes(certificate)
            key.write_bytes(secret)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda told=number: server.stdout.count("#warn") >= told)
            self.assertEqual(shown(), second)
            self.assertEqual(server.stdout.count("#warn"), number)

        make_certificate(self.folder)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: shown() not in (first, second))
        self.assertEqual(old.round_trip(b"still\n"), b"still\n")
        old.close()
        self.assertEqual(self.books(server).refused, 0)


class PlainTests(
    NetworkFaults, ProxyFaults, LimitFaults, DeadlineFaults, Faults, FaultTestCase
):
    """
    Without TLS, by the eager reactor.
    """


class TLSTests(
    TLSFaults,
    NetworkFaults,
    ProxyFaults,
    LimitFaults,
    DeadlineFaults,
    Faults,
    FaultTestCase,
):
    """
    With TLS, by the eager reactor.
    """

    tls = True


@slow
class PlainByEPollTests(DeadlineFaults, Faults, FaultTestCase):
    """
    Without TLS, by Twisted's epoll reactor.
    """

    reactor = EPOLL


@slow
class TLSByEPollTests(TLSFaults, Faults, FaultTestCase):
    """
    With TLS, by Twisted's epoll reactor.
    """

    tls = True
    reactor = EPOLL


@slow
class PlainRestByEPollTests(ProxyFaults, LimitFaults, FaultTestCase):
    """
    What depends least on the reactor.
    """

    reactor = EPOLL


@slow
class TLSRestByEPollTests(ProxyFaults, LimitFaults, DeadlineFaults, FaultTestCase):
    """
    What depends least on the reactor.
    """

    tls = True
    reactor = EPOLL
