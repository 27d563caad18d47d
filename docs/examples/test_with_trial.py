"""
Tests of a server of your own with trial.

    trial ./test_with_trial.py

`running` starts the service, on a port that the kernel chooses. When its block is left,
the service stops. The test fails if a session, a port or a delayed call is left, and
names it. `startForTest` does the same for tests that return Deferreds.
"""

# mypy: disable-error-code="no-any-return"
# (Neither trial nor connectProtocol is annotated.)

from collections.abc import Generator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.trial.unittest import TestCase

from twisted_echo import (
    EndReason,
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.testing import running, startForTest


class Upper(Session, FastLineReceiver):
    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


class Asking(FastLineReceiver):
    """
    A client, which sends a line and waits for one.
    """

    def ask(self, line: bytes) -> Deferred[bytes]:
        self.answer: Deferred[bytes] = Deferred()
        self.sendLine(line)
        return self.answer

    def lineReceived(self, line: bytes) -> None:
        self.answer.callback(line)


def upper() -> SessionService:
    factory = SessionFactory.forProtocol(Upper)
    return SessionService("tcp:0:interface=127.0.0.1", factory)


def connect(service: SessionService) -> Deferred[Asking]:
    address: Any = service.addresses[0]
    endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
    return connectProtocol(endpoint, Asking())


class UpperTests(TestCase):
    async def test_upper(self) -> None:
        async with running(upper()) as service:
            client = await connect(service)
            self.assertEqual(await client.ask(b"hello"), b"HELLO")
            (session,) = service.factory.sessions
            ended = session.whenEnded()
            client.transport.loseConnection()
            self.assertIs((await ended).reason, EndReason.PEER_CLOSED)

    @inlineCallbacks
    def test_inCallbacks(self) -> Generator[Deferred[Any], Any, None]:
        service = yield startForTest(self, upper())
        client = yield connect(service)
        answer = yield client.ask(b"hello")
        self.assertEqual(answer, b"HELLO")
        client.transport.loseConnection()
