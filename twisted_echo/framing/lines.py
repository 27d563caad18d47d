"""
Find the ends of lines.

What must hold, besides what must hold of every L{Splitter}:

  - a limit may be a number of any type that has a hash, and a delimiter of any type
    that holds bytes;
  - a partial line is never held beyond C{limit + len(delimiter)} bytes.

C{python -m twisted_echo.bench split} shows the cost.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import floor

from twisted_echo.framing.splitter import Found, Splitter

__all__ = ["LineSplitter", "end_of_lines", "line_splitter", "overlaps_itself"]


@lru_cache(maxsize=256)
def overlaps_itself(delimiter: bytes) -> bool:
    """
    Tell whether two occurrences of C{delimiter} can share bytes, such as two
    of C{aa} or of C{aba}.

    The last occurrence of such a delimiter need not be one at which a line
    ends (C{aaa} holds one C{aa}, at its start), so it cannot be searched for
    from behind.

    @raise ValueError: if C{delimiter} is empty.
    """
    if not delimiter:
        raise ValueError("a delimiter must have at least one byte, got b''")
    return any(
        delimiter.startswith(delimiter[offset:]) for offset in range(1, len(delimiter))
    )


def _whole(limit: float, size: int) -> int:
    """
    Make a limit of any type whole, for C{size} bytes: C{1.5} allows one byte,
    infinity as many as there are, and less than 0 none, not even the empty line.
    """
    if limit < 0:
        return -1
    # (What is not a number is not less than one either.)
    return floor(limit) if limit < size else size


def end_of_lines(
    data: bytes | bytearray, start: int, delimiter: bytes, limit: float
) -> int:
    """
    Find the end of the whole lines of legal length that begin at C{start}.

    What follows the returned index is nothing, or a partial line shorter than
    C{limit + len(delimiter)} bytes, or an overlong line.

    No line is visited: the last delimiter among the next C{limit +
    len(delimiter)} bytes ends a line, and every line before it fits into those
    bytes. Two hops in a row pass at least that many bytes, so the cost is
    linear.

    @param data: the bytes; a line begins at C{start}.
    @param delimiter: what ends a line, at least one byte.
    @param limit: the longest legal line in bytes, delimiter not counted.
    @return: C{start}, if no whole line of legal length begins there, or the
        index after the last delimiter.
    """
    most = limit if type(limit) is int and limit >= 0 else _whole(limit, len(data))
    if type(delimiter) is not bytes:
        delimiter = bytes(memoryview(delimiter))
    if overlaps_itself(delimiter):
        return _end_of_lines_one_by_one(data, start, delimiter, most)
    length, size = len(delimiter), len(data)
    reach = most + length
    while True:
        horizon = start + reach
        found = data.rfind(delimiter, start, horizon)
        if found < 0:
            return start
        start = found + length
        if horizon >= size:
            return start


def _end_of_lines_one_by_one(
    data: bytes | bytearray, start: int, delimiter: bytes, limit: float
) -> int:
    """
    L{end_of_lines} for a delimiter that can overlap itself.
    """
    while True:
        found = data.find(delimiter, start)
        if found < 0 or found - start > limit:
            return start
        start = found + len(delimiter)


class LineSplitter(Splitter):
    """
    Splits lines that end with C{delimiter}.
    """

    __slots__ = ("delimiter",)

    def __init__(self, delimiter: bytes, limit: float) -> None:
        super().__init__(limit)
        self.delimiter = delimiter

    def first(
        self, data: bytes | bytearray, start: int = 0, searched: int = 0
    ) -> Found | None:
        delimiter = self.delimiter
        size = len(delimiter)
        begin = searched - size + 1
        found = data.find(delimiter, begin if begin > start else start)
        return None if found < 0 else (start, found, found + size)

    def is_overlong(self, size: int) -> bool:
        return size > 0 and size >= self.limit + len(self.delimiter)

    def may_end_legally(self, partial: bytes) -> bool:
        """
        Tell whether a partial line can still turn out to be legal: all its bytes beyond
        the limit may be the beginning of the delimiter.

        This is stricter than L{is_overlong}, which does not look at the bytes.
        """
        size, limit, delimiter = len(partial), self.limit, self.delimiter
        return not size > limit or any(
            size - beginning <= limit and partial.endswith(delimiter[:beginning])
            for beginning in range(1, len(delimiter))
        )

    def end_of_block(self, data: bytes | bytearray, known: int = 0) -> tuple[int, int]:
        return end_of_lines(data, known, self.delimiter, self.limit), 0

    def split_front(self, data: bytes) -> tuple[int, list[bytes]]:
        end, _ = self.end_of_block(data)
        return end, self.split(data[:end])

    def split(self, block: bytes) -> list[bytes]:
        lines = block.split(self.delimiter)
        del lines[-1]
        return lines

    def join(self, messages: Iterable[bytes], rest: bytes = b"") -> bytes:
        return self.delimiter.join([*messages, rest])


@lru_cache(maxsize=256)
def _line_splitter(delimiter: bytes, limit: float) -> LineSplitter:
    return LineSplitter(delimiter, limit)


def line_splitter(delimiter: bytes, limit: float) -> LineSplitter:
    """
    Return the splitter for these settings. Receivers with the same settings share it.
    """
    if type(delimiter) is not bytes:
        delimiter = bytes(memoryview(delimiter))
    return _line_splitter(delimiter, limit)
