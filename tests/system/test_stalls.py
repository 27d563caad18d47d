"""
A stall of the process is billed to no peer: every deadline, on every kind of endpoint,
under several reactors. The process blocks longer than the deadlines, and its clients do
meanwhile what they have to.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.clients import ServedTestCase, in_thread, turn, until
from tests.support.marks import slow
from tests.support.peer import Peer
from tests.support.processes import DEADLINE, Server, new_folder, read_exactly
from twisted_echo import (
    AnsweringLineReceiver,
    Deadlines,
    EndReason,
    FastInt16StringReceiver,
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.lifecycle import State
from twisted_echo.net.tcp_info import TCPState, queuedOutput
from twisted_echo.testing import ServiceThread, elapse
from twisted_echo.testing.client_socket import dial

ALLOWED, STALL = 2.0, 2.5
OUTPUT = 8_000_000
ENDPOINTS = ("tcp", "unix", "ssl", "haproxy:tcp", "haproxy:ssl")


def only(deadline: str) -> Deadlines:
    """
    One deadline, or none.
    """
    names = ("idle", "line", "write", "handshake")
    return Deadlines(**{each: ALLOWED * (each == deadline) for each in names})


blocked = threading.Event()


def block() -> None:
    blocked.set()
    time.sleep(STALL)


class Upper(Session, FastLineReceiver):
    """
    Answers in upper case. C{block} takes its time, C{give} sends a lot.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        if line == b"block":
            block()
        elif line == b"give":
            self.transport.write(bytes(OUTPUT))
        else:
            self.sendLine(line.upper())


class Frames(Session, FastInt16StringReceiver):
    def stringReceived(self, string: bytes) -> None:
        self.sendString(string.upper())


