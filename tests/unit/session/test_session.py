"""
L{twisted_echo.session.session}: how sessions begin, with every kind of protocol.
"""

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.clients import (
    LEFT,
    FullTransport,
    ServedTestCase,
    collect,
    connect,
    in_thread,
    pump,
    read_to_end,
    stick,
)
from tests.support.sessions import (
    DONE,
    FastOnlyUpper,
    OnlyUpper,
    Plain,
    StockUpper,
    Strings,
    Upper,
    frame,
    made,
)
from twisted_echo import (
    EndReason,
    Session,
    SessionFactory,
)
from twisted_echo.session.backpressure import Backpressure


class BeginningTests(SynchronousTestCase):
    """
    What happens in C{connectionMade}.
    """

    def test_interfaces(self) -> None:
        """
        A session and what it registers are what Twisted's transports ask for.
        """
        session = made(Upper)
        verifyObject(IHalfCloseableProtocol, session)
        verifyObject(IPushProducer, session)
        verifyObject(IPushProducer, Backpressure(session, session.transport))

    def test_registeredFirst(self) -> None:
        """
        A session is on record before the code of its protocol runs.
        """
        recorded = []

        class Base(Protocol):
            def connectionMade(self) -> None:
                recorded.append(self in self.factory.sessions)

        class Mine(Session, Base):
            pass

        session = made(Mine)
        self.assertEqual(recorded, [True])
        self.assertEqual(list(session.factory.sessions), [session])

    def test_wrongFactory(self) -> None:
        """
        A factory that keeps no sessions is refused, and the connection does not
        stay open.
        """
        factory = Factory.forProtocol(Upper)  # type: ignore[type-var]
        session = factory.buildProtocol(None)
        transport = StringTransport()
        error = self.assertRaises(TypeError, session.makeConnection, transport)
        self.assertIn("Upper is a Session", str(error))
        self.assertIn(repr(factory), str(error))
        self.assertTrue(transport.disconnecting)

    def test_noFactory(self) -> None:
        """
        Without any factory, as in a unit test of somebody's protocol, a session
        works, untracked.
        """
        session = Upper()
        transport = FullTransport()
        session.makeConnection(transport)
        session.dataReceived(b"a\n")
        session.close()
        self.assertEqual(transport.value(), b"A\n")
        self.assertTrue(transport.halfClosed)
        session.connectionLost(DONE)
        self.assertRaises(AssertionError, session.whenEnded)

    def test_producerOfItsOwn(self) -> None:
        """
        C{backpressure = False} leaves the transport's one producer to the
        protocol.
        """

        class Own(Upper):
            backpressure = False

            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.registerProducer(self, True)

        session = made(Own)
        self.assertIs(session.transport.producer, session)
        session.close()
        self.assertIs(session.transport.producer, session)

    def test_transportWithoutProducers(self) -> None:
        """
        A transport that is no consumer is served without backpressure.
        """

        class Bare:
            disconnecting = False
            written = b""

            def write(self, data: bytes) -> None:
                self.written += data

        transport = Bare()
        session = made(Upper, transport)
        session.dataReceived(b"a\n")
        self.assertEqual(transport.written, b"A\n")


class MixInTests(ServedTestCase):
    """
    Any protocol that is made a session is tracked, paused and drained.
    """

    async def answered(self, protocol, sent, answer):
        """
        Have the answer over a real connection, closed by the client's
        end-of-file, and another one by the session.
        """
        factory = SessionFactory.forProtocol(protocol)
        service = self.serve(factory)
        session, client = await self.session(service)
        ended = session.whenEnded()
        got = await in_thread(pump, client, sent)
        self.assertEqual(got, answer)
        self.assertIn((await ended).reason, LEFT)
        session, client = await self.session(service)
        client.sendall(sent)
        ended = session.whenEnded()
        self.assertEqual(await in_thread(collect, client, len(answer)), answer)
        session.close()
        self.assertEqual(await in_thread(read_to_end, client), b"")
        self.assertIs((await ended).reason, EndReason.LOCAL_CLOSED)
        self.assertEqual(factory.sessions, {})

    async def test_fastLineReceiver(self) -> None:
        await self.answered(Upper, b"a\nb\n", b"A\nB\n")

    async def test_lineReceiver(self) -> None:
        await self.answered(StockUpper, b"a\nb\n", b"A\nB\n")

    async def test_lineOnlyReceiver(self) -> None:
        await self.answered(OnlyUpper, b"a\nb\n", b"A\nB\n")

    async def test_fastLineOnlyReceiver(self) -> None:
        await self.answered(FastOnlyUpper, b"a\nb\n", b"A\nB\n")

    async def test_int16(self) -> None:
        sent = frame(b"a") + frame(b"b" * 300)
        await self.answered(Strings, sent, sent.upper())

    async def test_plain(self) -> None:
        await self.answered(Plain, b"a\0b", b"A\0B")


class ConnectTests(ServedTestCase):
    """
    The helpers of these tests.
    """

    async def test_stick(self) -> None:
        """
        L{stick} ends when a server takes no more, and the server still serves
        others.
        """
        factory = SessionFactory.forProtocol(Plain)
        service = self.serve(factory)
        client = self.client(service, receive_buffer=65536)
        sent = await in_thread(stick, client, b"x" * 100_000_000)
        self.assertLess(sent, 100_000_000)
        other = connect(service.addresses[0])
        self.assertEqual(await in_thread(pump, other, b"hello"), b"HELLO")
