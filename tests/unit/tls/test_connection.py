"""
L{twisted_echo.tls.connection} and L{twisted_echo.tls.records}: what a protocol may do
with its TLS, between two ends in memory.
"""

import contextlib
import gc
import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from weakref import ref

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    INegotiated,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.support.certificates import make_certificate
from tests.support.tlsclient import client_context
from twisted_echo.tls.connection import TLSConnection
from twisted_echo.tls.errors import describeError
from twisted_echo.tls.records import RECORD, Stage

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Server(TLSConnection):
    """
    One that begins as soon as it is connected.
    """

    context: ssl.SSLContext
    refused = ""

    def makeConnection(self, transport: Any) -> None:
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self._startTLS(self.context)

    def _handshakeDone(self) -> None:
        self.wrappedProtocol.makeConnection(self)

    def _handshakeFailed(self, error: ssl.SSLError) -> None:
        self.refused = describeError(error)
        self.transport.loseConnection()


@implementer(IHalfCloseableProtocol)
class Recorder(Protocol):
    """
    Keeps what it is told.

    @ivar then: called with each piece of data.
    """

    lost: Failure | None = None
    inputEnded = 0
    outputEnded = 0

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.then: Any = lambda data: None

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        self.then(data)

    def readConnectionLost(self) -> None:
        self.inputEnded += 1

    def writeConnectionLost(self) -> None:
        self.outputEnded += 1

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason


