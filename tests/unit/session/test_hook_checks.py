"""
L{twisted_echo.session.hook_checks}: a hook that skips the inherited one is named,
and does no harm.
"""

import contextlib
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    in_thread,
    read_to_end,
    turn,
    until,
)
from tests.support.ending_sessions import KINDS, EndsTestCase, Lines
from tests.support.marks import slow
from twisted_echo import (
    Deadlines,
    EndReason,
    Limits,
    SessionFactory,
    SessionService,
    WhenFull,
)
from twisted_echo.testing import ServiceThread, assertNothingLeft, running


class SkippingTests(EndsTestCase):
    """
    Hooks that do not call the inherited one.
    """

    def skipping(self, *hooks: str) -> Any:
        return type("Upper", (Lines,), dict.fromkeys(hooks, lambda self, *args: None))

    async def test_ends(self) -> None:
        """
        All that a session promises holds: limits, deadlines, the end, and the stop.
        """
        everything = self.skipping(
            "makeConnection", "connectionMade", "readConnectionLost", "connectionLost"
        )
        for kind in KINDS:
            service = self.served(
                kind,
                everything,
                limits=Limits(sessions=1, whenFull=WhenFull.REFUSE),
                deadlines=Deadlines(idle=0, line=0.4, write=0, handshake=0),
            )
            factory = service.factory
            client = await in_thread(self.come, service, kind)
            client.sendall(b"unfinished")
            await until(lambda: factory.sessions)  # noqa: B023
            with contextlib.suppress(OSError):
                self.assertEqual(await in_thread(self.visit, service, kind), b"")
            await until(lambda: factory.refused)  # noqa: B023
            self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 1}, kind)
            await in_thread(read_to_end, client)
            await until(lambda: factory.ended)  # noqa: B023
            self.assertEqual(factory.ended, {EndReason.LINE_TIMEOUT: 1}, kind)
            self.assertEqual(factory.sessions, {})
            client = await in_thread(self.come, service, kind)
            await until(lambda: factory.sessions)  # noqa: B023
            reading = in_thread(read_to_end, client)
            await service.stopService()
            self.assertEqual(await reading, b"")
            self.assertEqual(factory.ended[EndReason.STOPPED], 1)
            # (Under TLS the end of input is none of its own when both are closed.)
            self.assertGreaterEqual(len(factory.faults), 3)

    async def test_running(self) -> None:
        """
        A test's service fails by it, with the sentence.
        """
        for hook in ("connectionMade", "connectionLost"):
            factory = SessionFactory.forProtocol(self.skipping(hook))
            sentence = rf"Upper\.{hook} must call super\(\)\.{hook}\(\)"
            with self.assertRaisesRegex(AssertionError, sentence):
                async with running(
                    SessionService("tcp:0:interface=127.0.0.1", factory)
                ) as service:
                    await in_thread(self.visit, service, "tcp")
                    await until(lambda: factory.ended)  # noqa: B023

    @slow
    async def test_net(self) -> None:
        """
        One that was put on an instance, or whose transport was kept from telling it by
        a producer's exception, is found soon, and its descriptor closed.
        """

        class Assigning(Lines):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.connectionLost = lambda reason=None: None  # type: ignore[method-assign]

        class Producing(Lines):
            backpressure = False

            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.registerProducer(self, True)

            def stopProducing(self) -> None:
                raise ZeroDivisionError

        fault = f"{Assigning.__qualname__}.connectionLost must call"
        for kind in ("tcp", "unix", "ssl"):
            for protocol, faults in (Assigning, 1), (Producing, 0):
                deadlines = Deadlines(idle=0, line=0, write=0, handshake=0.4)
                service = self.served(kind, protocol, deadlines=deadlines)
                await in_thread(self.visit, service, kind)
                await until(lambda: service.factory.ended)  # noqa: B023
                self.assertEqual(service.factory.sessions, {})
                self.assertEqual(len(service.factory.faults), faults)
                self.assertTrue(
                    all(each.startswith(fault) for each in service.factory.faults)
                )
                service.factory.faults.clear()
                await service.stopService()
                await turn()
                assertNothingLeft(service)
                self.flushLoggedErrors(ZeroDivisionError)

    async def test_netAtTheStop(self) -> None:
        """
        The stop does not wait for one whose transport is gone.
        """

        class Assigning(Lines):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.connectionLost = lambda reason=None: None  # type: ignore[method-assign]

        deadlines = Deadlines(idle=0, line=0, write=0, handshake=0)
        service = self.served("tcp", Assigning, deadlines=deadlines, abortAfter=60.0)
        await in_thread(self.visit, service, "tcp")
        (session,) = service.factory.sessions
        await until(lambda: session.isGone)
        await service.stopService()
        self.assertEqual(service.factory.ended.total(), 1)


class ThreadTests(SynchronousTestCase):
    """
    The fixture C{serve} stands on L{ServiceThread}.
    """

    def test_named(self) -> None:
        for hook in ("connectionMade", "readConnectionLost", "connectionLost"):
            protocol = type("Upper", (Lines,), {hook: lambda self, *args: None})
            server = ServiceThread(protocol)
            with server.connect() as client:
                client.sendall(b"a\n")
                self.assertEqual(client.recv(100), b"a\n")
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(client.recv(100), b"")
            server.flushLoggedErrors()
            with self.assertRaisesRegex(
                AssertionError, rf"Upper\.{hook} must call super\(\)\.{hook}\(\)"
            ):
                server.stop()
