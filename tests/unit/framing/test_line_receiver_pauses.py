"""
Tests for pauses and switches in the middle of a chunk, in
L{twisted_echo.framing.line_receiver}.
"""

from typing import Any

from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase

from tests.support.line_receivers import (
    Lines,
    Scripted,
    connected,
)
from twisted_echo.framing.line_receiver import FastLineReceiver


class PauseTests(SynchronousTestCase):
    """
    A pause in the middle of a chunk, and what it costs.
    """

    def test_resumeGivesTheRest(self) -> None:
        """
        The lines after the pause come with the resume, from the one list that
        the chunk was split into.
        """

        def pause_at_b(receiver: Lines, line: bytes) -> None:
            if line == b"b":
                receiver.pauseProducing()

        receiver = connected(Lines(), pause_at_b)
        receiver.dataReceived(b"a\r\nb\r\nc\r\nd\r\ne")
        self.assertEqual(receiver.lines, [b"a", b"b"])
        self.assertTrue(receiver.hasUndeliveredLines())
        receiver.resumeProducing()
        self.assertEqual(receiver.lines, [b"a", b"b", b"c", b"d"])
        self.assertEqual(receiver.lists, [[b"a", b"b", b"c", b"d"]])
        self.assertEqual(receiver.clearLineBuffer(), b"e")

    def test_pauseAtEveryLine(self) -> None:
        """
        A chunk is split once, however often there is a pause in it.
        """
        receiver = connected(Lines(), lambda receiver, line: receiver.pauseProducing())
        expected = [b"%d" % number for number in range(3000)]
        receiver.dataReceived(b"".join(line + b"\r\n" for line in expected) + b"rest")
        for delivered in range(1, 3001):
            self.assertEqual(len(receiver.lines), delivered)
            receiver.resumeProducing()
        self.assertEqual(receiver.lines, expected)
        self.assertEqual(len(receiver.lists), 1)
        self.assertEqual(len(receiver.blocks), 1)
        self.assertFalse(receiver.hasUndeliveredLines())

    def test_chunksWhilePaused(self) -> None:
        """
        What comes during the pause waits behind what waits already.
        """
        receiver = connected(Lines(), lambda receiver, line: receiver.pauseProducing())
        for chunk in (b"a\r\nb\r\nc", b"\r\nd", b"\r\n"):
            receiver.dataReceived(chunk)
        self.assertEqual(receiver.lines, [b"a"])
        for _ in range(3):
            receiver.resumeProducing()
        self.assertEqual(receiver.lines, [b"a", b"b", b"c", b"d"])
        self.assertEqual(receiver.lists, [[b"a", b"b"], [b"c", b"d"]])

    def test_clearLineBufferOfAPausedReceiver(self) -> None:
        """
        All that was not delivered is given back as it came, and nothing of it
        is delivered later.
        """
        receiver = connected(Lines(), lambda receiver, line: receiver.pauseProducing())
        receiver.dataReceived(b"a\r\nb\r\n\r\nc")
        self.assertEqual(receiver.clearLineBuffer(), b"b\r\n\r\nc")
        self.assertEqual(receiver.clearLineBuffer(), b"")
        receiver.resumeProducing()
        self.assertEqual(receiver.lines, [b"a"])

    def test_clearLineBufferWithAnotherDelimiter(self) -> None:
        """
        Lines that wait are put together by the delimiter that they came with.
        """
        receiver = connected(Lines(), lambda receiver, line: receiver.pauseProducing())
        receiver.dataReceived(b"a\r\nb\r\nc\r\nd")
        receiver.delimiter = b";"
        self.assertEqual(receiver.clearLineBuffer(), b"b\r\nc\r\nd")

    def test_hasUndeliveredLines(self) -> None:
        """
        Whole lines that wait are told from a partial one and from none.
        """
        receiver = connected(Lines())
        self.assertIs(receiver.hasUndeliveredLines(), False)
        receiver.dataReceived(b"a")
        self.assertIs(receiver.hasUndeliveredLines(), False)
        receiver.pauseProducing()
        receiver.dataReceived(b"\r")
        self.assertIs(receiver.hasUndeliveredLines(), False)
        receiver.dataReceived(b"\nb")
        self.assertIs(receiver.hasUndeliveredLines(), True)
        receiver.resumeProducing()
        self.assertIs(receiver.hasUndeliveredLines(), False)
        self.assertEqual(receiver.lines, [b"a"])

    def test_stopProducing(self) -> None:
        """
        After C{stopProducing} no further line is delivered.
        """
        receiver = connected(Lines(), lambda receiver, line: receiver.stopProducing())
        receiver.dataReceived(b"a\r\nb\r\n")
        receiver.dataReceived(b"c\r\n")
        self.assertEqual(receiver.lines, [b"a"])
        self.assertEqual(receiver.transport.producerState, "stopped")

    def test_rawModeInTheMiddle(self) -> None:
        """
        What follows the line that switches is raw as it came, in one piece.
        """
        receiver = connected(
            Lines(), lambda receiver, line: line == b"b" and receiver.setRawMode()
        )
        receiver.dataReceived(b"a\r\nb\r\nc\r\n\r\nd")
        self.assertEqual(
            (receiver.lines, receiver.raw), ([b"a", b"b"], [b"c\r\n\r\nd"])
        )

    def test_rawModeInTheLastLine(self) -> None:
        """
        Where nothing follows the line that switches, no raw data is reported.
        """

        def pause_then_raw(receiver: Lines, line: bytes) -> None:
            if line == b"a":
                receiver.pauseProducing()
            else:
                receiver.setRawMode()

        receiver = connected(Lines(), pause_then_raw)
        receiver.dataReceived(b"a\r\nb\r\n")
        receiver.resumeProducing()
        self.assertEqual((receiver.lines, receiver.raw), ([b"a", b"b"], []))

    def test_modeSwitchesAreLinear(self) -> None:
        """
        Messages of a line and some raw bytes, many in one chunk: the lines
        behind a switch are not all split again for each. Four times the messages
        cost four times the splitting, not sixteen times.
        """

        class Messages(Lines):
            def then(self, line: bytes) -> None:
                self.setRawMode()

            def rawDataReceived(self, data: bytes) -> None:
                self.raw.append(data[:4])
                self.setLineMode(data[4:])

        def split(messages: int) -> int:
            receiver = connected(Messages())
            receiver.dataReceived(b"put\r\n\r\n\r\n" * messages)
            self.assertEqual(receiver.lines, [b"put"] * messages)
            self.assertEqual(receiver.raw, [b"\r\n\r\n"] * messages)
            return sum(len(lines) for lines in receiver.lists)

        self.assertLess(split(2000), 5 * split(500))


