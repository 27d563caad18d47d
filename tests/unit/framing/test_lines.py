"""
Tests for L{twisted_echo.framing.lines}.
"""

import random
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import reference
from tests.support.reference import (
    Split,
    chunks_of,
    cuts_of,
    delimiters,
    limits,
    split_lines,
    streams,
)
from twisted_echo.framing.lines import end_of_lines, line_splitter, overlaps_itself
from twisted_echo.framing.splitter import ReceiveBuffer

thorough = reference.thorough(400)


def find(buffer: ReceiveBuffer, delimiter: bytes, limit: int = 5) -> int:
    """
    Find the end of the first line, or -1.
    """
    found = buffer.first(line_splitter(delimiter, limit))
    return -1 if found is None else found[1]


def take_lines(buffer: ReceiveBuffer, delimiter: bytes, limit: int) -> bytes:
    """
    Take the whole legal lines, as a receiver does.
    """
    splitter = line_splitter(delimiter, limit)
    found = buffer.first(splitter)
    if found is None or found[1] > limit:
        return b""
    return buffer.take_block(splitter, found)[0]


def is_overlong(buffer: ReceiveBuffer, delimiter: bytes, limit: int) -> bool:
    splitter = line_splitter(delimiter, limit)
    found = buffer.first(splitter)
    if found is None:
        return splitter.is_overlong(len(buffer))
    return found[1] > limit


def feed(chunks: Iterable[bytes], delimiter: bytes, limit: int) -> Split:
    """
    Take from a buffer, after each chunk, what it gives, until a line is too
    long; check on the way what must hold at every step.
    """
    buffer = ReceiveBuffer()
    lines: list[bytes] = []
    given_up = False
    for chunk in chunks:
        buffer += chunk
        if given_up:
            continue
        block = take_lines(buffer, delimiter, limit)
        taken, rest, overlong = split_lines(block, delimiter, limit)
        assert (rest, overlong) == (b"", False), "a block is whole legal lines"
        assert take_lines(buffer, delimiter, limit) == b"", "all is taken at once"
        lines += taken
        given_up = is_overlong(buffer, delimiter, limit)
        if not given_up:
            assert len(buffer) < limit + len(delimiter)
    return Split(lines, buffer.take(), given_up)


class TestReference:
    """
    The reference splitter, held against answers that were worked out by hand.
    """

    @pytest.mark.parametrize(
        ("data", "delimiter", "limit", "split"),
        [
            (b"", b"\n", 9, Split([], b"", False)),
            (b"a\n\nbc\nd", b"\n", 9, Split([b"a", b"", b"bc"], b"d", False)),
            (b"aaa", b"aa", 9, Split([b""], b"a", False)),
            (b"ababa", b"aba", 9, Split([b""], b"ba", False)),
            (b"ab\nabc\n", b"\n", 2, Split([b"ab"], b"abc\n", True)),
            (b"abc", b"\n", 2, Split([], b"abc", True)),
            (b"ab\r", b"\r\n", 2, Split([], b"ab\r", False)),
            (b"\nx", b"\n", 0, Split([b""], b"x", True)),
        ],
    )
    def test_by_hand(
        self, data: bytes, delimiter: bytes, limit: int, split: Split
    ) -> None:
        assert split_lines(data, delimiter, limit) == split


