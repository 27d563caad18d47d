"""
L{twisted_echo.validation.checks}: what a user sets is taken, or refused with an error
that says what was given and what is allowed.
"""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import FakeEndpoint
from twisted_echo import (
    AnsweringLineReceiver,
    AnswerQueue,
    Deadlines,
    EchoConfig,
    EchoProtocol,
    KeepAlive,
    Limits,
    LogSessions,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.validation.checks import (
    InvalidSetting,
    positive_seconds,
    seconds,
    whole,
)


class Index:
    """
    A whole number of another type, such as numpy's.
    """

    def __index__(self) -> int:
        return 7


NO_NUMBERS = ("5", b"5", None, True, False, 1j, [], Decimal(5))
NO_SECONDS = (*NO_NUMBERS, -1, -0.5, float("nan"), float("inf"), 10**400)
NO_WHOLE = (*NO_NUMBERS, -1, 2.0, float("inf"), Fraction(4, 2))


class NumberTests(SynchronousTestCase):
    def test_seconds(self) -> None:
        for value in (0, 7, 0.25, Fraction(1, 4)):
            self.assertEqual(seconds("x", value), value)
            self.assertIn(type(seconds("x", value)), (int, float))
        for wrong in NO_SECONDS:
            error = self.assertRaises(ValueError, seconds, "x", wrong)
            self.assertEqual(
                str(error), f"x must be a number of seconds, 0 or more, got {wrong!r}"
            )

    def test_positiveSeconds(self) -> None:
        self.assertEqual(positive_seconds("x", 0.001), 0.001)
        for wrong in (*NO_SECONDS, 0, 0.0):
            error = self.assertRaises(ValueError, positive_seconds, "x", wrong)
            self.assertEqual(
                str(error), f"x must be a number of seconds, more than 0, got {wrong!r}"
            )

    def test_whole(self) -> None:
        for value in (0, 7, 10**30, Index()):
            got = whole("x", value, ", 0 or more")
            self.assertEqual(got, 7 if isinstance(value, Index) else value)
            self.assertIs(type(got), int)
        self.assertEqual(whole("x", 3, " from 1 to 3", least=1, most=3), 3)
        for wrong in (*NO_WHOLE, 0, 4):
            error = self.assertRaises(
                ValueError, whole, "x", wrong, " from 1 to 3", least=1, most=3
            )
            self.assertEqual(
                str(error), f"x must be a whole number from 1 to 3, got {wrong!r}"
            )


def _queue(**arguments: Any) -> AnswerQueue:
    return AnswerQueue(Session(), print, **arguments)


def _assigned(**attributes: Any) -> None:
    factory = SessionFactory.forProtocol(EchoProtocol, clock=Clock())
    for name, value in attributes.items():
        setattr(factory, name, value)


def _service(**arguments: Any) -> SessionService:
    factory = SessionFactory.forProtocol(EchoProtocol, clock=Clock())
    return SessionService(FakeEndpoint(), factory, **arguments)


def _serviceAssigned(**attributes: Any) -> None:
    service = _service()
    for name, value in attributes.items():
        setattr(service, name, value)


def _answering(**attributes: Any) -> None:
    type("Lookup", (AnsweringLineReceiver,), attributes)


class EverywhereTests(SynchronousTestCase):
    """
    Each number, and each thing of a kind, that a user sets.
    """

    def assertChecked(
        self, make: Callable[..., object], name: str, wrong: Any, *right: Any
    ) -> None:
        for value in right:
            make(**{name: value})
        for value in wrong:
            with self.assertRaises((ValueError, TypeError)) as raised:
                make(**{name: value})
            message = str(raised.exception)
            self.assertIn(f", got {value!r}", message, (make, name))
            self.assertRegex(message, f"{name}.* must be an? ", (make, name))

    def test_seconds(self) -> None:
        for name in ("idle", "line", "write", "handshake"):
            self.assertChecked(Deadlines, name, NO_SECONDS, 0, 0.5, Fraction(1, 2))
        for make, name in (
            (EchoConfig, "drain"),
            (_service, "grace"),
            (_serviceAssigned, "grace"),
            (_queue, "timeout"),
            (_answering, "answerTimeout"),
        ):
            self.assertChecked(make, name, NO_SECONDS, 0, 0.5, Fraction(1, 2))
        for make in (EchoConfig, SessionFactory, _assigned):
            self.assertChecked(make, "abortAfter", (*NO_SECONDS, 0), 0.5)

    def test_whole(self) -> None:
        for name in ("sessions", "sessionsPerPeer", "buffered"):
            self.assertChecked(Limits, name, NO_WHOLE, 0, 7, Index())
        for name in ("idle", "interval", "count"):
            self.assertChecked(KeepAlive, name, (*NO_WHOLE, 0, 32768), 1, Index())
        for make, name in (
            (EchoConfig, "maxLength"),
            (_queue, "atOnce"),
            (_answering, "answersAtOnce"),
        ):
            self.assertChecked(make, name, (*NO_WHOLE, 0), 1, Index())

    def test_kinds(self) -> None:
        """
        What is a number's place, or another's, is not found out at the first session.
        """
        for make in (EchoConfig, SessionFactory, _assigned):
            self.assertChecked(
                make, "deadlines", (None, 5, Limits()), Deadlines(idle=1)
            )
            self.assertChecked(make, "limits", (None, 5, {}), Limits(sessions=1))
            self.assertChecked(make, "keepAlive", (60, True, "off"), None, KeepAlive())
        for make in (EchoConfig, SessionFactory):
            self.assertChecked(make, "logSessions", ("all", None, True))
            all_logged = partial(make, logSessions=LogSessions.ALL)
            self.assertChecked(
                all_logged, "logSample", (*NO_SECONDS, 0, 1.5), 1, 0.5, Fraction(1, 2)
            )
            with self.assertRaisesRegex(InvalidSetting, "'all' sessions, got 0.5"):
                make(logSample=0.5)
        self.assertChecked(SessionFactory, "clock", (5, "now"), None, Clock())

    def test_listen(self) -> None:
        for wrong in ([7007], [b"tcp:7007"], ["tcp:0", None]):
            with self.assertRaisesRegex(ValueError, "listen must be endpoint strings"):
                EchoConfig(listen=wrong)  # type: ignore[arg-type]

    def test_kept(self) -> None:
        """
        A number of another type is kept as one that everything can compute with.
        """
        self.assertIs(type(Deadlines(idle=Fraction(1, 2)).idle), float)  # type: ignore[arg-type]
        self.assertIs(type(Limits(sessions=Index()).sessions), int)  # type: ignore[arg-type]
        self.assertIs(type(EchoConfig(maxLength=Index()).maxLength), int)  # type: ignore[arg-type]
