"""
Receivers of length-prefixed frames that cost what their bytes cost.

L{FastInt8StringReceiver}, L{FastInt16StringReceiver} and L{FastInt32StringReceiver}
are drop-ins for the classes of C{twisted.protocols.basic} that they extend, C{recvd}
included. Each hook hands on to the next; override the coarsest that serves you:

  - C{blockReceived(block)}: whole frames as one run of bytes, prefixes included;
  - C{stringsReceived(strings)}: a list of strings;
  - C{stringReceived(string)}: one string.

What must hold: the body of a frame that is longer than C{MAX_LENGTH} is never kept; and
what follows it is never taken for a frame.
"""

import sys
from collections.abc import Iterable
from operator import length_hint
from typing import TYPE_CHECKING, Any

from twisted.protocols.basic import (
    Int8StringReceiver,
    Int16StringReceiver,
    Int32StringReceiver,
    IntNStringReceiver,
    StringTooLongError,
)

from twisted_echo.framing.delivery import WORTH_COUNTING, Delivery
from twisted_echo.framing.length_prefixed import (
    FrameBuffer,
    Prefix,
    end_of_frames,
    prefix_of,
    split_frames,
)

__all__ = [
    "FastInt8StringReceiver",
    "FastInt16StringReceiver",
    "FastInt32StringReceiver",
    "FastIntNStringReceiver",
]


