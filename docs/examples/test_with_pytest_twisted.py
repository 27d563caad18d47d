"""
Tests of a server of your own with pytest-twisted, in coroutines.

    pytest test_with_pytest_twisted.py

pytest-twisted runs one reactor for all tests of the process. `running` starts the
service, on a port that the kernel chooses. When its block is left, the service stops,
and the test fails if it has left anything behind.
"""

# mypy: disable-error-code="no-untyped-call,no-any-return"
# mypy: disallow-untyped-decorators=False
# (Neither pytest-twisted nor connectProtocol is annotated.)

from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from twisted_echo import (
    EndReason,
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.testing import running


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


@pytest_twisted.async_yield_fixture
async def service() -> AsyncIterator[SessionService]:
    factory = SessionFactory.forProtocol(Upper)
    async with running(SessionService("tcp:0:interface=127.0.0.1", factory)) as upper:
        yield upper


def connect(service: SessionService) -> Deferred[Asking]:
    address: Any = service.addresses[0]
    endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
    return connectProtocol(endpoint, Asking())


@pytest_twisted.ensureDeferred
async def test_upper(service: SessionService) -> None:
    client = await connect(service)
    assert await client.ask(b"hello") == b"HELLO"
    (session,) = service.factory.sessions
    ended = session.whenEnded()
    client.transport.loseConnection()
    assert (await ended).reason is EndReason.PEER_CLOSED


@pytest_twisted.inlineCallbacks
def test_in_callbacks(service: SessionService) -> Generator[Deferred[Any], Any, None]:
    client = yield connect(service)
    assert (yield client.ask(b"hello")) == b"HELLO"
    client.transport.loseConnection()