class TestOverlapsItself:
    @pytest.mark.parametrize(
        "delimiter", [b"aa", b"aba", b"aaa", b"abab", b"abcab", b"\n\n", b"\0\0"]
    )
    def test_overlapping(self, delimiter: bytes) -> None:
        assert overlaps_itself(delimiter)

    @pytest.mark.parametrize(
        "delimiter",
        [b"\n", b"\r\n", b"\0", b"ab", b"aab", b"abb", b"abc", b"aabb", b"\r\r\n"],
    )
    def test_not_overlapping(self, delimiter: bytes) -> None:
        assert not overlaps_itself(delimiter)

    def test_nothing_is_no_delimiter(self) -> None:
        with pytest.raises(ValueError, match="at least one byte, got b''"):
            overlaps_itself(b"")

    @given(delimiter=delimiters)
    @thorough
    def test_definition(self, delimiter: bytes) -> None:
        """
        It overlaps itself if it can be found twice in fewer bytes than two of
        it have.
        """
        size = len(delimiter)
        shared = [
            offset
            for offset in range(1, size)
            if (delimiter[:offset] + delimiter).startswith(delimiter)
        ]
        assert overlaps_itself(delimiter) == bool(shared)


# Data, delimiter, limit, and the whole legal lines at the front.
CASES = [
    pytest.param(b"", b"\n", 5, b"", id="nothing"),
    pytest.param(b"abc", b"\n", 5, b"", id="a partial line"),
    pytest.param(b"\n", b"\n", 0, b"\n", id="an empty line"),
    pytest.param(b"\n\n\n", b"\n", 0, b"\n\n\n", id="empty lines"),
    pytest.param(b"\r\n\r\n\r", b"\r\n", 0, b"\r\n\r\n", id="empty lines, partial"),
    pytest.param(b"a\nbc\nd", b"\n", 5, b"a\nbc\n", id="lines and a partial one"),
    pytest.param(b"abcd\n", b"\n", 5, b"abcd\n", id="limit - 1"),
    pytest.param(b"abcde\n", b"\n", 5, b"abcde\n", id="limit"),
    pytest.param(b"abcdef\n", b"\n", 5, b"", id="limit + 1"),
    pytest.param(b"abcd\r\n", b"\r\n", 5, b"abcd\r\n", id="limit - 1, two bytes"),
    pytest.param(b"abcde\r\n", b"\r\n", 5, b"abcde\r\n", id="limit, two bytes"),
    pytest.param(b"abcdef\r\n", b"\r\n", 5, b"", id="limit + 1, two bytes"),
    pytest.param(b"a\nabcdef\nb\n", b"\n", 5, b"a\n", id="overlong after a line"),
    pytest.param(b"abcde\r\r\n", b"\r\n", 5, b"", id="a byte too many"),
    pytest.param(b"abcd\r\r\n", b"\r\n", 5, b"abcd\r\r\n", id="CR in the line"),
    pytest.param(b"a\rb\nc\r\n", b"\r\n", 9, b"a\rb\nc\r\n", id="halves of CRLF"),
    pytest.param(b"\0\xff\n", b"\n", 5, b"\0\xff\n", id="NUL and 0xFF"),
    pytest.param(b"x\0\n\0\ny\0\n", b"\0\n", 1, b"x\0\n\0\ny\0\n", id="NUL LF"),
    pytest.param(b"aaa", b"aa", 5, b"aa", id="aa, odd"),
    pytest.param(b"aaaa", b"aa", 0, b"aaaa", id="aa, even"),
    pytest.param(b"baaaab", b"aa", 1, b"baaaa", id="aa, within"),
    pytest.param(b"ababa", b"aba", 5, b"aba", id="aba shares a byte"),
    pytest.param(b"abaxaba", b"aba", 1, b"abaxaba", id="aba twice"),
    pytest.param(b"aaabaab", b"aab", 1, b"aaabaab", id="aab"),
    pytest.param(b"xxabaa", b"aba", 1, b"", id="aba overlong"),
]


