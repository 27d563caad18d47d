"""
L{twisted_echo.session.hooks}, by way of L{Session}: an override that does not call the
inherited method is named, exactly, and the session works all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from unittest.mock import Mock

import attrs
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.mail.smtp import SMTP
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import FullTransport
from twisted_echo import EndReason, FastLineReceiver, Session, SessionFactory
from twisted_echo.session.hooks import isWatched
from twisted_echo.session.starttls.start_tls import StartsTLS

DONE = Failure(ConnectionDone())


def _nothing(self: Any, *args: object) -> None:
    """
    A hook that forgets the inherited one.
    """


class Lines(Session, FastLineReceiver):
    """
    What others extend.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


class Mixin:
    """
    Nobody's but the user's.
    """

    connectionMade = connectionLost = readConnectionLost = _nothing


class Polite:
    """
    A mix-in that does what it should.
    """

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[misc]

    def connectionLost(self, reason: Any = DONE) -> None:
        super().connectionLost(reason)  # type: ignore[misc]

    def readConnectionLost(self) -> None:
        super().readConnectionLost()  # type: ignore[misc]


HOOKS = ("connectionMade", "readConnectionLost", "connectionLost")


class HooksTestCase(SynchronousTestCase):
    """
    A session from its beginning to its end, in memory.
    """

    def lived(
        self,
        protocol: type[Any],
        before: Callable[[Any], object] = lambda session: None,
    ) -> list[str]:
        """
        Have a session live and be struck off.

        @param before: called with it before it begins.
        @return: the faults that were found.
        """
        self.clock = Clock()
        factory = SessionFactory.forProtocol(protocol, clock=self.clock)
        with capturedLogs() as events:
            for _ in range(2):
                session = factory.buildProtocol(None)
                assert session is not None
                before(session)
                session.makeConnection(FullTransport())
                self.assertIn(session, factory.sessions)
                ended = session.whenEnded()
                session.dataReceived(b"a\n")
                self.assertEqual(session.transport.value(), b"a\n")
                session.readConnectionLost()
                self.assertTrue(session.transport.disconnecting)
                session.connectionLost(DONE)
                self.assertEqual(factory.sessions, {})
                self.assertIs(self.successResultOf(ended), session.end)
        logged = [each["fault"] for each in events if "fault" in each]
        self.assertEqual(logged, list(factory.faults), "each is logged once")
        self.assertTrue(
            all(e["log_level"] is LogLevel.error for e in events if "fault" in e)
        )
        return logged

    def sentences(self, who: str, *hooks: str) -> list[str]:
        return [f"{who}.{hook} must call super().{hook}()" for hook in hooks or HOOKS]