class AssignmentTests(SynchronousTestCase):
    """
    The wanted difference: what C{lineReceived} assigns is minded from the next
    chunk on, or after C{setLineMode()}.
    """

    @staticmethod
    def _lines(base: type[Any], name: str, value: object, call: bool) -> Any:
        class Receiver(Scripted, base):  # type: ignore[misc]
            def act(self, raw: bytes | None) -> None:
                if len(self.events) == 1:
                    setattr(self, name, value)
                    if call:
                        self.setLineMode()

        receiver = Receiver([])
        receiver.delimiter = b"\n"
        receiver.makeConnection(StringTransport())
        for chunk in (b"a\nb;c\nd;e\n", b"f;g\nh;"):
            receiver.dataReceived(chunk)
        return receiver.events

    def test_delimiterFromTheNextChunk(self) -> None:
        events = self._lines(FastLineReceiver, "delimiter", b";", False)
        self.assertEqual(
            [line for _, line in events],
            [b"a", b"b;c", b"d;e", b"f", b"g\nh"],
        )

    def test_delimiterFromTheNextLine(self) -> None:
        """
        After C{setLineMode()} it is as in the original.
        """
        events = self._lines(FastLineReceiver, "delimiter", b";", True)
        self.assertEqual(
            [line for _, line in events], [b"a", b"b", b"c\nd", b"e\nf", b"g\nh"]
        )
        for call in (True, False):
            theirs = self._lines(LineReceiver, "delimiter", b";", call)
            self.assertEqual(events, theirs)

    def test_limitFromTheNextChunk(self) -> None:
        events = self._lines(FastLineReceiver, "MAX_LENGTH", 2, False)
        self.assertEqual(
            events,
            [
                ("line", b"a"),
                ("line", b"b;c"),
                ("line", b"d;e"),
                ("exceeded", b"f;g\nh;"),
            ],
        )

    def test_limitFromTheNextLine(self) -> None:
        """
        After C{setLineMode()} it is as in the original.
        """
        events = self._lines(FastLineReceiver, "MAX_LENGTH", 2, True)
        self.assertEqual(
            events,
            [
                ("line", b"a"),
                ("exceeded", b"b;c\nd;e\n"),
                ("exceeded", b"f;g\nh;"),
            ],
        )
        for call in (True, False):
            theirs = self._lines(LineReceiver, "MAX_LENGTH", 2, call)
            self.assertEqual(events, theirs)
