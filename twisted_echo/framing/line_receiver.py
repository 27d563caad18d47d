"""
Line receivers that can also deliver many lines at once.

L{FastLineReceiver} and L{FastLineOnlyReceiver} are drop-ins for the classes of
C{twisted.protocols.basic} that they extend: the same names, defaults and
semantics, with two coarser hooks before C{lineReceived}. Each hook hands on to
the next; override the coarsest that serves you:

  - C{blockReceived(block)}: whole lines as one run of bytes, delimiters included;
  - C{linesReceived(lines)}: a list of lines without delimiters;
  - C{lineReceived(line)}: one line.

What must hold: a chunk that is whole lines of legal length reaches
C{blockReceived} without being copied; nothing is done per line unless
C{lineReceived} asks for it. C{python -m twisted_echo.bench split} measures both
against the originals.
"""

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ITransport
from twisted.protocols.basic import LineOnlyReceiver, LineReceiver

from twisted_echo.framing.line_hooks import LineHooks
from twisted_echo.framing.lines import (
    LineSplitter,
    end_of_lines,
    line_splitter,
    overlaps_itself,
)
from twisted_echo.framing.message_receiver import (
    GO_ON,
    WORTH_COUNTING,
    MessageReceiver,
)
from twisted_echo.framing.splitter import ReceiveBuffer
from twisted_echo.twisted_internals.check import require
from twisted_echo.validation.plain_hooks import check_stop

__all__ = ["FastLineOnlyReceiver", "FastLineReceiver"]

require(__name__)


# What a receiver splits a chunk for, if it makes no block. (Not the members of an Enum:
# as the default of a class one would keep the interpreter from specializing loads of
# the attribute.)
_FOR_LINES, _FOR_LINE = "linesReceived", "lineReceived"


class _NoTransport:
    disconnecting = False


_NO_TRANSPORT = _NoTransport()


def _isInherited(hook: object, function: object) -> bool:
    return getattr(hook, "__func__", None) is function


class FastLineReceiver(LineHooks, MessageReceiver[LineSplitter], LineReceiver):
    """
    A faster C{LineReceiver}, with the names and the semantics of Twisted's, that can
    also deliver many lines at once.

    A pause, a switch of the mode, C{clearLineBuffer}, C{transport.loseConnection} or a
    truthy return takes effect after the line in which it happens, as in the original.
    In a coarser hook it takes effect after all that this hook was given.

    One thing differs. The whole lines of a chunk are found at once, so a
    C{delimiter} or C{MAX_LENGTH} that C{lineReceived} assigns does not apply to lines
    that were found already; call C{setLineMode()} after assigning it, and it applies
    from the next line on. Likewise use C{pauseProducing} and C{setRawMode} instead of
    assigning C{paused} or C{line_mode}, and do not replace C{transport} between two
    lines.

    C{makeConnection} notes the C{delimiter}, and which of the coarser hooks are
    overridden, be it on the instance. To change one of them later, assign the
    C{delimiter} of the instance; a hook that is replaced later is not called.
    """

    # The finest hook that is all that a subclass wants, or "" if it may want blocks.
    _splitsFor = ""

    if TYPE_CHECKING:

        def rawDataReceived(self, data: bytes) -> object: ...

    def makeConnection(self, transport: ITransport) -> None:
        """
        Note the settings. An override must call C{super().makeConnection(transport)}.
        """
        # What every chunk asks for becomes the instance's own, which is faster to
        # load than the class's.
        self.paused, self.line_mode = self.paused, self.line_mode
        self._splitsFor = self._splitsFor
        if self.delimiter is type(self).delimiter:
            # (No property.)
            self.delimiter = self.delimiter
        # A block that nobody wants is not made, nor a list of one line.
        inherited = LineHooks.blockReceived
        if type(self).blockReceived is inherited and _isInherited(
            self.blockReceived, inherited
        ):
            lines = _isInherited(self.linesReceived, FastLineReceiver.linesReceived)
            self._splitsFor = _FOR_LINE if lines else _FOR_LINES
            if lines:
                self._messages, self._undelivered = self._messages, self._undelivered
                self._foundBy = self._foundBy
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
        if self._splitsFor and len(data) <= self.MAX_LENGTH:
            return self._receiveLines(data)
        # Nothing waits, which is the rule: no need to hold what can be handed on at
        # once, nor to ask the splitter for what the last byte tells.
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
                self._held = ReceiveBuffer(data[end:])
                if not end:
                    if len(data) <= limit and len(data) < WORTH_COUNTING:
                        # The beginning of a line, which only waits.
                        return None
                    return self._receive(b"")
                data = data[:end]
            elif not data:
                return None
        self._busyReceiving = True
        try:
            why = self.blockReceived(data)
        finally:
            self._busyReceiving = False
        return why if self._held is None else self._goOn(why)

    def _receiveLines(self, data: bytes) -> object:
        """
        Receive more while nothing waits, if no hook wants a block. What ends in it is
        legal, as all of it is no longer than one line may be.
        """
        delimiter = self.delimiter
        if delimiter is None:
            # To split, that means any white space.
            raise TypeError("delimiter must be bytes, got None")
        lines = data.split(delimiter)
        rest = lines.pop()
        if rest:
            self._held = ReceiveBuffer(rest)
        if not lines:
            return self._receive(b"") if len(rest) >= WORTH_COUNTING else None
        self.lineCount += len(lines)
        self._busyReceiving = True
        try:
            if len(lines) == 1 and self._splitsFor is _FOR_LINE:
                # (What dataReceived returns, Twisted 26.4 warns of, if it is not None.)
                why = self.lineReceived(lines[0]) or None
                if why:
                    check_stop(self, why)
            else:
                why = self.linesReceived(lines)
        finally:
            self._busyReceiving = False
        return why if self._held is None else self._goOn(why)

    def _goOn(self, why: object) -> object:
        """
        Deliver what waits, unless a hook's result stops this receiver.
        """
        go = self._unlessStopped(why) is GO_ON
        return self._receive(b"") if go else why

    def _unlessStopped(self, why: object) -> object:
        transport = self.transport
        return why if why or (transport and transport.disconnecting) else GO_ON

    def _deliverRaw(self) -> object:
        data = self.clearLineBuffer()
        return (data and self.rawDataReceived(data)) or GO_ON

    def _deliverRest(self) -> object:
        if self._splitter() is self._foundBy:
            return self._deliverLines()
        # They are found again, also while the transport is closing: as this delivers
        # none of them, it is no reason to stop.
        self._held = ReceiveBuffer(self.clearLineBuffer())
        return GO_ON

    def _handleOverlong(self, held: ReceiveBuffer) -> object:
        return self.lineLengthExceeded(self.clearLineBuffer())

    def linesReceived(self, lines: list[bytes]) -> object:
        """
        Override this to take many lines at once.

        @param lines: one or more lines without their delimiters, none longer
            than C{MAX_LENGTH}.
        @return: something true to be handed nothing more before new bytes come.
        """
        if self._undelivered.__length_hint__():
            self._deliverLater(lines)
            return None
        self._messages = lines
        self._undelivered = iter(lines)
        # (Not _splitter, which would be a call for each chunk. These are the same
        # objects from one chunk to the next.)
        splitter, delimiter, limit = self._foundBy, self.delimiter, self.MAX_LENGTH
        if splitter.delimiter is not delimiter or splitter.limit is not limit:
            self._foundBy = LineSplitter(delimiter, limit)
        return self._deliverLines()

    def _deliverLines(self) -> object:
        transport = self.transport or _NO_TRANSPORT
        try:
            for line in self._undelivered:
                why = self.lineReceived(line)
                # (To ask None for its truth takes longer than to see that it is None.)
                if (why is not None and why) or transport.disconnecting:
                    check_stop(self, why)
                    return why or None
        finally:
            if self._undelivered.__length_hint__():
                self._hold(b"")
            else:
                self._messages = []
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
        return self._takeAll()

    def forgetInput(self) -> None:
        self.clearLineBuffer()