class TestEndOfLines:
    @pytest.mark.parametrize(("data", "delimiter", "limit", "block"), CASES)
    @pytest.mark.parametrize("kind", [bytes, bytearray])
    def test_cases(
        self,
        kind: type[bytes] | type[bytearray],
        data: bytes,
        delimiter: bytes,
        limit: int,
        block: bytes,
    ) -> None:
        assert end_of_lines(kind(data), 0, delimiter, limit) == len(block)

    @pytest.mark.parametrize(("data", "delimiter", "limit", "block"), CASES)
    def test_start(
        self, data: bytes, delimiter: bytes, limit: int, block: bytes
    ) -> None:
        """
        What stands before C{start} is not a part of any line.
        """
        for before in (delimiter, b"ab" + delimiter, delimiter[:-1], b"abababa"):
            end = end_of_lines(before + data, len(before), delimiter, limit)
            assert end == len(before) + len(block)

    def test_no_delimiter(self) -> None:
        with pytest.raises(ValueError, match="at least one byte"):
            end_of_lines(b"abc", 0, b"", 5)

    @given(before=streams, data=streams, delimiter=delimiters, limit=limits)
    @thorough
    def test_reference(
        self, before: bytes, data: bytes, delimiter: bytes, limit: int
    ) -> None:
        lines, _, _ = split_lines(data, delimiter, limit)
        whole = sum(len(line) + len(delimiter) for line in lines)
        end = end_of_lines(before + data, len(before), delimiter, limit)
        assert end == len(before) + whole


