"""
Tests that hold L{twisted_echo.framing.line_receiver} against Twisted's receivers.
"""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.protocols.basic import LineOnlyReceiver, LineReceiver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.line_receivers import (
    CountingTransport,
    Event,
    Lines,
    MendedLineOnlyReceiver,
    OnlyLines,
    actions,
    connected,
    few_bytes,
    run,
    steps_of,
    thorough,
)
from tests.support.reference import chunks_of, cuts_of, delimiters, limits, split_lines
from twisted_echo.framing.line_receiver import FastLineOnlyReceiver, FastLineReceiver


class LikeLineReceiverTests(SynchronousTestCase):
    """
    L{FastLineReceiver} does what C{LineReceiver} does.
    """

    def test_interfaces(self) -> None:
        receiver = FastLineReceiver()
        verifyObject(IProtocol, receiver)
        self.assertIsInstance(receiver, LineReceiver)
        for name in ("pauseProducing", "resumeProducing", "stopProducing"):
            self.assertIn(name, IPushProducer)
            self.assertTrue(callable(getattr(receiver, name)))

    def test_defaults(self) -> None:
        for name in ("delimiter", "MAX_LENGTH", "line_mode", "paused"):
            self.assertEqual(
                getattr(FastLineReceiver, name), getattr(LineReceiver, name)
            )

    @given(
        delimiter=delimiters,
        limit=limits,
        script=st.lists(actions, max_size=30),
        steps=steps_of(),
    )
    @example(delimiter=b"\r\n", limit=1, script=[], steps=[("chunk", b"ab\r\na\r\n")])
    @example(
        delimiter=b"\n",
        limit=9,
        script=["pause", ("delimiter", b"a")],
        steps=[("chunk", b"a\nbab\nab"), "resume", ("chunk", b"\na")],
    )
    @thorough
    def test_sameEvents(
        self, delimiter: bytes, limit: int, script: list[Any], steps: list[Any]
    ) -> None:
        """
        Whatever is done in a line, in raw data or between two chunks, the same
        calls come in the same order with the same arguments, the same is
        written, and the same is left.
        """
        theirs = run(LineReceiver, delimiter, limit, script, steps)
        ours = run(FastLineReceiver, delimiter, limit, script, steps)
        self.assertEqual(ours, theirs)

    @given(
        chunks=chunks_of(),
        delimiter=delimiters,
        limit=limits,
        pauses=st.lists(st.booleans(), max_size=30),
    )
    @thorough
    def test_reference(
        self, chunks: list[bytes], delimiter: bytes, limit: int, pauses: list[bool]
    ) -> None:
        """
        The lines are those of the reference splitter, however they are cut and
        wherever there is a pause.
        """
        script = [("pause" if pause else None) for pause in pauses]
        steps: list[Any] = []
        for chunk in chunks:
            steps += [("chunk", chunk), *["resume"] * (chunk.count(delimiter) + 2)]
        steps += ["resume"] * (len(pauses) + 1)
        events, _ = run(FastLineReceiver, delimiter, limit, script, steps)
        seen = [event[1] for event in events if event[0] == "line"]
        expected = split_lines(b"".join(chunks), delimiter, limit)
        exceeded = [event for event in events if event[0] == "exceeded"]
        self.assertEqual(seen[: len(expected.lines)], expected.lines)
        self.assertEqual(bool(exceeded), expected.overlong)
        if not expected.overlong:
            self.assertEqual(len(seen), len(expected.lines))
            self.assertIn(("left", expected.rest), events)

    def _compare(self, script: list[Any], steps: list[Any]) -> list[Event]:
        """
        Run in both, demand the same, and return it.
        """
        theirs = run(LineReceiver, b"\r\n", 5, script, steps)
        ours = run(FastLineReceiver, b"\r\n", 5, script, steps)
        self.assertEqual(ours, theirs)
        return ours[0]

    def test_everyTwoWayCut(self) -> None:
        """
        Lines around the limit, cut everywhere.
        """
        for data in (
            b"abcd\r\nabcde\r\n\r\na\r\nb\rc\nd\r\n",
            b"abcde\r\nabcdef\r\nabc\r\n",
            b"a\r\nabcde\rf\r\nb\r\n",
        ):
            for chunks in cuts_of(data):
                self._compare([], [("chunk", chunk) for chunk in chunks])

    def test_delimiterThatOverlapsItself(self) -> None:
        """
        A chunk that ends with the delimiter's bytes need not end with a line.
        """
        for delimiter in (b"aa", b"aba", b"aaa"):
            for data in (b"aaa", b"ababa", b"xaaayabababz", b"a" * 10):
                for limit in (0, 2, 99):
                    for chunks in cuts_of(data):
                        steps = [("chunk", chunk) for chunk in chunks]
                        theirs = run(LineReceiver, delimiter, limit, [], steps)
                        ours = run(FastLineReceiver, delimiter, limit, [], steps)
                        self.assertEqual(ours, theirs)

    def test_limits(self) -> None:
        """
        A line of MAX_LENGTH bytes is legal and a longer one is not, wherever
        the delimiter is cut; what C{lineLengthExceeded} gets is everything from
        the line's start on that has been received.
        """
        for line, cut, exceeded in (
            (b"abcd", 6, None),
            (b"abcde", 7, None),
            (b"abcde", 6, None),
            (b"abcde", 5, None),
            (b"abcdef", 8, b"abcdef\r\nz\r\n"),
            (b"abcdef", 7, b"abcdef\r"),
            (b"abcdef", 6, b"abcdef\r\nz\r\n"),
        ):
            data = line + b"\r\nz\r\n"
            chunks = [data[:cut], data[cut:]]
            if cut == len(line) + 2:
                chunks = [data]
            events = self._compare([], [("chunk", chunk) for chunk in chunks])
            seen = [event for event in events if event[0] != "after"]
            if exceeded is None:
                expected = [("line", line), ("line", b"z")]
            else:
                expected = [("exceeded", exceeded)]
            self.assertEqual(seen[: len(expected)], expected)

    def test_exceededWithoutDelimiter(self) -> None:
        """
        With no delimiter in sight, a line is given up when MAX_LENGTH and the
        delimiter's length are reached, not before.
        """
        events = self._compare([], [("chunk", b"abcdef"), ("chunk", b"g")])
        self.assertEqual(
            events[:3],
            [("after", "chunk", False), ("exceeded", b"abcdefg"), events[2]],
        )

    def test_exceptionKeepsTheRest(self) -> None:
        """
        After an exception in a line, the lines after it are still there.
        """
        events = self._compare(
            ["raise", None, "raise"],
            [("chunk", b"a\r\nb\r\nc\r\nd\r\ne"), "resume", ("chunk", b"\r\n")],
        )
        lines = [event[1] for event in events if event[0] == "line"]
        self.assertEqual(lines, [b"a", b"b", b"c", b"d", b"e"])

    def test_exceptionInTheOneChunkKeepsTheRest(self) -> None:
        events = self._compare(["raise"], [("chunk", b"a\r\nb\r\n"), "resume"])
        self.assertEqual(
            [event for event in events if event[0] in ("line", "raised")],
            [("line", b"a"), ("raised",), ("line", b"b")],
        )

    def test_newDelimiterWhileClosing(self) -> None:
        """
        What is found again, by a delimiter that was assigned while the transport is
        closing, comes with the next call, as it does in the original.
        """
        script = ["lose", ("delimiter", b"\n")]
        steps = [("chunk", b"aaa\n"), "resume", "resume"]
        theirs = run(LineReceiver, b"a", 99, script, steps)
        self.assertEqual(run(FastLineReceiver, b"a", 99, script, steps), theirs)
        self.assertIn(("line", b"a"), theirs[0])

    def test_noTransport(self) -> None:
        """
        Lines are delivered without a transport, too.
        """
        receiver = Lines()
        receiver.dataReceived(b"a\r\nb\r\nc")
        receiver.dataReceived(b"\r\n")
        self.assertEqual(receiver.lines, [b"a", b"b", b"c"])


