"""
Limits, delimiters and formats of unusual types: a drop-in takes what the original
takes, with the same outcome, and refuses no less clearly what the original refuses.
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import product
from struct import calcsize, error, pack
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.protocols import basic
from twisted.trial.unittest import SynchronousTestCase

from tests.support.line_receivers import MendedLineOnlyReceiver
from twisted_echo import (
    FastInt8StringReceiver,
    FastInt16StringReceiver,
    FastInt32StringReceiver,
    FastLineOnlyReceiver,
    FastLineReceiver,
)

INFINITE = float("inf")
LIMITS: tuple[Any, ...] = (
    *(0, 1, 2, 3, 10**30, True, False, -1, -2, -5, -(10**30)),
    *(0.0, 1.5, 3.0, 1e7, INFINITE, -0.5, -INFINITE, float("nan")),
    *(Fraction(5, 2), Decimal("2.5"), Decimal("Infinity")),
)
DELIMITERS: tuple[Any, ...] = (
    *(b"\n", b"\r\n", b"aa", b"aba"),
    *(bytearray(b"\n"), bytearray(b"\r\n"), bytearray(b"aa")),
    *(memoryview(b"\n"), memoryview(b"\r\n"), memoryview(bytearray(b"\n"))),
)
STREAMS = (
    b"\n\na\nab\nabc\n",
    b"abcd\nab\n",
    b"a\r\nabc\r\n\r\nab\r\nabcdef",
    b"aaabaabaaaa\naba",
    b"abcdefgh",
    b"\n",
)


def pieces(data: bytes) -> Iterator[list[bytes]]:
    """
    The whole, byte by byte, and at every cut into two.
    """
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]


@cache
def recording(receiver: type) -> type:
    """
    A receiver that records what it is told.
    """

    class Recorder(receiver):  # type: ignore[misc]
        def lineReceived(self, line: bytes) -> None:
            self.told.append(line)

        stringReceived = lineReceived

        def lineLengthExceeded(self, line: Any) -> None:
            self.told.append(("over", line))
            self.transport.loseConnection()

        lengthLimitExceeded = lineLengthExceeded

    return Recorder


def outcome(receiver: type, chunks: list[bytes], **settings: Any) -> list[Any]:
    """
    What a receiver is told, up to an error.
    """
    recorder: Any = recording(receiver)()
    told = recorder.told = []
    for name, value in settings.items():
        setattr(recorder, name, value)
    recorder.makeConnection(StringTransport())
    try:
        for chunk in chunks:
            if not recorder.transport.disconnecting:
                recorder.dataReceived(chunk)
    except (TypeError, ValueError, AttributeError) as problem:
        told.append(type(problem))
    return told


class LineTests(SynchronousTestCase):
    """
    Against C{LineReceiver}.
    """

    original: Any = basic.LineReceiver
    fast: Any = FastLineReceiver

    def test_same(self) -> None:
        for limit, delimiter, data in product(LIMITS, DELIMITERS, STREAMS):
            for chunks in pieces(data):
                settings = {"MAX_LENGTH": limit, "delimiter": delimiter}
                self.assertEqual(
                    outcome(self.fast, chunks, **settings),
                    outcome(self.original, chunks, **settings),
                    (limit, delimiter, chunks),
                )

    def test_refused(self) -> None:
        """
        What means nothing is an error, and nothing is delivered before it.
        """
        data = [b"a\nb\n"]
        for name, values in (
            ("MAX_LENGTH", (None, "10", b"10", [], object())),
            ("delimiter", (None, "\n", b"", bytearray(), 10, ["\n"])),
        ):
            for value in values:
                (told,) = outcome(self.fast, data, **{name: value})
                self.assertIn(told, (TypeError, ValueError), (name, value))

    def test_extra(self) -> None:
        """
        What follows raw data may be of any type that holds bytes.
        """
        for extra in (b"a\nb", bytearray(b"a\nb"), memoryview(b"a\nb"), b"", ""):
            told = []
            for receiver in (basic.LineReceiver, FastLineReceiver):
                made: Any = recording(receiver)()
                made.delimiter, made.told = b"\n", []
                made.makeConnection(StringTransport())
                made.setRawMode()
                made.setLineMode(extra)
                made.dataReceived(b"c\n")
                told.append([(type(each), each) for each in made.told])
            self.assertEqual(told[0], told[1], extra)

    def test_extraText(self) -> None:
        """
        Text goes to C{dataReceived}, which a subclass may have encode it, as Twisted's
        own for SIP does.
        """

        class Encoding(FastLineReceiver):
            delimiter = b"\n"

            def dataReceived(self, data: Any) -> Any:
                if isinstance(data, str):
                    data = data.encode()
                return super().dataReceived(data)

        made: Any = recording(Encoding)()
        made.told = []
        made.makeConnection(StringTransport())
        made.setRawMode()
        made.setLineMode("a\n")
        self.assertEqual(made.told, [b"a"])

    def test_sent(self) -> None:
        """
        What is sent may be of any type that holds bytes, as may the delimiter.
        """
        for line, delimiter in product(
            (b"a", bytearray(b"a"), memoryview(b"a")), DELIMITERS
        ):
            sent = []
            for receiver in (self.original, self.fast):
                sender = receiver()
                sender.delimiter = delimiter
                sender.makeConnection(StringTransport())
                try:
                    sender.sendLine(line)
                    sent.append(sender.transport.value())
                except TypeError:
                    sent.append(None)
            self.assertEqual(sent[0], sent[1], (line, delimiter))
            sender.transport.clear()
            sender.sendLines([line, line])
            self.assertEqual(sender.transport.value(), 2 * (b"a" + bytes(delimiter)))

    def test_inFlight(self) -> None:
        """
        A limit that is assigned while a line is delivered.
        """
        for limit, data in product(LIMITS, STREAMS):
            told = []
            for receiver in (basic.LineReceiver, FastLineReceiver):

                class Changing(recording(receiver)):  # type: ignore[misc]
                    def lineReceived(self, line: bytes) -> None:
                        super().lineReceived(line)
                        self.MAX_LENGTH = limit  # noqa: B023
                        self.setLineMode()

                told.append(outcome(Changing, [data], delimiter=b"\n"))
            self.assertEqual(told[0], told[1], (limit, data))


class LineOnlyTests(LineTests):
    """
    Against C{LineOnlyReceiver}, with twisted issue 6556 mended.
    """

    original = MendedLineOnlyReceiver
    fast = FastLineOnlyReceiver


class FrameTests(SynchronousTestCase):
    """
    Against the receivers of frames.
    """

    KINDS: tuple[Any, ...] = (
        (basic.Int8StringReceiver, FastInt8StringReceiver, "B"),
        (basic.Int16StringReceiver, FastInt16StringReceiver, "!H"),
        (basic.Int32StringReceiver, FastInt32StringReceiver, "!I"),
    )

    def test_same(self) -> None:
        frames = (b"", b"a", b"ab", b"abc", b"", b"abcdef", b"a")
        for (original, fast, form), limit in product(self.KINDS, LIMITS):
            data = b"".join(pack(form, len(each)) + each for each in frames)
            for chunks in pieces(data):
                got = outcome(fast, chunks, MAX_LENGTH=limit)
                expected = outcome(original, chunks, MAX_LENGTH=limit)
                self.assertEqual(got, expected, (fast, limit, chunks))

    def test_formats(self) -> None:
        """
        A format may be of bytes, and signed: the lengths that it can say go both ways.
        A length below 0, which leads the original astray, is that of the same bits.
        """
        frames = (b"", b"a" * 127, b"ab")
        for form in ("b", "!h", "!i", "!q", "<i", b"!H", "n"):
            settings = {"structFormat": form, "prefixLength": calcsize(form)}
            data = b"".join(pack(form, len(each)) + each for each in frames)
            for original, fast, _ in self.KINDS:
                for chunks in pieces(data):
                    self.assertEqual(
                        outcome(fast, chunks, **settings),
                        outcome(original, chunks, **settings),
                    )
            if form != b"!H":
                below, meant = pack(form, -2), (1 << 8 * calcsize(form)) - 2
                (told,) = outcome(
                    FastInt8StringReceiver, [below], MAX_LENGTH=99, **settings
                )
                self.assertEqual(told, ("over", meant))

    def test_sent(self) -> None:
        for string, form in product(
            (b"a", bytearray(b"a"), memoryview(b"a"), b"a" * 127, b"a" * 128),
            ("b", "B", b"!H", "!h"),
        ):
            sent: list[Any] = []
            for receiver in (basic.Int8StringReceiver, FastInt8StringReceiver):
                sender: Any = receiver()
                sender.structFormat, sender.prefixLength = form, calcsize(form)  # type: ignore[arg-type]
                sender.makeConnection(StringTransport())
                try:
                    sender.sendString(string)
                    sent.append(sender.transport.value())
                except (TypeError, error) as problem:
                    sent.append(type(problem))
            self.assertEqual(sent[0], sent[1], (string, form))
            sender.transport.clear()
            if len(string) > 127 and form == "b":
                with self.assertRaisesRegex(basic.StringTooLongError, "127 bytes"):
                    sender.sendStrings([string])
            else:
                sender.sendStrings([string, string])
                one = pack(form, len(string)) + bytes(string)  # type: ignore[arg-type]
                self.assertEqual(sender.transport.value(), 2 * one)
