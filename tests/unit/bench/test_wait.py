"""
Tests for C{python -m twisted_echo.bench wait}. What is measured is not judged here.
"""

import io
import json
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IPushProducer
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.support.bench import LinuxCase, MisbehavingServer, bench, until_closed
from tests.support.marks import slow
from tests.support.processes import new_folder
from twisted_echo.bench import children, wait_command, wait_runs
from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.neighbors import neighbor_peer, neighbor_servers
from twisted_echo.bench.neighbors.neighbor import NEIGHBORS, Neighbor, PeerOrder
from twisted_echo.bench.neighbors.neighbor_peer import Peer
from twisted_echo.bench.neighbors.neighbor_server import listen
from twisted_echo.bench.neighbors.neighbor_servers import (
    CHUNK,
    MOST,
    PATTERN,
    ProducerUntilPaused,
)
from twisted_echo.bench.turns import Pair
from twisted_echo.bench.waits import FORMAT, Wait, Waits

PAIR = Pair("epoll", "eager")


class WaitsTests(SynchronousTestCase):
    def test_rows(self) -> None:
        """
        The median and the worst of the rounds, of what both reactors have.
        """
        waits = Waits({}, [PAIR])
        for neighbor, reactor, times in (
            ("producer", "epoll", (1.0, 2.0, 9.0)),
            ("producer", "eager", (60.0, 55.0, 70.0)),
            ("web", "epoll", (30.0,)),
            ("web", "eager", (100.0,)),
            ("flood", "epoll", (1.0,)),
        ):
            for number, each in enumerate(times):
                run = Wait(neighbor, str(PAIR), reactor, number, each, 9, 9)
                waits.runs.append(run)
        producer, web = waits.rows(PAIR)
        self.assertEqual((producer.stock, producer.eager), ((2.0, 9.0), (60.0, 70.0)))
        self.assertEqual((producer.allowed, web.allowed), (50.0, 150.0))
        self.assertEqual(
            [wait_command.cells(each) for each in (producer, web)],
            [
                ["a push producer", "2 (9)", "60 (70)*"],
                ["a response of 300 MB, twisted.web", "30 (30)", "100 (100)"],
            ],
        )
        written = json.loads(waits.to_json())
        self.assertEqual(written["format"], FORMAT)
        self.assertEqual(len(written["runs"]), 9)
        self.assertEqual(written["waits"][1]["allowed"], 150.0)


