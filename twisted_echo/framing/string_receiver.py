"""
Receivers of length-prefixed frames, and of strings in any other framing.

L{FastInt8StringReceiver}, L{FastInt16StringReceiver} and L{FastInt32StringReceiver}
are drop-ins for the classes of C{twisted.protocols.basic} that they extend, C{recvd}
included; L{StringReceiver} is for a splitter of your own. Each hook hands on to the
next; override the coarsest that serves you:

  - C{blockReceived(block)}: whole frames as one run of bytes, prefixes included;
  - C{stringsReceived(strings)}: a list of strings;
  - C{stringReceived(string)}: one string.

What must hold: the body of a frame that is longer than C{MAX_LENGTH} is never kept; and
what follows it is never taken for a frame.
"""

from collections.abc import Iterable
from operator import length_hint
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.interfaces import ITransport
from twisted.protocols.basic import (
    Int8StringReceiver,
    Int16StringReceiver,
    Int32StringReceiver,
    IntNStringReceiver,
    StringTooLongError,
)

from twisted_echo.framing.length_prefixed import (
    FrameSplitter,
    frame_splitter,
)
from twisted_echo.framing.message_receiver import GO_ON, MessageReceiver
from twisted_echo.framing.splitter import Found, ReceiveBuffer, Splitter

__all__ = [
    "FastInt8StringReceiver",
    "FastInt16StringReceiver",
    "FastInt32StringReceiver",
    "FastIntNStringReceiver",
    "StringReceiver",
]


_S = TypeVar("_S", bound=Splitter)