class NamingTests(HooksTestCase):
    """
    Who has to call what.
    """

    def test_none(self) -> None:
        """
        Nothing is wrong with a class that overrides nothing, or calls what it should.
        """

        class Good(Polite, Lines):
            def connectionMade(self) -> None:
                super().connectionMade()

            def connectionLost(self, reason: Any = DONE) -> None:
                Lines.connectionLost(self, reason)

        self.assertEqual(self.lived(Lines), [])
        self.assertEqual(self.lived(Good), [])

    def test_own(self) -> None:
        for hook in HOOKS:
            protocol = type("Upper", (Lines,), {hook: _nothing})
            self.assertEqual(self.lived(protocol), self.sentences("Upper", hook))
        everything = type("Upper", (Lines,), dict.fromkeys(HOOKS, _nothing))
        self.assertEqual(self.lived(everything), self.sentences("Upper"))

    def test_qualified(self) -> None:
        """
        A class within something is named as Python does.
        """

        class Upper(Lines):
            def connectionMade(self) -> None:
                """
                Call nothing.
                """

        (fault,) = self.lived(Upper)
        self.assertEqual(fault, *self.sentences(Upper.__qualname__, "connectionMade"))

    def test_inherited(self) -> None:
        """
        It is the class that breaks the chain which is named, whether the others
        override the hook or not.
        """
        upper = type("Upper", (Lines,), dict.fromkeys(HOOKS, _nothing))
        heir = type("Heir", (upper,), {})

        class Caller(upper):  # type: ignore[misc,valid-type]
            def connectionMade(self) -> None:
                super().connectionMade()
                self.made = True

            def readConnectionLost(self) -> None:
                super().readConnectionLost()

            def connectionLost(self, reason: Any = DONE) -> None:
                super().connectionLost(reason)

        for protocol in (heir, Caller):
            self.assertEqual(self.lived(protocol), self.sentences("Upper"))

    def test_mixin(self) -> None:
        """
        A mix-in in front, also behind one that calls what it should.
        """
        for bases in ((Mixin, Lines), (Polite, Mixin, Lines), (Mixin, Polite, Lines)):
            protocol = type("Upper", bases, {})
            self.assertEqual(self.lived(protocol), self.sentences("Mixin"))
            self.assertIs(Mixin.connectionMade, _nothing, "it is left alone")

    def test_assigned(self) -> None:
        """
        A function put on a class that exists.
        """
        upper = type("Upper", (Lines,), {})
        heir = type("Heir", (upper,), {})
        upper.connectionMade = _nothing  # type: ignore[attr-defined]
        for protocol in (upper, heir):
            self.assertEqual(
                self.lived(protocol), self.sentences("Upper", "connectionMade")
            )

    def test_instance(self) -> None:
        """
        Likewise on an instance.
        """

        def assign(session: Any) -> None:
            session.connectionMade = lambda: None

        upper = type("Upper", (Lines,), {})
        self.assertEqual(
            self.lived(upper, assign), self.sentences("Upper", "connectionMade")
        )

    def test_makeConnection(self) -> None:
        protocol = type("Upper", (Lines,), {"makeConnection": _nothing})
        self.assertEqual(
            self.lived(protocol), self.sentences("Upper", "makeConnection")
        )

    def test_behind(self) -> None:
        """
        A session behind the other bases: the protocol's own hook does not lead to it,
        and it could not pause the protocol.
        """
        upper = type("Upper", (FastLineReceiver, Session), dict(vars(Lines)))
        self.assertEqual(
            self.lived(upper), ["Upper must name Session before FastLineReceiver"]
        )
        mail = type("Mail", (SMTP, Session), {})
        factory = SessionFactory.forProtocol(mail, clock=Clock())
        session = factory.buildProtocol(None)
        assert session is not None
        session.makeConnection(FullTransport())
        self.assertEqual(list(factory.sessions), [session])
        session.connectionLost(DONE)
        self.assertEqual(factory.sessions, {})
        self.assertIn(
            "Mail must name Session before SMTP: SMTP.connectionMade does not call"
            " super().connectionMade()",
            factory.faults,
        )

    def test_behindPaused(self) -> None:
        """
        Such a session stays paused, as its protocol wishes, when the peer reads again.
        """

        class Upper(FastLineReceiver, Session):
            delimiter = b"\n"

            def lineReceived(self, line: bytes) -> None:
                lines.append(line)
                self.pauseProducing()

        lines: list[bytes] = []
        factory = SessionFactory.forProtocol(Upper, clock=Clock())
        session: Any = factory.buildProtocol(None)
        transport = FullTransport()
        session.makeConnection(transport)
        session.dataReceived(b"one\ntwo\n")
        producer: Any = transport.producer
        producer.pauseProducing()
        producer.resumeProducing()
        self.assertEqual(lines, [b"one"])
        session.resumeProducing()
        self.assertEqual(lines, [b"one", b"two"])
        session.connectionLost(DONE)

    def test_noFactory(self) -> None:
        """
        In a unit test without a factory it is a warning.
        """
        session = type("Upper", (Lines,), {"connectionMade": _nothing})()
        session.makeConnection(FullTransport())
        (warned,) = self.flushWarnings()
        self.assertEqual([warned["message"]], self.sentences("Upper", "connectionMade"))


