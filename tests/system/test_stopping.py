"""
What each client gets at a stop: the tables of C{docs/stopping.md}, by real sockets.

Each row of the first table is a scene of the same name here. It is played with every
kind of connection for which the row promises something, and its client has to get just
that.
"""

import contextlib
import re
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import PATIENCE, connect, in_thread, turn, until
from tests.support.paths import DOCS
from tests.support.peer import Peer
from tests.support.tlsclient import TLSTestCase
from twisted_echo import (
    AnsweringLineReceiver,
    EchoConfig,
    EchoFactory,
    EndReason,
    Limits,
    SessionFactory,
    SessionService,
)
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.net.receive_queue import unreadBytes
from twisted_echo.net.transport_queries import bottomTransport
from twisted_echo.testing.clocks import elapse

PAGE = (DOCS / "stopping.md").read_text()
LINES = b"".join(b"line %d\n" % number for number in range(1_000_000))


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
        listening = parseEndpoint(reactor, f"{prefix}unix:{self.mktemp()}")
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
        ("system.test_workers_end.EndTests", "test_queueIsServed"),
    ],
    "systemd's (`systemd:`)": [
        ("unit.endpoints.test_ports.AdoptedTests", "test_backlogIsLeft"),
        ("unit.endpoints.test_ports.AdoptedTests", "test_successor"),
    ],
}
"""
What tests each row.
"""
