"""
Line receivers that cost what their bytes cost.

L{FastLineReceiver} and L{FastLineOnlyReceiver} are drop-ins for the classes of
C{twisted.protocols.basic} that they extend: the same names, defaults and
semantics, with two coarser hooks above C{lineReceived}. Each hook hands on to
the next; override the coarsest that serves you:

  - C{blockReceived(block)}: whole lines as one run of bytes, delimiters included;
  - C{linesReceived(lines)}: a list of lines without delimiters;
  - C{lineReceived(line)}: one line.

What must hold: a chunk that is whole lines of legal length reaches
C{blockReceived} without being copied; nothing is done per line unless
C{lineReceived} asks for it. C{python -m twisted_echo.bench split} measures both
against the originals.
"""

import sys
from collections.abc import Iterable
from operator import length_hint
from typing import TYPE_CHECKING, Any

from twisted.protocols.basic import LineOnlyReceiver, LineReceiver

from twisted_echo.framing.delivery import WORTH_COUNTING, Delivery, Holding
from twisted_echo.framing.lines import LineBuffer, end_of_lines, overlaps_itself
from twisted_echo.twisted_internals import require
from twisted_echo.validation.plain_hooks import PlainHooks, check_stop

__all__ = ["FastLineOnlyReceiver", "FastLineReceiver"]

require(__name__)

_NOTHING_HELD: tuple[int, int | None] = (0, None)


class _Blocks(PlainHooks, Holding):
    """
    What the two receivers share: they hold bytes, split and send alike.

    @ivar bytesReceived: how many bytes have been received so far.
    @ivar lineCount: how many lines have been found so far; those that
        C{clearLineBuffer} takes back are not counted, until they are found anew. A
        subclass that overrides C{blockReceived} counts itself, if somebody wants to
        know.
    """

    if TYPE_CHECKING:
        delimiter: bytes
        MAX_LENGTH: int
        transport: Any

        def linesReceived(self, lines: list[bytes]) -> object: ...
        def lineReceived(self, line: bytes) -> Any: ...
        def lineLengthExceeded(self, line: bytes) -> Any: ...
        def sendLine(self, line: bytes) -> Any: ...

    bytesReceived = 0
    lineCount = 0

    # What is to be looked at again when more comes; None while there is
    # nothing, so that an idle connection has no buffer.
    _held: LineBuffer | None = None

    def _hold(self, data: bytes) -> LineBuffer:
        held = self._held
        if held is None:
            held = self._held = LineBuffer(data)
        else:
            held.append(data)
        return held

    def heldInput(self) -> tuple[int, int | None]:
        """
        Tell what is held of the peer's bytes.

        @return: how many bytes wait, and where in the stream a line begins that
            the peer has not finished; None if there is no such line.
        """
        held = self._held
        if held is None:
            return _NOTHING_HELD
        size = len(held)
        if not size or held.find(self.delimiter) >= 0:
            return size, None
        return size, self.bytesReceived - size

    def blockReceived(self, block: bytes) -> object:
        """
        Override this to take many lines at once, as they came.

        @param block: one or more whole lines, each with its delimiter and none
            longer than C{MAX_LENGTH}.
        @return: something true to stop, as with C{linesReceived}.
        """
        lines = block.split(self.delimiter)
        del lines[-1]
        self.lineCount += len(lines)
        return self.linesReceived(lines)

    def sendLines(self, lines: Iterable[bytes]) -> None:
        """
        Send many lines by one write.

        @param lines: the lines, without their delimiters. No line, no write.
        """
        block = bytes(self.delimiter).join([*lines, b""])
        if block:
            self.transport.write(block)


