"""
L{twisted_echo.net.receive_queue}: what has arrived is read now, the way of all input.
"""

import socket
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.support.clients import ServedTestCase, in_thread, until
from twisted_echo import EndReason, Session, SessionFactory
from twisted_echo.eager.tcp_transports import EagerServer
from twisted_echo.net.receive_queue import isReadable, readArrived, unreadBytes


class Recorder(Session, Protocol):
    """
    Keeps each piece that it is given.
    """

    def connectionMade(self) -> None:
        self.pieces: list[bytes] = []
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        self.bytesReceived += len(data)
        self.pieces.append(data)


class ArrivalsTests(ServedTestCase):
    """
    Over real sockets.
    """

    async def opened(self) -> tuple[Any, socket.socket]:
        factory: Any = SessionFactory.forProtocol(Recorder)
        return await self.session(self.serve(factory))

    async def arrived(self, session: Any, client: socket.socket, data: bytes) -> None:
        """
        Have bytes arrive for a session, whose reactor does not read them.
        """
        session.transport.stopReading()
        await in_thread(client.sendall, data)
        self.assertEqual(unreadBytes(session.transport), len(data))

    async def test_readsNow(self) -> None:
        """
        What has arrived is given to the protocol before the call returns.
        """
        session, client = await self.opened()
        await self.arrived(session, client, b"here")
        self.assertTrue(isReadable(session.transport))
        self.assertEqual(readArrived(session.transport), 4)
        self.assertEqual(session.pieces, [b"here"])
        self.assertFalse(isReadable(session.transport))
        self.assertEqual(readArrived(session.transport), 0)
        self.assertEqual(session.pieces, [b"here"])

    async def test_endOfFile(self) -> None:
        """
        The end-of-file behind the bytes is read, too.
        """
        session, client = await self.opened()
        await self.arrived(session, client, b"last")
        client.shutdown(socket.SHUT_WR)
        readArrived(session.transport)
        self.assertEqual(session.pieces, [b"last"])
        self.assertTrue(session.hasInputEnded)

    async def test_notWanted(self) -> None:
        """
        A protocol that wants no more is given no more.
        """
        session, client = await self.opened()
        size = session.transport.bufferSize = 1000
        await self.arrived(session, client, bytes(2 * size))
        wanted = iter([True, False])
        self.assertEqual(readArrived(session.transport, lambda: next(wanted)), size)
        self.assertEqual(session.bytesReceived, size)

    async def test_atMost(self) -> None:
        """
        A bound is rounded up to one read.
        """
        session, client = await self.opened()
        size = session.transport.bufferSize = 1000
        await self.arrived(session, client, bytes(3 * size))
        self.assertEqual(readArrived(session.transport, atMost=size + 1), 2 * size)
        self.assertEqual(readArrived(session.transport, atMost=0), 0)

    async def test_noMoreThanHadArrived(self) -> None:
        """
        Bytes that come while it reads are left to the next poll.
        """
        session, client = await self.opened()
        size = session.transport.bufferSize = 1000
        received = session.dataReceived

        def sendMore(data: bytes) -> None:
            received(data)
            client.sendall(bytes(size))

        session.dataReceived = sendMore
        await self.arrived(session, client, bytes(size))
        self.assertEqual(readArrived(session.transport), size)
        self.assertEqual(unreadBytes(session.transport), size)

    async def test_error(self) -> None:
        """
        A protocol that raises loses its connection, and the error is logged, as when
        the reactor reads.
        """
        session, client = await self.opened()

        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        session.dataReceived = fail
        await self.arrived(session, client, b"here")
        readArrived(session.transport)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(session.end.reason, EndReason.ERROR)

    async def test_closing(self) -> None:
        """
        A transport that is closing or closed is not read from.
        """
        session, client = await self.opened()
        await self.arrived(session, client, b"here")
        transport = session.transport
        transport.write(b"answer")
        transport.loseConnection()
        self.assertEqual(readArrived(transport), 0)
        await until(lambda: session.end is not None)
        self.assertEqual(readArrived(transport), 0)
        self.assertEqual(unreadBytes(transport), 0)
        self.assertFalse(isReadable(transport))

    async def test_fromWithin(self) -> None:
        """
        An eager transport that is reading is not read from a second time.
        """
        session, client = await self.opened()
        counts = []

        def again(data: bytes) -> None:
            client.sendall(b"more")
            counts.append(readArrived(eager))
            eager.stopReading()

        factory: Any = Factory.forProtocol(Protocol)
        eager: Any = EagerServer._fromConnectedSocket(
            session.transport.fileno(),
            socket.AF_INET,
            factory,
            session.transport.reactor,
        )
        self.addCleanup(eager.stopReading)
        eager.protocol.dataReceived = again
        session.transport.stopReading()
        client.sendall(b"here")
        await until(lambda: counts)
        self.assertEqual(counts, [0])
        eager.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(readArrived(eager), 0)

    def test_noDescriptor(self) -> None:
        """
        Of what is no descriptor nothing is known, and nothing is read.
        """
        for transport in (StringTransport(), None):
            self.assertEqual(unreadBytes(transport), 0)
            self.assertFalse(isReadable(transport))  # type: ignore[arg-type]
            self.assertEqual(readArrived(transport), 0)

    def test_listening(self) -> None:
        """
        A listening socket is readable while a connection waits.
        """
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        self.assertFalse(isReadable(listening))
        client = socket.create_connection(listening.getsockname())
        self.addCleanup(client.close)
        self.assertTrue(isReadable(listening))
        listening.accept()[0].close()
        self.assertFalse(isReadable(listening))
