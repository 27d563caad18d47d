"""
L{twisted_echo.session.session_maker}: what makes no session that could be tracked.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import Mock

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import FullTransport
from tests.support.line_session import DONE, Lines
from twisted_echo import EchoFactory, EndReason, Limits, Session, SessionFactory


class KindTests(SynchronousTestCase):
    """
    What makes no session that could be tracked.
    """

    def assertRefused(self, factory: Any, detail: str) -> None:
        """
        A connection is not served, counted once, and the log says why.
        """
        with capturedLogs() as events:
            built = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.assertIsNone(built)
        self.assertEqual(factory.refused, {EndReason.ERROR: 1})
        (event,) = events
        self.assertIn(detail, event["detail"])

    def test_raises(self) -> None:
        """
        Whatever a factory raises when a connection comes, it is refused and counted.
        """

        class Refusing(SessionFactory[Any]):
            protocol = Session

            def refuses(self, address: Any) -> bool:
                raise ZeroDivisionError

        class Exiting(SessionFactory[Any]):
            def buildProtocol(self, addr: Any) -> Session:
                raise SystemExit

        for kind, error in ((Refusing, ZeroDivisionError), (Exiting, SystemExit)):
            factory: Any = kind(clock=Clock())
            self.assertIsNone(factory.buildProtocol(IPv4Address("TCP", "::1", 1)))
            self.assertEqual(factory.refused, {EndReason.ERROR: 1})
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    def test_async(self) -> None:
        """
        What nobody would wait for is refused with its class.
        """

        async def make(self: Any, *args: Any) -> None:
            """
            Never run.
            """

        for name in ("buildProtocol", "makeSession"):
            mixed = type("MixIn", (), {name: make})
            for bases, methods in (
                ((SessionFactory,), {name: make}),
                ((mixed, SessionFactory), {}),
            ):
                expected = rf"Async\.{name} must be a plain"
                with self.assertRaisesRegex(TypeError, expected):
                    type("Async", bases, methods)

    def test_class(self) -> None:
        """
        A class of another kind is refused where it is named, and told of what it lacks.
        """

        class Plain(LineReceiver):
            pass

        expected = r"class PlainSession\(Session, Plain\)"
        attribute = type("Attribute", (SessionFactory,), {"protocol": Plain})
        for make in (
            lambda: SessionFactory.forProtocol(Plain),  # type: ignore[type-var]
            lambda: EchoFactory.forProtocol(Plain),  # type: ignore[arg-type]
            lambda: SessionFactory.forProtocol(partial(partial(Plain), 1)),  # type: ignore[type-var]
            attribute,
        ):
            with self.assertRaisesRegex(TypeError, expected):
                make()

    def test_arguments(self) -> None:
        """
        So is what needs arguments, which nobody would give it; unless the factory
        builds for itself.
        """

        class Named(Lines):
            def __init__(self, name: str, *, count: int = 0) -> None:
                self.name = name

        attribute = type("Attribute", (SessionFactory,), {"protocol": Named})
        assigned: Any = SessionFactory.forProtocol(Lines)
        assigned.protocol = Named
        for make in (
            lambda: SessionFactory.forProtocol(Named),
            lambda: SessionFactory.forProtocol(partial(Named, count=1)),
            lambda: SessionFactory.forProtocol(lambda address: Lines()),
            attribute,
            assigned.checkProtocol,
        ):
            with self.assertRaisesRegex(TypeError, "without arguments.*partial"):
                make()
        for maker in (
            partial(Named, "a"),
            lambda name="a": Named(name),
            lambda *args: Named("a"),
            Mock(side_effect=lambda: Named("a")),
        ):
            factory = SessionFactory.forProtocol(maker)
            self.assertIsInstance(factory.buildProtocol(None), Named)

        class Naming(attribute):  # type: ignore[misc,valid-type]
            def buildProtocol(self, addr: Any) -> Any:
                return self.protocol("a")

        class Making(attribute):  # type: ignore[misc,valid-type]
            def makeSession(self) -> Any:
                return self.protocol("a")

        class Only(SessionFactory[Any]):
            def makeSession(self) -> Any:
                return Named("a")

        for kind in (Naming, Making, Only):
            for own in (kind(), kind.forProtocol(Named)):
                own.checkProtocol()
                session = own.buildProtocol(None)
                self.assertIsInstance(session, Named)
                self.assertIs(session.factory, own)

    def test_alike(self) -> None:
        """
        Sessions that are equal are two all the same; of a class that hashes them by
        something else they could not be told apart, so it is refused.
        """
        equal = type("Equal", (Lines,), {"__eq__": lambda self, other: True})

        @dataclass
        class Data(Lines):
            count: int = 0

        for protocol in (equal, type("Heir", (equal,), {}), Data):
            factory = SessionFactory.forProtocol(protocol, clock=Clock())
            sessions: list[Any] = [factory.buildProtocol(None) for _ in range(2)]
            for session in sessions:
                session.makeConnection(FullTransport())
            self.assertEqual(sessions[0], sessions[1])
            self.assertEqual(len(factory.sessions), 2)
            for session in sessions:
                session.connectionLost(DONE)
            self.assertEqual((len(factory.sessions), factory.opened), (0, 2))
        hashed = type("Hashed", (Lines,), {"__hash__": lambda self: 1})
        expected = "Hashed must not have a __hash__ of its own"
        with self.assertRaisesRegex(TypeError, expected):
            SessionFactory.forProtocol(hashed)
        self.assertRefused(SessionFactory.forProtocol(lambda: hashed()), expected[6:])

    def test_none(self) -> None:
        """
        So is what can make nothing.
        """
        for wrong in (None, 5, "EchoProtocol", Lines()):
            with self.assertRaisesRegex(
                TypeError, "must be a class of Session, or make"
            ):
                SessionFactory.forProtocol(wrong)  # type: ignore[arg-type]

    def test_makers(self) -> None:
        """
        What makes sessions need not be a class.
        """
        for maker in (Lines, lambda: Lines(), partial(Lines)):
            factory = SessionFactory.forProtocol(maker)
            session = factory.buildProtocol(None)
            self.assertIs(session.factory, factory)

    def test_made(self) -> None:
        """
        What another kind of maker makes is looked at when it is made.
        """

        for maker, kind in ((LineReceiver, "LineReceiver"), (object, "object")):
            factory = SessionFactory.forProtocol(lambda maker=maker: maker())
            self.assertRefused(
                factory, f"SessionFactory has made a {kind}, which is not a Session"
            )
        factory = SessionFactory.forProtocol(Lines)
        factory.protocol = LineReceiver
        self.assertRefused(factory, "LineReceiver, which is not a Session")

    def test_makeSession(self) -> None:
        """
        A subclass sets its sessions up in C{makeSession}, also if another one of them
        overrides C{buildProtocol}. They are checked as any others.
        """

        class Marking(SessionFactory[Any]):
            protocol = Lines

            def makeSession(self) -> Any:
                session = super().makeSession()
                session.mark = "made"
                return session

        class Building(Marking):
            def buildProtocol(self, addr: Any) -> Any:
                return super().buildProtocol(addr)

        for kind in (Marking, Building):
            factory = kind(limits=Limits(sessions=1), clock=Clock())
            session = factory.buildProtocol(None)
            self.assertEqual((session.mark, session.factory), ("made", factory))
            session.makeConnection(FullTransport())
            self.assertIsNone(factory.buildProtocol(None))
            self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 1})

    def test_noSession(self) -> None:
        """
        What makes none refuses the connection. It is not counted twice.
        """

        class Making(SessionFactory[Any]):
            def makeSession(self) -> Any:
                return None

        class Counting(SessionFactory[Any]):
            def makeSession(self) -> Any:
                self.countRefused(None, EndReason.REFUSED_PEER)

        class Building(Counting):
            def buildProtocol(self, addr: Any) -> Any:
                return super().buildProtocol(addr)

        counted = {EndReason.REFUSED_PEER: 1}
        for kind, refused in ((Making, {}), (Counting, counted), (Building, counted)):
            factory = kind(clock=Clock())
            self.assertIsNone(factory.buildProtocol(None))
            self.assertEqual((factory.refused, factory.opened), (refused, 0))

    def test_ownBuildProtocol(self) -> None:
        """
        A subclass that builds for itself, without asking the inherited method, has its
        sessions tracked and limited all the same; what is none is refused. So is one
        whose C{buildProtocol} comes from a mix-in.
        """

        class Building:
            made: Any = Lines

            def buildProtocol(self, addr: Any) -> Any:
                return self.made()

        own = {"made": Lines, "buildProtocol": Building.buildProtocol}
        mixed = type("Mixed", (Building, SessionFactory), {})
        for kind in (
            mixed,
            type("Own", (SessionFactory,), own),
            type("Inherited", (mixed,), {}),
        ):
            factory: Any = kind(limits=Limits(sessions=1))
            session = factory.buildProtocol(None)
            self.assertIs(session.factory, factory)
            session.makeConnection(FullTransport())
            self.assertEqual(list(factory.sessions), [session])
            self.assertIsNone(factory.buildProtocol(None))
            self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 1})
            session.connectionLost(DONE)
            factory = kind()
            factory.made = LineReceiver
            self.assertRefused(
                factory,
                f"{kind.__name__} has made a LineReceiver, which is not a Session",
            )

    def test_preset(self) -> None:
        """
        A session that has come with a factory of its own gets this one, as Twisted's
        factories do it.
        """

        def make() -> Lines:
            session = Lines()
            session.factory = SessionFactory()
            return session

        factory = SessionFactory.forProtocol(make)
        self.assertIs(factory.buildProtocol(None).factory, factory)

    def test_again(self) -> None:
        """
        A session has one connection.
        """
        session = Lines()
        factory = SessionFactory.forProtocol(lambda: session, clock=Clock())
        factory.buildProtocol(None).makeConnection(FullTransport())
        self.assertRefused(factory, "another factory, or connection, has already")

    def test_otherFactory(self) -> None:
        """
        A session that another factory would record is none of this one's.
        """
        other = SessionFactory.forProtocol(Lines)

        class Delegating(SessionFactory[Any]):
            def buildProtocol(self, addr: Any) -> Any:
                return other.buildProtocol(addr)

        self.assertRefused(Delegating(), "a Lines that another factory, or")
