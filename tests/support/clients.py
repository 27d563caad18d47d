"""
What the tests of sessions and services share: clients over real sockets, fakes
for what is not the kernel's part, and a test case that cleans up.

Clients are blocking sockets in threads where the kernel is what is tested: they
see a reset as a reset, and read only when told to.
"""

import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from select import select
from tempfile import TemporaryDirectory
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
    IStreamServerEndpoint,
)
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread as in_thread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from twisted_echo import EndReason, SessionFactory, SessionService
from twisted_echo.testing.self_signed import key_and_certificate

__all__ = [
    "LEFT",
    "FakeEndpoint",
    "FakePort",
    "FullTransport",
    "PausablePort",
    "ServedTestCase",
    "collect",
    "connect",
    "in_thread",
    "pump",
    "read_to_end",
    "reset",
    "stick",
    "tls",
    "tls_endpoint",
    "turn",
    "until",
]

LEFT = (EndReason.PEER_CLOSED, EndReason.HALF_CLOSED)
"""
How a session may have ended whose peer sends its end-of-file after its last line. Which
it is depends on whether the server sees both at once.
"""
TCP = "tcp:0:interface=127.0.0.1"
PATIENCE = 20.0
"""
Seconds after which a client gives up, and its test fails. Nothing waits so long
while the code is right.
"""


# Time


def turn() -> "Deferred[None]":
    """
    One turn of the reactor.
    """
    return deferLater(reactor, 0)


async def until(condition: Callable[[], Any]) -> None:
    """
    Turn the reactor until something holds; the test's time-out ends it.
    """
    while not condition():
        await deferLater(reactor, 0.001)


# Clients


def connect(address: Any, receive_buffer: int = 0) -> socket.socket:
    """
    Connect to an IPv4 or UNIX address of Twisted. On loopback this needs no turn
    of the server's reactor.
    """
    name = getattr(address, "name", None)
    client = socket.socket(socket.AF_INET if name is None else socket.AF_UNIX)
    client.settimeout(PATIENCE)
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        client.connect((address.host, address.port) if name is None else name)
    except OSError:
        client.close()
        raise
    return client