class FastIntNStringReceiver(Delivery, IntNStringReceiver):
    """
    C{IntNStringReceiver}, with blocks, for
    any C{structFormat} of one integer, with its C{prefixLength}.

    A pause, or assigning C{recvd} or C{MAX_LENGTH}, takes effect after the string in
    which it happens, as it does in the original; what C{stringReceived} returns means
    nothing, and C{transport.loseConnection} does not keep the rest of a chunk from
    being delivered. Whoever overrides a coarser hook has it take effect after what that
    hook was given.

    Three things differ. Use C{pauseProducing} instead of assigning C{paused}. What
    arrives while a string is delivered waits. And when C{lengthLimitExceeded} has
    returned, and has neither raised C{MAX_LENGTH} nor assigned C{recvd}, the frame's
    body is dropped, and it is called again if there is more of it.

    @ivar bytesReceived: how many bytes have been received so far.
    @ivar lineCount: how many frames have been found so far; those that wait when
        C{recvd} is assigned are not counted.
    """

    bytesReceived = 0
    lineCount = 0

    # What is to be looked at again when more comes; None while there is nothing.
    _held: FrameBuffer | None = None
    # How many bytes of the overlong frame that is held were dropped.
    _dropped = 0
    # The limit of those that are being delivered.
    _foundBy = 0
    _busyReceiving = False
    _prefix: Prefix
    # How many bytes to look for frames in; few, after some were found in vain.
    _atMost = sys.maxsize

    if TYPE_CHECKING:
        transport: Any
        structFormat: Any
        prefixLength: int

        def stringReceived(self, string: bytes) -> Any: ...
        def lengthLimitExceeded(self, length: int) -> Any: ...
        def sendString(self, string: bytes) -> Any: ...

    def dataReceived(self, data: bytes) -> None:
        """
        Hand whole frames to C{blockReceived} and keep the rest.

        @raise ValueError: if C{structFormat} or C{prefixLength} cannot be minded.
        """
        self.bytesReceived += len(data)
        self._prefix = prefix = prefix_of(self.structFormat, self.prefixLength)
        if self._held is not None or self._busyReceiving or self.paused:
            self._receive(data)
            return
        self._foundBy = limit = self.MAX_LENGTH
        strings: list[bytes] | None = None
        size = len(data)
        if self._splitsBlocks():
            end, strings = split_frames(data, size, prefix, limit)
            count = len(strings)
        else:
            end, count = end_of_frames(data, 0, size, prefix, limit)
        if end < size:
            self._held = FrameBuffer(data[end:])
        if end:
            self.lineCount += count
            self._busyReceiving = True
            try:
                if strings is None:
                    self.blockReceived(data if end == size else data[:end])
                else:
                    self.stringsReceived(strings)
            finally:
                self._busyReceiving = False
        if self._held is not None:
            self._receive(b"")

    def _receive(self, data: bytes) -> None:
        if self._held is None:
            self._held = FrameBuffer(data)
        else:
            self._held.append(data)
        if self._busyReceiving:
            return
        self._busyReceiving = True
        try:
            self._deliver()
        finally:
            self._busyReceiving = False
            if not self._held and not length_hint(self._undelivered):
                self._held = None
                self._atMost = sys.maxsize
            elif self.paused or len(self._held or b"") >= WORTH_COUNTING:
                self.heldMore()

    def _deliver(self) -> None:
        while (held := self._held) is not None and not self.paused:
            if length_hint(self._undelivered):
                self._deliverStrings()
                continue
            prefix, limit = self._prefix, self.MAX_LENGTH
            length = held.first(prefix)
            if length is None:
                return
            if length > limit or self._dropped:
                self.lengthLimitExceeded(length)
                if self._held is held and (length > self.MAX_LENGTH or self._dropped):
                    self._dropped += held.cut(prefix.size)
                    return
                continue
            self._foundBy = limit
            at_most = self._atMost
            if self._splitsBlocks():
                strings = held.take_strings(prefix, limit, at_most)
                if not strings:
                    return
                self._atMost = min(2 * at_most, sys.maxsize)
                self.lineCount += len(strings)
                self.stringsReceived(strings)
                continue
            block, count = held.take_frames(prefix, limit, at_most)
            if not block:
                return
            self._atMost = min(2 * at_most, sys.maxsize)
            self.lineCount += count
            self.blockReceived(block)

    def _splitsBlocks(self) -> bool:
        """
        Whether C{blockReceived} is that of here, so that frames can be split as they
        are found, instead of going over them twice.
        """
        return getattr(self.blockReceived, "__func__", None) is _splitBlock

    def blockReceived(self, block: bytes) -> object:
        """
        Override this to take many frames at once, as they came.

        @param block: one or more whole frames, each with its prefix and none longer
            than C{MAX_LENGTH}.
        """
        prefix = self._prefix
        _, strings = split_frames(block, len(block), prefix, prefix.most)
        return self.stringsReceived(strings)

    def stringsReceived(self, strings: list[bytes]) -> object:
        """
        Override this to take many strings at once.

        @param strings: one or more, without their prefixes, none longer than
            C{MAX_LENGTH}.
        """
        if length_hint(self._undelivered):
            self._deliverLater(strings)
        else:
            self._lines = strings
            self._undelivered = iter(strings)
            self._deliverStrings()
        return None

    def _deliverStrings(self) -> None:
        undelivered, limit = self._undelivered, self._foundBy
        try:
            if limit == self.MAX_LENGTH:
                for string in undelivered:
                    self.stringReceived(string)
                    if limit != self.MAX_LENGTH:
                        break
                else:
                    return
                if self._undelivered is not undelivered:
                    # Interrupted as well.
                    return
            self._deliverLegal(undelivered)
        finally:
            if not length_hint(self._undelivered):
                self._lines = []
            elif self._held is None:
                self._held = FrameBuffer()

    def _deliverLegal(self, undelivered: Iterable[bytes]) -> None:
        """
        Deliver what was found by another limit than that of now.
        """
        for string in undelivered:
            if len(string) > self.MAX_LENGTH:
                back = [string, *self._takeBack()]
                # Perhaps it changes again and again: do not find many in vain.
                self._atMost = 256
                self.lineCount = max(0, self.lineCount - len(back))
                rest = self._packed(back)
                held = b"" if self._held is None else self._held.take()
                self._held = FrameBuffer(rest + held)
                return
            self.stringReceived(string)

    def _packed(self, strings: Iterable[bytes]) -> bytes:
        pack = prefix_of(self.structFormat, self.prefixLength).struct.pack
        return b"".join([part for each in strings for part in (pack(len(each)), each)])

    @property
    def recvd(self) -> bytes:
        """
        Everything that has been received and not been delivered. Assign to have frames
        looked for in something else.
        """
        held = b"" if self._held is None else self._held.peek()
        left = self._left()
        return self._packed(left) + held if left else held

    @recvd.setter
    def recvd(self, data: bytes) -> None:
        undelivered = self._takeBack()
        if undelivered:
            self.lineCount = max(0, self.lineCount - len(undelivered))
            self._atMost = 256
        self._dropped = 0
        # Twisted's own code assigns an empty str.
        self._held = FrameBuffer(data) if data else None

    def forgetInput(self) -> None:
        self.recvd = b""

    def sendStrings(self, strings: Iterable[bytes]) -> None:
        """
        Send many strings by one write. No string, no write.

        @raise StringTooLongError: if the prefix cannot say how long one is; then none
            is sent.
        """
        strings = list(strings)
        most = prefix_of(self.structFormat, self.prefixLength).most
        longest = max(map(len, strings), default=0)
        if longest > most:
            raise StringTooLongError(
                f"a string must be {most} bytes or less, got one of {longest}"
            )
        if strings:
            self.transport.write(self._packed(strings))

    def heldInput(self) -> tuple[int, int | None]:
        """
        Tell what is held of the peer's bytes.

        @return: how many bytes wait, and where in the stream a frame begins that the
            peer has not finished; None if there is no such frame, or if it is this
            receiver that takes nothing more.
        """
        held = self._held
        if held is None:
            return 0, None
        size, left = len(held), self._left()
        if left:
            return size + sum(map(len, left)), None
        if not size or self.paused or held.has_frame(self._prefix):
            return size, None
        return size, self.bytesReceived - size - self._dropped

    def hasUndeliveredLines(self) -> bool:
        """
        Tell whether whole frames wait, as they do after a pause.
        """
        return bool(
            length_hint(self._undelivered)
            or (self._held and self._held.has_frame(self._prefix))
        )


_splitBlock = FastIntNStringReceiver.blockReceived


class FastInt8StringReceiver(FastIntNStringReceiver, Int8StringReceiver):
    """
    For frames with a prefix of one byte.
    """


class FastInt16StringReceiver(FastIntNStringReceiver, Int16StringReceiver):
    """
    For frames with a prefix of two bytes, the first the more significant.
    """


class FastInt32StringReceiver(FastIntNStringReceiver, Int32StringReceiver):
    """
    For frames with a prefix of four bytes, the first the most significant.
    """
