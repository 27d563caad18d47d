"""
Find the ends of length-prefixed frames.

What must hold, besides what must hold of every L{Splitter}: a frame is overlong as soon
as its prefix is known.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from struct import Struct, error
from typing import NamedTuple

from twisted_echo.framing.splitter import Found, Splitter

__all__ = ["FrameSplitter", "Prefix", "frame_splitter", "prefix_of"]

_RUN = 8
"""
How many frames of one length make it likely that there are more.
"""
_BATCH = 64
"""
How many of them to unpack at once.
"""


class Prefix(NamedTuple):
    """
    The format of the length that stands before a frame.

    @ivar struct: packs and unpacks it.
    @ivar size: its bytes.
    @ivar most: the longest length that it can say.
    """

    struct: Struct
    size: int
    most: int


@lru_cache(maxsize=256)
def prefix_of(format: str | bytes, size: int) -> Prefix:
    """
    Make a prefix from a format of C{struct}.

    A length below 0, as a signed one can be, is read as the unsigned one of the same
    bits.

    @param format: of one integer, such as C{"!H"}.
    @param size: how many bytes that has.
    @raise ValueError: if it is of something else.
    """
    try:
        struct = Struct(format)
        values = struct.unpack(b"\xff" * struct.size)
    except error as reason:
        raise ValueError(
            f"structFormat must be understood by struct, got {format!r}: {reason}"
        ) from None
    if len(values) != 1 or type(values[0]) is not int:
        raise ValueError(
            f"structFormat must be that of one integer, such as '!H', got {format!r}"
        )
    if values[0] < 0:
        # All bits are set, so it is signed.
        unsigned = prefix_of(format.upper(), size)
        return unsigned._replace(most=unsigned.most >> 1)
    if size != struct.size:
        raise ValueError(
            f"prefixLength must be the size of structFormat {format!r}, which is"
            f" {struct.size}, got {size!r}"
        )
    return Prefix(struct, size, values[0])


def _run(data: bytes | bytearray, start: int, step: int, size: int, most: int) -> int:
    """
    Count the frames that begin at C{start} and have the prefix of the one before.

    @param step: how long that one is, its prefix included.
    @param most: how many frames to look at.
    """
    end = start + most * step
    for offset in range(size):
        # The same byte of every prefix.
        column = data[start + offset : end : step]
        byte = data[start - step + offset : start - step + offset + 1]
        most = len(column) - len(column.lstrip(byte))
        end = start + most * step
        if not most:
            break
    return most


@lru_cache(maxsize=256)
def _frames(size: int, length: int, count: int) -> Struct:
    return Struct(f"{size}x{length}s" * count)


def _add_bodies(
    strings: list[bytes], data: bytes, start: int, size: int, length: int, count: int
) -> None:
    """
    Unpack the bodies of C{count} frames of one length that begin at C{start}.
    """
    step = size + length
    for batch in (_BATCH, 1):
        end = start + count // batch * batch * step
        if end > start:
            with memoryview(data) as view, view[start:end] as frames:
                found = _frames(size, length, batch).iter_unpack(frames)
                strings += chain.from_iterable(found)
        start, count = end, count % batch


class FrameSplitter(Splitter):
    """
    Splits frames with a length before them.

    Frames of one length that follow each other are passed many at a time, and never
    more than twice as many as were passed already, so a mix of lengths costs no more
    for it. Such runs are what peers with records of a fixed size send. A
    frame of 16 bytes in a run costs a third of the instructions to split, and a
    twentieth to find (C{python -m twisted_echo.bench split}, frames of 16 bytes against
    frames of 5 to 27 bytes).
    """

    __slots__ = ("_size", "_unpack_from", "prefix")

    def __init__(self, prefix: Prefix, limit: float) -> None:
        super().__init__(limit)
        self.prefix = prefix
        self._size, self._unpack_from = prefix.size, prefix.struct.unpack_from

    def first(
        self, data: bytes | bytearray, start: int = 0, searched: int = 0
    ) -> Found | None:
        begin = start + self._size
        if len(data) < begin:
            return None
        end: int = begin + self._unpack_from(data, start)[0]
        return begin, end, end

    def end_of_block(self, data: bytes | bytearray, known: int = 0) -> tuple[int, int]:
        size, unpack_from, limit = self._size, self._unpack_from, self.limit
        end = len(data)
        last_prefix = end - size
        start, count, last, run = 0, 0, -1, 0
        while start <= last_prefix:
            (length,) = unpack_from(data, start)
            after = start + size + length
            if length > limit or after > end:
                break
            start = after
            count += 1
            if length != last:
                last, run = length, 0
                continue
            run += 1
            if run < _RUN:
                continue
            step = size + length
            most = min(2 * run, (end - start) // step)
            more = _run(data, start, step, size, most)
            start += more * step
            count += more
            run = run + more if more == most else 0
        return start, count

    def split_front(self, data: bytes) -> tuple[int, list[bytes]]:
        return self._split(data, self.limit)

    def split(self, block: bytes) -> list[bytes]:
        return self._split(block, self.prefix.most)[1]

    def _split(self, data: bytes, limit: float) -> tuple[int, list[bytes]]:
        size, unpack_from, end = self._size, self._unpack_from, len(data)
        last_prefix = end - size
        strings: list[bytes] = []
        append = strings.append
        start, last, run = 0, -1, 0
        while start <= last_prefix:
            (length,) = unpack_from(data, start)
            begin = start + size
            after = begin + length
            if length > limit or after > end:
                break
            start = after
            append(data[begin:start])
            if length != last:
                last, run = length, 0
                continue
            run += 1
            if run < _RUN:
                continue
            step = size + length
            most = min(2 * run, (end - start) // step)
            more = _run(data, start, step, size, most)
            _add_bodies(strings, data, start, size, length, more)
            start += more * step
            run = run + more if more == most else 0
        return start, strings

    def join(self, messages: Iterable[bytes], rest: bytes = b"") -> bytes:
        pack = self.prefix.struct.pack
        parts = [part for each in messages for part in (pack(len(each)), each)]
        return b"".join([*parts, rest])


@lru_cache(maxsize=256)
def frame_splitter(format: str | bytes, size: int, limit: float) -> FrameSplitter:
    """
    Return the splitter for these settings. Receivers with the same settings share it.

    @param format: of the length, as C{struct} describes it.
    @param size: how many bytes that has.
    @raise ValueError: if it is not the format of one integer of that size.
    """
    return FrameSplitter(prefix_of(format, size), limit)
