"""
L{twisted_echo.validation.plain_hooks}: a hook that would never run is refused.
"""

import warnings
from collections.abc import AsyncIterator, Iterator
from functools import partial, wraps
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo import (
    AnsweringLineReceiver,
    EchoProtocol,
    FastInt16StringReceiver,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Session,
)


async def _coroutine(self: Any, line: bytes) -> None:
    raise AssertionError("nobody runs it")


def _generator(self: Any, line: bytes) -> Iterator[None]:
    yield


async def _asyncGenerator(self: Any, line: bytes) -> AsyncIterator[None]:
    yield


class HookTests(SynchronousTestCase):
    """
    A hook that nobody would wait for.
    """

    def test_atTheClass(self) -> None:
        """
        Whatever the base and the hook, the class cannot be made; the error names what
        was meant.
        """
        for base, names in (
            (
                FastLineReceiver,
                "lineReceived linesReceived blockReceived rawDataReceived",
            ),
            (FastLineOnlyReceiver, "lineReceived linesReceived blockReceived"),
            (FastInt16StringReceiver, "stringReceived stringsReceived blockReceived"),
            (Session, "dataReceived connectionMade connectionLost readConnectionLost"),
            (EchoProtocol, "lineReceived lineLengthExceeded endOfInput"),
            (AnsweringLineReceiver, "lineReceived answerFailed sendAnswer"),
        ):
            for name in names.split():
                for wrong in (_coroutine, _generator, _asyncGenerator):
                    mixed = type("Mixed", (), {name: wrong})
                    for bases, members in (
                        ((base,), {name: wrong}),
                        ((mixed, base), {}),
                    ):
                        with self.assertRaisesRegex(
                            TypeError,
                            rf"Upper\.{name} must be a plain .*AnsweringLineReceiver",
                        ):
                            type("Upper", bases, members)

    def test_answer(self) -> None:
        """
        That of C{answer} is waited for.
        """

        class Lookup(AnsweringLineReceiver):
            async def answer(self, line: bytes) -> bytes:
                return line

    def test_deferred(self) -> None:
        """
        What returns a Deferred runs by itself, so it is what the originals make of it:
        receivers that do not look at what a hook returns take it.
        """

        class Only(FastLineOnlyReceiver):
            @inlineCallbacks
            def lineReceived(self, line: bytes) -> Any:
                got.append(line)
                yield None

        got: list[bytes] = []
        receiver = Only()
        receiver.makeConnection(StringTransport())
        receiver.dataReceived(b"a\r\nb\r\n")
        self.assertEqual(got, [b"a", b"b"])

    def test_returned(self) -> None:
        """
        A coroutine that is known only when it is returned would stop the receiver,
        being true. It is an error; a Deferred, which stops the original too, is warned
        of.
        """

        def decorated(hook: Any) -> Any:
            @wraps(hook)
            def call(*arguments: Any) -> Any:
                return hook(*arguments)

            return call

        class Upper(FastLineReceiver):
            lineReceived = decorated(_coroutine)

        class Late(FastLineReceiver):
            def lineReceived(self, line: bytes) -> Any:
                got.append(line)
                return Deferred()

        got: list[bytes] = []
        upper, replaced, late = Upper(), FastLineReceiver(), Late()
        replaced.lineReceived = partial(_coroutine, None)  # type: ignore[method-assign]
        for receiver in (upper, replaced, late):
            receiver.makeConnection(StringTransport())
        for receiver in (upper, replaced):
            for data in (b"a\r\n", b"a\r\nb\r\n"):
                with self.assertRaisesRegex(
                    TypeError, "not return a coroutine.*Answer"
                ):
                    receiver.dataReceived(data)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            late.dataReceived(b"a\r\nb\r\n")
        self.assertEqual(got, [b"a"])
        self.assertIn(
            "Late.lineReceived has returned a Deferred", str(warned[0].message)
        )