class FastLineReceiver(_Blocks, Delivery, LineReceiver):
    """
    C{LineReceiver} of C{twisted.protocols.basic}, with blocks.

    A pause, a switch of the mode, C{clearLineBuffer},
    C{transport.loseConnection} or a truthy return takes effect after the line
    in which it happens, as it does in the original. Whoever overrides a coarser
    hook has it take effect after what that hook was given.

    One thing differs. The whole lines of a chunk are found at once, so a
    C{delimiter} or C{MAX_LENGTH} that C{lineReceived} assigns is not minded for
    those that were found already; call C{setLineMode()} after assigning it to
    have it minded from the next line on. Likewise use C{pauseProducing} and
    C{setRawMode} instead of assigning C{paused} or C{line_mode}, and do not
    replace C{transport} between two lines.
    """

    # What the lines were found by that are being delivered. While some are left,
    # `_held` is not None.
    _foundBy: tuple[bytes, int] = (b"", 0)
    # How many bytes of lines to find at once. Fewer, for a while, after lines were
    # found in vain: a protocol that switches its mode at every message would have
    # the rest of the chunk split anew each time.
    _atMost = sys.maxsize

    if TYPE_CHECKING:

        def rawDataReceived(self, data: bytes) -> Any: ...

    def makeConnection(self, transport: Any) -> None:
        # What every chunk asks for becomes the instance's own, which is faster to
        # load than the class's.
        self.bytesReceived, self.lineCount = self.bytesReceived, self.lineCount
        self.paused, self.line_mode = self.paused, self.line_mode
        self._held, self._busyReceiving = self._held, self._busyReceiving
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> Any:
        """
        Hand whole lines to C{blockReceived}, or everything to
        C{rawDataReceived}, and keep the rest.

        @return: the truthy return of the hook that stopped this receiver, if
            one did.
        """
        self.bytesReceived += len(data)
        if (
            self._held is not None
            or self._busyReceiving
            or self.paused
            or not self.line_mode
        ):
            return self._receive(data)
        # Nothing waits, which is the rule: no need to hold what can be handed
        # on at once.
        delimiter, limit = self.delimiter, self.MAX_LENGTH
        if len(data) > limit or (
            # One byte is the rule, and `endswith` the dearest step of all.
            data[-1:] != delimiter
            and (
                not data.endswith(delimiter)
                or type(delimiter) is not bytes
                or overlaps_itself(delimiter)
            )
        ):
            end = end_of_lines(data, 0, delimiter, limit)
            if end < len(data):
                self._held = LineBuffer(data[end:])
                if not end:
                    return self._receive(b"")
                data = data[:end]
            elif not data:
                return None
        self._busyReceiving = True
        try:
            why = self.blockReceived(data)
        finally:
            self._busyReceiving = False
        if self._held is None or self._isStopped(why):
            return why
        return self._receive(b"")

    def _isStopped(self, why: object) -> bool:
        transport = self.transport
        return bool(why or (transport and transport.disconnecting))

    def _receive(self, data: bytes) -> Any:
        """
        L{dataReceived} for a receiver that holds something, is busy, paused or
        in raw mode.
        """
        if data:
            self._hold(data)
        if self._busyReceiving:
            return None
        self._busyReceiving = True
        try:
            return self._deliver()
        finally:
            self._busyReceiving = False
            if not self._held and not length_hint(self._undelivered):
                self._held = None
                self._atMost = sys.maxsize
            elif self.paused or len(self._held or b"") >= WORTH_COUNTING:
                self.heldMore()

    def _deliver(self) -> object:
        while self._held is not None and not self.paused:
            if not self.line_mode:
                data = self.clearLineBuffer()
                why = data and self.rawDataReceived(data)
                if why:
                    return why
                continue
            delimiter, limit = self.delimiter, self.MAX_LENGTH
            if length_hint(self._undelivered):
                if self._foundBy != (delimiter, limit):
                    self._held = LineBuffer(self.clearLineBuffer())
                    continue
                why = self._deliverLines()
            elif block := self._held.take_lines(delimiter, limit, self._atMost):
                self._atMost = min(2 * self._atMost, sys.maxsize)
                why = self.blockReceived(block)
            elif self._held.is_overlong(delimiter, limit):
                return self.lineLengthExceeded(self.clearLineBuffer())
            else:
                return None
            if self._isStopped(why):
                return why
        return None

    def linesReceived(self, lines: list[bytes]) -> object:
        """
        Override this to take many lines at once.

        @param lines: one or more lines without their delimiters, none longer
            than C{MAX_LENGTH}.
        @return: something true to be handed nothing more before new bytes come.
        """
        if length_hint(self._undelivered):
            self._deliverLater(lines)
            return None
        self._lines = lines
        self._undelivered = iter(lines)
        self._foundBy = self.delimiter, self.MAX_LENGTH
        return self._deliverLines()

    def _deliverLines(self) -> object:
        transport = self.transport
        try:
            for line in self._undelivered:
                why = self.lineReceived(line)
                if why or (transport and transport.disconnecting):
                    check_stop(self, why)
                    return why
        finally:
            if length_hint(self._undelivered):
                self._hold(b"")
            else:
                self._lines = []
        return None

    def setRawMode(self) -> None:
        self._interrupt()
        super().setRawMode()

    def setLineMode(self, extra: bytes = b"") -> object:
        self._interrupt()
        if isinstance(extra, (bytearray, memoryview)):
            extra = bytes(extra)
        return super().setLineMode(extra)

    def clearLineBuffer(self) -> bytes:
        """
        Take everything that has been received and not been delivered.
        """
        held, self._held = self._held, None
        undelivered = self._takeBack()
        if undelivered:
            # They are found anew, if they are lines then. (Perhaps a subclass has not
            # counted them.)
            self.lineCount = max(0, self.lineCount - len(undelivered))
            self._atMost = 256
            undelivered.append(b"" if held is None else held.take())
            return bytes(self._foundBy[0]).join(undelivered)
        return b"" if held is None else held.take()

    def forgetInput(self) -> None:
        self.clearLineBuffer()

    def heldInput(self) -> tuple[int, int | None]:
        """
        Tell what is held of the peer's bytes.

        @return: how many bytes wait, and where in the stream a line begins that
            the peer has not finished; None if there is no such line, or if it
            is this receiver that takes nothing more.
        """
        if self._held is None:
            return _NOTHING_HELD
        size, line = super().heldInput()
        left = self._left()
        if left:
            return size + sum(map(len, left)), None
        return size, None if self.paused else line

    def hasUndeliveredLines(self) -> bool:
        """
        Tell whether whole lines wait, as they do after a pause.
        """
        return bool(
            length_hint(self._undelivered)
            or (self._held and self._held.find(self.delimiter) >= 0)
        )