class FactoryTests(SynchronousTestCase):
    """
    What a session tells its factory, which others override as they do hooks.
    """

    def lived(self, overrides: dict[str, Any]) -> Any:
        """
        Have a session begin and end.

        @return: the factory.
        """
        made: Any = type("Mine", (SessionFactory,), {"protocol": Lines, **overrides})
        factory = made(clock=Clock())
        session = factory.buildProtocol(None)
        session.makeConnection(FullTransport())
        self.assertEqual(list(factory.sessions), [session])
        ended = session.whenEnded()
        session.connectionLost(DONE)
        self.assertEqual(factory.sessions, {})
        self.assertEqual((factory.opened, factory.ended.total()), (1, 1))
        self.successResultOf(ended)
        return factory

    def test_named(self) -> None:
        """
        One that does not call the inherited method is named, and the session recorded
        and struck off.
        """
        for name in ("sessionStarted", "sessionEnded"):
            self.assertEqual(
                list(self.lived({name: _nothing}).faults),
                [f"Mine.{name} must call super().{name}()"],
            )

    def test_raises(self) -> None:
        """
        One that raises is logged, and the session struck off.
        """

        def fail(self: Any, *args: object) -> None:
            raise ZeroDivisionError

        self.assertEqual(self.lived({"sessionEnded": fail}).faults, {})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_none(self) -> None:
        """
        Nothing is wrong with one that calls it.
        """

        class Polite(SessionFactory[Lines]):
            protocol = Lines

            def sessionStarted(self, session: Any) -> None:
                super().sessionStarted(session)

            def sessionEnded(self, session: Any, end: Any) -> None:
                super().sessionEnded(session, end)

        factory = Polite(clock=Clock())
        session: Any = factory.buildProtocol(None)
        session.makeConnection(FullTransport())
        session.connectionLost(DONE)
        self.assertEqual((factory.faults, factory.ended.total()), ({}, 1))


class BasesTests(HooksTestCase):
    """
    The hooks of the bases behind C{Session} are called as C{super()} calls them.
    """

    def setUp(self) -> None:
        self.called: list[str] = []

    def noting(self, name: str) -> Any:
        """
        A hook of a last base, which is noted.
        """

        def hook(*args: object) -> None:
            self.called.append(name)

        return hook

    def test_mixIn(self) -> None:
        """
        Also of a class that C{Session} was not told of.
        """

        class Silent:
            def __init_subclass__(cls, **kwargs: object) -> None:
                """
                It forgets the inherited one.
                """

        hooks = {
            name: self.noting(name) for name in ("connectionMade", "connectionLost")
        }
        base = type("Base", (FastLineReceiver,), hooks)
        for bases in ((Silent, Lines, base), (Lines, base, Silent)):
            self.called.clear()
            self.lived(type("Quiet", bases, {}))
            self.assertEqual(self.called, ["connectionMade", "connectionLost"] * 2)

    def test_changed(self) -> None:
        """
        Also those that a base has got since.
        """
        base: Any = type("Base", (FastLineReceiver,), {"connectionMade": _nothing})
        protocol = type("Late", (Lines, base), {})
        self.lived(protocol)
        base.connectionMade = self.noting("connectionMade")
        base.connectionLost = self.noting("connectionLost")
        self.lived(protocol)
        self.assertEqual(self.called, ["connectionMade", "connectionLost"] * 2)

    def test_skipped(self) -> None:
        """
        The bases that are not asked have none of these hooks.
        """
        order = Session.__mro__
        skipped = order[1 : order.index(StartsTLS) + 1]
        self.assertGreater(len(skipped), 5)
        for each in skipped:
            for name in ("makeConnection", "connectionMade", "connectionLost"):
                self.assertNotIn(name, vars(each), each)


