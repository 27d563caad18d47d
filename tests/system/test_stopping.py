"""
What each client gets at a stop: the tables of C{docs/stopping.md}, by real sockets.

Each row of the first table is a scene of the same name here. It is played with every
kind of connection for which the row promises something, and its client has to get just
that.
"""

import contextlib
import os
import re
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.protocols.basic import (
    Int16StringReceiver,
    LineOnlyReceiver,
    LineReceiver,
)
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.clients import PATIENCE, connect, in_thread, turn, until
from tests.support.faults import slow
from tests.support.paths import DOCS, PROJECT
from tests.support.processes import (
    Server,
    finished,
    new_folder,
    read_to_end,
    round_trip,
)
from tests.support.processes import connect as connect_to
from tests.support.tlsclient import TLSClient, TLSTestCase
from twisted_echo import (
    AnsweringLineReceiver,
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EndReason,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Limits,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.endpoints.strings import listenString
from twisted_echo.net.receive_queue import unreadBytes
from twisted_echo.net.tcp_info import queuedOutput
from twisted_echo.net.transports import bottomTransport
from twisted_echo.testing.clocks import elapse

PAGE = (DOCS / "stopping.md").read_text()
LINES = b"".join(b"line %d\n" % number for number in range(1_000_000))
HEADER = b"PROXY TCP4 192.0.2.%d 192.0.2.99 1 2\r\n"


def table(heading: str) -> dict[str, list[str]]:
    """
    The cells of a table of the page, by the first of each row.
    """
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*) \|$", section, re.M)[1:]
    cells = [row.split(" | ") for row in rows]
    return {first: rest for first, *rest in cells}


TABLE = table("By where the bytes were")
KINDS = {
    "plain": ["tcp", "unix"],
    "TLS": ["ssl", "haproxy:ssl"],
    "PROXY": ["haproxy:tcp", "haproxy:unix"],
}
"""
The columns of the table, and the kinds of endpoints that each is true for.
"""
assert re.search(r"^\| where the bytes were \| plain \| TLS \| PROXY \|$", PAGE, re.M)


class Peer:
    """
    A client of one kind of endpoint. Its methods block, if the service has to answer.

    @ivar header: what it sends first, if a proxy is to announce it.
    """

    def __init__(self, address: Any, kind: str, number: int = 1) -> None:
        self.socket = connect(address, receive_buffer=1 << 16)
        self.header = HEADER % number if kind.startswith("haproxy") else b""
        self.tls = TLSClient(self.socket) if kind.endswith("ssl") else None
        self.isShaken = False

    @property
    def beginning(self) -> bytes:
        """
        All that it can send before it is answered, and is no line yet.
        """
        return self.header + (b"" if self.tls is None else self.tls.hello())

    @property
    def part(self) -> bytes:
        """
        A part of that, which ends in its last stage.
        """
        return self.beginning[:-5]

    def establish(self) -> "Peer":
        self.socket.sendall(self.header)
        if self.tls is not None:
            self.tls.shake()
            self.isShaken = True
        return self

    def almostEstablish(self) -> bytes:
        """
        @return: what is still to be sent.
        """
        if self.tls is None:
            self.socket.sendall(self.header[:-5])
            return self.header[-5:]
        self.socket.sendall(self.beginning)
        while True:
            self.tls._in.write(self.socket.recv(1 << 16))
            try:
                self.tls.object.do_handshake()
            except ssl.SSLWantReadError:
                continue
            self.isShaken = True
            return b""

    def sealed(self, data: bytes) -> bytes:
        return data if self.tls is None else self.tls.sealed(data)

    def put(self, data: bytes) -> None:
        """
        Send bytes, as they are, until the server's kernel has them. (By a UNIX socket
        that is at once.)
        """
        if data:
            self.socket.sendall(data)
        if self.socket.family != socket.AF_UNIX:
            give_up = monotonic() + PATIENCE
            while queuedOutput(self.socket) and monotonic() < give_up:
                sleep(0.001)

    def send(self, data: bytes) -> None:
        self.put(self.sealed(data))

    def finish(self) -> None:
        """
        Send an end-of-file.
        """
        if self.tls is None:
            self.socket.shutdown(socket.SHUT_WR)
            self.put(b"")
        else:
            self.put(self.tls.sealed(farewell=True))

    def read_to_end(self) -> bytes:
        """
        Read to the end, which has to be one. A reset is raised.
        """
        if self.tls is None or not self.isShaken:
            return b"".join(iter(lambda: self.socket.recv(1 << 16), b""))
        data = b"".join(iter(self.tls.read, None))
        assert self.tls.farewell, "no close_notify"
        return data

    def leave(self) -> bytes:
        """
        L{read_to_end}, and close.
        """
        with self.socket:
            return self.read_to_end()