class TestReceiveBuffer:
    @pytest.mark.parametrize(("data", "delimiter", "limit", "block"), CASES)
    def test_every_cut(
        self, data: bytes, delimiter: bytes, limit: int, block: bytes
    ) -> None:
        """
        However the bytes are cut, the lines and what is left are the same.
        """
        expected = split_lines(data, delimiter, limit)
        assert b"".join(line + delimiter for line in expected.lines) == block
        for chunks in cuts_of(data):
            assert feed(chunks, delimiter, limit) == expected, chunks

    @given(chunks=chunks_of(), delimiter=delimiters, limit=limits)
    @example(chunks=[b"aa", b"a"], delimiter=b"aa", limit=0)
    @example(chunks=[b"ab\r", b"\n"], delimiter=b"\r\n", limit=2)
    @thorough
    def test_reference(self, chunks: list[bytes], delimiter: bytes, limit: int) -> None:
        expected = split_lines(b"".join(chunks), delimiter, limit)
        assert feed(chunks, delimiter, limit) == expected

    @given(
        chunks=chunks_of(),
        changes=st.lists(st.tuples(delimiters, limits), min_size=1),
    )
    @thorough
    def test_delimiter_and_limit_change(
        self, chunks: list[bytes], changes: list[tuple[bytes, int]]
    ) -> None:
        """
        What was searched for one delimiter is searched again for another, and
        nothing of what was found earlier is minded then.
        """
        buffer = ReceiveBuffer()
        plain = b""
        for turn, chunk in enumerate(chunks):
            delimiter, limit = changes[turn % len(changes)]
            buffer += chunk
            plain += chunk
            assert find(buffer, delimiter) == plain.find(delimiter)
            lines, rest, overlong = split_lines(plain, delimiter, limit)
            block = b"".join(line + delimiter for line in lines)
            assert take_lines(buffer, delimiter, limit) == block
            assert is_overlong(buffer, delimiter, limit) == overlong
            assert (len(buffer), bytes(buffer)) == (len(rest), rest)
            plain = rest

    def test_find(self) -> None:
        buffer = ReceiveBuffer(b"ab\r")
        assert find(buffer, b"\r\n") == -1
        buffer += b"\ncd\r\n"
        assert [find(buffer, b"\r\n"), find(buffer, b"\r\n")] == [2, 2]
        assert buffer.take(3) == b"ab\r"
        assert find(buffer, b"\r\n") == 3
        assert find(buffer, b"\n") == 0
        assert find(buffer, b"d") == 2

    def test_new_delimiter_is_searched_from_the_front(self) -> None:
        buffer = ReceiveBuffer(b"a;b;c")
        assert find(buffer, b"\n") == -1
        assert buffer._searched == 5
        assert find(buffer, b";") == 1
        assert take_lines(buffer, b";", 5) == b"a;b;"

    def test_first_line_is_overlong(self) -> None:
        """
        Nothing is taken, not even the legal lines behind it.
        """
        buffer = ReceiveBuffer(b"abc\nd\n")
        assert take_lines(buffer, b"\n", 2) == b""
        assert is_overlong(buffer, b"\n", 2)
        assert bytes(buffer) == b"abc\nd\n"
        assert take_lines(buffer, b"\n", 3) == b"abc\nd\n"

    @pytest.mark.parametrize("size", [0, 1, 4])
    def test_take(self, size: int) -> None:
        buffer = ReceiveBuffer(b"abcd")
        assert buffer.take(size) == b"abcd"[:size]
        assert bytes(buffer) == b"abcd"[size:]
        buffer += b"ef"
        taken = buffer.take()
        assert taken == b"abcd"[size:] + b"ef"
        assert type(taken) is bytes
        assert len(buffer) == 0

    def test_truth(self) -> None:
        """
        A buffer is true while it holds something.
        """
        buffer = ReceiveBuffer()
        assert not buffer
        buffer += b"a"
        assert buffer
        buffer.take()
        assert not buffer

    def test_what_was_given_is_not_changed(self) -> None:
        """
        The buffer keeps a copy, and gives copies.
        """
        given_bytes = bytearray(b"ab")
        buffer = ReceiveBuffer(given_bytes)  # type: ignore[arg-type]
        peeked = bytes(buffer)
        buffer += b"c"
        given_bytes[0] = 0
        assert (peeked, bytes(buffer)) == (b"ab", b"abc")

    @pytest.mark.parametrize(
        ("held", "overlong", "may_end"),
        [
            (b"abcd", False, True),
            (b"abcde", False, True),
            (b"abcdef", False, False),
            (b"abcde\r", False, True),
            (b"abcd\rx", False, False),
            (b"abcdefg", True, False),
            (b"abcdef\r", True, False),
            (b"abcdefgh", True, False),
        ],
    )
    def test_limit(self, held: bytes, overlong: bool, may_end: bool) -> None:
        """
        With a limit of 5, and CRLF not in sight: seven bytes are too many, and
        six are if the sixth is not the CR.
        """
        buffer = ReceiveBuffer(held)
        assert take_lines(buffer, b"\r\n", 5) == b""
        assert is_overlong(buffer, b"\r\n", 5) is overlong
        assert line_splitter(b"\r\n", 5).may_end_legally(held) is may_end

    @given(data=streams, delimiter=delimiters, limit=limits)
    @thorough
    def test_may_end_legally(self, data: bytes, delimiter: bytes, limit: int) -> None:
        """
        It may end legally if there are bytes that end it within the limit.
        """
        partial = data[: data.find(delimiter) + 1 or None][: limit + 3]
        if delimiter in partial:
            partial = partial.partition(delimiter)[2]
        endings = [delimiter[at:] for at in range(len(delimiter))]
        can = len(partial) <= limit or any(
            [len(line) for line in split_lines(partial + end, delimiter, 99).lines]
            == [len(partial + end) - len(delimiter)]
            and len(partial + end) - len(delimiter) <= limit
            for end in endings
        )
        assert delimiter not in partial
        assert line_splitter(delimiter, limit).may_end_legally(partial) == can


class CountedBytes(bytearray):
    """
    Bytes that count how many of them are looked at, added, copied and removed.
    """

    searched = 0
    moved = 0

    @classmethod
    def reset(cls) -> None:
        cls.searched = cls.moved = 0

    def find(self, sub, start=0, end=None):  # type: ignore[no-untyped-def]
        end = len(self) if end is None else min(end, len(self))
        found = bytearray.find(self, sub, start, end)
        last = end if found < 0 else found + len(sub)
        CountedBytes.searched += max(0, last - start)
        return found

    def rfind(self, sub, start=0, end=None):  # type: ignore[no-untyped-def]
        end = len(self) if end is None else min(end, len(self))
        found = bytearray.rfind(self, sub, start, end)
        CountedBytes.searched += max(0, end - (start if found < 0 else found))
        return found

    def __iadd__(self, data):  # type: ignore[no-untyped-def]
        CountedBytes.moved += len(data)
        return bytearray.__iadd__(self, data)

    def __bytes__(self) -> bytes:
        CountedBytes.moved += len(self)
        return bytes(memoryview(self))


