"""
Where lines end: pure functions, and one buffer, over bytes.

Nothing here knows Twisted, sockets or protocols. L{twisted_echo.framing.line_receiver}
turns what is found here into calls; tests and benchmarks use it alone.

What must hold, for C{n} bytes received in any number of pieces:

  - the time is linear in C{n}, whatever the cuts and the lengths of the lines: no
    byte is searched or copied more often than a small fixed number of times
    (C{python -m twisted_echo.bench split} shows it);
  - a limit may be of any type that can be compared with an C{int}, and a delimiter of
    any that holds bytes;
  - a line is overlong as soon as it cannot end within the limit, so that a
    partial line is never held beyond C{limit + len(delimiter)} bytes.
"""

import sys
from functools import lru_cache
from math import floor

__all__ = ["HeldBytes", "LineBuffer", "end_of_lines", "overlaps_itself"]


@lru_cache(maxsize=256)
def overlaps_itself(delimiter: bytes) -> bool:
    """
    Tell whether two occurrences of C{delimiter} can share bytes, as those of
    C{aa} or C{aba} can.

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
    # (What is no number is not less than one either.)
    return floor(limit) if limit < size else size


def end_of_lines(
    data: bytes | bytearray, start: int, delimiter: bytes, limit: int
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
    if type(limit) is not int or limit < 0:
        limit = _whole(limit, len(data))
    if type(delimiter) is not bytes:
        delimiter = bytes(memoryview(delimiter))
    if overlaps_itself(delimiter):
        return _end_of_lines_one_by_one(data, start, delimiter, limit)
    length, size = len(delimiter), len(data)
    reach = limit + length
    while True:
        horizon = start + reach
        found = data.rfind(delimiter, start, horizon)
        if found < 0:
            return start
        start = found + length
        if horizon >= size:
            return start


def _end_of_lines_one_by_one(
    data: bytes | bytearray, start: int, delimiter: bytes, limit: int
) -> int:
    """
    L{end_of_lines} for a delimiter that can overlap itself.
    """
    while True:
        found = data.find(delimiter, start)
        if found < 0 or found - start > limit:
            return start
        start = found + len(delimiter)


class HeldBytes:
    """
    Bytes that wait: added at the end, taken from the front, for what their copying
    costs.
    """

    __slots__ = ("_bytes",)

    def __init__(self, data: bytes = b"") -> None:
        self._bytes = bytearray(data)

    def __len__(self) -> int:
        return len(self._bytes)

    def append(self, data: bytes) -> None:
        """
        Add bytes at the end.
        """
        self._bytes += data

    def take(self, size: int | None = None) -> bytes:
        """
        Take the first C{size} bytes, or all.
        """
        data = self._bytes
        if size is None or size == len(data):
            self._bytes = bytearray()
            return bytes(data)
        with memoryview(data) as view:
            taken = bytes(view[:size])
        del data[:size]
        return taken

    def drop(self, size: int) -> None:
        """
        Forget the first C{size} bytes.
        """
        if size == len(self._bytes):
            self._bytes = bytearray()
        else:
            del self._bytes[:size]

    def peek(self) -> bytes:
        """
        Copy all bytes and leave them.
        """
        return bytes(self._bytes)


class LineBuffer(HeldBytes):
    """
    Bytes that wait for the rest of their line, or for somebody to want them.

    Appending is amortized over the bytes, and what was searched once without
    success is not searched again.
    """

    __slots__ = ("_delimiter", "_searched")

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        # How many leading bytes are known to hold no whole `_delimiter`.
        self._searched = 0
        self._delimiter = b""

    def find(self, delimiter: bytes) -> int:
        """
        Return the index of the first delimiter, or -1.
        """
        if delimiter != self._delimiter:
            self._searched = 0
            self._delimiter = delimiter
        begin = max(0, self._searched - len(delimiter) + 1)
        found = self._bytes.find(delimiter, begin)
        self._searched = len(self._bytes) if found < 0 else found
        return found

    def take_lines(
        self, delimiter: bytes, limit: int, at_most: int = sys.maxsize
    ) -> bytes:
        """
        Take the whole lines of legal length from the front, delimiters
        included.

        @return: the lines as one run of bytes, or C{b""} if the buffer begins
            with a partial or an overlong line.
        """
        found = self.find(delimiter)
        if found < 0 or found > limit:
            return b""
        data = self._bytes if at_most >= len(self._bytes) else self._bytes[:at_most]
        end = end_of_lines(data, found + len(delimiter), delimiter, limit)
        return self.take(end)

    def take(self, size: int | None = None) -> bytes:
        """
        Take the first C{size} bytes, or all.
        """
        self._searched = 0
        return super().take(size)

    def is_overlong(self, delimiter: bytes, limit: int) -> bool:
        """
        Tell whether the first line cannot end within the limit any more.

        To be asked when L{take_lines} has nothing more to give.
        """
        size = len(self._bytes)
        return size > 0 and size >= limit + len(delimiter)

    def may_end_legally(self, delimiter: bytes, limit: int) -> bool:
        """
        Tell whether the partial line could still turn out to be of legal
        length: every byte beyond the limit may be the delimiter's beginning.

        This is stricter than L{is_overlong} by looking at the bytes.
        """
        size = len(self._bytes)
        return not size > limit or any(
            size - beginning <= limit and self._bytes.endswith(delimiter[:beginning])
            for beginning in range(1, len(delimiter))
        )