class StringReceiver(MessageReceiver[_S]):
    """
    A receiver of strings by any L{Splitter<twisted_echo.framing.splitter.Splitter>},
    which a subclass returns from C{_splitter}.

    A pause, or assigning C{MAX_LENGTH}, takes effect after the string in which it
    happens. If a subclass overrides a coarser hook, it takes effect after all that
    this hook was given. What a hook returns means nothing.

    What arrives while a string is delivered waits. When C{lengthLimitExceeded} has
    returned and has not raised C{MAX_LENGTH}, the body of the string is dropped, and
    the hook is called again if there is more of it.

    @cvar MAX_LENGTH: the longest legal string in bytes, without its framing.
    """

    MAX_LENGTH = 99999

    _foundBy: Any = None

    if TYPE_CHECKING:

        def stringReceived(self, string: bytes) -> object: ...

    def makeConnection(self, transport: ITransport) -> None:
        """
        Note which hooks are overridden. An override must call
        C{super().makeConnection(transport)}.
        """
        self._foundBy = self._foundBy
        if self._splitsBlocks():
            self._messages, self._undelivered = self._messages, self._undelivered
        super().makeConnection(transport)

    def lengthLimitExceeded(self, length: int) -> object:
        """
        Called when a string is longer than C{MAX_LENGTH}. The default closes the
        connection.
        """
        return self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Hand whole strings to C{blockReceived} and keep the rest.
        """
        self.bytesReceived += len(data)
        if self._held is not None or self._busyReceiving or self.paused:
            self._receive(data)
            return
        splitter = self._foundBy = self._splitter()
        strings: list[bytes] | None = None
        if self._splitsBlocks():
            end, strings = splitter.split_front(data)
            count = len(strings)
        else:
            end, count = splitter.end_of_block(data)
        if end < len(data):
            self._held = ReceiveBuffer(data[end:])
        if end:
            self.lineCount += count
            self._busyReceiving = True
            try:
                if strings is None:
                    self.blockReceived(data if end == len(data) else data[:end])
                else:
                    self.stringsReceived(strings)
            finally:
                self._busyReceiving = False
        if self._held is not None:
            self._receive(b"")

    def _splitsBlocks(self) -> bool:
        """
        Whether C{blockReceived} is not overridden. Then strings are split as they are
        found, instead of going over them twice.
        """
        return getattr(self.blockReceived, "__func__", None) is _splitBlock

    def _deliverBlock(
        self, held: ReceiveBuffer, splitter: _S, first: Found, at_most: int
    ) -> object:
        self._foundBy = splitter
        if not self._splitsBlocks():
            return super()._deliverBlock(held, splitter, first, at_most)
        strings = held.take_messages(splitter, first, at_most)
        self.lineCount += len(strings)
        return self.stringsReceived(strings)

    def _handleOverlong(self, held: ReceiveBuffer) -> object:
        found = held.first(self._splitter())
        if found is None:
            return None
        begin, end, _ = found
        self.lengthLimitExceeded(end - begin)
        if self._held is not held or not (
            self._dropped or end - begin > self.MAX_LENGTH
        ):
            return GO_ON
        self._dropped += held.cut(begin)
        return None

    def blockReceived(self, block: bytes) -> object:
        """
        Override this to take many strings at once, as they came.

        @param block: one or more whole strings, each with its framing and none longer
            than C{MAX_LENGTH}.
        """
        return self.stringsReceived(self._splitter().split(block))

    def stringsReceived(self, strings: list[bytes]) -> object:
        """
        Override this to take many strings at once.

        @param strings: one or more, without their framing, none longer than
            C{MAX_LENGTH}.
        """
        if length_hint(self._undelivered):
            self._deliverLater(strings)
        else:
            self._messages = strings
            self._undelivered = iter(strings)
            self._deliverRest()
        return None

    def _deliverRest(self) -> object:
        limit = self._foundBy.limit
        try:
            for string in self._undelivered:
                # (The limit may change with every string, as that of AMP does.)
                if limit != self.MAX_LENGTH and len(string) > self.MAX_LENGTH:
                    self._messages = [string, *self._undelivered]
                    self._undelivered = iter(self._messages)
                    self._held = ReceiveBuffer(self._takeAll())
                    break
                self.stringReceived(string)
        finally:
            if not length_hint(self._undelivered):
                self._messages = []
            elif self._held is None:
                self._held = ReceiveBuffer()
        return None

    def forgetInput(self) -> None:
        super().forgetInput()
        self._dropped = 0


_splitBlock = StringReceiver.blockReceived


class FastIntNStringReceiver(StringReceiver[FrameSplitter], IntNStringReceiver):
    """
    A faster C{IntNStringReceiver}, with the names and the semantics of Twisted's, that
    can also deliver many frames at once. C{structFormat}, of one integer, and
    C{prefixLength} say what stands before a frame.

    Assigning C{recvd} takes effect after the string in which it happens, as it does in
    the original, and C{transport.loseConnection} does not keep the rest of a chunk from
    being delivered.

    Unlike with the original, use C{pauseProducing} instead of assigning C{paused}; see
    L{StringReceiver} for the rest.

    @raise ValueError: from C{dataReceived}, if C{structFormat} or C{prefixLength} has
        no meaning.
    """

    if TYPE_CHECKING:
        structFormat: str
        prefixLength: int
        MAX_LENGTH: int

        def sendString(self, string: bytes) -> object: ...

    _foundBy = frame_splitter("!B", 1, 0)

    def _splitter(self) -> FrameSplitter:
        return frame_splitter(self.structFormat, self.prefixLength, self.MAX_LENGTH)

    @property
    def recvd(self) -> bytes:
        """
        Everything that has been received and not been delivered. Assign bytes to
        replace it.
        """
        held = b"" if self._held is None else bytes(self._held)
        left = self._left()
        return self._foundBy.join(left, held) if left else held

    @recvd.setter
    def recvd(self, data: bytes) -> None:
        self.forgetInput()
        # Twisted's own code assigns an empty str.
        self._held = ReceiveBuffer(data) if data else None

    def sendStrings(self, strings: Iterable[bytes]) -> None:
        """
        Send many strings by one write. No string, no write.

        @raise StringTooLongError: if the prefix cannot say how long one is; then none
            is sent.
        """
        strings = list(strings)
        splitter = self._splitter()
        most = splitter.prefix.most
        longest = max(map(len, strings), default=0)
        if longest > most:
            raise StringTooLongError(
                f"a string must be {most} bytes or less, got one of {longest}"
            )
        if strings:
            self.transport.write(splitter.join(strings))


class FastInt8StringReceiver(FastIntNStringReceiver, Int8StringReceiver):
    """
    Receives frames with their length before them in one byte.
    """


class FastInt16StringReceiver(FastIntNStringReceiver, Int16StringReceiver):
    """
    Receives frames with their length before them in two bytes, the more significant
    first.
    """


class FastInt32StringReceiver(FastIntNStringReceiver, Int32StringReceiver):
    """
    Receives frames with their length before them in four bytes, the most significant
    first.
    """
