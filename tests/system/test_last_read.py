"""
The last read of a session at a stop, by its protocol: what had arrived is received, and
nothing after it. By real sockets.
"""

from typing import Any

from twisted.internet.protocol import Protocol
from twisted.protocols.basic import (
    Int16StringReceiver,
    LineOnlyReceiver,
    LineReceiver,
)

from tests.support.clients import in_thread, turn, until
from tests.support.peer import Peer
from tests.support.tlsclient import TLSTestCase
from twisted_echo import (
    AnsweringLineReceiver,
    EchoProtocol,
    EndReason,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)


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
