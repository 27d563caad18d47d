"""
L{twisted_echo.net.transport_queries}: what each kind of transport answers.
"""

import socket
from typing import Any

from twisted.internet.interfaces import (
    IPullProducer,
    ISSLTransport,
    ITLSTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides, implementer

from twisted_echo.net import transport_queries
from twisted_echo.net.transport_queries import (
    BufferingLayer,
    bottomTransport,
    discardOutput,
    layerBuffers,
    provideAs,
)


class Bare:
    """
    A transport with nothing that C{ITransport} does not promise.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def loseConnection(self) -> None:
        self.calls.append("lose")


class Able(Bare):
    """
    A transport that tells everything.
    """

    connected, disconnected, disconnecting = True, False, True
    isGathering = True
    bytesSent = 5
    producer = "producer"
    dataBuffer, offset = b"12345", 2
    _tempDataLen = 3

    def __init__(self) -> None:
        super().__init__()
        self._tempDataBuffer = [b"6", b"78"]
        self.handle = socket.socket()

    def abortConnection(self) -> None:
        self.calls.append("abort")

    def loseWriteConnection(self) -> None:
        self.calls.append("half-close")

    def getHandle(self) -> socket.socket:
        return self.handle

    def getPeer(self) -> str:
        return "peer"

    def registerProducer(self, producer: object, streaming: bool) -> None:
        pass

    def fileno(self) -> int:
        return self.handle.fileno()


class QuestionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bare: Any = Bare()
        self.able: Any = Able()
        self.addCleanup(self.able.handle.close)

    def test_answers(self) -> None:
        """
        What a transport tells, and what is assumed of one that does not.
        """
        for name, told, assumed in (
            ("isGone", False, False),
            ("isConnected", True, False),
            ("isReadingNow", True, False),
            ("isOpen", True, False),
            ("isClosing", True, False),
            ("canHalfClose", True, False),
            ("producerOf", "producer", None),
            ("peerOf", "peer", None),
            ("takesProducers", True, False),
            ("socketOf", self.able.handle, None),
            ("tcpSocketOf", self.able.handle, None),
            ("sentBytes", 5, None),
            ("showsOutput", True, False),
            ("hasOutput", True, False),
            ("bufferedOutput", 8, 0),
            ("pendingOutput", 6, 0),
        ):
            ask = getattr(transport_queries, name)
            self.assertEqual(ask(self.able), told, name)
            self.assertEqual(ask(self.bare), assumed, name)
            # (Of a string transport's, too.)
            ask(StringTransport())

    def test_gone(self) -> None:
        self.able.connected, self.able.disconnected = False, True
        self.assertTrue(transport_queries.isGone(self.able))
        self.assertFalse(transport_queries.isOpen(self.able))
        self.assertFalse(transport_queries.isGone(None))

        class Told(ProtocolWrapper):
            """
            A layer that says what it has been told itself.
            """

            disconnected = False

        factory: Any = WrappingFactory(None)  # type: ignore[arg-type]
        layer: Any = Told(factory, Protocol())
        layer.transport = self.able
        self.assertTrue(transport_queries.isGone(layer))

    def test_encrypted(self) -> None:
        """
        A count of encrypted bytes is none of what was sent.
        """
        self.able.TLS = True
        self.assertIsNone(transport_queries.sentBytes(self.able))
        transport: Any = StringTransport()
        transport.bytesSent = 5
        self.assertEqual(transport_queries.sentBytes(transport), 5)
        alsoProvides(transport, ISSLTransport)
        self.assertIsNone(transport_queries.sentBytes(transport))

    def test_ends(self) -> None:
        """
        A transport that cannot abort or half-close loses its connection.
        """
        for transport in self.able, self.bare:
            transport_queries.abort(transport)
            transport_queries.endOutput(transport)
        self.assertEqual(self.able.calls, ["abort", "half-close"])
        self.assertEqual(self.bare.calls, ["lose", "lose"])

    def test_discard(self) -> None:
        before = transport_queries.outputPosition(self.able)
        discardOutput(self.able)
        self.assertFalse(transport_queries.hasOutput(self.able))
        self.assertEqual(transport_queries.pendingOutput(self.able), 0)
        self.assertNotEqual(transport_queries.outputPosition(self.able), before)
        discardOutput(self.bare)
        self.assertFalse(transport_queries.showsOutput(self.bare))

    def test_socket(self) -> None:
        """
        A socket of another kind is no TCP socket.
        """
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_UNIX, kind) as handle:
                self.able.getHandle = lambda handle=handle: handle
                self.assertIs(transport_queries.socketOf(self.able), handle)
                self.assertIsNone(transport_queries.tcpSocketOf(self.able))


class LayerTests(SynchronousTestCase):
    def test_layers(self) -> None:
        """
        What layers hold is added up; a layer of another kind does not tell.
        """

        class Holding(BufferingLayer, ProtocolWrapper):
            def ownBytes(self) -> int:
                return 3

        factory: Any = WrappingFactory(None)  # type: ignore[arg-type]
        transport: Any
        transport = bottom = StringTransport()
        for kind in (Holding, ProtocolWrapper, Holding):
            layer = kind(factory, Protocol())
            layer.transport = transport
            transport = layer
        self.assertIs(bottomTransport(transport), bottom)
        self.assertEqual(layerBuffers(transport), 6)
        self.assertEqual(layerBuffers(bottom), 0)


class ProvideAsTests(SynchronousTestCase):
    def test_provided(self) -> None:
        """
        A wrapper provides what its transport does and what its class implements, but
        for what it is without; other wrappers are not affected.
        """

        @implementer(IPullProducer)
        class Wrapper(ProtocolWrapper):
            pass

        factory: Any = WrappingFactory(None)
        plain, tls, more, none = (Wrapper(factory, Protocol()) for _ in range(4))
        transport = StringTransport()
        special = StringTransport()
        alsoProvides(special, ITLSTransport)
        provideAs(plain, transport)
        for wrapper in tls, more:
            provideAs(wrapper, special, without=ITLSTransport)
        for wrapper in plain, tls, more:
            self.assertTrue(IPullProducer.providedBy(wrapper))
            self.assertTrue(ITransport.providedBy(wrapper))
            self.assertFalse(ITLSTransport.providedBy(wrapper))
        provideAs(more, special)
        self.assertTrue(ITLSTransport.providedBy(more))
        self.assertFalse(ITLSTransport.providedBy(tls))
        self.assertFalse(ITransport.providedBy(none))
