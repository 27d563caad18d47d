"""
L{twisted_echo.tls.output}: what a protocol may ask of its transport.
"""

from typing import Any

from twisted.internet.interfaces import INegotiated, ISSLTransport
from zope.interface.verify import verifyObject

from tests.support.tls_connection import ConnectionTestCase, Producer
from twisted_echo.tls.stage import Stage


class TransportTests(ConnectionTestCase):
    """
    The rest of a transport.
    """

    def test_interfaces(self) -> None:
        self.shake()
        verifyObject(INegotiated, self.server)
        self.assertTrue(ISSLTransport.providedBy(self.server))
        self.assertIsNone(self.server.negotiatedProtocol)
        self.assertIsNone(self.server.getPeerCertificate())
        self.assertEqual(self.server.getHandle().version(), "TLSv1.3")
        self.assertEqual(self.server.getPeer(), self.transport.getPeer())
        # What it does not have itself is its transport's.
        self.server.setTcpNoDelay(True)
        self.assertEqual(self.transport.events, [True])

    def test_beforeTheHandshake(self) -> None:
        """
        Nothing is known of the peer yet.
        """
        self.connect()
        self.assertIsNone(self.server.negotiatedProtocol)
        self.assertIsNone(self.server.getPeerCertificate())

    def test_heldInput(self) -> None:
        """
        Input that waits for the handshake to go on is held.
        """
        self.connect()
        self.server._continueHandshake = lambda: None  # type: ignore[method-assign]
        self.server.dataReceived(b"x" * 40_000)
        self.assertEqual(self.server.ownBytes(), 40_000)

    def test_producer(self) -> None:
        """
        A producer is the transport's; while there is one, the end waits for it.
        """
        self.shake()
        producer = Producer()
        self.server.registerProducer(producer, True)
        self.assertEqual(self.transport.events, [(producer, True)])
        self.server.loseConnection()
        self.server.write(b"last")
        self.assertEqual(self.received(), b"last")
        self.send(b"ignored")
        self.assertEqual(self.protocol.pieces, [])
        self.server.unregisterProducer()
        self.assertIsNone(self.received())
        self.assertEqual(self.transport.events[1:], ["unregistered"])

    def test_producerThatIsEarly(self) -> None:
        """
        One that is registered before the handshake is done is paused until then; a pull
        producer is not asked before.
        """
        for streaming in True, False:
            self.connect()
            producer = Producer()
            self.server.registerProducer(producer, streaming)
            self.assertEqual(producer.calls, ["pause"] if streaming else [])
            self.assertEqual(self.transport.events, [])
            while self.server._records.stage is not Stage.OPEN:
                self.step()
            self.assertEqual(self.transport.events, [(producer, streaming)])
            self.assertEqual(producer.calls, ["pause", "resume"] if streaming else [])
        self.connect()
        self.server.registerProducer(producer, True)
        self.server.unregisterProducer()
        while self.server._records.stage is not Stage.OPEN:
            self.step()
        self.assertEqual(self.transport.events, [])

    def test_producerThatIsRefused(self) -> None:
        """
        The end does not wait for a producer that the transport did not take.
        """
        self.shake()

        def refuse(producer: Any, streaming: bool) -> None:
            raise RuntimeError

        self.transport.registerProducer = refuse  # type: ignore[method-assign]
        with self.assertRaises(RuntimeError):
            self.server.registerProducer(Producer(), True)
        self.server.loseConnection()
        self.assertIsNone(self.received())

    def test_stopProducing(self) -> None:
        """
        It is closed as by C{loseConnection}, with close_notify.
        """
        self.shake()
        self.server.stopProducing()
        self.assertIsNone(self.received())