class FastLineOnlyReceiver(LineHooks, LineOnlyReceiver):
    """
    A faster C{LineOnlyReceiver}, with the names and the semantics of Twisted's, that
    can also deliver many lines at once.

    As in the original there is no pause and no raw mode, and what C{lineReceived}
    returns means nothing. Once the transport closes, the rest of a chunk is dropped.
    C{lineLengthExceeded} gets the overlong line alone. A C{delimiter} or C{MAX_LENGTH}
    that C{lineReceived} assigns takes effect with the next chunk. Unlike in the
    original, a line of exactly C{MAX_LENGTH} bytes whose delimiter is split between two
    chunks is legal (C{LineReceiver} had the same fault, twisted issue 6556).
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
            block, overlong = self._take(data)
        if block and (self.transport.disconnecting or self.blockReceived(block)):
            return None
        if overlong is not None:
            if self.transport.disconnecting:
                return None
            return self.lineLengthExceeded(overlong)
        held = self._held
        if held and len(held) > limit:
            partial = bytes(held)
            if not line_splitter(delimiter, limit).may_end_legally(partial):
                return self.lineLengthExceeded(partial)
        if held and len(held) >= WORTH_COUNTING:
            self.heldMore()
        return None

    def _take(self, data: bytes) -> tuple[bytes, bytes | None]:
        """
        Take the whole legal lines, and what is too long behind them.
        """
        splitter = self._splitter()
        held, overlong = self._hold(data), None
        block, found = b"", held.first(splitter)
        if found is not None and not found[1] > splitter.limit:
            block, _ = held.take_block(splitter, found)
            found = held.first(splitter)
        if found is not None:
            # The first line is too long, and takes those after it along.
            overlong, *_, rest = held.take().split(splitter.delimiter)
            held += rest
        if not held:
            self._held = None
        return block, overlong

    def sendLine(self, line: bytes) -> None:
        # (The inherited one calls writeSequence, which looks at each piece.)
        self.transport.write(b"".join((line, self.delimiter)))

    def linesReceived(self, lines: list[bytes]) -> object:
        """
        Override this to take many lines at once.

        @param lines: one or more lines without their delimiters, none longer
            than C{MAX_LENGTH}.
        @return: something true if the rest of the chunk is to be dropped.
        """
        for line in lines:
            # (A line may replace the transport.)
            if self.transport.disconnecting:
                return True
            self.lineReceived(line)
        return False