class CountedBuffer(CountedBytes, ReceiveBuffer):
    """
    A L{ReceiveBuffer} that counts.
    """


@pytest.fixture
def counted() -> type[CountedBytes]:
    CountedBytes.reset()
    return CountedBytes


class TestCost:
    """
    No byte is looked at or moved more often than a small fixed number of times.
    Counted, not timed.
    """

    def test_the_count_counts(self, counted: type[CountedBytes]) -> None:
        buffer = CountedBuffer()
        buffer += b"abcd\nef"
        assert find(buffer, b"\n") == 4
        buffer.take()
        assert (counted.searched, counted.moved) == (5, 14)

    @pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"\r\r\n", b"\n\n"])
    @pytest.mark.parametrize("piece", [1, 7, 512])
    def test_long_line_in_pieces(
        self, counted: type[CountedBytes], delimiter: bytes, piece: int
    ) -> None:
        """
        A line that grows is neither searched nor copied again.
        """
        size = 32 * 1024
        line = b"\r" * size
        data = line + delimiter
        buffer = CountedBuffer()
        chunks = [data[at : at + piece] for at in range(0, len(data), piece)]
        blocks = []
        for chunk in chunks:
            buffer += chunk
            blocks.append(take_lines(buffer, delimiter, 2 * size))
        assert b"".join(blocks) == data[: data.find(delimiter) + len(delimiter)]
        again = (len(delimiter) - 1) * len(chunks)
        assert counted.searched <= len(data) + again
        assert counted.moved <= 2 * len(data)

    @pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"\n\n"])
    @pytest.mark.parametrize("limit", [0, 3, 16, 1000, 1 << 20])
    def test_end_of_lines(
        self, counted: type[CountedBytes], delimiter: bytes, limit: int
    ) -> None:
        """
        Whatever the limit, two hops in a row pass as many bytes as they look
        at; the delimiter's own bytes are the most that is added.
        """
        generator = random.Random(limit)
        data = CountedBytes(
            b"".join(
                b"x" * generator.randrange(min(limit, 60) + 1) + delimiter
                for _ in range(2000)
            )
        )
        assert end_of_lines(data, 0, delimiter, limit) == len(data)
        assert counted.searched <= 2 * len(data) + 2 * len(delimiter) * 2000

    def test_end_of_lines_looks_at_the_end_first(
        self, counted: type[CountedBytes]
    ) -> None:
        """
        Under the limit, whole lines cost a look at the last bytes only.
        """
        data = CountedBytes(b"abc\r\n" * 1000)
        assert end_of_lines(data, 0, b"\r\n", 16384) == 5000
        assert counted.searched == 2

    def test_overlong_line_is_found_early(self, counted: type[CountedBytes]) -> None:
        """
        What follows an overlong line is not looked at.
        """
        data = CountedBytes(b"x" * 100_000 + b"\n")
        assert end_of_lines(data, 0, b"\n", 100) == 0
        assert counted.searched == 101

    def test_asking_twice(self, counted: type[CountedBytes]) -> None:
        """
        An answer that is known is not searched for again.
        """
        buffer = CountedBuffer(b"x" * 1000)
        for _ in range(100):
            assert find(buffer, b"\n", 10) == -1
        assert counted.searched == 1000
        buffer += b"\n"
        counted.reset()
        for _ in range(100):
            assert take_lines(buffer, b"\n", 10) == b""
        assert counted.searched <= 100