class Asking(AnsweringLineReceiver):
    """
    Has its answers from elsewhere, by a connection of the reactor's.
    """

    delimiter = b"\n"
    answerTimeout = ALLOWED
    elsewhere: Any = None
    asked: "Deferred[bytes] | None" = None

    def connectionMade(self) -> None:
        super().connectionMade()
        session = self

        class Elsewhere(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert session.asked is not None
                session.asked.callback(data)

        ours, self.elsewhere = socket.socketpair()
        reactor = self.factory.clock  # type: ignore[union-attr]
        reactor.adoptStreamConnection(
            ours.fileno(), socket.AF_UNIX, Factory.forProtocol(Elsewhere)
        )
        ours.close()

    def connectionLost(self, *reason: Any) -> None:
        self.elsewhere.close()
        super().connectionLost(*reason)

    def answer(self, question: bytes) -> Any:
        self.asked = Deferred()
        return self.asked


class Scene:
    """
    One client of a service of its own, in the thread of all of them. What it does is in
    three parts: before the stall, during it, and after.
    """

    protocol: Any = Upper
    deadline = ""
    seen = ""
    session: Any = None

    def __init__(self, server: ServiceThread, kind: str, endpoint: str) -> None:
        self.server = server
        self.kind = kind

        def serve() -> SessionService:
            factory: Any = SessionFactory.forProtocol(
                self.protocol,
                clock=server._reactor,
                abortAfter=ALLOWED,
                deadlines=only(self.deadline),
            )
            service = SessionService(endpoint, factory)
            service.startService()
            return service

        self.service = server.call(serve)
        self.factory = self.service.factory

    def peer(self) -> Peer:
        self.client = Peer(self.service.addresses[0], self.kind)
        return self.client

    def established(self) -> Peer:
        peer = self.peer().establish()
        self.until(lambda: self.factory.sessions)
        (self.session,) = self.factory.sessions
        return peer

    def until(self, condition: Callable[[], Any]) -> None:
        give_up = time.monotonic() + DEADLINE
        while not self.server.call(lambda: bool(condition())):
            assert time.monotonic() < give_up, type(self).__name__
            time.sleep(0.01)

    def waitForSweep(self) -> None:
        """
        Wait until the sweep of the deadlines has seen what it is to judge.
        """
        unseen = 0 if self.seen == "received" else None
        if self.seen:
            self.until(
                lambda: getattr(self.session.lastSeen, self.seen, unseen) != unseen
            )

    def ask(self, data: bytes, expected: bytes) -> None:
        self.client.send(data)
        self.hear(expected)

    def hear(self, expected: bytes) -> None:
        got = b""
        while len(got) < len(expected):
            tls = self.client.tls
            piece = tls.read() if tls else self.client.socket.recv(len(expected))
            assert piece, f"{type(self).__name__} by {self.kind}: {got!r}, then the end"
            got += piece
        assert got == expected

    def ended(self) -> EndReason:
        self.until(lambda: not self.factory.sessions)
        (reason,) = self.factory.ended
        return reason

    def play(self) -> Iterator[None]:
        raise NotImplementedError


class Line(Scene):
    deadline = "line"
    seen = "line"

    def play(self) -> Iterator[None]:
        self.established().send(b"ab")
        yield
        self.client.send(b"c\n")
        yield
        self.hear(b"ABC\n")


class Frame(Line):
    protocol = Frames

    def play(self) -> Iterator[None]:
        self.established().send(b"\0\3a")
        yield
        self.client.send(b"bc")
        yield
        self.hear(b"\0\3ABC")


class Idle(Scene):
    deadline = "idle"
    seen = "received"

    def play(self) -> Iterator[None]:
        self.established()
        self.ask(b"a\n", b"A\n")
        yield
        self.client.send(b"b\n")
        yield
        self.hear(b"B\n")


class Pushed(Idle):
    """
    It is the server who is to send something, and had no time to.
    """

    def play(self) -> Iterator[None]:
        self.established()
        self.ask(b"a\n", b"A\n")
        yield
        yield
        assert not self.server.call(lambda: self.session.isClosing)
        self.server.call(lambda: self.session.sendLine(b"pushed"))
        self.hear(b"pushed\n")


class Handshake(Scene):
    """
    A PROXY header in two pieces; a TLS handshake, all of it after the stall but the
    client's first word.
    """

    deadline = "handshake"

    def play(self) -> Iterator[None]:
        peer = self.peer()
        peer.put(peer.header[:10])
        self.until(lambda: self.factory.handshakes)
        yield
        peer.put(peer.header[10:])
        if peer.tls is not None:
            peer.put(peer.tls.hello())
        yield
        if peer.tls is not None:
            peer.tls.shake()
        self.ask(b"a\n", b"A\n")


class Write(Scene):
    deadline = "write"
    seen = "output"

    def play(self) -> Iterator[None]:
        self.established().send(b"give\n")
        yield
        left = OUTPUT
        if self.client.tls is None:
            # What the kernel holds.
            left -= len(self.client.socket.recv(1000))
        yield
        while left:
            tls = self.client.tls
            piece = tls.read() if tls else self.client.socket.recv(1 << 16)
            assert piece, f"the end, and {left} were to come"
            left -= len(piece)


class Close(Scene):
    """
    The session is closed, and its client has answered with an end-of-file.
    """

    reason = EndReason.LOCAL_CLOSED

    def begin(self) -> None:
        self.session.close()

    def play(self) -> Iterator[None]:
        self.established()
        self.ask(b"a\n", b"A\n")
        self.server.call(self.begin)
        self.client.read_to_end()
        yield
        self.client.finish()
        yield
        assert self.ended() is self.reason, self.factory.ended


class Stop(Close):
    reason = EndReason.STOPPED

    def begin(self) -> None:
        self.service.stopService()


class Answer(Scene):
    protocol = Asking

    def play(self) -> Iterator[None]:
        self.established().send(b"q\n")
        self.until(lambda: self.session.asked)
        yield
        self.session.elsewhere.sendall(b"answer")
        yield
        self.hear(b"answer\n")


SCENES: "tuple[tuple[type[Scene], tuple[str, ...]], ...]" = (
    (Line, ENDPOINTS),
    (Frame, ("tcp", "ssl")),
    (Idle, ENDPOINTS),
    (Pushed, ("tcp", "unix")),
    (Handshake, ("ssl", "haproxy:tcp", "haproxy:ssl")),
    (Write, ENDPOINTS),
    (Close, ENDPOINTS),
    (Stop, ENDPOINTS),
    (Answer, ("tcp", "ssl")),
)


def asyncioReactor() -> Any:
    import asyncio

    from twisted.internet.asyncioreactor import AsyncioSelectorReactor

    return AsyncioSelectorReactor(asyncio.new_event_loop())


def uvloopReactor() -> Any:
    import uvloop
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor

    return AsyncioSelectorReactor(uvloop.new_event_loop())


def epollReactor() -> Any:
    from twisted.internet.epollreactor import EPollReactor

    return EPollReactor()


def endpoint(kind: str, path: str) -> str:
    """
    The string of an endpoint.

    @param path: of a UNIX socket; the certificates lie beside it.
    """
    if kind == "unix":
        return f"unix:{path}"
    folder, string = os.path.dirname(path), f"{kind}:0:interface=127.0.0.1"
    if kind.endswith("ssl"):
        string += f":privateKey={folder}/key.pem:certKey={folder}/cert.pem"
    return string


class StallTests(SynchronousTestCase):
    """
    All scenes by all endpoints, with one stall for them.
    """

    def stalled(self, reactor: Any = None, how: str = "line") -> None:
        """
        @param how: who blocks: a session when it is given a line, or a timed call,
            before the deadlines that are due as well.
        """
        folder = TemporaryDirectory(prefix="echo-")
        self.addCleanup(folder.cleanup)
        make_certificate(Path(folder.name))
        blocked.clear()
        with (
            mock.patch("twisted_echo.testing.threads._newReactor", reactor)
            if reactor
            else mock.patch.dict({})
        ):
            server = ServiceThread(Upper, deadlines=only(""))
        scenes = []
        try:
            scenes = [
                scene(server, kind, endpoint(kind, f"{folder.name}/{scene.__name__}"))
                for scene, kinds in SCENES
                for kind in kinds
            ]
            plays = [each.play() for each in scenes]
            with server.connect() as blocking:
                for each in plays:
                    next(each)
                for scene in scenes:
                    scene.waitForSweep()
                if how == "line":
                    blocking.sendall(b"block\n")
                else:
                    server._reactor.callFromThread(block)
                self.assertTrue(blocked.wait(DEADLINE))
                for each in plays:
                    next(each)
                for each in plays:
                    next(each, None)
        finally:
            for scene in scenes:
                if hasattr(scene, "client"):
                    scene.client.socket.close()
            for scene in scenes:
                server.call(scene.service.stopService)
            server.stop()

    def test_eager(self) -> None:
        self.stalled()

    @slow
    def test_asyncio(self) -> None:
        self.stalled(asyncioReactor, "call")

    @slow
    def test_eagerCall(self) -> None:
        self.stalled(how="call")

    @slow
    def test_epoll(self) -> None:
        self.stalled(epollReactor)

    @slow
    def test_epollCall(self) -> None:
        self.stalled(epollReactor, "call")

    @slow
    def test_asyncioLine(self) -> None:
        self.stalled(asyncioReactor)

    @slow
    def test_uvloop(self) -> None:
        try:
            import uvloop  # noqa: F401
        except ImportError:
            self.skipTest("uvloop is not installed")
        self.stalled(uvloopReactor)
        self.stalled(uvloopReactor, "call")


class StoppedProcessTests(SynchronousTestCase):
    """
    A process that is stopped and goes on.
    """

    def stopped(self, name: str = "", listen: str = "") -> None:
        server = Server.start(
            self,
            *("--line-timeout", "1.5", "--idle-timeout", "1.5"),
            listen=[listen or "tcp:0:interface=127.0.0.1"],
            command=["twistd", *([f"--reactor={name}"] if name else []), "-n"],
        )
        address = listen.removeprefix("unix:") or server.address
        with dial(address) as client:
            client.sendall(b"hello\nab")
            self.assertEqual(read_exactly(client, 6), b"hello\n")
            os.kill(server.process.pid, signal.SIGSTOP)
            try:
                client.sendall(b"c\n")
                time.sleep(2.5)
            finally:
                os.kill(server.process.pid, signal.SIGCONT)
            self.assertEqual(read_exactly(client, 4), b"abc\n")

    def test_line(self) -> None:
        self.stopped()

    @slow
    def test_others(self) -> None:
        for name in ("epoll", "asyncio", "eager-asyncio"):
            self.stopped(name)
            self.stopped(name, f"unix:{new_folder(self)}/{name}")


class ArrivedTests(ServedTestCase):
    """
    No stall that could be seen: what the client has sent lies in the kernel when its
    deadline passes, and is read first.
    """

    async def begun(self, deadline: str, *endpoints: str) -> Any:
        self.clock = Clock()
        factory: Any = SessionFactory.forProtocol(
            Upper, clock=self.clock, deadlines=only(deadline), abortAfter=ALLOWED
        )
        return await self.session(self.serve(factory, *endpoints))

    async def test_line(self) -> None:
        for endpoints in ((), ("unix:" + self.mktemp(),)):
            session, client = await self.begun("line", *endpoints)
            client.sendall(b"ab")
            await until(lambda: session.bytesReceived)  # noqa: B023
            elapse(self.clock, 1)
            client.sendall(b"c\n")
            elapse(self.clock, 9)
            self.assertFalse(session.isClosing)
            self.assertEqual(await in_thread(client.recv, 10), b"ABC\n")

    async def test_idle(self) -> None:
        session, client = await self.begun("idle", "unix:" + self.mktemp())
        client.sendall(b"a\n")
        elapse(self.clock, ALLOWED + 0.1)
        self.assertFalse(session.isClosing)
        self.assertEqual(await in_thread(client.recv, 10), b"A\n")

    async def test_idleAfterAStall(self) -> None:
        """
        A stall before the last line puts off nothing that comes after.
        """
        session, client = await self.begun("idle")
        client.sendall(b"a\n")
        await until(lambda: session.bytesReceived)
        elapse(self.clock, 1)
        self.clock.advance(60)
        client.sendall(b"b\n")
        await until(lambda: session.bytesReceived == 4)
        since = self.clock.seconds()

        def ask(_: object) -> TCPState:
            return TCPState(0, self.clock.seconds() - since)

        with mock.patch("twisted_echo.session.bounds.timeout_checks.tcpState", ask):
            elapse(self.clock, ALLOWED - 0.1)
            self.assertFalse(session.isClosing)
            elapse(self.clock, 0.1 + 2 * only("idle").sweep)
        self.assertTrue(session.isClosing)

    async def test_leavesAnyway(self) -> None:
        """
        A client that keeps its socket readable does not escape.
        """
        session, client = await self.begun("line")
        client.sendall(b"a")
        await until(lambda: session.bytesReceived)
        for _ in range(60):
            if session.isClosing:
                break
            client.sendall(b"a")
            elapse(self.clock, 0.1)
        self.assertTrue(session.isClosing)
        client.close()
        await until(lambda: session.end)
        self.assertIs(session.end.reason, EndReason.LINE_TIMEOUT)

    async def test_endOfFile(self) -> None:
        """
        The client's answer to the end of its session is there, unread.
        """
        for endpoints in ((), ("unix:" + self.mktemp(),)):
            session, client = await self.begun("", *endpoints)
            session.close()
            self.assertEqual(await in_thread(client.recv, 1), b"")
            client.close()
            elapse(self.clock, ALLOWED)
            self.assertFalse(session.isAborted)
            await until(lambda: session.end)  # noqa: B023
            self.assertIs(session.end.reason, EndReason.LOCAL_CLOSED)

    async def test_header(self) -> None:
        self.clock = Clock()
        factory: Any = SessionFactory.forProtocol(
            Upper, clock=self.clock, deadlines=only("handshake")
        )
        service = self.serve(
            factory,
            parseEndpoint(reactor, "haproxy:tcp:0:interface=127.0.0.1").endpoint,
        )
        client = self.client(service)
        client.sendall(b"PROXY TCP4 192.0.2.1 ")
        await until(lambda: factory.handshakes)
        elapse(self.clock, 1)
        client.sendall(b"192.0.2.2 1 2\r\na\n")
        elapse(self.clock, ALLOWED)
        self.assertEqual(await in_thread(client.recv, 10), b"A\n")


class Slow(Session, FastLineReceiver):
    """
    Blocks for three seconds in every call, by the clock of its factory.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        clock: Any = self.factory.clock  # type: ignore[union-attr]
        clock.rightNow += 3


class StopTests(ServedTestCase):
    """
    A stop whose own process has no time for it.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.factory: Any = SessionFactory.forProtocol(
            Slow, clock=self.clock, abortAfter=1
        )

    async def blocked(self, endpoint: str, header: bytes, rest: bytes) -> None:
        """
        @param header: what each client sends before the stop begins.
        @param rest: what has arrived, unread, when it does.
        """
        count, factory = 12, self.factory
        service = self.serve(factory, parseEndpoint(reactor, endpoint).endpoint)
        clients = [self.client(service) for _ in range(count)]
        for client in clients:
            client.sendall(header)
        begun = factory.handshakes if header else factory.sessions
        await until(lambda: len(begun) == count)
        for client in clients:
            client.sendall(rest)
            while queuedOutput(client):  # type: ignore[arg-type]
                time.sleep(0.001)
        began = self.clock.seconds()
        stopped = service.stopService()
        while not stopped.called:
            await turn()
            elapse(self.clock, 0)
            if service.state is not State.STOPPED and not factory.counters.lines:
                elapse(self.clock, 0.01)
        self.assertLessEqual(self.clock.seconds() - began, service.longestStop + 3)
        self.assertGreater(factory.counters.lines, 1)

    async def test_sessions(self) -> None:
        """
        What many sessions are to be given is not given to them in one turn.
        """
        await self.blocked("tcp:0:interface=127.0.0.1", b"", b"line\n")

    async def test_handshakes(self) -> None:
        await self.blocked(
            "haproxy:tcp:0:interface=127.0.0.1",
            b"PROXY TCP4 192.0.2.1 ",
            b"192.0.2.2 1 2\r\nline\n",
        )

    async def test_late(self) -> None:
        """
        After a stall beyond all bounds those that are cut off still have their turn.
        """
        service = self.serve(self.factory)
        session, client = await self.session(service)
        stopped = service.stopService()
        self.assertEqual(await in_thread(client.recv, 1), b"")
        self.clock.advance(1000)
        self.assertTrue(session.isAborted)
        self.assertFalse(session.end)
        await stopped
        self.assertIs(session.end.reason, EndReason.ABORTED_IN_DRAIN)