class Answering(AnsweringLineReceiver):
    """
    Answers lines when it is told to.
    """

    delimiter = b"\n"
    asked: list[tuple[bytes, "Deferred[bytes]"]]

    def answer(self, question: bytes) -> "Deferred[bytes]":
        self.asked.append((question, Deferred()))
        return self.asked[-1][1]


Scene = Callable[["TableTests", str], Any]
SCENES: dict[str, Scene] = {}
"""
How each row is played. A scene gives what its client got, and what that is if it is
C{answered}; or None if there is no such client by that kind of endpoint.
"""


def scene(row: str) -> Callable[[Scene], Scene]:
    def keep(play: Scene) -> Scene:
        SCENES[row] = play
        return play

    return keep


class TableTests(TLSTestCase):
    """
    The table, row by row, with one kind of endpoint after the other.
    """

    def serveKind(self, kind: str, factory: Any = None) -> SessionService:
        if not kind.endswith("unix"):
            return self.serve_tls(factory, kind)
        prefix = kind.removesuffix("unix")
        listening = listenString(reactor, f"{prefix}unix:{self.mktemp()}")
        return self.serve(factory or EchoFactory(EchoConfig()), listening.endpoint)

    def peer(self, service: SessionService, kind: str, number: int = 1) -> Peer:
        peer = Peer(self.address(service), kind, number)
        self.addCleanup(peer.socket.close)
        return peer

    def address(self, service: SessionService) -> Any:
        return service.addresses[0]

    async def established(self, service: SessionService, kind: str) -> tuple[Any, Peer]:
        """
        A session of a service, and its client.
        """
        peer = self.peer(service, kind)
        await in_thread(peer.establish)
        await until(lambda: service.factory.sessions)
        (session,) = service.factory.sessions
        return session, peer

    @scene("no bytes at all, the session is idle")
    async def idle(self, kind: str) -> Any:
        service = self.serveKind(kind)
        _, peer = await self.established(service, kind)
        return await self.stopped(service, peer), b"no answer"

    async def stopped(self, service: SessionService, peer: Peer) -> bytes:
        """
        Stop now, before the reactor has another turn.
        """
        stopped = service.stopService()
        got = await in_thread(peer.leave)
        await stopped
        return got

    @scene("a whole line, read by the service, its answer still to come")
    async def inFlight(self, kind: str) -> Any:
        asked = Answering.asked = []
        service = self.serveKind(kind, SessionFactory.forProtocol(Answering))
        _, peer = await self.established(service, kind)
        peer.send(b"question\n")
        await until(lambda: asked)
        stopped = service.stopService()
        for _ in range(3):
            await turn()
        asked[0][1].callback(b"answer")
        got = await in_thread(peer.leave)
        await stopped
        return got, b"answer\n"

    @scene("a whole line, in the kernel of the server")
    async def inKernel(self, kind: str) -> Any:
        service = self.serveKind(kind)
        _, peer = await self.established(service, kind)
        peer.send(b"line\n")
        return await self.stopped(service, peer), b"line\n"

    @scene("many lines, more than one read takes")
    async def many(self, kind: str) -> Any:
        service = self.serveKind(kind)
        session, peer = await self.established(service, kind)
        bottomTransport(session.transport).bufferSize = 1000
        lines = b"".join(b"line %d\n" % number for number in range(2000))
        peer.send(lines)
        return await self.stopped(service, peer), lines

    @scene("part of a line")
    async def part(self, kind: str) -> Any:
        service = self.serveKind(kind)
        _, peer = await self.established(service, kind)
        peer.send(b"no line")
        return await self.stopped(service, peer), b"no answer"

    @scene("part of a line, and the client's end-of-file behind it")
    async def endOfFile(self, kind: str) -> Any:
        service = self.serveKind(kind)
        _, peer = await self.established(service, kind)
        peer.send(b"line\nrest")
        peer.finish()
        return await self.stopped(service, peer), b"line\nrest"

    @scene("a whole line, sent after the service has sent the end")
    async def afterTheEnd(self, kind: str) -> Any:
        service = self.serveKind(kind)
        _, peer = await self.established(service, kind)
        stopped = service.stopService()
        got = await in_thread(peer.read_to_end)
        for _ in range(3):
            peer.send(b"line\n" * 1000)
        peer.finish()
        with peer.socket:
            self.assertEqual(await in_thread(peer.socket.recv, 1), b"")
        await stopped
        return got, b"no answer"

    async def stuck(self, service: SessionService, kind: str) -> tuple[Any, Peer, int]:
        """
        A session whose client has sent a lot of lines, and read no answer.

        @return: the session, the client, and how many bytes have arrived at least.
        """
        session, peer = await self.established(service, kind)
        left = memoryview(peer.sealed(LINES))
        peer.socket.setblocking(False)
        while not (session.isPaused and unreadBytes(session.transport) > 1000):
            with contextlib.suppress(BlockingIOError):
                left = left[peer.socket.send(left[: 1 << 16]) :]
            await turn()
        peer.socket.settimeout(PATIENCE)
        unread = unreadBytes(session.transport)
        # Each record of TLS is a little longer than what is in it.
        return session, peer, session.bytesReceived + unread - unread // 16 - 40000

    @scene("lines of a client that reads its answers late")
    async def late(self, kind: str) -> Any:
        service = self.serveKind(kind)
        _, peer, arrived = await self.stuck(service, kind)
        got = await self.stopped(service, peer)
        self.assertGreaterEqual(len(got), arrived)
        self.assertTrue(got.endswith(b"\n"))
        return got, LINES[: len(got)]

    async def cutOff(self, clock: Clock, service: SessionService) -> bytes:
        """
        Stop, and wait for the deadline.
        """
        stopped = service.stopService()
        for _ in range(10):
            await turn()
        elapse(clock, service.factory.abortAfter - 0.1)
        await turn()
        self.assertNoResult(stopped)
        elapse(clock, 0.1)
        await stopped
        self.assertEqual(service.factory.ended, {EndReason.ABORTED_IN_DRAIN: 1})
        raise ConnectionResetError

    @scene("lines of a client that reads nothing")
    async def neverReads(self, kind: str) -> Any:
        clock = Clock()
        service = self.serveKind(kind, EchoFactory(EchoConfig(), clock=clock))
        await self.stuck(service, kind)
        return await self.cutOff(clock, service), b""

    @scene("a client that gets the end and never closes")
    async def neverCloses(self, kind: str) -> Any:
        clock = Clock()
        service = self.serveKind(kind, EchoFactory(EchoConfig(), clock=clock))
        await self.established(service, kind)
        return await self.cutOff(clock, service), b""

    async def beginning(self, kind: str, begin: Callable[[Peer], object]) -> Any:
        """
        What a client gets that has begun, and been accepted.
        """
        service = self.serveKind(kind)
        peer = self.peer(service, kind)
        await in_thread(begin, peer)
        await until(lambda: service.factory.handshakes)
        for _ in range(3):
            await turn()
        return await self.stopped(service, peer), b"no answer"

    @scene("an accepted connection, no byte of its handshake or header")
    async def silent(self, kind: str) -> Any:
        return await self.beginning(kind, lambda peer: None)

    @scene("an accepted connection, part of its handshake or header")
    async def halfShaken(self, kind: str) -> Any:
        await self.beginning(kind, lambda peer: peer.put(peer.header[:20]))
        return await self.beginning(kind, lambda peer: peer.put(peer.part))

    @scene("an accepted connection, its handshake answered and the rest on its way")
    async def almostShaken(self, kind: str) -> Any:
        await self.answered(kind, finishes=False)
        return await self.answered(kind, finishes=True)

    async def answered(self, kind: str, *, finishes: bool) -> Any:
        """
        What a client gets whose hello has been answered.
        """
        service = self.serveKind(kind)
        peer = self.peer(service, kind)
        await in_thread(peer.almostEstablish)
        stopped = service.stopService()
        for _ in range(3):
            await turn()
        if finishes:
            peer.send(b"line\n")
        else:
            peer.isShaken = False
        got = await in_thread(peer.leave)
        await stopped
        factory = service.factory
        counts = factory.ended if finishes else factory.refused
        self.assertEqual(counts, {EndReason.STOPPED: 1})
        # Lines that came after the stop may be answered.
        return got.removeprefix(b"line\n"), b"no answer"

    @scene("an accepted connection, the rest of its handshake or header and a line")
    async def restShaken(self, kind: str) -> Any:
        service = self.serveKind(kind)
        peer = self.peer(service, kind)
        rest = await in_thread(peer.almostEstablish)
        await until(lambda: service.factory.handshakes)
        peer.put(rest + peer.sealed(b"line\n"))
        return await self.stopped(service, peer), b"line\n"

    async def waiting(self, kind: str, begin: Callable[[Peer], bytes]) -> Any:
        """
        What clients get who wait in the backlog.
        """
        service = self.serveKind(kind)
        peers = [self.peer(service, kind, number) for number in range(5)]
        for peer in peers:
            peer.put(begin(peer))
        return await self.allStopped(service, peers), b"line\n"

    async def allStopped(self, service: SessionService, peers: list[Peer]) -> bytes:
        """
        What all clients get alike.
        """
        stopped = service.stopService()
        (got,) = {await in_thread(peer.leave) for peer in peers}
        await stopped
        factory = service.factory
        self.assertEqual(factory.ended.total() + factory.refused.total(), len(peers))
        return got

    @scene("in the backlog, no byte")
    async def silentWaiting(self, kind: str) -> Any:
        return await self.waiting(kind, lambda peer: b"")

    @scene("in the backlog, part of a handshake or header")
    async def partWaiting(self, kind: str) -> Any:
        return await self.waiting(kind, lambda peer: peer.part)

    @scene("in the backlog, a whole handshake or header and a line")
    async def lineWaiting(self, kind: str) -> Any:
        return await self.waiting(kind, lambda peer: peer.beginning + b"line\nrest")

    async def overLimit(self, kind: str, limits: Limits, number: int) -> Any:
        """
        What clients get who wait, while there are as many as are allowed.

        @param number: that of the peer of the first, who announces itself as another.
        """
        service = self.serveKind(kind, EchoFactory(EchoConfig(limits=limits)))
        _, first = await self.established(service, kind)
        peers = [self.peer(service, kind, number) for _ in range(5)]
        for peer in peers:
            line = b"line\n" if peer.tls is None else b""
            peer.put(peer.beginning + line)
        stopped = service.stopService()
        (got,) = {await in_thread(peer.leave) for peer in peers}
        await in_thread(first.leave)
        await stopped
        counts = service.factory.ended + service.factory.refused
        self.assertEqual(counts.total(), 6)
        return got, b"line\n"

    @scene("in the backlog, over `--max-sessions`")
    async def overSessions(self, kind: str) -> Any:
        return await self.overLimit(kind, Limits(sessions=1), 2)

    @scene("in the backlog, over `--max-sessions-per-peer`")
    async def overPeers(self, kind: str) -> Any:
        if kind == "unix":
            # It has no address to count for.
            return None
        return await self.overLimit(kind, Limits(sessionsPerPeer=1), 1)

    @scene("on its way: the client is only connecting")
    async def connecting(self, kind: str) -> Any:
        service = self.serveKind(kind)
        address = self.address(service)
        await service.stopService()
        try:
            connect(address)
        except FileNotFoundError as refused:
            raise ConnectionRefusedError from refused
        return b"", b""

    async def play(self, kind: str, column: str) -> None:
        place = list(KINDS).index(column)
        for row, cells in TABLE.items():
            promised = cells[place]
            if promised == "—":
                continue
            try:
                played = await SCENES[row](self, kind)
            except ConnectionResetError:
                got: object = "reset"
            except ConnectionRefusedError:
                got = "refused"
            else:
                if played is None:
                    continue
                data, answer = played
                got = {answer: "answered", b"": "ended"}.get(data, data)
            self.assertEqual(got, promised, (row, kind))

    def test_rows(self) -> None:
        """
        Each row is played.
        """
        self.assertEqual(set(TABLE), set(SCENES))
        promised = {cell for cells in TABLE.values() for cell in cells}
        self.assertEqual(promised, {"answered", "ended", "reset", "refused", "—"})