def tls(client: socket.socket) -> ssl.SSLSocket:
    """
    Shake hands, to be called in a thread.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(client, suppress_ragged_eofs=False)


def read_to_end(client: socket.socket) -> bytes:
    """
    Read up to end-of-file, and close. A reset is raised as such, and so is an
    end without C{close_notify} under TLS.
    """
    with client:
        data = b"".join(iter(lambda: client.recv(1 << 16), b""))
        if isinstance(client, ssl.SSLSocket):
            client.unwrap()
        return data


def collect(client: socket.socket, size: int) -> bytes:
    """
    Read exactly so many bytes.
    """
    data = b""
    while len(data) < size:
        more = client.recv(size - len(data))
        if not more:
            raise EOFError(f"end of file after {data!r}")
        data += more
    return data


def stick(client: socket.socket, data: bytes) -> int:
    """
    Send without reading, until all is sent or the server takes no more.

    @return: how many bytes were sent.
    """
    client.setblocking(False)
    sent = 0
    while sent < len(data) and select([], [client], [], 0.5)[1]:
        sent += client.send(data[sent : sent + (1 << 17)])
    client.settimeout(PATIENCE)
    return sent


def pump(client: socket.socket, data: bytes, *, shut: bool = True) -> bytes:
    """
    Send and read at once, up to end-of-file, and close.

    @param shut: whether to send end-of-file after the data.
    """
    view: memoryview | None = memoryview(data)
    received = []
    with client:
        client.setblocking(False)
        while True:
            readable, writable, _ = select(
                [client], [client] if view is not None else [], [], PATIENCE
            )
            if not readable and not writable:
                raise TimeoutError("the server neither sends nor takes anything")
            if readable:
                chunk = client.recv(1 << 17)
                if not chunk:
                    return b"".join(received)
                received.append(chunk)
            elif view is not None:
                view = view[client.send(view[: 1 << 17]) :]
                if not view:
                    view = None
                    if shut:
                        client.shutdown(socket.SHUT_WR)


def reset(client: socket.socket) -> None:
    """
    Close with a reset.
    """
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# Servers


@implementer(IOpenSSLServerConnectionCreator)
class _Connections:
    """
    A self-signed certificate. Not Twisted's C{CertificateOptions}, which uses
    what pyOpenSSL deprecates.
    """

    def __init__(self) -> None:
        key, certificate = key_and_certificate()
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_certificate(certificate)
        self._context.use_privatekey(key)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self._context, None)


def tls_endpoint() -> SSL4ServerEndpoint:
    """
    A TLS endpoint on loopback.
    """
    return SSL4ServerEndpoint(reactor, 0, _Connections(), interface="127.0.0.1")


class ServedTestCase(TestCase):
    """
    A test case with services that are gone when a test has ended.
    """

    timeout = 60

    def mktemp(self) -> str:
        """
        A path in a folder that goes with the test. (That of trial is in the
        folder that the tests are run in, which under pytest is the project's.)
        """
        folder = TemporaryDirectory(prefix="echo-")
        self.addCleanup(folder.cleanup)
        return os.path.join(folder.name, "temp")

    def serve(
        self, factory: SessionFactory[Any], *endpoints: Any, grace: float = 0.0
    ) -> SessionService:
        """
        Start a service, on loopback TCP unless told otherwise.
        """
        made = [
            serverFromString(reactor, each) if isinstance(each, str) else each
            for each in endpoints or (TCP,)
        ]
        service = SessionService(made, factory, grace=grace)
        self.addCleanup(self.end, service)
        service.startService()
        return service

    async def end(self, service: SessionService) -> None:
        """
        Make an end of a service, whatever state a test left it in.
        """
        stopped = service.stopService()
        service.factory.abortSessions()
        await stopped

    def client(self, service: SessionService, receive_buffer: int = 0) -> socket.socket:
        """
        Connect to a service, and close when the test has ended.
        """
        client = connect(service.addresses[0], receive_buffer)
        self.addCleanup(client.close)
        return client

    async def session(self, service: SessionService) -> tuple[Any, socket.socket]:
        """
        A new session and its client.
        """
        before = set(service.factory.sessions)
        client = self.client(service)
        await until(lambda: len(service.factory.sessions) > len(before))
        (session,) = set(service.factory.sessions) - before
        return session, client


# Fakes


class FullTransport(StringTransport):
    """
    A transport that is full above C{bufferSize} bytes, as Twisted's are, and
    empty when C{drain} is called; it can be closed in one direction.
    """

    bufferSize = 10
    halfClosed = False
    _pending = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        self._pending += len(data)
        if self.producer is not None and self._pending > self.bufferSize:
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def drain(self) -> None:
        self._pending = 0
        if self.producer is not None:
            self.producer.resumeProducing()

    def loseWriteConnection(self) -> None:
        self.halfClosed = True


@implementer(IListeningPort)
class FakePort:
    """
    A port that can only be closed.

    @ivar closed: how often it was.
    @ivar closing: what its next stop returns; None for one that is done at once.
    """

    def __init__(self, factory: Any) -> None:
        self.factory = factory
        self.closed = 0
        self.closing: Deferred[Any] | None = None

    def startListening(self) -> None:
        """
        It listens since it was made.
        """

    def stopListening(self) -> "Deferred[Any]":
        self.closed += 1
        return self.closing or succeed(None)

    def getHost(self) -> Any:
        return self


@implementer(IPushProducer)
class PausablePort(FakePort):
    """
    A port that can be paused, but is no file descriptor.
    """

    paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        """
        Nobody calls this.
        """


@implementer(IStreamServerEndpoint)
class FakeEndpoint:
    """
    An endpoint whose C{listen} does as told.

    @ivar attempts: the Deferreds that C{listen} gave, in order.
    @ivar ports: the ports it opened.
    """

    def __init__(
        self,
        kind: Any = FakePort,
        *,
        later: bool = False,
        error: Exception | None = None,
        canceller: Any = None,
    ) -> None:
        self.kind = kind
        self.later = later
        self.error = error
        self.canceller = canceller
        self.attempts: list[Deferred[Any]] = []
        self.ports: list[Any] = []
        self._factory: Any = None

    def listen(self, protocolFactory: Any) -> "Deferred[Any]":
        self._factory = protocolFactory
        self.attempts.append(Deferred(self.canceller))
        if not self.later:
            self.settle()
        return self.attempts[-1]

    def settle(self) -> None:
        """
        Have the last attempt succeed, or fail with C{error}.
        """
        if self.error is not None:
            self.attempts[-1].errback(Failure(self.error))
        else:
            self.ports.append(self.kind(self._factory))
            self.attempts[-1].callback(self.ports[-1])
