"""
Services, factories and sessions that are put together wrongly.
"""

import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    FakeEndpoint,
    FullTransport,
    ServedTestCase,
    connect,
    in_thread,
    until,
)
from twisted_echo import (
    AnswerQueue,
    EchoFactory,
    EchoProtocol,
    EchoService,
    EndReason,
    Limits,
    SessionFactory,
    SessionService,
    State,
)
from twisted_echo.endpoints.layer_factory import LayerFactory
from twisted_echo.endpoints.layered_endpoint import LayeredEndpoint
from twisted_echo.endpoints.proxy_layer import ProxyFactory
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.testing import FaultProxy, running, startForTest


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

    def test_clock(self) -> None:
        """
        The clock of a factory cannot be replaced. A subclass may have one of its own.
        """
        clock = Clock()
        for factory in (EchoFactory(clock=clock), EchoFactory()):
            with self.assertRaisesRegex(AttributeError, r"EchoFactory\(clock=…\)"):
                factory.clock = Clock()  # type: ignore[misc]

        class Fixed(EchoFactory):
            @property
            def clock(self) -> Any:
                return clock

        class Later(EchoFactory):
            clock: Any = None

        for given in (None, Clock()):
            self.assertIs(Fixed(clock=given).clock, clock)
            later = Later(clock=given)
            later.clock = clock
            self.assertIs(later.fairClock.real, clock)

    def test_initializer(self) -> None:
        """
        A factory whose class does not call the inherited C{__init__}, as Twisted's own
        factories need not, is told to.
        """

        class Mine(SessionFactory[EchoProtocol]):
            protocol = EchoProtocol

            def __init__(self) -> None:
                self.mine = 1

        with self.assertRaisesRegex(
            TypeError, r"Mine.__init__ must call super\(\).__init__\(\)$"
        ):
            SessionService("tcp:0", Mine())

    def test_config(self) -> None:
        for make in (EchoService, EchoFactory):
            for wrong in ("tcp:7007", 7007, {}, EchoProtocol):
                with self.assertRaisesRegex(TypeError, "config must be an EchoConfig"):
                    make(wrong)  # type: ignore[arg-type]

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
        with self.assertRaisesRegex(TypeError, "LineReceiver is not a Session"):
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
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[arg-type, attr-defined]
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
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[arg-type, attr-defined]
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


class ArgumentTests(SynchronousTestCase):
    """
    What would be found out only at a connection, or at its end.
    """

    def test_end(self) -> None:
        """
        A session that is closed for a reason of another kind goes on.
        """
        factory = EchoFactory(clock=Clock())
        session: Any = factory.buildProtocol(None)
        transport = FullTransport()
        session.makeConnection(transport)
        for close in (session.close, session.abort):
            for wrong in ("bye", b"", None, 1):
                with self.assertRaisesRegex(TypeError, "must be an EndReason, got"):
                    close(wrong)
        with self.assertRaisesRegex(TypeError, "detail must be a str, got b'x'"):
            session.close(EndReason.ERROR, b"x")
        session.dataReceived(b"on\n")
        self.assertEqual(transport.value(), b"on\n")
        session.connectionLost(Failure(ConnectionDone()))
        for call in (session.close, session.abort):
            # It raises nothing then.
            call("bye")
        self.assertEqual(factory.ended, {EndReason.PEER_CLOSED: 1})

    def test_answerLater(self) -> None:
        """
        What is no Deferred is not waited for.
        """

        async def answer() -> None:
            pass

        factory = EchoFactory(clock=Clock())
        session: Any = factory.buildProtocol(None)
        transport = FullTransport()
        session.makeConnection(transport)
        coroutine = answer()
        for wrong in (coroutine, None, b"answer"):
            with self.assertRaisesRegex(TypeError, "answer must be a Deferred, got"):
                session.answerLater(wrong)
        coroutine.close()
        with self.assertRaisesRegex(TypeError, "must be a function, got 5"):
            session.callAtEnd(5)
        session.close()
        self.assertTrue(transport.halfClosed)
        session.connectionLost(Failure(ConnectionDone()))

    def test_functions(self) -> None:
        for name in ("send", "failureHandler", "sendMany"):
            with self.assertRaisesRegex(TypeError, f"{name} must be a function, got 5"):
                AnswerQueue(EchoProtocol(), **{"send": print, name: 5})  # type: ignore[arg-type]
        with self.assertRaisesRegex(TypeError, "wrap must be a function, got None"):
            LayeredEndpoint(FakeEndpoint(), None)  # type: ignore[arg-type]
        for wrong in ("tcp:0", None, FakeEndpoint):
            with self.assertRaisesRegex(TypeError, "must be a server endpoint, got"):
                LayeredEndpoint(wrong, print)  # type: ignore[arg-type]

    def test_networks(self) -> None:
        for wrong in (["10.0.0.0/8"], "10.0.0.0/8", [None]):
            for make in (
                lambda wrong=wrong: ProxyFactory(EchoFactory(), wrong),
                lambda wrong=wrong: parseEndpoint(reactor, "haproxy:tcp:0", wrong),
            ):
                with self.assertRaisesRegex(TypeError, r"ip_network.*, got '?\w"):
                    make()

    def test_faultProxy(self) -> None:
        with self.assertRaisesRegex(TypeError, "target must be where .*, got 7007"):
            FaultProxy(7007)  # type: ignore[arg-type]
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        for most in (0, -1, True):
            with self.assertRaisesRegex(ValueError, "most must be a whole number"):
                FaultProxy(server.getsockname(), most=most)
        proxy = FaultProxy(server.getsockname())
        self.addCleanup(proxy.stop)
        for name, wrong in (
            ("delay", -1),
            ("delay", "1"),
            ("pieces", -1),
            ("pieces", 1.5),
            ("cut_after", -1),
            ("cut_by", "Reset"),
        ):
            with self.assertRaisesRegex(ValueError, f"{name} must be .* {wrong!r}"):
                setattr(proxy.to_client, name, wrong)

    def test_running(self) -> None:
        factory = SessionFactory.forProtocol(EchoProtocol)
        with self.assertRaisesRegex(TypeError, "service must be a SessionService, got"):
            startForTest(self, factory)  # type: ignore[type-var]
        entered = Deferred.fromCoroutine(running(factory).__aenter__())  # type: ignore[type-var]
        self.assertIsInstance(self.failureResultOf(entered).value, TypeError)