class FastLineOnlyReceiver(_Blocks, LineOnlyReceiver):
    """
    C{LineOnlyReceiver} of C{twisted.protocols.basic}, with blocks.

    As in the original there is no pause and no raw mode, what C{lineReceived}
    returns means nothing, once the transport is closing the rest of a chunk is
    dropped, and C{lineLengthExceeded} gets the overlong line alone. A C{delimiter}
    or C{MAX_LENGTH} that C{lineReceived} assigns is minded from the next chunk
    on. Unlike in the original, a line of exactly C{MAX_LENGTH} bytes whose
    delimiter is split between two chunks is a legal line (the same fault of
    C{LineReceiver} was twisted issue 6556).
    """

    def dataReceived(self, data: bytes) -> Any:
        """
        Hand whole lines to C{blockReceived} and keep the rest.
        """
        self.bytesReceived += len(data)
        delimiter, limit = self.delimiter, self.MAX_LENGTH
        block, overlong = data, None
        if (
            self._held is not None
            or len(data) > limit
            or not data.endswith(delimiter)
            or type(delimiter) is not bytes
            or overlaps_itself(delimiter)
        ):
            held = self._hold(data)
            block = held.take_lines(delimiter, limit)
            if held.find(delimiter) >= 0:
                # The first line is too long, and takes those after it along.
                overlong, *_, rest = held.take().split(delimiter)
                held.append(rest)
            if not held:
                self._held = None
        if block and (self.transport.disconnecting or self.blockReceived(block)):
            return None
        if overlong is not None:
            if self.transport.disconnecting:
                return None
            return self.lineLengthExceeded(overlong)
        if self._held and not self._held.may_end_legally(delimiter, limit):
            return self.lineLengthExceeded(self._held.peek())
        if self._held and len(self._held) >= WORTH_COUNTING:
            self.heldMore()
        return None

    def forgetInput(self) -> None:
        self._held = None

    def linesReceived(self, lines: list[bytes]) -> object:
        """
        Override this to take many lines at once.

        @param lines: one or more lines without their delimiters, none longer
            than C{MAX_LENGTH}.
        @return: something true if the rest of the chunk is to be dropped.
        """
        for line in lines:
            if self.transport.disconnecting:
                return True
            self.lineReceived(line)
        return False
