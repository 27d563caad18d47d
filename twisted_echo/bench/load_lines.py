"""
The lines that a load sends, and the proof that they come back.

Pure: no socket and no clock. Every line names its connection and its number, and
long ones do so again in every L{UNIT} bytes, so that a byte that is wrong, lost,
sent twice, in another's place or on another's connection is noticed.

Cost: a block of lines is one C{bytes.replace} on a template that all connections
share, and one comparison when it comes back; no step of Python per line.
"""

import random
from collections import deque
from collections.abc import Callable
from functools import lru_cache

from twisted_echo.bench.errors import BrokenServer

ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
UNIT = 256
INDEX_DIGITS = CONNECTION_DIGITS = 3
BLOCK_DIGITS = 8
SHORTEST = INDEX_DIGITS + CONNECTION_DIGITS + 1
"""
The fewest bytes of a line, delimiter not counted: one digit for the block.
"""

BLOCK_BYTES = 256 * 1024
"""
About the most that one block holds, for the sake of the memory of connections.
"""

Record = Callable[[int, int, int], None]
"""
Takes when some lines were due, when they were back, and how many they are.
"""


def digits(number: int, width: int) -> bytes:
    """
    The last C{width} digits of a number to the base of 64.
    """
    return bytes(
        ALPHABET[number >> 6 * place & 63] for place in range(width - 1, -1, -1)
    )


def number_of(text: bytes) -> int:
    """
    The number that L{digits} wrote.

    @raise ValueError: if this is none.
    """
    number = 0
    for digit in text:
        number = number << 6 | ALPHABET.index(digit)
    return number


@lru_cache(maxsize=64)
def _template(size: int, lines: int, delimiter: bytes) -> tuple[bytes, bytes]:
    """
    A block of lines with marks where connection and block are to be named.

    @return: the block, and the mark.
    """
    content = size - len(delimiter)
    width = min(BLOCK_DIGITS, content - INDEX_DIGITS - CONNECTION_DIGITS)
    mark = b"#" * (CONNECTION_DIGITS + width)
    table = ALPHABET * 4
    noise = random.Random(size).randbytes(content + 97 * 64).translate(table)
    block = []
    for index in range(lines):
        start = 97 * (index % 64)
        units = [digits(index, INDEX_DIGITS)]
        for at in range(start, start + content, UNIT):
            units += [mark, noise[at : at + UNIT - len(mark)]]
        block += [b"".join(units)[:content], delimiter]
    return b"".join(block), mark


class LineSource:
    """
    All lines of one connection, in order, without end.

    @ivar size: bytes of a line, delimiter included.
    """

    def __init__(
        self, connection: int, size: int, lines: int, delimiter: bytes = b"\n"
    ) -> None:
        self.connection = connection
        self.size = size
        self.lines = max(1, min(lines, BLOCK_BYTES // size, 64**INDEX_DIGITS))
        self._template, self._mark = _template(size, self.lines, delimiter)
        self._width = len(self._mark) - CONNECTION_DIGITS
        self._name = digits(connection, CONNECTION_DIGITS)
        self._blocks = 0
        self._block = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        """
        The next C{count} lines.
        """
        parts = []
        wanted = count * self.size
        while wanted:
            if self._at == len(self._block):
                stamp = self._name + digits(self._blocks, self._width)
                self._block = self._template.replace(self._mark, stamp)
                self._blocks += 1
                self._at = 0
            part = self._block[self._at : self._at + wanted]
            self._at += len(part)
            wanted -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def identify(self, line: bytes) -> str:
        """
        Say which line begins with C{line}, if it names itself.
        """
        end = INDEX_DIGITS + CONNECTION_DIGITS + self._width
        if self._width < BLOCK_DIGITS or len(line) < end:
            return ""
        try:
            index = number_of(line[:INDEX_DIGITS])
            connection = number_of(line[INDEX_DIGITS : end - self._width])
            block = number_of(line[end - self._width : end])
        except ValueError:
            return ""
        number = block * self.lines + index + 1
        return f"; these are the bytes of line {number} of connection {connection}"


class Exchange:
    """
    What one connection has sent and must get back.

    @ivar outstanding: lines that were sent and are not yet back.
    @ivar received: lines that are back.
    """

    def __init__(self, source: LineSource, record: Record) -> None:
        self._source = source
        self._size = source.size
        self._record = record
        self._sent: deque[tuple[bytes, int, int]] = deque()
        self._offset = 0
        self.outstanding = 0
        self.received = 0

    def send(self, count: int, due: int, step: int = 0) -> bytes:
        """
        Take the next C{count} lines, to be sent now.

        @param due: when the first was to be sent, in nanoseconds; each of the
            others C{step} later.
        """
        data = self._source.take(count)
        self._sent.append((data, due, step))
        self.outstanding += count
        return data

    def receive(self, data: bytes, now: int) -> int:
        """
        Check what came back, and record each line that is complete by it.

        @return: L{outstanding}.
        @raise BrokenServer: at the first byte that is not as it was sent.
        """
        start, total = 0, len(data)
        while start < total:
            if not self._sent:
                raise BrokenServer(
                    f"{total - start} bytes more came back than were sent,"
                    f" after line {self.received}: {_excerpt(data[start:])}"
                )
            sent, due, step = self._sent[0]
            offset = self._offset
            size = min(total - start, len(sent) - offset)
            # A slice of the whole is no copy.
            if data[start : start + size] != sent[offset : offset + size]:
                raise self._wrong(data[start:], sent, offset)
            start += size
            end = offset + size
            done = offset // self._size
            lines = end // self._size - done
            if lines:
                self.received += lines
                self.outstanding -= lines
                if step:
                    for line in range(done, done + lines):
                        self._record(due + line * step, now, 1)
                else:
                    self._record(due, now, lines)
            if end == len(sent):
                self._sent.popleft()
                end = 0
            self._offset = end
        return self.outstanding

    def _wrong(self, data: bytes, sent: bytes, offset: int) -> BrokenServer:
        pairs = zip(data, sent[offset:], strict=False)
        first = next(at for at, (got, own) in enumerate(pairs) if got != own)
        at = offset + first
        column = at % self._size
        # What came back of this line, from its beginning.
        line = sent[at - column : offset] + data[max(0, first - column) :]
        number = self.received + 1 + at // self._size - offset // self._size
        return BrokenServer(
            f"line {number} came back wrong at its byte {column + 1} of"
            f" {self._size}: expected {_excerpt(sent[at:])}, got"
            f" {_excerpt(data[first:])}"
            f"{self._source.identify(line)}"
        )


def _excerpt(data: bytes) -> str:
    return f"{data[:24]!r}{'...' if len(data) > 24 else ''}"