class WrapperTests(HooksTestCase):
    """
    A wrapper is as if it were not there.
    """

    def test_arguments(self) -> None:
        """
        Arguments, results, names and docstrings are the override's.
        """

        class Upper(Lines):
            def connectionMade(self, more: int = 0) -> int:  # type: ignore[override]
                """
                Told.
                """
                super().connectionMade()
                return more

        session = Upper()
        session.transport = FullTransport()
        self.assertEqual(session.connectionMade(more=3), 3)
        self.assertIn("Told.", Upper.connectionMade.__doc__ or "")
        self.assertEqual(Upper.connectionMade.__name__, "connectionMade")

    def test_twice(self) -> None:
        """
        The inherited hook may be called more than once: a session is registered once,
        and struck off once.
        """

        class Upper(Lines):
            def connectionMade(self) -> None:
                super().connectionMade()
                super().connectionMade()

            def readConnectionLost(self) -> None:
                super().readConnectionLost()
                super().readConnectionLost()

            def connectionLost(self, reason: Any = DONE) -> None:
                super().connectionLost(reason)
                super().connectionLost(reason)

        self.assertEqual(self.lived(Upper), [])

    def test_late(self) -> None:
        """
        Called later it comes too late, and does nothing.
        """
        late: list[Callable[[], object]] = []

        class Upper(Lines):
            def connectionMade(self) -> None:
                late.append(super().connectionMade)

        self.assertEqual(len(self.lived(Upper)), 1)
        for each in late:
            each()

    def test_madeAgain(self) -> None:
        """
        attrs, and dataclasses with C{slots}, make a class again of its namespace:
        C{super()} is that of the new class, and it is named all the same.
        """
        for again in (
            attrs.define,
            attrs.define(eq=False),
            attrs.define(slots=False),
            dataclass(slots=True),
            dataclass,
        ):

            class Upper(Lines):
                def connectionMade(self, *, more: int = 1) -> None:
                    super().connectionMade()
                    self.more = more

                def connectionLost(self, reason: Any = DONE) -> None:
                    super().connectionLost(reason)

            class Mixed(Polite, Lines):
                pass

            own = {"connectionMade": lambda self: None}
            wrong = type("Wrong", (Mixin, Lines), own)
            for protocol in (Upper, Mixed):
                self.assertEqual(self.lived(again(protocol)), [])
            self.assertEqual(
                self.lived(again(wrong)),
                [
                    *self.sentences("Wrong", "connectionMade"),
                    *self.sentences("Mixin", *HOOKS[1:]),
                ],
            )
            for hook in HOOKS[::2]:
                wrapped = getattr(again(Upper), hook).__wrapped__
                self.assertFalse(isWatched(wrapped), "it is wrapped once")

    def test_decorator(self) -> None:
        """
        A decorator that copies what is set on an inherited wrapper is no wrapper.
        """

        class Upper(Lines):
            def connectionLost(self, reason: Any = DONE) -> None:
                super().connectionLost(reason)

        class Heir(Upper):
            @wraps(Upper.connectionLost)
            def connectionLost(self, *args: Any) -> None:
                """
                Call nothing.
                """

        self.assertEqual(len(self.lived(Heir)), 1)

    def test_noFunction(self) -> None:
        """
        A hook that is no function.
        """

        class Upper(Lines):
            connectionMade = Mock()

        self.assertEqual(
            self.lived(Upper), self.sentences(Upper.__qualname__, "connectionMade")
        )

    def test_base(self) -> None:
        """
        A protocol behind the session need call nothing.
        """

        class Base(Protocol):
            def connectionMade(self) -> None:
                """
                Call nothing.
                """

            def connectionLost(self, reason: Any = DONE) -> None:
                """
                Call nothing.
                """

        class Mine(Session, Base):
            pass

        factory = SessionFactory.forProtocol(Mine, clock=Clock())
        session = factory.buildProtocol(None)
        assert session is not None
        session.makeConnection(FullTransport())
        session.connectionLost(DONE)
        self.assertEqual(factory.faults, {})
        self.assertEqual(factory.ended, {EndReason.PEER_CLOSED: 1})