only_actions = st.one_of(
    st.none(),
    st.sampled_from(["truth", "lose", "raise"]),
    st.tuples(st.sampled_from(["receive", "send"]), few_bytes),
)


class LikeLineOnlyReceiverTests(SynchronousTestCase):
    """
    L{FastLineOnlyReceiver} does what C{LineOnlyReceiver} does.
    """

    def test_defaults(self) -> None:
        self.assertIsInstance(FastLineOnlyReceiver(), LineOnlyReceiver)
        for name in ("delimiter", "MAX_LENGTH"):
            self.assertEqual(
                getattr(FastLineOnlyReceiver, name), getattr(LineOnlyReceiver, name)
            )

    @given(
        delimiter=st.sampled_from([b"\n", b"\r", b"a"]),
        limit=limits,
        script=st.lists(only_actions, max_size=30),
        chunks=chunks_of(),
    )
    @thorough
    def test_sameEvents(
        self, delimiter: bytes, limit: int, script: list[Any], chunks: list[bytes]
    ) -> None:
        """
        With a delimiter of one byte, which cannot be split, the same calls come
        in the same order with the same arguments.
        """
        steps = [("chunk", chunk) for chunk in chunks]
        theirs = run(LineOnlyReceiver, delimiter, limit, script, steps)
        ours = run(FastLineOnlyReceiver, delimiter, limit, script, steps)
        self.assertEqual(ours, theirs)

    @given(
        delimiter=delimiters,
        limit=limits,
        script=st.lists(only_actions, max_size=30),
        chunks=chunks_of(),
    )
    @thorough
    def test_sameEventsAsTheMended(
        self, delimiter: bytes, limit: int, script: list[Any], chunks: list[bytes]
    ) -> None:
        """
        With a longer delimiter, too, but for the original's one fault.
        """
        steps = [("chunk", chunk) for chunk in chunks]
        theirs = run(MendedLineOnlyReceiver, delimiter, limit, script, steps)
        ours = run(FastLineOnlyReceiver, delimiter, limit, script, steps)
        self.assertEqual(ours, theirs)

    def _happens(self, base: type[Any], *chunks: bytes) -> list[Event]:
        """
        Receive the chunks with a limit of 5.
        """
        steps = [("chunk", chunk) for chunk in chunks]
        events, _ = run(base, b"\r\n", 5, [], steps)
        return [event for event in events if event[0] in ("line", "exceeded")]

    def test_splitDelimiterAtTheLimit(self) -> None:
        """
        A line of exactly MAX_LENGTH bytes is legal, its delimiter split or not.
        The original takes it for too long: the one wanted difference.
        """
        split = (b"abcde\r", b"\n")
        self.assertEqual(
            self._happens(FastLineOnlyReceiver, *split), [("line", b"abcde")]
        )
        self.assertEqual(
            self._happens(LineOnlyReceiver, *split),
            [("exceeded", b"abcde\r"), ("line", b"abcde")],
        )
        whole = (b"abcde\r\n",)
        for base in (FastLineOnlyReceiver, LineOnlyReceiver):
            self.assertEqual(self._happens(base, *whole), [("line", b"abcde")])

    def test_limits(self) -> None:
        """
        At the limit -1, 0 and +1, cut everywhere: legal lines pass, and an
        overlong one is reported alone, as soon as it cannot be legal any more.
        """
        for line in (b"abcd", b"abcde"):
            for chunks in cuts_of(line + b"\r\n"):
                self.assertEqual(
                    self._happens(FastLineOnlyReceiver, *chunks), [("line", line)]
                )
        for chunks, exceeded in (
            ([b"a\r\nabcdef\r\nb\r\n"], b"abcdef"),
            ([b"a\r\nabcdef"], b"abcdef"),
            ([b"a\r\nabcdef\r"], b"abcdef\r"),
            ([b"a\r\nabc", b"def\r\n"], b"abcdef"),
        ):
            events = self._happens(FastLineOnlyReceiver, *chunks)
            self.assertEqual(events, [("line", b"a"), ("exceeded", exceeded)])
            self.assertEqual(events, self._happens(LineOnlyReceiver, *chunks))

    def test_delimiterThatOverlapsItself(self) -> None:
        """
        A chunk that ends with the delimiter's bytes need not end with a line.
        """
        for delimiter in (b"aa", b"aba", b"aaa"):
            for data in (b"aaa", b"ababa", b"xaaayabababz", b"a" * 10):
                for chunks in cuts_of(data):
                    steps = [("chunk", chunk) for chunk in chunks]
                    theirs = run(LineOnlyReceiver, delimiter, 99, [], steps)
                    ours = run(FastLineOnlyReceiver, delimiter, 99, [], steps)
                    self.assertEqual(ours, theirs)

    def test_splitDelimiterThatDoesNotCome(self) -> None:
        """
        The byte beyond the limit may begin a delimiter; if it does not, the
        line is too long.
        """
        self.assertEqual(
            self._happens(FastLineOnlyReceiver, b"abcde\r", b"x"),
            [("exceeded", b"abcde\rx")],
        )

    def test_closes(self) -> None:
        """
        By default an overlong line closes the connection, and what comes with
        it is not looked at.
        """
        receiver = connected(OnlyLines())
        receiver.MAX_LENGTH = 5
        receiver.dataReceived(b"a\r\nabcdef\r\nb\r\n")
        self.assertEqual((receiver.lines, receiver.exceeded), ([b"a"], [b"abcdef"]))
        self.assertTrue(receiver.transport.disconnecting)
        self.assertIsNone(receiver._held)

    def test_disconnectingDropsTheRest(self) -> None:
        """
        Once the transport closes, no line and no overlong line is reported.
        """
        receiver = connected(
            OnlyLines(), lambda receiver, line: receiver.transport.loseConnection()
        )
        receiver.MAX_LENGTH = 5
        receiver.dataReceived(b"a\r\nb\r\nabcdef\r\n")
        receiver.dataReceived(b"c\r\n")
        self.assertEqual((receiver.lines, receiver.exceeded), ([b"a"], []))

    def test_disconnectingDropsBlocks(self) -> None:
        """
        Whoever overrides C{blockReceived} gets nothing either.
        """

        class Receiver(FastLineOnlyReceiver):
            blocks = 0

            def blockReceived(self, block: bytes) -> None:
                self.blocks += 1

        receiver = connected(Receiver())
        receiver.transport.loseConnection()
        receiver.dataReceived(b"a\r\n")
        self.assertEqual(receiver.blocks, 0)

    def test_replacedTransport(self) -> None:
        """
        What counts is whether the transport is closing that the receiver has now.
        """

        def replace(receiver: OnlyLines, line: bytes) -> None:
            receiver.transport = CountingTransport()
            if line == b"bye":
                receiver.transport.loseConnection()

        receiver = connected(OnlyLines(), replace)
        receiver.dataReceived(b"a\r\nbye\r\nb\r\n")
        self.assertEqual(receiver.lines, [b"a", b"bye"])

    def test_returnMeansNothing(self) -> None:
        receiver = connected(OnlyLines(), lambda receiver, line: True)
        self.assertFalse(receiver.dataReceived(b"a\r\nb\r\n"))
        self.assertEqual(receiver.lines, [b"a", b"b"])

    def test_truthyReturnOfBlockReceived(self) -> None:
        """
        It drops the rest of the chunk, an overlong line too.
        """

        class Receiver(FastLineOnlyReceiver):
            exceeded = 0

            def blockReceived(self, block: bytes) -> object:
                return True

            def lineLengthExceeded(self, line: bytes) -> None:
                self.exceeded += 1

        receiver = connected(Receiver())
        receiver.MAX_LENGTH = 5
        receiver.dataReceived(b"a\r\nabcdef\r\n")
        self.assertEqual(receiver.exceeded, 0)

    def test_limitAssignedInALine(self) -> None:
        """
        It is minded from the next chunk on.
        """

        def limit(receiver: OnlyLines, line: bytes) -> None:
            receiver.MAX_LENGTH = 2

        receiver = connected(OnlyLines(), limit)
        receiver.dataReceived(b"a\r\nabc\r\n")
        self.assertEqual((receiver.lines, receiver.exceeded), ([b"a", b"abc"], []))
        receiver.dataReceived(b"abc\r\n")
        self.assertEqual(receiver.exceeded, [b"abc"])
