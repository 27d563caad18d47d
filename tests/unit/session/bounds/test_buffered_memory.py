"""
L{twisted_echo.session.bounds.buffered_memory}: what is held for all sessions, bounded
at any moment.
"""

import socket
from collections.abc import Callable
from select import select
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    TCP,
    FullTransport,
    in_thread,
    turn,
    until,
)
from tests.support.paths import PROJECT
from tests.support.processes import finished
from tests.support.tlsclient import TLSTestCase
from twisted_echo import (
    AnsweringLineReceiver,
    Deadlines,
    EchoConfig,
    EchoFactory,
    EndReason,
    FastInt32StringReceiver,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Limits,
    Session,
    SessionFactory,
)
from twisted_echo.session.bounds.buffered_memory import heldBytes
from twisted_echo.session.statistics import sessionRows, snapshotOf
from twisted_echo.testing.command_process import script

KIB = 1 << 10
CHUNK = 64 * KIB
DONE = Failure(ConnectionDone())


class Lines(Session, FastLineReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def lineReceived(self, line: bytes) -> None:
        pass


class OnlyLines(Session, FastLineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def lineReceived(self, line: bytes) -> None:
        pass


class Frames(Session, FastInt32StringReceiver):
    MAX_LENGTH = 1 << 20

    def stringReceived(self, string: bytes) -> None:
        pass


class Stock(Session, LineReceiver):
    """
    One that says nothing of what it holds, and adds it itself.
    """

    MAX_LENGTH = 1 << 20

    def dataReceived(self, data: bytes) -> Any:
        super().dataReceived(data)
        self.heldMore()

    def ownBytes(self) -> int:
        return super().ownBytes() + len(self._buffer)


class Asking(AnsweringLineReceiver):
    """
    One whose answers come when the test wants them.
    """

    delimiter = b"\n"
    answersAtOnce = 100

    def connectionMade(self) -> None:
        self.asked: list[Deferred[bytes]] = []
        super().connectionMade()

    def answer(self, question: bytes) -> Deferred[bytes]:
        self.asked.append(Deferred())
        return self.asked[-1]


class Transport(FullTransport):
    """
    One that shows what waits in it, as Twisted's do.
    """

    bufferSize = CHUNK
    aborted = False
    offset = 0

    def __init__(self) -> None:
        super().__init__()
        self.dataBuffer = b""
        self._tempDataBuffer: list[bytes] = []
        self._tempDataLen = 0

    def abortConnection(self) -> None:
        # As with the real ones, the protocol hears of it later.
        self.aborted = True


class CountedTestCase(SynchronousTestCase):
    """
    Sessions on transports that show what waits in them.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.factory: Any = SessionFactory(clock=self.clock)

    def session(self, protocol: Any) -> Any:
        self.factory.protocol = protocol
        session = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        session.makeConnection(Transport())
        return session


class CountingTests(CountedTestCase):
    """
    What counts as held.
    """

    def assertHeld(self, session: Any, size: int) -> None:
        """
        Everybody who asks is told the same.
        """
        self.assertEqual(heldBytes(session), size)
        self.assertEqual(snapshotOf(self.factory).pendingBytes, size)
        self.assertEqual(sum(r["pending"] for r in sessionRows(self.factory)), size)
        # (In steps: a leap would be time that the process did not have.)
        self.clock.pump([0.1] * 30)
        self.assertEqual(self.factory.timeouts._buffered._sum, size)

    def test_input(self) -> None:
        """
        A line, or a frame, that is not finished.
        """
        for protocol, before in (
            (Lines, b""),
            (OnlyLines, b""),
            (Frames, b"\0\x0f\0\0"),
            (Stock, b""),
        ):
            session = self.session(protocol)
            session.dataReceived(before + bytes(3000))
            self.assertHeld(session, len(before) + 3000)
            session.connectionLost(DONE)
            self.assertEqual(self.factory.timeouts._buffered._sum, 0)

    def test_paused(self) -> None:
        """
        What has come for a protocol that has paused.
        """
        for protocol, data in (
            (Lines, b"abc\n" * 10),
            (Frames, b"\0\0\0\3abc" * 10),
        ):
            session = self.session(protocol)
            session.pauseProducing()
            session.dataReceived(data)
            self.assertHeld(session, len(data))
            session.resumeProducing()
            self.assertHeld(session, 0)
            session.connectionLost(DONE)

    def test_output(self) -> None:
        """
        What waits in the transport, or is gathered there. A buffer of which a part was
        sent is held as a whole.
        """
        session = self.session(Lines)
        session.transport.dataBuffer, session.transport.offset = bytes(500), 200
        session.transport._tempDataBuffer = [bytes(3), bytes(4)]
        self.assertHeld(session, 507)

    def test_answers(self) -> None:
        """
        Questions that are not answered, and answers that wait for their turn.
        """
        session = self.session(Asking)
        session.dataReceived(b"12345\n123\n")
        self.assertHeld(session, 8)
        session.asked[1].callback(bytes(5000))
        self.assertHeld(session, 5008)
        session.asked[0].callback(b"")
        self.assertHeld(session, 0)

    def test_ended(self) -> None:
        """
        Nobody is remembered who has ended, however much was held.
        """
        buffered = self.factory.timeouts._buffered
        for protocol in (Lines, Asking):
            session = self.session(protocol)
            session.dataReceived(bytes(3000) + b"\n" + bytes(3000))
            self.assertTrue(buffered._sum)
            session.connectionLost(DONE)
            session.heldMore()
            self.assertEqual((buffered._sum, buffered._held), (0, {}))


class CutTests(CountedTestCase):
    """
    Who is cut off, and when.
    """

    def setUp(self) -> None:
        super().setUp()
        self.factory.limits = Limits(buffered=100_000)

    def held(self, sessions: list[Any]) -> int:
        """
        How much is held for those that are not cut off.
        """
        return sum(
            0 if each.transport.aborted else heldBytes(each) for each in sessions
        )

    def test_atOnce(self) -> None:
        """
        No time need pass: there is never more than the limit, a sixteenth of it and the
        last chunk, however input comes to be held.
        """
        for protocol, before in (
            (Lines, b""),
            (OnlyLines, b""),
            (Frames, b"\0\x0f\0\0"),
            (Stock, b""),
        ):
            sessions = [self.session(protocol) for _ in range(20)]
            for n in range(20):
                for session in sessions:
                    if not session.transport.aborted:
                        session.dataReceived((b"" if n else before) + bytes(3_000))
                    self.assertLessEqual(
                        self.held(sessions), 100_000 * 17 // 16 + 3_004
                    )
            cut = sum(session.transport.aborted for session in sessions)
            self.assertGreaterEqual(cut, 18)
            self.assertLess(cut, 20)
            for session in sessions:
                session.connectionLost(DONE)
            self.assertEqual(self.factory.ended[EndReason.OVER_BUFFERED], cut)
            self.factory.ended.clear()

    def test_answers(self) -> None:
        """
        Likewise for questions that wait for an answer, and answers that wait for their
        turn.
        """
        sessions = [self.session(Asking) for _ in range(20)]
        for n in range(20):
            for session in sessions:
                if not session.transport.aborted:
                    session.dataReceived(bytes(3_000) + b"\n")
                    if n:
                        session.asked[n].callback(bytes(3_000))
                self.assertLessEqual(self.held(sessions), 100_000 * 17 // 16 + 6_000)
        self.assertTrue(any(session.transport.aborted for session in sessions))

    def test_largestFirst(self) -> None:
        """
        Of those that are not paused the one goes that holds most, not the one that
        comes last.
        """
        sessions = [self.session(Lines) for _ in range(4)]
        sizes = (9_000, 60_000, 20_000, 9_000)
        for session, size in zip(sessions, sizes, strict=True):
            session.dataReceived(bytes(size))
        self.assertEqual([s.transport.aborted for s in sessions], [False] * 4)
        sessions[3].dataReceived(bytes(3_000))
        self.assertEqual(
            [s.transport.aborted for s in sessions], [False, True, False, False]
        )

    def test_countedAnew(self) -> None:
        """
        Nobody is cut off for what was held once, and is not any more.
        """
        sessions = [self.session(Lines) for _ in range(40)]
        for session in sessions:
            session.dataReceived(bytes(9_000))
            session.dataReceived(b"\n")
        self.assertFalse(any(session.transport.aborted for session in sessions))

    def test_seldomCountedAnew(self) -> None:
        """
        With much held all the time, the others are not counted with every chunk.
        """

        class Counted(Lines):
            times = 0

            def ownBytes(self) -> int:
                Counted.times += 1
                return super().ownBytes()

        sessions = [self.session(Counted) for _ in range(96)]
        for session in sessions:
            session.dataReceived(bytes(1_024))
        Counted.times = 0
        for _ in range(50):
            for busy in [self.session(Counted) for _ in range(20)]:
                busy.dataReceived(bytes(1_500))
                busy.dataReceived(b"\n")
                busy.connectionLost(DONE)
                sessions.append(busy)
        self.assertFalse(any(session.transport.aborted for session in sessions))
        self.assertLess(Counted.times, 3_000)

    def test_givenUp(self) -> None:
        """
        What was held for one that is cut off does not wait for its end.
        """
        for protocol in (Lines, Frames):
            session = self.session(protocol)
            session.dataReceived(b"\0\x0f\0\0" + bytes(10_000))
            session.transport.dataBuffer = bytes(100_000)
            session.transport.producer.pauseProducing()
            self.assertTrue(session.transport.aborted)
            self.assertEqual(heldBytes(session), 0)
            session.dataReceived(bytes(10_000))
            self.assertEqual(heldBytes(session), 0)
            session.connectionLost(DONE)


class BurstTests(TLSTestCase):
    """
    Over real sockets: all of a burst is there before the first byte of it is read.
    """

    clients = 60
    limit = 1 << 20

    async def burst(self, endpoint: Any, send: Any, isTLS: bool = False) -> None:
        """
        @param send: given the clients, and what tells whether it has sent enough,
            sends what the server will hold.
        """
        test = self

        class Watching(EchoFactory):
            most = 0

            def look(self) -> None:
                held = sum(map(heldBytes, self.sessions))
                self.most = max(self.most, held)

            def heldMore(self, session: Any) -> None:
                super().heldMore(session)
                self.look()

            def inputStopped(self, session: Any) -> None:
                super().inputStopped(session)
                self.look()

        factory = Watching(
            EchoConfig(
                limits=Limits(buffered=test.limit),
                deadlines=Deadlines(idle=0, line=600),
            )
        )
        service = self.serve(factory, endpoint)
        if isTLS:
            clients: list[Any] = [
                await self.shaken(service) for _ in range(self.clients)
            ]
        else:
            clients = [self.client(service) for _ in range(self.clients)]
        await until(
            lambda: len(factory.sessions) + len(factory.handshakes) == len(clients)
        )

        def isEnough() -> bool:
            return factory.ended[EndReason.OVER_BUFFERED] > 10

        await send(clients, isEnough)
        await until(isEnough)
        for _ in range(100):
            await turn()
            factory.look()
        # A sixteenth, and a chunk with what was held and answered before it.
        most = self.limit * 17 // 16 + 3 * CHUNK
        if type(reactor).__name__ != "EagerEPollReactor":
            # Not the eager one: nobody hears of output that waits until it is too much.
            most += self.clients * CHUNK
        self.assertLessEqual(factory.most, most)
        self.assertGreater(factory.most, self.limit // 2)

    async def partialLines(self, clients: list[socket.socket], _: Any) -> None:
        for client in clients:
            client.setblocking(False)
            client.send(bytes(60_000))

    async def partialLinesByTLS(self, clients: list[Any], _: Any) -> None:
        for client in clients:
            client.socket.setblocking(False)
            client.socket.send(client.sealed(bytes(60_000), farewell=False))

    async def unread(
        self, clients: list[socket.socket], isEnough: Callable[[], bool]
    ) -> None:
        def send() -> None:
            left = set(clients)
            while left and not isEnough():
                # A server that has no time looks as one that reads no more.
                for client in select([], list(left), [], 0.05)[1]:
                    try:
                        client.send(b"0123456789abcde\n" * 2000)
                    except OSError:
                        left.remove(client)

        for client in clients:
            client.setblocking(False)
        await in_thread(send)

    async def test_partialLines(self) -> None:
        for endpoint in TCP, f"unix:{self.mktemp()}":
            await self.burst(endpoint, self.partialLines)

    async def test_partialLinesByTLS(self) -> None:
        await self.burst(self.listen().endpoint, self.partialLinesByTLS, isTLS=True)

    async def test_unread(self) -> None:
        for endpoint in TCP, f"unix:{self.mktemp()}":
            await self.burst(endpoint, self.unread)


class EagerTests(SynchronousTestCase):
    """
    The same by the eager reactor, which tells when output waits.
    """

    def test_bursts(self) -> None:
        tests = f"{BurstTests.__module__}.{BurstTests.__name__}"
        command = finished(
            self,
            [script("trial"), "--reactor=eager", tests],
            env={"PYTHONPATH": str(PROJECT)},
        )
        self.assertEqual(command.process.returncode, 0, command.stdout)