class Transport(StringTransportWithDisconnection):
    """
    The server's. What is written is kept write by write.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.events: list[object] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def loseConnection(self) -> None:
        self.events.append("lose")

    def abortConnection(self) -> None:
        self.events.append("abort")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.events.append((producer, streaming))

    def unregisterProducer(self) -> None:
        self.events.append("unregistered")

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.events.append(enabled)

    def getTcpNoDelay(self) -> None: ...

    def setTcpKeepAlive(self, enabled: bool) -> None: ...

    def getTcpKeepAlive(self) -> None: ...


@implementer(IPushProducer)
class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class TestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # (What trial's `mktemp` makes is left where the tests run.)
        temporary = TemporaryDirectory(prefix="echo-")
        self.addCleanup(temporary.cleanup)
        folder = Path(temporary.name)
        make_certificate(folder)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def connect(self, version: ssl.TLSVersion | None = None) -> None:
        """
        Make a server that waits for a hello, and a client.
        """
        self.protocol = Recorder()
        factory: Any = WrappingFactory(None)
        self.server = Server(factory, self.protocol)
        self.server.context = self.context
        self.transport = Transport()
        self.server.makeConnection(self.transport)
        self.toClient, self.fromClient = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client_context(version).wrap_bio(self.toClient, self.fromClient)

    def shake(self, version: ssl.TLSVersion | None = None) -> None:
        """
        The same, with hands shaken.
        """
        self.connect(version)
        while self.server._records.stage is not Stage.OPEN:
            self.step()
        self.step()

    def step(self) -> None:
        """
        One step of the client's handshake, and the server's.
        """
        with contextlib.suppress(ssl.SSLWantReadError):
            self.client.do_handshake()
        self.give()
        self.take()

    def give(self) -> None:
        """
        Hand what the client has sealed to the server.
        """
        if data := self.fromClient.read():
            self.server.dataReceived(data)

    def take(self) -> int:
        """
        Hand what the server has written to the client.

        @return: in how many writes that came.
        """
        writes, self.transport.writes = self.transport.writes, []
        for each in writes:
            self.toClient.write(each)
        return len(writes)

    def send(self, *data: bytes) -> None:
        for each in data:
            self.client.write(each)
        self.give()

    def received(self) -> bytes | None:
        """
        What the client has got; None in place of close_notify.
        """
        self.take()
        got = b""
        try:
            while piece := self.client.read(1 << 20):
                got += piece
        except ssl.SSLWantReadError:
            return got
        except ssl.SSLZeroReturnError:
            pass
        return got or None


class WriteTests(TestCase):
    """
    What is written, in which moments.
    """

    def test_oneRecord(self) -> None:
        """
        Many small writes within C{dataReceived} are one record, and one write.
        """
        for version in VERSIONS:
            self.shake(version)
            self.protocol.then = lambda data: [
                self.server.write(b"%d" % each) for each in range(10)
            ]
            self.send(b"x")
            (write,) = self.transport.writes
            self.assertLess(len(write), 10 + 60)
            self.assertEqual(self.received(), b"0123456789")
            self.assertEqual(self.server.bytesSent, 10)

    def test_severalRecords(self) -> None:
        """
        Many records in one piece are handed on as one, and so answered.
        """
        self.shake()
        self.protocol.then = self.server.write
        self.send(*(b"%d" % each for each in range(10)))
        self.assertEqual(self.protocol.pieces, [b"0123456789"])
        self.assertEqual(len(self.transport.writes), 1)
        self.assertEqual(self.received(), b"0123456789")

    def test_outside(self) -> None:
        """
        Outside of C{dataReceived} each write is sent at once.
        """
        self.shake()
        self.server.write(b"a")
        self.server.writeSequence([b"b", b"c"])
        self.server.write(b"")
        self.assertEqual(len(self.transport.writes), 2)
        self.assertEqual(self.received(), b"abc")

    def test_kinds(self) -> None:
        """
        Other kinds of bytes are taken as they are in that moment. What is none is
        refused.
        """
        self.shake()
        changes = bytearray(b"now")

        def answer(data: bytes) -> None:
            self.server.write(changes)
            changes[:] = b"not"
            self.server.write(memoryview(b"then"))

        self.protocol.then = answer
        self.send(b"x")
        self.server.write(bytearray(b"later"))
        self.assertEqual(self.received(), b"nowthenlater")
        text: Any = "text"
        with self.assertRaisesRegex(TypeError, "must be bytes, got the str 'text'"):
            self.server.write(text)
        for wrong in (5, None, [1]):
            with self.assertRaises(TypeError):
                self.server.write(wrong)  # type: ignore[arg-type]
        self.assertEqual(self.received(), b"")

    def test_large(self) -> None:
        """
        However much is written at once or bit by bit, OpenSSL gets it by records, and
        the transport hears of it before C{dataReceived} returns.
        """
        self.shake()
        data = bytes(range(256)) * 4096
        sizes: list[int] = []

        def answer(_: bytes) -> None:
            for start in range(0, len(data), 1000):
                self.server.write(data[start : start + 1000])
                sizes.append(len(data[: start + 1000]) - sum(map(len, self.writes())))

        self.protocol.then = answer
        self.send(b"x")
        self.assertLess(max(sizes), 66_000)
        self.assertEqual(self.received(), data)
        self.server.write(data)
        self.assertLess(max(map(len, self.transport.writes)), RECORD + 100)
        self.assertEqual(self.received(), data)
        self.assertEqual(self.server.bytesSent, 2 * len(data))

    def writes(self) -> list[bytes]:
        return self.transport.writes

    def test_raises(self) -> None:
        """
        What a protocol has written before it raises an exception is not sent, as over
        TCP; the exception goes on.
        """
        self.shake()

        def broken(data: bytes) -> None:
            self.server.write(b"half an answer")
            raise ZeroDivisionError

        self.protocol.then = broken
        for _ in range(2):
            with self.assertRaises(ZeroDivisionError):
                self.send(b"x")
        self.assertEqual(self.transport.writes, [])

    def test_within(self) -> None:
        """
        Data that comes while the protocol is being given some: the answers are in the
        order in which they were written.
        """
        self.shake()
        self.client.write(b"first")
        first = self.fromClient.read()
        self.client.write(b"second")
        second = self.fromClient.read()

        def answer(data: bytes) -> None:
            self.server.write(b"<" + data)
            if data == b"first":
                self.server.dataReceived(second)
            self.server.write(data + b">")

        self.protocol.then = answer
        self.server.dataReceived(first)
        self.assertEqual(self.received(), b"<first<secondsecond>first>")

    def test_early(self) -> None:
        """
        What is written before the handshake is done waits for it, and is counted.
        """
        self.connect()
        self.server.write(b"early ")
        self.assertEqual(self.server.ownBytes(), 6)
        self.assertEqual(self.transport.writes, [])
        while self.server._records.stage is not Stage.OPEN:
            self.step()
        self.server.write(b"bird")
        self.step()
        self.assertEqual(self.server.ownBytes(), 0)
        self.assertEqual(self.received(), b"early bird")

    def test_wantsToRead(self) -> None:
        """
        What cannot be encrypted before something is read (a handshake within the
        connection) waits for that; so does the end.
        """
        self.shake()
        records = self.server._records
        encrypt = records._sslWrite

        def refuse(data: bytes) -> int:
            raise ssl.SSLWantReadError

        records._sslWrite = refuse
        self.server.write(b"a" * 20_000)
        self.server.write(b"b")
        self.server.loseConnection()
        self.assertEqual(self.server.ownBytes(), 20_001)
        self.assertEqual(self.transport.writes, [])
        records._sslWrite = encrypt
        # Half a record makes it try again.
        self.client.write(b"x")
        self.server.dataReceived(self.fromClient.read()[:10])
        self.assertEqual(self.received(), b"a" * 20_000 + b"b")
        self.assertEqual(records.stage, Stage.FINISHED)

    def test_fails(self) -> None:
        """
        If OpenSSL cannot encrypt, the connection is lost, and nothing is raised.
        """
        self.shake()

        def refuse(data: bytes) -> int:
            raise ssl.SSLError("broken")

        self.server._records._sslWrite = refuse
        self.server.write(b"x")
        self.server.write(b"y")
        self.assertEqual(self.transport.events, ["lose"])
        self.server.connectionLost(Failure(ConnectionDone()))
        assert self.protocol.lost is not None
        self.assertIsInstance(self.protocol.lost.value, ssl.SSLError)


class EndTests(TestCase):
    """
    Either end of a connection.
    """

    def test_answersAfterFarewell(self) -> None:
        """
        The client's close_notify ends the input, and nothing else; after the server's
        own the connection is closed.
        """
        for version in VERSIONS:
            self.shake(version)
            with self.assertRaises(ssl.SSLWantReadError):
                self.client.unwrap()
            self.give()
            self.assertEqual(self.protocol.inputEnded, 1)
            self.assertEqual(self.transport.events, [])
            self.server.write(b"answer")
            self.server.loseConnection()
            self.assertEqual(self.received(), b"answer")
            self.assertIsNone(self.received())
            self.assertEqual(self.transport.events, ["lose"])

    def test_bareEndOfFile(self) -> None:
        """
        So does an end-of-file without it.
        """
        self.shake()
        self.server.readConnectionLost()
        self.server.readConnectionLost()
        self.assertEqual(self.protocol.inputEnded, 1)
        self.server.write(b"answer")
        self.server.loseConnection()
        self.assertEqual(self.received(), b"answer")
        self.assertEqual(self.transport.events, ["lose"])

    def test_notHalfCloseable(self) -> None:
        """
        A protocol that knows no half-close is closed.
        """
        self.shake()
        self.server.wrappedProtocol = self.server._records.protocol = Protocol()
        with self.assertRaises(ssl.SSLWantReadError):
            self.client.unwrap()
        self.give()
        self.assertIsNone(self.received())
        self.assertEqual(self.transport.events, ["lose"])

    def test_farewellIsWaitedFor(self) -> None:
        """
        A server that closes says farewell, waits for the client's, and hands nothing
        on.
        """
        self.shake()
        self.server.loseConnection()
        self.server.loseConnection()
        self.server.write(b"too late")
        self.assertIsNone(self.received())
        self.send(b"ignored" * 10_000)
        self.assertEqual(self.protocol.pieces, [])
        self.assertEqual(self.transport.events, [])
        self.client.unwrap()
        self.give()
        self.assertEqual(self.transport.events, ["lose"])
        self.assertEqual(self.protocol.inputEnded, 0)

    def test_closesWithin(self) -> None:
        """
        A protocol that closes in the middle of what it is given: what it wrote before
        is sent, and what had come is read.
        """
        self.shake()

        def quit(data: bytes) -> None:
            self.server.write(b"bye")
            self.server.loseConnection()
            self.server.write(b"too late")

        self.protocol.then = quit
        self.send(b"x" * 100_000, b"y")
        self.assertEqual(len(self.protocol.pieces), 1)
        self.assertEqual(self.received(), b"bye")
        self.assertIsNone(self.received())

    def test_closesAsItBegins(self) -> None:
        """
        With input behind the handshake, which must not fail the farewell.
        """
        self.connect()
        self.protocol.connectionMade = self.close  # type: ignore[method-assign]
        with self.assertRaises(ssl.SSLWantReadError):
            self.client.do_handshake()
        self.give()
        self.take()
        self.client.do_handshake()
        self.client.write(b"ignored")
        self.give()
        self.assertEqual(self.received(), b"bye")
        self.assertIsNone(self.received())
        self.assertEqual(self.protocol.pieces, [])
        self.client.unwrap()
        self.give()
        self.assertEqual(self.transport.events, ["lose"])

    def close(self) -> None:
        self.server.write(b"bye")
        self.server.loseConnection()

    def test_ownHalf(self) -> None:
        """
        A protocol may end its own half alone, and goes on being given what comes.
        """
        self.shake()
        self.server.write(b"last")
        self.server.loseWriteConnection()
        self.server.loseWriteConnection()
        self.assertEqual(self.received(), b"last")
        self.assertIsNone(self.received())
        self.send(b"more")
        self.assertEqual(self.protocol.pieces, [b"more"])
        self.client.unwrap()
        self.give()
        self.assertEqual(self.protocol.inputEnded, 1)
        self.server.loseConnection()
        self.assertEqual(self.transport.events, ["lose"])

    def test_ownHalfAsItBegins(self) -> None:
        """
        The same, with input behind the handshake: none of it is lost.
        """
        self.connect()
        self.protocol.connectionMade = (  # type: ignore[method-assign]
            lambda: self.server.loseWriteConnection()
        )
        with self.assertRaises(ssl.SSLWantReadError):
            self.client.do_handshake()
        self.give()
        self.take()
        self.client.do_handshake()
        self.send(b"first", b"second")
        self.assertIsNone(self.received())
        self.send(b"third")
        self.assertEqual(self.protocol.pieces, [b"firstsecond", b"third"])
        self.assertEqual(self.transport.events, [])

    def test_ownHalfWaits(self) -> None:
        """
        What cannot be encrypted yet goes before the end of the protocol's own half.
        """
        self.shake()
        records = self.server._records
        records._waiting = (b"last",)
        self.server.loseWriteConnection()
        self.assertEqual(self.received(), b"")
        self.send(b"x")
        records.encryptWaiting()
        self.send(b"x")
        self.assertEqual(self.received(), b"last")
        self.assertIsNone(self.received())

    def test_closedWhilePaused(self) -> None:
        """
        A connection that is closed while it is paused, or paused later, reads on, up to
        the client's farewell.
        """
        for steps in ["pause", "lose"], ["lose", "pause"]:
            self.shake()
            for step in steps:
                if step == "pause":
                    self.server.pauseProducing()
                else:
                    self.server.loseConnection()
            self.assertEqual(self.transport.producerState, "producing")

    def test_behindFarewell(self) -> None:
        """
        What comes behind close_notify, in the same piece or later, is not kept.
        """
        self.shake()
        with self.assertRaises(ssl.SSLWantReadError):
            self.client.unwrap()
        self.server.dataReceived(self.fromClient.read() + b"z" * 1000)
        self.server.dataReceived(b"z" * 1000)
        self.assertEqual(self.protocol.inputEnded, 1)
        self.server.loseConnection()
        self.assertIsNone(self.received())
        self.assertEqual(self.transport.events, ["lose"])

    def test_broken(self) -> None:
        """
        Bytes that are no record: the client is told by an alert, and the protocol by
        OpenSSL's error.
        """
        self.shake()
        self.send(b"whole")
        self.server.dataReceived(b"no record" * 10)
        self.assertEqual(self.protocol.pieces, [b"whole"])
        with self.assertRaises(ssl.SSLError):
            self.received()
        self.assertEqual(self.transport.events, ["lose"])
        self.server.dataReceived(b"more")
        self.server.connectionLost(Failure(ConnectionDone()))
        assert self.protocol.lost is not None
        self.assertIsInstance(self.protocol.lost.value, ssl.SSLError)

    def test_notShaken(self) -> None:
        self.connect()
        self.server.dataReceived(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(self.server.refused, "http request")
        self.assertEqual(self.transport.events, ["lose"])
        self.server.dataReceived(b"more")

    def test_abort(self) -> None:
        self.shake()
        self.server.abortConnection()
        self.server.write(b"x")
        self.send(b"x")
        self.assertEqual(self.transport.events, ["abort"])
        self.assertEqual((self.transport.writes, self.protocol.pieces), ([], []))

    def test_nothingIsLeft(self) -> None:
        """
        Nothing of it lives on when it has ended, without the garbage collector; and
        nothing that is still done with it fails.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.shake()
        self.send(b"x")
        self.server.dataReceived(b"no record" * 10)
        server, protocol = self.server, self.protocol
        server.connectionLost(Failure(ConnectionDone()))
        server.write(b"x")
        server.dataReceived(b"x")
        server.loseConnection()
        alive = ref(server), ref(protocol), ref(server._records.tls)
        del server, protocol, self.server, self.protocol
        self.assertEqual([each() for each in alive], [None] * 3)

    def test_lastHookRaises(self) -> None:
        """
        Nor if the protocol raises an exception as it is told of the end.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.shake()

        def broken(reason: Any = None) -> None:
            raise ZeroDivisionError

        self.protocol.connectionLost = broken  # type: ignore[method-assign]
        with self.assertRaises(ZeroDivisionError):
            self.server.connectionLost(Failure(ConnectionDone()))
        alive = ref(self.server), ref(self.protocol)
        del self.server, self.protocol
        self.assertEqual([each() for each in alive], [None] * 2)


class TransportTests(TestCase):
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