class Consumer:
    """
    Pauses its producer after some writes.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.calls: list[str] = []

    def registerProducer(self, producer: ProducerUntilPaused, streaming: bool) -> None:
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        self.calls.append("unregister")

    def loseConnection(self) -> None:
        self.calls.append("lose")

    def write(self, data: bytes) -> None:
        self.calls.append("write")
        self.room -= 1
        if self.room == 0:
            self._producer.pauseProducing()


class ProducerTests(SynchronousTestCase):
    def test_untilPaused(self) -> None:
        """
        It writes until it is paused, goes on when it is resumed, and closes at the end.
        """
        consumer = Consumer(2)
        producer = ProducerUntilPaused(consumer, 5 * len(CHUNK))
        verifyObject(IPushProducer, producer)
        producer.begin()
        self.assertEqual(consumer.calls, ["write"] * 2)
        consumer.room = 9
        producer.resumeProducing()
        self.assertEqual(consumer.calls, ["write"] * 5 + ["unregister", "lose"])

    def test_stopped(self) -> None:
        consumer = Consumer(2)
        producer = ProducerUntilPaused(consumer, MOST)
        producer.pauseProducing = producer.stopProducing
        producer.begin()
        self.assertEqual(consumer.calls, ["write"] * 2)


class NeighborTests(TestCase):
    """
    Servers on the reactor of this process, with the peer in a thread.
    """

    @inlineCallbacks
    def meet(self, neighbor: Neighbor) -> Generator[Deferred[Any], Any, None]:
        self.patch(neighbor_servers, "PAGE", 1 << 20)
        self.patch(neighbor_peer, "PAGE", 1 << 20)
        self.patch(neighbor_servers, "SEQUENCE", [PATTERN] * 1024)
        self.patch(neighbor_peer, "SEQUENCE", [PATTERN] * 1024)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        where, port = listen(neighbor, installed, Path(folder.name))
        self.addCleanup(port.stopListening)
        order = PeerOrder(neighbor.peer, neighbor.transport, where, 60, 200_000)
        said: list[str] = []

        def peer() -> int:
            peer = Peer(order, lambda: said.append("begun"))
            peer.run()
            return peer.read

        read = yield deferToThread(peer)
        self.assertGreaterEqual(read, 200_000)
        self.assertEqual(said, ["begun"])
        yield until_closed(installed)

    def test_producer(self) -> Deferred[None]:
        return self.meet(NEIGHBORS["producer"])

    def test_web(self) -> Deferred[None]:
        return self.meet(NEIGHBORS["web"])

    def test_flood(self) -> Deferred[None]:
        return self.meet(NEIGHBORS["flood"])

    def test_sequence(self) -> Deferred[None]:
        return self.meet(NEIGHBORS["sequence"])

    def test_unix(self) -> Deferred[None]:
        return self.meet(NEIGHBORS["unix"])

    def test_descriptors(self) -> Deferred[None]:
        return self.meet(NEIGHBORS["descriptors"])


class PeerTests(SynchronousTestCase):
    def peer(self, answer: Callable[[int, bytes], bytes | None], peer: str) -> str:
        """
        @return: what the process says of such a server.
        """
        target = MisbehavingServer(self, answer).target
        order = PeerOrder(peer, "tcp", target, 60, 1000)
        output = io.StringIO()
        neighbor_peer.main(io.StringIO(f"{order.to_json()}\ngo\n"), output)
        return output.getvalue()

    def test_broken(self) -> None:
        """
        Wrong bytes and an early end are told.
        """
        for peer, answer, says in (
            ("read", None, "connected\nbroken the server has closed, after 0 bytes\n"),
            ("read", b"\0wrong", "connected\nbegun\nbroken wrong bytes after 0"),
            ("read", PATTERN * 4, "connected\nbegun\nread 1024\n"),
            ("get", None, "connected\nbroken no response, but b''\n"),
        ):
            said = self.peer(lambda number, line, answer=answer: answer, peer)
            self.assertTrue(said.startswith(says), said)

    def test_silent(self) -> None:
        self.patch(neighbor_peer, "PATIENCE", 0.05)
        self.assertIn("broken timed out", self.peer(lambda number, line: b"", "flood"))


class CommandTests(LinuxCase):
    tiny = ("--rounds", "1", "--seconds", "0.05", "--reactors", "epoll:eager")

    def test_run(self) -> None:
        file = new_folder(self) / "waits.json"
        status, output, problems = bench(
            *("wait", *self.tiny, "--only", "producer", "--megabytes", "1"),
            *("--json", str(file), "--markdown"),
        )
        self.assertEqual((status, problems), (0, ""))
        self.assertRegex(
            output,
            r"^longest wait in ms, epoll and eager: median \(worst\):\n\n"
            r"\| beside \| epoll \| eager \|\n.*\n"
            r"\| a push producer \| \S+ \(\S+\) \| \S+ \(\S+\)\*? \|\n\n$",
        )
        for run in json.loads(file.read_text())["runs"]:
            self.assertGreater(run["longest_ms"], 0)
            self.assertGreater(run["lines"], 0)
            self.assertGreater(run["read"], 0)

    @slow
    def test_all(self) -> None:
        """
        Beside all neighbors that can run here, and until SIGTERM has ended a server.
        """
        status, output, problems = bench("wait", *self.tiny)
        self.assertEqual(status, 0, problems)
        for each in NEIGHBORS.values():
            if not each.obstacle:
                self.assertIn(f"\n {each.label} ", output)

    def test_broken(self) -> None:
        """
        A server that fails is named, with what it printed.
        """
        self.patch(wait_runs, "SERVER", ("-c", "raise SystemExit('no luck')"))
        status, output, problems = bench("wait", *self.tiny, "--only", "producer")
        self.assertEqual((status, output), (1, ""))
        self.assertEqual(
            problems,
            "wait: a push producer on epoll did not start (it ended with status 1): no"
            " luck\n",
        )

    def test_noCertificate(self) -> None:
        def refuse(folder: object) -> None:
            raise wait_command.MissingPackage("it", "pip install that")

        self.patch(wait_command, "make_certificate", refuse)
        status, _, problems = bench("wait", *self.tiny, "--only", "tls")
        self.assertEqual(status, 2)
        self.assertIn("tls: it is not installed; to install it: pip", problems)

    def test_neverStops(self) -> None:
        """
        A server that SIGTERM does not end is one that is broken.
        """
        code = (
            "import signal, socket\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "listener = socket.create_server(('127.0.0.1', 0))\n"
            "where = '%s:%d' % listener.getsockname()\n"
            "print('neighbor at', where, flush=True)\n"
            "connection, _ = listener.accept()\n"
            "connection.sendall(bytes(range(256)))\n"
            "signal.pause()\n"
        )
        self.patch(wait_runs, "SERVER", ("-c", code))
        self.patch(wait_runs, "PATIENCE", 0.1)
        self.patch(children, "GRACE", 0.05)
        effort = wait_runs.WaitEffort(1.0, 10**6, ((), ()), "")
        with self.assertRaisesRegex(BrokenServer, "did not end it within 0.1 s"):
            wait_runs.measure_wait(NEIGHBORS["stop"], PAIR, "epoll", 1, effort)

    def test_arguments(self) -> None:
        missing = Neighbor("x", "X", "x", needs=("no_such_module",))
        self.patch(wait_command, "NEIGHBORS", {"x": missing})
        for arguments, says in (
            (("--only", "nothing"), "each must be of x; got 'nothing'"),
            (("--only", "x"), "x needs no_such_module: .* pip install"),
            (("--reactors", "epoll"), "each must be FIRST:SECOND, .*; got 'epoll'"),
            (("--seconds", "0"), "must be a number of seconds from 0.05 to 600, got 0"),
            (("--json", "/no/such/file"), "--json /no/such/file: No such file"),
        ):
            status, output, problems = bench("wait", *arguments)
            self.assertEqual((status, output), (2, ""), arguments)
            self.assertRegex(problems, says)
