"""
One L{TLSConnection} over a transport in memory, and its client.
"""

import contextlib
import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.support.certificates import make_certificate
from tests.support.tlsclient import client_context
from twisted_echo.tls.connection import TLSConnection
from twisted_echo.tls.error_text import describeError
from twisted_echo.tls.stage import Stage

__all__ = [
    "VERSIONS",
    "ConnectionTestCase",
    "Producer",
    "Recorder",
    "Server",
    "Transport",
]

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


class ConnectionTestCase(SynchronousTestCase):
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
