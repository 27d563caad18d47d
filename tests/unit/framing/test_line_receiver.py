"""
Tests for L{twisted_echo.framing.line_receiver}.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineOnlyReceiver, LineReceiver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support import reference
from tests.support.reference import chunks_of, cuts_of, delimiters, limits, split_lines
from twisted_echo.framing.line_receiver import FastLineOnlyReceiver, FastLineReceiver

thorough = reference.thorough(
    500, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

Event = tuple[Any, ...]


class LenientTransport(StringTransport):
    """
    A transport that may be paused and resumed while it closes, as the kernel's
    may; C{StringTransport} forbids it, and would end both scripts there.
    """

    def _checkState(self) -> None:
        pass


class CountingTransport(StringTransport):
    """
    A transport that counts the calls that write.
    """

    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.writes += 1
        super().writeSequence(data)


class ScriptError(Exception):
    """
    What a script raises in the middle of a line.
    """


class Scripted:
    """
    A mix-in that logs every call, and in each does the script's next action.
    """

    def __init__(self, script: Iterable[Any]) -> None:
        self.events: list[Event] = []
        self.script = list(script)
        self.depth = 0

    def lineReceived(self, line: bytes) -> object:
        self.events.append(("line", line))
        return self.act(None)

    def rawDataReceived(self, data: bytes) -> object:
        self.events.append(("raw", data))
        return self.act(data)

    def lineLengthExceeded(self, line: bytes) -> object:
        self.events.append(("exceeded", line))
        return self.act(None)

    def act(self, raw: bytes | None) -> object:
        action = self.script.pop(0) if self.script else None
        if action is None:
            return None
        self.events.append(("action", action))
        name, *arguments = action if isinstance(action, tuple) else (action,)
        result: object = getattr(self, "do_" + name)(raw, *arguments)
        return result

    # The actions. Each gets the raw data, if it happens in rawDataReceived.

    def do_pause(self, raw: bytes | None) -> None:
        self.pauseProducing()

    def do_blink(self, raw: bytes | None) -> None:
        self.pauseProducing()
        self.resumeProducing()

    def do_stop(self, raw: bytes | None) -> None:
        self.stopProducing()

    def do_switch(self, raw: bytes | None) -> object:
        """
        To raw mode, or back with what is left of the raw data.
        """
        if raw is None:
            self.setRawMode()
            return None
        return self.setLineMode(raw[1:])

    def do_raw(self, raw: bytes | None) -> None:
        self.setRawMode()

    def do_line(self, raw: bytes | None, extra: bytes) -> object:
        return self.setLineMode(extra)

    def do_raw_and_line(self, raw: bytes | None, extra: bytes) -> None:
        self.setRawMode()
        self.setLineMode(extra)

    def do_truth(self, raw: bytes | None) -> object:
        return "true"

    def do_lose(self, raw: bytes | None) -> None:
        self.transport.loseConnection()

    def do_receive(self, raw: bytes | None, data: bytes) -> None:
        if self.depth < 3:
            self.depth += 1
            try:
                result = self.dataReceived(data)
            finally:
                self.depth -= 1
            self.events.append(("re-entered", bool(result)))

    def do_clear(self, raw: bytes | None) -> None:
        self.events.append(("cleared", self.clearLineBuffer()))

    def do_send(self, raw: bytes | None, line: bytes) -> None:
        self.sendLine(line)

    def do_raise(self, raw: bytes | None) -> None:
        raise ScriptError

    def do_delimiter(self, raw: bytes | None, delimiter: bytes) -> None:
        self.delimiter = delimiter
        self._mind()

    def do_limit(self, raw: bytes | None, limit: int) -> None:
        self.MAX_LENGTH = limit
        self._mind()

    def _mind(self) -> None:
        """
        Do what the fast class's docstring asks for; in the original it means
        nothing.
        """
        if self.line_mode:
            self.setLineMode()

    # What happens between two chunks.

    def step(self, do: Any) -> None:
        """
        Receive a chunk, or do something from outside, and log what comes of it.
        """
        name, *arguments = do if isinstance(do, tuple) else (do,)
        result: object = None
        try:
            if name == "chunk":
                result = self.dataReceived(*arguments)
            elif name == "resume":
                self.resumeProducing()
            elif name == "outside":
                result = getattr(self, "do_" + arguments[0])(None, *arguments[1:])
        except ScriptError:
            self.events.append(("raised",))
        self.events.append(("after", name, bool(result)))


class MendedLineOnlyReceiver(LineOnlyReceiver):
    """
    The original without its fault: the beginning of a delimiter does not count
    towards the line.
    """

    def dataReceived(self, data: bytes) -> object:
        exceeded = self.lineLengthExceeded
        self.lineLengthExceeded = self.unlessItMayEnd
        try:
            return super().dataReceived(data)
        finally:
            self.lineLengthExceeded = exceeded

    def unlessItMayEnd(self, line: bytes) -> object:
        if line is self._buffer and any(
            line.endswith(self.delimiter[:size]) and len(line) - size <= self.MAX_LENGTH
            for size in range(1, len(self.delimiter))
        ):
            return None
        return type(self).lineLengthExceeded(self, line)


def run(
    base: type[Any],
    delimiter: bytes,
    limit: int,
    script: Iterable[Any],
    steps: Iterable[Any],
) -> tuple[list[Event], bytes]:
    """
    Run a script in a receiver.

    @return: everything that happened, and what was written.
    """

    class Receiver(Scripted, base):  # type: ignore[misc]
        pass

    receiver = Receiver(script)
    receiver.delimiter = delimiter
    receiver.MAX_LENGTH = limit
    transport = LenientTransport()
    receiver.makeConnection(transport)
    for do in steps:
        receiver.step(do)
    if hasattr(base, "clearLineBuffer"):
        receiver.events.append(("left", receiver.clearLineBuffer()))
    receiver.events.append(("state", transport.producerState, transport.disconnecting))
    return receiver.events, transport.value()


few_bytes = st.lists(st.sampled_from(b"ab\r\n"), max_size=6).map(bytes)
changes = st.one_of(
    st.tuples(st.just("delimiter"), delimiters),
    st.tuples(st.just("limit"), limits),
)
actions = st.one_of(
    st.none(),
    st.sampled_from(["pause", "blink", "switch", "raw", "truth", "clear"]),
    st.sampled_from(["pause", "switch", "stop", "lose", "raise"]),
    st.tuples(st.sampled_from(["line", "raw_and_line", "receive", "send"]), few_bytes),
    changes,
)
from_outside = st.one_of(
    st.sampled_from([("outside", "pause"), ("outside", "raw"), ("outside", "clear")]),
    st.tuples(st.just("outside"), st.just("line"), few_bytes),
    changes.map(lambda change: ("outside", *change)),
)


@st.composite
def steps_of(draw: st.DrawFn) -> list[Any]:
    """
    Chunks, and what is done before and after each.
    """
    steps: list[Any] = []
    for chunk in draw(chunks_of()):
        steps.append(("chunk", chunk))
        steps += draw(st.lists(st.one_of(st.just("resume"), from_outside), max_size=2))
    return steps


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

    def test_noTransport(self) -> None:
        """
        Lines are delivered without a transport, too.
        """
        receiver = Lines()
        receiver.dataReceived(b"a\r\nb\r\nc")
        receiver.dataReceived(b"\r\n")
        self.assertEqual(receiver.lines, [b"a", b"b", b"c"])


class Lines(FastLineReceiver):
    """
    Collects blocks, lists and lines, and hands them on.
    """

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.lists: list[list[bytes]] = []
        self.lines: list[bytes] = []
        self.raw: list[bytes] = []
        self.exceeded: list[bytes] = []

    def blockReceived(self, block: bytes) -> object:
        self.blocks.append(block)
        return super().blockReceived(block)

    def linesReceived(self, lines: list[bytes]) -> object:
        self.lists.append(list(lines))
        return super().linesReceived(lines)

    def lineReceived(self, line: bytes) -> object:
        self.lines.append(line)
        return self.then(line)

    def then(self, line: bytes) -> object:
        return None

    def rawDataReceived(self, data: bytes) -> None:
        self.raw.append(data)

    def lineLengthExceeded(self, line: bytes) -> object:
        self.exceeded.append(line)
        return super().lineLengthExceeded(line)


class OnlyLines(FastLineOnlyReceiver):
    """
    The same on the other receiver.
    """

    __init__ = Lines.__init__

    def blockReceived(self, block: bytes) -> object:
        self.blocks.append(block)
        return super().blockReceived(block)

    def linesReceived(self, lines: list[bytes]) -> object:
        self.lists.append(list(lines))
        return super().linesReceived(lines)

    def lineReceived(self, line: bytes) -> object:
        self.lines.append(line)
        return self.then(line)

    def then(self, line: bytes) -> object:
        return None

    def lineLengthExceeded(self, line: bytes) -> object:
        self.exceeded.append(line)
        return super().lineLengthExceeded(line)


def connected(receiver: Any, then: Callable[[Any, bytes], object] | None = None) -> Any:
    """
    Connect the receiver to a transport, and have it do C{then} in each line.
    """
    if then is not None:
        receiver.then = lambda line: then(receiver, line)
    receiver.makeConnection(CountingTransport())
    return receiver


class HookTests(SynchronousTestCase):
    """
    What C{blockReceived} and C{linesReceived} get, in both receivers.
    """

    def test_oneBlockForAllWholeLines(self) -> None:
        """
        The whole lines of a chunk come as one block and one list, what was held
        in front of them.
        """
        for kind in (Lines, OnlyLines):
            receiver = connected(kind())
            receiver.dataReceived(b"a\r\nb\r\nc")
            receiver.dataReceived(b"d\r\n\r\ne\r")
            receiver.dataReceived(b"\n")
            receiver.dataReceived(b"f\r\n")
            self.assertEqual(
                receiver.blocks,
                [b"a\r\nb\r\n", b"cd\r\n\r\n", b"e\r\n", b"f\r\n"],
            )
            self.assertEqual(
                receiver.lists, [[b"a", b"b"], [b"cd", b""], [b"e"], [b"f"]]
            )
            self.assertEqual(receiver.lines, [b"a", b"b", b"cd", b"", b"e", b"f"])

    def test_wholeLinesAreNotCopied(self) -> None:
        """
        A chunk that is whole lines is itself the block, longer than MAX_LENGTH
        or not.
        """
        for kind in (Lines, OnlyLines):
            for limit in (1, 16384):
                for delimiter in (b"\n", b"\r\n", b"\n\n"):
                    receiver = connected(kind())
                    receiver.delimiter, receiver.MAX_LENGTH = delimiter, limit
                    chunk = (b"a" + delimiter) * 100
                    receiver.dataReceived(chunk)
                    self.assertEqual(receiver.blocks, [chunk])
                    if kind is Lines or (limit > 1 and delimiter != b"\n\n"):
                        self.assertIs(receiver.blocks[0], chunk)

    def test_noEmptyBlock(self) -> None:
        """
        Where there is no line, no hook is called: not for an empty chunk, and
        not when somebody resumes.
        """
        for kind in (Lines, OnlyLines):
            receiver = connected(kind())
            for chunk in (b"", b"a", b"", b"\r", b"\n", b""):
                receiver.dataReceived(chunk)
            self.assertEqual((receiver.blocks, receiver.lists), ([b"a\r\n"], [[b"a"]]))
        receiver = connected(Lines())
        receiver.pauseProducing()
        receiver.resumeProducing()
        receiver.dataReceived(b"a")
        receiver.resumeProducing()
        self.assertEqual((receiver.blocks, receiver.lists), ([], []))

    def test_blocksAreBytes(self) -> None:
        for kind in (Lines, OnlyLines):
            receiver = connected(kind())
            for chunk in (b"a\r\nb", b"\r\nc", b"\r\n"):
                receiver.dataReceived(chunk)
            self.assertEqual({type(block) for block in receiver.blocks}, {bytes})

    @given(chunks=chunks_of(), delimiter=delimiters, limit=limits)
    @thorough
    def test_blocksAreWholeLegalLines(
        self, chunks: list[bytes], delimiter: bytes, limit: int
    ) -> None:
        """
        Whoever overrides C{blockReceived} gets whole lines within the limit,
        nothing else, at most once for a chunk, and in time.
        """
        for base in (FastLineReceiver, FastLineOnlyReceiver):
            blocks: list[bytes] = []
            exceeded: list[bytes] = []

            class Receiver(base):  # type: ignore[misc,valid-type]
                def blockReceived(
                    self, block: bytes, blocks: list[bytes] = blocks
                ) -> None:
                    blocks.append(block)

                def lineLengthExceeded(
                    self, line: bytes, exceeded: list[bytes] = exceeded
                ) -> None:
                    exceeded.append(line)

            receiver = connected(Receiver())
            receiver.delimiter, receiver.MAX_LENGTH = delimiter, limit
            data = b""
            for chunk in chunks:
                data += chunk
                before = len(blocks)
                receiver.dataReceived(chunk)
                expected = split_lines(data, delimiter, limit)
                if expected.overlong:
                    break
                if base is FastLineReceiver:
                    # The other one may know already that it is too long.
                    self.assertEqual(exceeded, [])
                self.assertLessEqual(len(blocks), before + 1)
                self.assertEqual(
                    b"".join(blocks), data[: len(data) - len(expected.rest)]
                )
                for block in blocks[before:]:
                    lines, rest, overlong = split_lines(block, delimiter, limit)
                    self.assertTrue(lines)
                    self.assertEqual((rest, overlong), (b"", False))

    def test_overriddenBlockReceived(self) -> None:
        """
        Nothing finer than an overridden hook is called.
        """
        for base in (FastLineReceiver, FastLineOnlyReceiver):

            class Echo(base):  # type: ignore[misc,valid-type]
                def blockReceived(self, block: bytes) -> None:
                    self.transport.write(block)

            receiver = connected(Echo())
            for chunk in (b"a\r\n\r\n", b"b\r", b"\n\0\xff\r\nc"):
                receiver.dataReceived(chunk)
            self.assertEqual(receiver.transport.value(), b"a\r\n\r\nb\r\n\0\xff\r\n")
            self.assertEqual(receiver.transport.writes, 2)

    def test_overriddenLinesReceived(self) -> None:
        for base in (FastLineReceiver, FastLineOnlyReceiver):

            class Backwards(base):  # type: ignore[misc,valid-type]
                def linesReceived(self, lines: list[bytes]) -> None:
                    self.sendLines(line[::-1] for line in lines)

            receiver = connected(Backwards())
            receiver.dataReceived(b"abc\r\n\r\nde\r\nf")
            self.assertEqual(receiver.transport.value(), b"cba\r\n\r\ned\r\n")

    def test_neitherIsOverridden(self) -> None:
        """
        As in the originals, somebody must say what a line means.
        """
        for base in (FastLineReceiver, FastLineOnlyReceiver):
            receiver = connected(base())
            receiver.dataReceived(b"a")
            self.assertRaises(NotImplementedError, receiver.dataReceived, b"\r\n")

    def test_pauseInBlockReceived(self) -> None:
        """
        A pause takes effect after the block in which it happens; a later chunk
        waits until the resume.
        """

        class Receiver(FastLineReceiver):
            blocks: list[bytes]

            def blockReceived(self, block: bytes) -> None:
                self.blocks.append(block)
                self.pauseProducing()

        receiver = connected(Receiver())
        receiver.blocks = []
        receiver.dataReceived(b"a\r\nb\r\nc")
        receiver.dataReceived(b"\r\nd\r\ne")
        self.assertEqual(receiver.blocks, [b"a\r\nb\r\n"])
        receiver.resumeProducing()
        self.assertEqual(receiver.blocks, [b"a\r\nb\r\n", b"c\r\nd\r\n"])
        self.assertEqual(receiver.clearLineBuffer(), b"e")

    def test_rawModeInBlockReceived(self) -> None:
        """
        After a block that switches the mode, the rest of the chunk is raw.
        """

        class Receiver(FastLineReceiver):
            raw = b""

            def blockReceived(self, block: bytes) -> None:
                self.setRawMode()

            def rawDataReceived(self, data: bytes) -> None:
                self.raw += data

        receiver = connected(Receiver())
        receiver.dataReceived(b"a\r\nb\r\nc")
        receiver.dataReceived(b"d\r\n")
        self.assertEqual(receiver.raw, b"cd\r\n")

    def test_truthyReturnOfBlockReceived(self) -> None:
        """
        It stops until new bytes come: the overlong line behind the block is not
        looked at before.
        """

        class Receiver(Lines):
            def blockReceived(self, block: bytes) -> object:
                super().blockReceived(block)
                return "enough"

        receiver = connected(Receiver())
        receiver.MAX_LENGTH = 3
        self.assertEqual(receiver.dataReceived(b"a\r\nabcdef\r\n"), "enough")
        self.assertEqual((receiver.lines, receiver.exceeded), ([b"a"], []))
        receiver.dataReceived(b"x")
        self.assertEqual(receiver.exceeded, [b"abcdef\r\nx"])

    def test_linesInTwoHalves(self) -> None:
        """
        A hook that hands its lines on in two halves loses none of them, though
        there be a pause in the first half.
        """

        class Halves(Lines):
            def linesReceived(self, lines: list[bytes]) -> object:
                middle = len(lines) // 2
                super().linesReceived(lines[:middle])
                return super().linesReceived(lines[middle:])

        def pause_at_a(receiver: Halves, line: bytes) -> None:
            if line == b"a":
                receiver.pauseProducing()

        receiver = connected(Halves(), pause_at_a)
        receiver.dataReceived(b"a\r\nb\r\nc\r\nd\r\n")
        receiver.resumeProducing()
        self.assertEqual(receiver.lines, [b"a", b"b", b"c", b"d"])

    def test_bytesReceived(self) -> None:
        """
        Every byte is counted once, whatever becomes of it.
        """
        for kind in (Lines, OnlyLines):
            receiver = connected(kind())
            self.assertEqual(receiver.bytesReceived, 0)
            for chunk in (b"a\r\n", b"b", b"", b"\r\nc", b"\r\n" + b"x" * 20000):
                receiver.dataReceived(chunk)
            self.assertEqual(receiver.bytesReceived, 20009)
        receiver = connected(Lines(), lambda receiver, line: receiver.pauseProducing())
        receiver.dataReceived(b"a\r\nb\r\n")
        receiver.dataReceived(b"c")
        receiver.resumeProducing()
        self.assertEqual(receiver.bytesReceived, 7)


class SendTests(SynchronousTestCase):
    def test_sendLines(self) -> None:
        """
        Many lines are one write.
        """
        for kind in (Lines, OnlyLines):
            receiver = connected(kind())
            receiver.sendLines([b"a", b"", b"b"])
            self.assertEqual(receiver.transport.value(), b"a\r\n\r\nb\r\n")
            self.assertEqual(receiver.transport.writes, 1)

    def test_sendLinesFromAnIterator(self) -> None:
        for kind in (Lines, OnlyLines):
            receiver = connected(kind())
            receiver.delimiter = b"\n"
            receiver.sendLines(line for line in (b"a", b"b"))
            self.assertEqual(receiver.transport.value(), b"a\nb\n")

    def test_sendNoLines(self) -> None:
        """
        No line, no write; an empty line is a line.
        """
        for kind in (Lines, OnlyLines):
            receiver = connected(kind())
            receiver.sendLines([])
            receiver.sendLines(iter(()))
            self.assertEqual(receiver.transport.writes, 0)
            receiver.sendLines([b""])
            self.assertEqual(receiver.transport.value(), b"\r\n")

    def test_sendLine(self) -> None:
        for kind in (Lines, OnlyLines):
            receiver = connected(kind())
            receiver.sendLine(b"a")
            self.assertEqual(receiver.transport.value(), b"a\r\n")
            self.assertEqual(receiver.transport.writes, 1)


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


class MemoryTests(SynchronousTestCase):
    """
    A receiver that waits for nothing holds nothing.
    """

    def assertIdle(self, receiver: Any) -> None:
        self.assertIsNone(receiver._held)
        bytes_held = [
            name
            for name, value in vars(receiver).items()
            if isinstance(value, (bytes, bytearray)) and name != "delimiter"
        ]
        self.assertEqual(bytes_held, [])

    def test_idle(self) -> None:
        for kind in (Lines, OnlyLines):
            receiver = connected(kind())
            self.assertIdle(receiver)
            for chunk in (b"a\r\nb\r\n", b"c", b"\r\n", b"d\r", b"\n", b""):
                receiver.dataReceived(chunk)
            self.assertIdle(receiver)

    def test_idleAfterAPause(self) -> None:
        receiver = connected(Lines(), lambda receiver, line: receiver.pauseProducing())
        receiver.dataReceived(b"a\r\nb\r\n")
        self.assertIsNotNone(receiver._held)
        receiver.resumeProducing()
        self.assertEqual(receiver.lines, [b"a", b"b"])
        self.assertIdle(receiver)

    def test_idleAfterClearing(self) -> None:
        receiver = connected(Lines(), lambda receiver, line: receiver.pauseProducing())
        receiver.dataReceived(b"a\r\nb\r\nc")
        receiver.clearLineBuffer()
        self.assertIdle(receiver)

    def test_idleInRawMode(self) -> None:
        receiver = connected(Lines(), lambda receiver, line: receiver.setRawMode())
        receiver.dataReceived(b"a\r\nb")
        receiver.dataReceived(b"c")
        self.assertEqual(receiver.raw, [b"b", b"c"])
        self.assertIdle(receiver)

    def test_deliveredLinesAreLetGo(self) -> None:
        """
        The lines of a chunk are not kept until the next one comes, however
        their delivery went.
        """

        class Weak(list):  # type: ignore[type-arg]
            """
            A list that can be watched.
            """

        for finish in ("deliver", "resume", "clear"):
            watched: list[weakref.ref[Weak]] = []

            class Receiver(FastLineReceiver):
                def linesReceived(
                    self,
                    lines: list[bytes],
                    watched: list[weakref.ref[Weak]] = watched,
                ) -> object:
                    weak = Weak(lines)
                    watched.append(weakref.ref(weak))
                    return super().linesReceived(weak)

                def lineReceived(self, line: bytes, finish: str = finish) -> None:
                    if finish != "deliver":
                        self.pauseProducing()

            receiver = connected(Receiver())
            receiver.dataReceived(b"a\r\nb\r\n")
            if finish == "resume":
                receiver.resumeProducing()
            elif finish == "clear":
                receiver.clearLineBuffer()
            self.assertEqual([each() for each in watched], [None], finish)

    def test_nothingOfAnOverlongLineIsKept(self) -> None:
        """
        It is handed to C{lineLengthExceeded} and forgotten, its delimiter in
        sight or not.
        """
        for chunks in (
            [b"a\r\n" + b"x" * 20000],
            [b"a\r\n" + b"x" * 20000 + b"\r\nb\r\n"],
            [b"a\r\nx", b"x" * 20000],
            [b"x" * 10000] * 2,
        ):
            receiver = connected(Lines())
            for chunk in chunks:
                receiver.dataReceived(chunk)
            self.assertEqual(len(receiver.exceeded), 1)
            self.assertTrue(receiver.transport.disconnecting)
            self.assertIdle(receiver)
            self.assertEqual(receiver.clearLineBuffer(), b"")

    def test_partialLineIsBounded(self) -> None:
        """
        A partial line is held up to MAX_LENGTH and almost a delimiter, no byte
        more.
        """
        receiver = connected(Lines())
        receiver.MAX_LENGTH = 100
        for size in range(1, 102):
            receiver.dataReceived(b"x")
            self.assertEqual(len(receiver._held), size)
        receiver.dataReceived(b"x")
        self.assertEqual(receiver.exceeded, [b"x" * 102])
        self.assertIdle(receiver)


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


class HeldInputTests(SynchronousTestCase):
    """
    What is held of the peer's bytes, and where its unfinished line begins.
    """

    def made(self, base: Any, delimiter: bytes = b"\n") -> Any:
        receiver = base()
        receiver.delimiter = delimiter
        receiver.makeConnection(StringTransport())
        return receiver

    def both(self) -> list[Any]:
        return [self.made(Lines), self.made(OnlyLines)]

    def test_nothing(self) -> None:
        """
        Nothing before the first byte, nor after whole lines.
        """
        for receiver in self.both():
            self.assertEqual(receiver.heldInput(), (0, None))
            receiver.dataReceived(b"a\nb\n")
            self.assertEqual(receiver.heldInput(), (0, None))

    def test_place(self) -> None:
        """
        A line begins where it begins, however it comes; the next one somewhere
        else.
        """
        for receiver in self.both():
            for data, held in (
                (b"ab", (2, 0)),
                (b"c", (3, 0)),
                (b"d\n", (0, None)),
                (b"e", (1, 5)),
                (b"f\ng", (1, 8)),
                (b"\n\nh\ni", (1, 13)),
                (b"jk", (3, 13)),
            ):
                receiver.dataReceived(data)
                self.assertEqual(receiver.heldInput(), held)

    def test_halfDelimiter(self) -> None:
        """
        A delimiter that has only begun ends no line.
        """
        for base in (Lines, OnlyLines):
            receiver = self.made(base, b"\r\n")
            receiver.dataReceived(b"a\r")
            self.assertEqual(receiver.heldInput(), (2, 0))
            receiver.dataReceived(b"\nb")
            self.assertEqual(receiver.heldInput(), (1, 3))

    def test_asking(self) -> None:
        """
        To ask changes nothing of what is received.
        """
        for receiver in self.both():
            for byte in (b"a", b"\n", b"b", b"c", b"\n"):
                receiver.heldInput()
                receiver.dataReceived(byte)
            self.assertEqual(receiver.lines, [b"a", b"bc"])

    def test_paused(self) -> None:
        """
        While it takes nothing, no line is the peer's to finish; the bytes count.
        """
        receiver = self.made(Lines)
        receiver.dataReceived(b"a")
        receiver.pauseProducing()
        self.assertEqual(receiver.heldInput(), (1, None))
        receiver.dataReceived(b"b\nc")
        self.assertEqual(receiver.heldInput(), (4, None))
        receiver.resumeProducing()
        self.assertEqual(receiver.heldInput(), (1, 3))

    def test_undelivered(self) -> None:
        """
        Whole lines that wait after a pause count, with what comes after them.
        """
        seen = []

        class Pausing(FastLineReceiver):
            delimiter = b"\n"

            def lineReceived(self, line: bytes) -> None:
                seen.append(line)
                self.pauseProducing()

        receiver = self.made(Pausing)
        receiver.dataReceived(b"a\nbb\nccc\nd")
        self.assertEqual(seen, [b"a"])
        self.assertEqual(receiver.heldInput(), (6, None))
        receiver.resumeProducing()
        self.assertEqual(receiver.heldInput(), (4, None))
        receiver.resumeProducing()
        self.assertEqual(
            (seen, receiver.heldInput()), ([b"a", b"bb", b"ccc"], (1, None))
        )
        receiver.resumeProducing()
        self.assertEqual(receiver.heldInput(), (1, 9))
