"""
Services, factories and sessions that are put together wrongly.
"""

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase

from tests.clients import FakeEndpoint, ServedTestCase, connect, in_thread, until
from twisted_echo import (
    EchoFactory,
    EchoProtocol,
    EndReason,
    Limits,
    SessionFactory,
    SessionService,
    State,
)
from twisted_echo.layers import LayerFactory


class MisuseTests(SynchronousTestCase):
    """
    What cannot be a service is refused where it is made.
    """

    def test_factory(self) -> None:
        """
        Something else in the factory's place is told of what was meant.
        """
        for wrong, meant in (
            (EchoProtocol, "EchoProtocol"),
            (EchoProtocol(), "EchoProtocol"),
            (Factory.forProtocol(LineReceiver), "MySession"),
            (LineReceiver, "MySession"),
            (SessionFactory, "MySession"),
            (LayerFactory(EchoFactory()), "MySession"),
            ("tcp:7008", "MySession"),
            (None, "MySession"),
        ):
            with self.assertRaises(TypeError) as raised:
                SessionService("tcp:7008", wrong)  # type: ignore[arg-type]
            self.assertIn(
                f"such as SessionFactory.forProtocol({meant}), got {wrong!r}",
                str(raised.exception),
            )

    def test_swapped(self) -> None:
        with self.assertRaisesRegex(TypeError, "a SessionFactory, .*got 'tcp:7008'"):
            SessionService(EchoFactory(), "tcp:7008")  # type: ignore[arg-type]

    def test_endpoints(self) -> None:
        client = TCP4ClientEndpoint(reactor, "127.0.0.1", 1)  # type: ignore[no-untyped-call]
        for wrong in (7008, b"tcp:7008", None, client, TCP4ServerEndpoint, Path("x")):
            for endpoints in (wrong, [wrong], ["tcp:0", wrong]):
                with self.assertRaises(TypeError) as raised:
                    SessionService(endpoints, EchoFactory())  # type: ignore[arg-type]
                self.assertIn("'tcp:7008', got " + repr(wrong), str(raised.exception))

    def test_secondService(self) -> None:
        """
        A factory belongs to one service, also when that has ended or is gone. What has
        failed to be made has no factory.
        """
        factory = EchoFactory(clock=Clock())
        with self.assertRaises(ValueError):
            SessionService("nonsense", factory)
        with self.assertRaises(ValueError):
            SessionService(FakeEndpoint(), factory, grace=-1)
        service = SessionService(FakeEndpoint(), factory)

        def assertTaken() -> None:
            for endpoint in (FakeEndpoint(), "tcp:0"):
                with self.assertRaisesRegex(ValueError, "belongs to one service"):
                    SessionService(endpoint, factory)

        assertTaken()
        service.startService()
        assertTaken()
        service.stopService()
        assertTaken()
        # That one can go on.
        service.startService()
        self.assertIs(service.state, State.LISTENING)
        service.stopService()
        del service
        assertTaken()

    def test_protocol(self) -> None:
        """
        A protocol that was assigned is looked at, too.
        """
        factory = SessionFactory.forProtocol(EchoProtocol)
        factory.protocol = LineReceiver
        with self.assertRaisesRegex(TypeError, "LineReceiver is no Session"):
            SessionService(FakeEndpoint(), factory)
        with self.assertRaisesRegex(
            TypeError, "a class of Session, or make.* got None"
        ):
            SessionService(FakeEndpoint(), SessionFactory())
        factory.protocol = EchoProtocol
        SessionService(FakeEndpoint(), factory)


class ByHandTests(ServedTestCase):
    """
    A port that somebody else opens with the factory of a service.
    """

    async def test_limit(self) -> None:
        """
        Its connections cannot wait, so those over the limit are refused; the service's
        own wait as ever once that port is closed.
        """
        factory = SessionFactory.forProtocol(EchoProtocol, limits=Limits(sessions=1))
        service = self.serve(factory)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        first = connect(service.addresses[0])
        self.addCleanup(first.close)
        await until(lambda: factory.sessions)
        over = connect(port.getHost())
        self.addCleanup(over.close)
        self.assertEqual(await in_thread(over.recv, 1), b"")
        self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 1})

    async def test_stop(self) -> None:
        """
        The service's stop ends its sessions, and those that still come.
        """
        factory = SessionFactory.forProtocol(EchoProtocol)
        service = self.serve(factory)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        client = connect(port.getHost())
        self.addCleanup(client.close)
        await until(lambda: factory.sessions)
        stopped = service.stopService()
        self.assertEqual(await in_thread(client.recv, 1), b"")
        client.close()
        await stopped
        late = connect(port.getHost())
        self.addCleanup(late.close)
        self.assertEqual(await in_thread(late.recv, 1), b"")
