"""
Services that are embedded in a program whose reactor runs already, here that of
pytest-twisted: what they answer, and what their stops do to clients.

The clients are Twisted's, on the same reactor.
"""

import ssl
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.support.certificates import make_certificate
from twisted_echo import (
    AnsweringLineReceiver,
    EchoProtocol,
    EndReason,
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
    State,
)
from twisted_echo.testing import running

TCP = "tcp:0:interface=127.0.0.1"


class Client(Protocol):
    """
    A client that keeps what it is sent.

    @ivar closed: fires when the connection is gone.
    """

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)

    async def read(self, expected: bytes) -> None:
        """
        Wait until all has come that is expected, and see that it is no more.
        """
        while len(self.received) < len(expected) and not self.closed.called:
            await deferLater(reactor, 0.001)
        assert self.received == expected
        self.received = b""

    async def close(self) -> None:
        self.transport.loseConnection()
        await self.closed


class Later(AnsweringLineReceiver):
    """
    Answers a line when the test says so.
    """

    delimiter = b"\n"

    def connectionMade(self) -> None:
        super().connectionMade()
        self.questions: dict[bytes, Deferred[bytes]] = {}

    def answer(self, line: bytes) -> "Deferred[bytes]":
        self.questions[line] = Deferred()
        return self.questions[line]


def serving(protocol: type[Session], **factory: Any) -> SessionService:
    return SessionService(TCP, SessionFactory.forProtocol(protocol, **factory))


async def connect(service: SessionService) -> Client:
    address: Any = service.addresses[0]
    endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
    return await connectProtocol(endpoint, Client())


async def until(condition: Any) -> None:
    while not condition():
        await deferLater(reactor, 0.001)


@pytest_twisted.async_yield_fixture
async def echo() -> AsyncIterator[SessionService]:
    async with running(serving(EchoProtocol)) as service:
        yield service


@pytest_twisted.async_yield_fixture(scope="module")
async def shared_echo() -> AsyncIterator[SessionService]:
    """
    One service for several tests.
    """
    async with running(serving(EchoProtocol)) as service:
        yield service


@pytest_twisted.async_fixture
async def client(echo: SessionService) -> Client:
    return await connect(echo)


@pytest_twisted.ensureDeferred
async def test_answers(echo: SessionService, client: Client) -> None:
    client.transport.write(b"one\ntwo\nthr")
    await client.read(b"one\ntwo\n")
    client.transport.write(b"ee\n")
    await client.read(b"three\n")
    (session,) = echo.factory.sessions
    ended = session.whenEnded()
    await client.close()
    assert (await ended).reason is EndReason.PEER_CLOSED
    assert echo.snapshot().sessions == 0


@pytest_twisted.ensureDeferred
@given(
    data=st.lists(st.binary(max_size=20).map(lambda each: each + b"\n"), max_size=8),
    size=st.integers(1, 30),
)
async def test_any_cut(
    shared_echo: SessionService, data: list[bytes], size: int
) -> None:
    """
    Whatever the lines are, and however they are cut, they come back as they were sent.
    """
    sent = b"".join(data)
    client = await connect(shared_echo)
    client.transport.setTcpNoDelay(True)
    for start in range(0, len(sent), size):
        client.transport.write(sent[start : start + size])
        await deferLater(reactor, 0)
    await client.read(sent)
    await client.close()


@pytest_twisted.inlineCallbacks
def test_no_session_is_left(
    shared_echo: SessionService,
) -> Generator[Deferred[Any], Any, None]:
    """
    A service that has served other tests has no session of theirs left.
    """
    yield DeferredList(list(shared_echo.factory.sessions.values()))
    snapshot = shared_echo.snapshot()
    assert (snapshot.sessions, snapshot.pendingBytes) == (0, 0)


@pytest_twisted.ensureDeferred
async def test_stop_answers_what_had_arrived() -> None:
    """
    A stop waits for the answers in flight, in the order of the lines, and then sends
    end-of-file.
    """
    async with running(serving(Later)) as service:
        client = await connect(service)
        client.transport.write(b"one\ntwo\nthr")
        await until(lambda: service.factory.sessions)
        (session,) = service.factory.sessions
        await until(lambda: len(session.questions) == 2)
        stopped = service.stopService()
        meanwhile = service.state
        assert meanwhile is State.DRAINING
        session.questions[b"two"].callback(b"2")
        await deferLater(reactor, 0.01)
        assert not stopped.called
        session.questions[b"one"].callback(b"1")
        await client.closed
        await client.read(b"1\n2\n")
        await stopped
        assert service.state is State.STOPPED


@pytest_twisted.ensureDeferred
async def test_stop_is_on_time() -> None:
    """
    An answer that never comes does not hold up a stop beyond C{abortAfter}.
    """
    async with running(serving(Later, abortAfter=0.05)) as service:
        client = await connect(service)
        client.transport.write(b"one\n")
        await until(lambda: service.factory.sessions)
        (session,) = service.factory.sessions
        await until(lambda: session.questions)
        ended = session.whenEnded()
        await service.stopService()
        assert (await ended).reason is EndReason.ABORTED_IN_DRAIN
        await client.closed
        await client.read(b"")


@pytest_twisted.ensureDeferred
async def test_suspend(echo: SessionService, client: Client) -> None:
    """
    While a service is suspended its sessions go on, and new clients wait in the
    backlog.
    """
    await until(lambda: echo.factory.sessions)
    echo.suspend()
    late = await connect(echo)
    late.transport.write(b"late\n")
    client.transport.write(b"early\n")
    await client.read(b"early\n")
    assert late.received == b""
    assert len(echo.factory.sessions) == 1
    echo.resume()
    await late.read(b"late\n")
    await client.close()
    await late.close()


@pytest_twisted.ensureDeferred
async def test_start_after_stop(echo: SessionService) -> None:
    await echo.stopService()
    echo.startService()
    await echo.whenListening()
    client = await connect(echo)
    client.transport.write(b"again\n")
    await client.read(b"again\n")
    await client.close()


@pytest_twisted.ensureDeferred
async def test_left_behind() -> None:
    """
    A test fails whose service leaves something in the reactor, and the message names
    it.
    """
    calls: list[Any] = []

    class Leaky(EchoProtocol):
        def connectionMade(self) -> None:
            super().connectionMade()
            calls.append(reactor.callLater(100, self.later))

        def later(self) -> None:
            """
            Never called.
            """

    with pytest.raises(AssertionError, match=r"left behind: a delayed call of .*later"):
        async with running(serving(Leaky)) as service:
            client = await connect(service)
            await until(lambda: calls)
            await client.close()
    calls[0].cancel()


class Secured(Session, FastLineReceiver):
    """
    Begins TLS when it is told to.
    """

    delimiter = b"\n"
    context: ssl.SSLContext

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())
        if line == b"starttls":
            self.startTLS(self.context)


@pytest_twisted.ensureDeferred
async def test_start_tls(tmp_path: Path) -> None:
    """
    Twisted's own client begins TLS in the middle of a session; the end is in order.
    """
    make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    protocol = type("Secured", (Secured,), {"context": context})
    async with running(serving(protocol)) as service:
        client = await connect(service)
        client.transport.write(b"starttls\n")
        await client.read(b"STARTTLS\n")
        client.transport.startTLS(CertificateOptions())
        client.transport.write(b"in secret\n")
        await client.read(b"IN SECRET\n")
        assert service.snapshot().handshakes == 0
        stopped = service.stopService()
        await client.closed
        await stopped
