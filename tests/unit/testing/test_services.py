"""
L{twisted_echo.testing.services}: services in trial, on the test's reactor.
"""

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from tests.support.clients import connect, in_thread, until
from tests.support.upper import LOOPBACK, Upper, upper
from twisted_echo import (
    SessionFactory,
    SessionService,
)
from twisted_echo.testing import (
    leftBehind,
    running,
    startForTest,
)


class RunningTests(TestCase):
    async def test_serves(self) -> None:
        async with running(upper()) as service:
            client = connect(service.addresses[0])
            client.sendall(b"hello\n")
            await until(lambda: service.snapshot().bytesReceived)
            # (The reactor has to turn once more, before it sends.)
            self.assertEqual(await in_thread(lambda: client.recv(100)), b"HELLO\n")
            client.close()
            ended = [each.whenEnded() for each in service.factory.sessions]
            for each in ended:
                await each
        self.assertEqual(leftBehind(service), [])

    async def test_cannotListen(self) -> None:
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        port = holder.getsockname()[1]
        service = SessionService(
            f"tcp:{port}:interface=127.0.0.1", SessionFactory.forProtocol(Upper)
        )
        with self.assertRaisesRegex(Exception, "in use"):
            async with running(service):
                self.fail("it runs")

    async def test_error(self) -> None:
        """
        An error of the test's own is what is told, and the service has stopped.
        """
        service = upper()
        with self.assertRaises(KeyError):
            async with running(service):
                raise KeyError
        self.assertEqual(leftBehind(service), [])

    async def test_leak(self) -> None:
        """
        What is left fails the test, and is named.
        """
        calls: list[Any] = []

        class Leaky(Upper):
            def connectionMade(self) -> None:
                super().connectionMade()
                calls.append(reactor.callLater(100, self.later))

            def later(self) -> None:
                """
                Never called.
                """

        service = SessionService(LOOPBACK, SessionFactory.forProtocol(Leaky))
        with self.assertRaisesRegex(
            AssertionError, r"left behind: a delayed call of .*Leaky.later, due in \d+"
        ):
            async with running(service):
                connect(service.addresses[0]).close()
                await until(lambda: service.factory.ended)
        calls[0].cancel()

    async def test_othersThings(self) -> None:
        """
        What the test itself has in the reactor, or another service, is none of its.
        """
        other = await startForTest(self, upper())
        address: Any = other.addresses[0]
        async with running(upper()):
            call = reactor.callLater(100, lambda: None)
            endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
            made = await endpoint.connect(Factory.forProtocol(Protocol))
            await until(lambda: other.factory.sessions)
            port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")  # type: ignore[arg-type]
        call.cancel()
        await port.stopListening()
        made.transport.loseConnection()

    async def test_startForTest(self) -> None:
        """
        It stops as a clean-up of the test.
        """
        cleanups: list[Any] = []

        class Test:
            def addCleanup(self, f: Any, /) -> None:
                cleanups.append(f)

        service = await startForTest(Test(), upper())
        self.assertEqual(len(service.addresses), 1)
        (cleanup,) = cleanups
        await cleanup()
        self.assertEqual(leftBehind(service), [])
