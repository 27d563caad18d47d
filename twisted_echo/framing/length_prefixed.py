"""
Where frames end whose length stands before them: pure functions, and one buffer, over
bytes.

What must hold, for C{n} bytes received in any number of pieces:

  - the time is linear in C{n}, whatever the cuts and the lengths of the frames: no
    byte is looked at or copied more often than a small fixed number of times;
  - a frame is overlong as soon as its prefix is known;
  - frames of one length that follow each other are passed many at a time, as far as
    twice as many as were passed already, so that a mix which only begins like a run
    costs what any other does.
"""

import sys
from functools import lru_cache
from itertools import chain
from struct import Struct, error
from typing import NamedTuple

from twisted_echo.framing.lines import HeldBytes

__all__ = ["FrameBuffer", "Prefix", "end_of_frames", "prefix_of", "split_frames"]

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
    How the length of a frame is written before it.

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
    Make a prefix of the way in which C{struct} describes it.

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


@lru_cache(maxsize=256)
def _bodies(size: int, length: int, count: int) -> Struct:
    """
    What unpacks the bodies of so many frames.
    """
    return Struct(f"{size}x{length}s" * count)


def _same(data: bytes | bytearray, start: int, step: int, size: int, most: int) -> int:
    """
    How many frames that begin at C{start} have the prefix of the one before it.

    @param step: how long that one is, its prefix included.
    @param most: of how many frames to look at the prefixes.
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


def end_of_frames(
    data: bytes | bytearray, start: int, end: int, prefix: Prefix, limit: int
) -> tuple[int, int]:
    """
    Find the end of the whole frames of legal length that begin at C{start}.

    What follows it is nothing, or a part of a frame, or an overlong one.

    @param data: the bytes; a frame begins at C{start}.
    @param end: where to stop looking.
    @param limit: the longest legal frame in bytes, prefix not counted.
    @return: the index after the last of them, C{start} if there is none; and how many
        there are.
    """
    size, unpack_from = prefix.size, prefix.struct.unpack_from
    last_prefix = end - size
    count, last, run = 0, -1, 0
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
        same = _same(data, start, step, size, most)
        start += same * step
        count += same
        run = run + same if same == most else 0
    return start, count


def split_frames(
    data: bytes, end: int, prefix: Prefix, limit: int
) -> tuple[int, list[bytes]]:
    """
    Split the whole frames of legal length at the front.

    @param data: the bytes; it begins with a frame.
    @param end: where to stop looking.
    @param limit: the longest legal frame in bytes, prefix not counted.
    @return: the index after the last of them, as L{end_of_frames} finds it; and what is
        in them, without the prefixes.
    """
    size, unpack_from = prefix.size, prefix.struct.unpack_from
    strings: list[bytes] = []
    append = strings.append
    start, last_prefix, last, run = 0, end - size, -1, 0
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
        same = passed = _same(data, start, step, size, most)
        for batch in (_BATCH, 1):
            after = start + same // batch * batch * step
            if after > start:
                with memoryview(data) as view, view[start:after] as frames:
                    found = _bodies(size, length, batch).iter_unpack(frames)
                    strings += chain.from_iterable(found)
                start, same = after, same % batch
        run = run + passed if passed == most else 0
    return start, strings


class FrameBuffer(HeldBytes):
    """
    Bytes that wait for the rest of their frame, or for somebody to want them.

    Appending is amortized over the bytes; to look whether the first frame is whole
    costs the same however long it is.
    """

    __slots__ = ()

    def first(self, prefix: Prefix) -> int | None:
        """
        How long the first frame is, its prefix not counted; None while that is not
        known.
        """
        if len(self._bytes) < prefix.size:
            return None
        length: int = prefix.struct.unpack_from(self._bytes)[0]
        return length

    def has_frame(self, prefix: Prefix) -> bool:
        """
        Tell whether the first frame is whole.
        """
        first = self.first(prefix)
        return first is not None and prefix.size + first <= len(self._bytes)

    def take_frames(
        self, prefix: Prefix, limit: int, at_most: int = sys.maxsize
    ) -> tuple[bytes, int]:
        """
        Take the whole frames of legal length from the front, prefixes included.

        @param at_most: how many bytes to look at, though for one frame at least.
        @return: the frames as one run of bytes, and how many there are. None, if the
            buffer begins with a part of a frame or an overlong one.
        """
        first = self.first(prefix)
        size = len(self._bytes)
        if first is None or first > limit or prefix.size + first > size:
            return b"", 0
        stop = max(prefix.size + first, min(at_most, size))
        end, count = end_of_frames(self._bytes, 0, stop, prefix, limit)
        return self.take(end), count

    def take_strings(
        self, prefix: Prefix, limit: int, at_most: int = sys.maxsize
    ) -> list[bytes]:
        """
        Take what is in the frames that L{take_frames} would take.
        """
        first = self.first(prefix)
        size = len(self._bytes)
        if first is None or first > limit or prefix.size + first > size:
            return []
        stop = max(prefix.size + first, min(at_most, size))
        with memoryview(self._bytes) as view:
            data = bytes(view[:stop])
        end, strings = split_frames(data, stop, prefix, limit)
        self.drop(end)
        return strings

    def cut(self, size: int) -> int:
        """
        Forget all but the first C{size} bytes.

        @return: how many were forgotten.
        """
        forgotten = max(0, len(self._bytes) - size)
        # Not `del`, which would keep the memory of what was there.
        self._bytes = self._bytes[:size]
        return forgotten
