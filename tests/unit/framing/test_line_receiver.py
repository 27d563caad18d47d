"""
Tests for the hooks of L{twisted_echo.framing.line_receiver}, and what it holds.
"""

import weakref
from typing import Any

from hypothesis import given
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.support.line_receivers import (
    Lines,
    OnlyLines,
    connected,
    thorough,
)
from tests.support.reference import chunks_of, delimiters, limits, split_lines
from twisted_echo.framing.line_receiver import FastLineOnlyReceiver, FastLineReceiver


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

    def test_hooksOfTheInstance(self) -> None:
        """
        A hook may be replaced on the instance before the connection is made; the finest
        one also later, and between two lines.
        """
        for hook, chunks in (
            ("blockReceived", [b"a\r\n", b"b\r\nc\r\n"]),
            ("linesReceived", [[b"a"], [b"b", b"c"]]),
        ):
            got: list[Any] = []
            receiver: Any = FastLineReceiver()
            setattr(receiver, hook, got.append)
            receiver = connected(receiver)
            for chunk in (b"a\r\n", b"b\r\nc\r\n"):
                receiver.dataReceived(chunk)
            self.assertEqual(got, chunks)
        first: list[bytes] = []
        second: list[bytes] = []

        def lineReceived(line: bytes) -> None:
            first.append(line)
            receiver.lineReceived = second.append

        for chunk in (b"a\r\n", b"a\r\nb\r\n"):
            receiver = connected(FastLineReceiver())
            receiver.lineReceived = lineReceived
            receiver.dataReceived(chunk)
        self.assertEqual((first, second), ([b"a", b"a"], [b"b"]))

    def test_delimiterThatIsAProperty(self) -> None:
        """
        A delimiter may be worked out with each chunk; one of the class is the
        instance's from C{makeConnection} on.
        """

        class Changing(FastLineReceiver):
            ends = b";"

            @property
            def delimiter(self) -> bytes:  # type: ignore[override]
                return self.ends

        lines: list[bytes] = []
        receiver: Any = connected(Changing())
        receiver.lineReceived = lines.append
        receiver.dataReceived(b"a;")
        receiver.ends = b"."
        receiver.dataReceived(b"b.")
        receiver.sendLine(b"c")
        self.assertEqual(lines, [b"a", b"b"])
        self.assertEqual(receiver.transport.value(), b"c.")
        receiver = connected(FastLineReceiver())
        receiver.lineReceived = lines.append
        receiver.delimiter = b"|"
        receiver.dataReceived(b"d|")
        self.assertEqual(lines[2:], [b"d"])

    def test_sendLineIsOneWrite(self) -> None:
        """
        A line is sent by one write, and of the types that the originals take.
        """
        for kind, buffers in (
            (FastLineReceiver, [b"a"]),
            (FastLineOnlyReceiver, [b"a", bytearray(b"a"), memoryview(b"a")]),
        ):
            receiver: Any = connected(kind())
            for buffer in buffers:
                receiver.sendLine(buffer)
            self.assertEqual(receiver.transport.value(), b"a\r\n" * len(buffers))
            self.assertEqual(receiver.transport.writes, len(buffers))
            self.assertRaises(TypeError, receiver.sendLine, "a")

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

    def test_falsyReturnOfLineReceived(self) -> None:
        """
        It is no result of C{dataReceived}: Twisted 26.4 warns of one that is not None.
        """

        class Receiver(Lines):
            def lineReceived(self, line: bytes) -> object:
                super().lineReceived(line)
                if line == b"bye":
                    self.transport.loseConnection()
                return False

        for chunk in (b"a\r\n", b"a\r\nb\r\n", b"bye\r\n", b"bye\r\nb\r\n"):
            receiver = connected(Receiver())
            self.assertIsNone(receiver.dataReceived(chunk))
            self.assertTrue(receiver.lines)

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

    def test_blocksNeedNoAttribute(self) -> None:
        """
        A line in two pieces leaves no attribute on a receiver that takes blocks, as one
        more could double what its attributes cost.
        """

        class Receiver(FastLineReceiver):
            delimiter = b"\n"

            def blockReceived(self, block: bytes) -> None:
                pass

        receiver = connected(Receiver())
        receiver.dataReceived(b"a\n")
        before = set(vars(receiver))
        for chunk in (b"a", b"\nb", b"\n"):
            receiver.dataReceived(chunk)
        self.assertEqual(set(vars(receiver)), before)

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
