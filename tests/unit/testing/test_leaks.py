"""
L{twisted_echo.testing.leaks}: what is named of a service that has not ended.
"""

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.support.clients import FakeEndpoint, connect, until
from tests.support.upper import Upper, upper
from twisted_echo import (
    EchoConfig,
    EchoService,
    SessionFactory,
    SessionService,
)
from twisted_echo.testing import (
    Footprint,
    assertNothingLeft,
    leftBehind,
    running,
)
from twisted_echo.testing.clocks import elapse


class LeftBehindTests(TestCase):
    async def test_all(self) -> None:
        """
        Everything is named that a service has which still runs: the service, its port,
        its session, its sockets, its delayed calls.
        """
        service = upper()
        service.startService()
        self.addCleanup(service.stopService)
        client = connect(service.addresses[0])
        self.addCleanup(client.close)
        await until(lambda: service.factory.sessions)
        (session,) = service.factory.sessions
        answer: Deferred[None] = Deferred()
        session.answerLater(answer)
        with self.assertRaises(AssertionError) as raised:
            assertNothingLeft(service)
        port, own = service.addresses[0].port, client.getsockname()[1]
        for pattern in (
            "left behind: the service, which is listening",
            rf"the port 127.0.0.1:{port}",
            rf"session 1, Upper, of 127.0.0.1:{own}, answering, since 0\.",
            rf"descriptor \d+, a socket at \('127.0.0.1', {port}\) without a peer",
            rf"a socket at \('127.0.0.1', {port}\) connected to .*{own}\)",
            r"a delayed call of twisted_echo.*\.Timeouts\._sweep, due in",
        ):
            self.assertRegex(str(raised.exception), pattern)
        answer.callback(None)
        session.close()
        self.assertRegex("; ".join(leftBehind(service)), "session 1, .*, closing")
        session.abort()
        self.assertRegex("; ".join(leftBehind(service)), "session 1, .*, aborting")

    async def test_socketLeft(self) -> None:
        """
        A socket of a session that has ended, but was duplicated, is named.
        """
        service = upper()
        copies: list[int] = []
        with self.assertRaisesRegex(AssertionError, r"descriptor \d+, a socket at"):
            async with running(service):
                client = connect(service.addresses[0])
                await until(lambda: service.factory.sessions)
                (session,) = service.factory.sessions
                copies.append(os.dup(session.transport.fileno()))
                client.close()
                await session.whenEnded()
        for each in copies:
            os.close(each)

    def test_handshake(self) -> None:
        clock = Clock()
        factory = SessionFactory.forProtocol(Upper, clock=clock)
        service = SessionService(FakeEndpoint(), factory)

        class Shaking:
            began = 0.0
            transport = None

            def fail(self, reason: Any, detail: str = "") -> None:
                factory.handshakeEnded(self)  # type: ignore[arg-type]

        factory.handshakeStarted(Shaking(), None)  # type: ignore[arg-type]
        elapse(clock, 1)
        self.assertIn("a handshake, Shaking, since 1.000 s", leftBehind(service))
        factory.closeHandshakes()

    def test_before(self) -> None:
        """
        What was there before is none of the service's.
        """
        clock = Clock()
        service = EchoService(EchoConfig(), reactor=clock, endpoints=[FakeEndpoint()])
        clock.callLater(1, lambda: None)
        self.assertEqual(leftBehind(service, Footprint(clock)), [])
        self.assertEqual(leftBehind(service), [])