def _add(kind: str, column: str) -> None:
    async def test(self: TableTests) -> None:
        await self.play(kind, column)

    test.__doc__ = f"What clients get by C{{{kind}}}."
    setattr(TableTests, f"test_{kind.replace(':', '_')}", test)


for _column, _kinds in KINDS.items():
    for _kind in _kinds:
        _add(_kind, _column)


class Upper(Session, LineOnlyReceiver):
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


class StockUpper(Session, LineReceiver):
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


class Echo16(Session, Int16StringReceiver):
    def stringReceived(self, string: bytes) -> None:
        self.sendString(string)


class Chunks(Session, Protocol):
    """
    Keeps no count of anything.
    """

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data.upper())


class LastReadTests(TLSTestCase):
    """
    The last read of a session, by its protocol.
    """

    async def arrived(
        self, protocol: Any, data: bytes, chunk: int = 0
    ) -> tuple[SessionService, Any, Peer]:
        """
        A session for which something has arrived, and its client.

        @param chunk: how many bytes are read at once.
        """
        factory: Any = SessionFactory.forProtocol(protocol)
        service = self.serve(factory)
        peer = Peer(service.addresses[0], "tcp")
        self.addCleanup(peer.socket.close)
        await until(lambda: factory.sessions)
        (session,) = factory.sessions
        if chunk:
            session.transport.bufferSize = chunk
        session.transport.stopReading()
        peer.put(data)
        return service, session, peer

    async def assert_answer(
        self,
        protocol: Any,
        data: bytes,
        answer: bytes,
        reason: EndReason = EndReason.STOPPED,
    ) -> None:
        for chunk in 0, 7:
            service, session, peer = await self.arrived(protocol, data, chunk)
            stopped = service.stopService()
            self.assertEqual(await in_thread(peer.leave), answer)
            await stopped
            self.assertIs(session.end.reason, reason)

    async def test_receivers(self) -> None:
        """
        Whatever the receiver, it is given what had arrived.
        """
        lines, answer = b"a\nb\nlonger than 7\nrest", b"A\nB\nLONGER THAN 7\n"
        for protocol in (
            Upper,
            StockUpper,
            type("Fast", (FastLineReceiver,), {}),
            type("FastOnly", (FastLineOnlyReceiver,), {}),
        ):
            if not issubclass(protocol, Session):
                protocol = type(
                    protocol.__name__,
                    (Session, protocol),
                    {"delimiter": b"\n", "lineReceived": Upper.lineReceived},
                )
            await self.assert_answer(protocol, lines, answer)
        await self.assert_answer(Echo16, b"\0\4four\0\1x\0\7half", b"\0\4four\0\1x")
        await self.assert_answer(Chunks, lines, lines.upper())

    async def test_answers(self) -> None:
        """
        Questions that are read then are answered, a few at a time.
        """

        class Later(AnsweringLineReceiver):
            delimiter = b"\n"
            answersAtOnce = 2

            async def answer(self, line: bytes) -> bytes:
                await turn()
                return line.upper()

        data = b"".join(b"question %d\n" % number for number in range(20))
        await self.assert_answer(Later, data, data.upper())

    async def test_closes(self) -> None:
        """
        What is behind the line at which the protocol closes is not answered.
        """

        class Quitting(EchoProtocol):
            def blockReceived(self, block: bytes) -> None:
                self.transport.write(block)
                if b"quit" in block:
                    self.close()

        service, session, peer = await self.arrived(Quitting, b"quit..\nafter.\n", 7)
        stopped = service.stopService()
        self.assertEqual(await in_thread(peer.leave), b"quit..\n")
        await stopped
        self.assertIs(session.end.reason, EndReason.LOCAL_CLOSED)

    async def test_losesConnection(self) -> None:
        """
        Likewise if it closes the transport itself.
        """

        class Quitting(EchoProtocol):
            def blockReceived(self, block: bytes) -> None:
                self.transport.write(block)
                self.transport.loseConnection()

        service, session, peer = await self.arrived(Quitting, b"quit..\n" * 3, 7)
        stopped = service.stopService()
        with peer.socket:
            self.assertEqual(await in_thread(peer.socket.recv, 100), b"quit..\n")
        await stopped
        self.assertEqual(session.bytesReceived, 7)

    async def test_tooLong(self) -> None:
        """
        A line that is too long is the end, and the reason of it.
        """

        class Short(EchoProtocol):
            MAX_LENGTH = 10

        data = b"a\n" + b"x" * 30 + b"\nb\n"
        await self.assert_answer(Short, data, b"a\n", EndReason.LINE_TOO_LONG)

    async def test_paused(self) -> None:
        """
        A protocol that has paused itself is given the rest when it resumes.
        """

        class Pausing(EchoProtocol):
            def blockReceived(self, block: bytes) -> None:
                self.transport.write(block)
                self.pauseProducing()

        service, session, peer = await self.arrived(Pausing, b"line..\n" * 3, 7)
        stopped = service.stopService()
        for count in range(1, 4):
            await until(lambda: session.paused)
            for _ in range(3):
                await turn()
            self.assertEqual(session.bytesReceived, 7 * count)
            session.resumeProducing()
        self.assertEqual(await in_thread(peer.leave), b"line..\n" * 3)
        await stopped

    async def test_fromWithin(self) -> None:
        """
        A stop that begins while a chunk is being received has the next one received
        after it, also by a protocol that would not notice the difference.
        """
        stops: list[Any] = []

        class Stopping(Chunks):
            depth = 0

            def dataReceived(self, data: bytes) -> None:
                assert not self.depth
                self.depth += 1
                if not stops:
                    stops.append(service.stopService())
                super().dataReceived(data)
                self.depth -= 1

        service, session, peer = await self.arrived(Stopping, b"line..\n" * 3, 7)
        session.transport.startReading()
        self.assertEqual(await in_thread(peer.leave), b"LINE..\n" * 3)
        await stops[0]

    async def test_raises(self) -> None:
        """
        An exception ends the session, and not the stop.
        """

        class Failing(EchoProtocol):
            def blockReceived(self, block: bytes) -> None:
                raise ZeroDivisionError

        service, session, _ = await self.arrived(Failing, b"line..\n" * 3, 7)
        await service.stopService()
        self.assertIs(session.end.reason, EndReason.ERROR)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    async def test_closeAlone(self) -> None:
        """
        A session that is closed, but not by a stop, takes nothing more.
        """
        _, session, peer = await self.arrived(EchoProtocol, b"line\n")
        session.close()
        self.assertEqual(await in_thread(peer.leave), b"")
        await until(lambda: session.end is not None)
        self.assertIs(session.end.reason, EndReason.LOCAL_CLOSED)

    async def test_endlessClient(self) -> None:
        """
        A client that never stops sending is read no further than what had arrived.
        """
        service, session, peer = await self.arrived(EchoProtocol, b"line..\n" * 3, 7)
        received = session.dataReceived

        def sendMore(data: bytes) -> None:
            received(data)
            peer.put(b"more..\n" * 10)

        session.dataReceived = sendMore
        stopped = service.stopService()
        got = await in_thread(peer.leave)
        await stopped
        self.assertEqual(got, b"line..\n" * 3)


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
        cases = [f"{__name__}.{each.__name__}" for each in (TableTests, LastReadTests)]
        for name in "epoll", "asyncio", "eager":
            run = [sys.executable, "-m", "twisted.trial", f"--reactor={name}", *cases]
            path = {"PYTHONPATH": str(PROJECT)}
            tested = finished(self, run, env=path)
            self.assertEqual(tested.wait(), 0, tested.report(name))


class WhereTests(SynchronousTestCase):
    """
    The table of those who wait in backlogs.
    """

    def test_rows(self) -> None:
        """
        Each row has its tests, which are there.
        """
        self.assertEqual(set(table("By where the connections wait")), set(WAITING))
        for cases in WAITING.values():
            for case, name in cases:
                self.assertTrue(hasattr(namedAny(f"tests.{case}"), name), (case, name))


WAITING = {
    "one process's own": [
        ("system.test_stopping.TableTests", "test_tcp"),
        ("unit.net.test_backlog.BacklogTests", "test_behindRefused"),
    ],
    "those of several workers (`--workers`)": [
        ("system.test_workers.EndTests", "test_queueIsServed"),
    ],
    "systemd's (`systemd:`)": [
        ("unit.endpoints.test_ports.AdoptedTests", "test_backlogIsLeft"),
        ("unit.endpoints.test_ports.AdoptedTests", "test_successor"),
    ],
}
"""
What tests each row.
"""
