"""
The base of all receivers: it holds partial messages, and delivers whole ones.

A receiver hands on blocks, a block's messages as a list, and each message, by hooks
whose names its subclass knows. While nothing waits, which is the rule, a chunk goes
straight through C{dataReceived}; what waits goes through L{MessageReceiver._deliver}::

                    whole messages               list              each
    dataReceived -----------------> blockReceived ---> linesReceived ---> lineReceived
         | the rest                      ^                  |
         v                               |                  v a pause, a switch
       _held --------------------> _deliverNext <----- _undelivered

What must hold:

  - nothing is lost and nothing comes twice, whatever a hook does or raises;
  - the loop over a list asks nothing of this receiver for each message, and an
    interruption costs the same however many messages are left;
  - a receiver that holds no input has no buffer.
"""

import sys
from operator import length_hint
from typing import Any, Generic, TypeVar

from twisted.internet.interfaces import ITransport
from twisted.protocols.basic import _PauseableMixin

from twisted_echo.framing.held_input import HeldInput
from twisted_echo.framing.splitter import Found, ReceiveBuffer, Splitter
from twisted_echo.twisted_internals.check import require
from twisted_echo.validation.plain_hooks import PlainHooks

__all__ = ["GO_ON", "WORTH_COUNTING", "BufferedReceiver", "MessageReceiver"]

require(__name__)

WORTH_COUNTING = 1024
"""
How many bytes of unfinished input are counted at once: less than a connection costs,
and more than most lines have.
"""

GO_ON = object()
"""
What a step of the delivery returns if another may follow.
"""

# How many bytes to look for messages in, after some were found in vain. It is doubled
# each time that they are not.
_FEW = 256

_S = TypeVar("_S", bound=Splitter)

_NOTHING_HELD: tuple[int, int | None] = (0, None)


class BufferedReceiver(PlainHooks, HeldInput, Generic[_S]):
    """
    A receiver that holds a part of a message until the rest comes.

    @ivar bytesReceived: how many bytes have been received so far.
    @ivar lineCount: how many messages have been found so far. A message that is taken
        back before it was delivered is not counted until it is found again.
    """

    # (Twisted's transports and Twisted's declaration of this have no common type.)
    transport: Any

    bytesReceived = 0
    lineCount = 0

    # None while nothing waits, so that an idle connection has no buffer.
    _held: ReceiveBuffer | None = None
    # How many bytes of the overlong message that is held were dropped.
    _dropped = 0
    # What the messages of the last list were found by. (A receiver that takes blocks
    # never sets it, as an attribute more would cost it a larger dict.)
    _foundBy: _S

    def makeConnection(self, transport: ITransport) -> None:
        """
        Begin with nothing held. An override must call
        C{super().makeConnection(transport)}.
        """
        # What chunks set is set now, here and in subclasses. If it came with the first
        # chunk, after many other connections were made, no two instances would share
        # the keys of their dictionaries, which makes every load dearer.
        self.bytesReceived, self.lineCount = self.bytesReceived, self.lineCount
        self._held, self._busyReceiving = self._held, self._busyReceiving
        super().makeConnection(transport)  # type: ignore[misc]

    def _splitter(self) -> _S:
        """
        Return the splitter for the settings as they are now.
        """
        raise NotImplementedError

    def _hold(self, data: bytes) -> ReceiveBuffer:
        held = self._held
        if held is None:
            held = self._held = ReceiveBuffer(data)
        else:
            held += data
        return held

    def heldMore(self) -> None:
        """
        Called when a chunk leaves C{WORTH_COUNTING} bytes or more, or anything while
        the receiver is paused. By default nothing happens.
        """

    def forgetInput(self) -> None:
        self._held = None

    def heldInput(self) -> tuple[int, int | None]:
        held = self._held
        if held is None:
            return _NOTHING_HELD
        size = len(held)
        if not size or held.has_message(self._splitter()):
            return size, None
        return size, self.bytesReceived - size - self._dropped


class MessageReceiver(BufferedReceiver[_S], _PauseableMixin):
    """
    Base class of receivers that can be paused, also in the middle of a chunk. Put it
    before Twisted's own.

    A subclass overrides L{_splitter}, L{_deliverRest} and L{_handleOverlong}, and has
    hooks of which the first is C{blockReceived}.
    """

    paused: Any = False
    # False while bytes are handed on as they come, for a subclass that has such a mode.
    line_mode: Any = 1

    # The list that is being delivered, and what is left of it. While something is left,
    # `_held` is not None. (An iterator of a list, which has no type of its own that
    # knows of its state.)
    _messages: list[bytes] = []  # noqa: RUF012 - never changed in place
    _undelivered: Any = iter(_messages)
    # How many bytes to look for messages in. Fewer for a while, after some were found
    # in vain: a protocol that switches its mode at every message would have the rest of
    # the chunk split again each time.
    _atMost = sys.maxsize

    def blockReceived(self, block: bytes) -> object:
        """
        Override this to take many messages at once, as they came.
        """
        raise NotImplementedError

    def _receive(self, data: bytes) -> object:
        """
        Receive more while something is held, busy or paused.
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
                # (An attribute more would cost an idle receiver a larger dict.)
                if self._atMost != sys.maxsize:
                    self._atMost = sys.maxsize
            elif self.paused or len(self._held or b"") >= WORTH_COUNTING:
                self.heldMore()

    def _deliver(self) -> object:
        """
        Deliver what waits, until there is nothing more, or a hook wants nothing more.
        """
        while (held := self._held) is not None and not self.paused:
            if not self.line_mode:
                result = self._deliverRaw()
            elif length_hint(self._undelivered):
                result = self._unlessStopped(self._deliverRest())
            elif held:
                result = self._deliverNext(held)
            else:
                return None
            if result is not GO_ON:
                return result
        return None

    def _deliverNext(self, held: ReceiveBuffer) -> object:
        """
        Deliver the next block, if its first message is whole.

        @return: C{GO_ON}, or else what C{dataReceived} returns.
        """
        splitter = self._splitter()
        found, size = held.first(splitter), len(held)
        if found is None:
            return self._handleOverlong(held) if splitter.is_overlong(size) else None
        begin, end, after = found
        if self._dropped or end - begin > splitter.limit:
            return self._handleOverlong(held)
        if after > size:
            return None
        at_most = self._atMost
        if at_most != sys.maxsize:
            self._atMost = min(2 * at_most, sys.maxsize)
        return self._unlessStopped(self._deliverBlock(held, splitter, found, at_most))

    def _deliverBlock(
        self, held: ReceiveBuffer, splitter: _S, first: Found, at_most: int
    ) -> object:
        block, count = held.take_block(splitter, first, at_most)
        self.lineCount += count
        return self.blockReceived(block)

    def _deliverRaw(self) -> object:
        """
        Deliver what waits as it came.

        @return: as L{_deliverNext} does.
        """
        raise NotImplementedError

    def _unlessStopped(self, why: object) -> object:
        """
        Return C{GO_ON}, unless a hook's result stops this receiver.
        """
        return GO_ON

    def _deliverRest(self) -> object:
        """
        Go on with the list where it was interrupted.
        """
        raise NotImplementedError

    def _handleOverlong(self, held: ReceiveBuffer) -> object:
        """
        Call the hook for a message that is too long.

        @return: as L{_deliverNext} does.
        """
        raise NotImplementedError

    def _deliverLater(self, messages: list[bytes]) -> None:
        """
        Put messages behind the undelivered ones.
        """
        self._messages = [*self._undelivered, *messages]
        self._undelivered = iter(self._messages)

    def _interrupt(self) -> None:
        """
        End the loop over the list after the current message.

        The loop's iterator is put to its end, and another one stands where it stood. A
        flag that is asked after each message would be simpler, and costs 7 % more
        instructions for each line of 16 bytes (C{valgrind --tool=callgrind} with what
        C{python -m twisted_echo.bench split} does for C{lineReceived}).
        """
        messages, undelivered = self._messages, self._undelivered
        left = length_hint(undelivered)
        if left:
            self._undelivered = iter(messages)
            self._undelivered.__setstate__(len(messages) - left)
            undelivered.__setstate__(len(messages))

    def _left(self) -> list[bytes]:
        """
        Copy the messages that are undelivered.
        """
        left = length_hint(self._undelivered)
        return self._messages[-left:] if left else []

    def _takeAll(self) -> bytes:
        """
        Take everything that has been received and not been delivered, as it came.
        """
        held, self._held = self._held, None
        rest = b"" if held is None else held.take()
        undelivered = list(self._undelivered)
        if not undelivered:
            return rest
        self._messages = []
        # They are found again, if they are messages then. (Perhaps a subclass has not
        # counted them.)
        self.lineCount = max(0, self.lineCount - len(undelivered))
        self._atMost = _FEW
        return self._foundBy.join(undelivered, rest)

    def pauseProducing(self) -> None:
        """
        Deliver nothing after the message that is delivered now, until
        C{resumeProducing}. What arrives meanwhile is kept.
        """
        self._interrupt()
        super().pauseProducing()

    def stopProducing(self) -> None:
        """
        Deliver nothing after the message that is delivered now, and close the
        connection.
        """
        self._interrupt()
        super().stopProducing()

    # (Any, as Twisted's line receivers return what a hook does, and its Protocol None.)
    def dataReceived(self, data: bytes) -> Any:
        raise NotImplementedError

    def forgetInput(self) -> None:
        self._takeAll()

    def heldInput(self) -> tuple[int, int | None]:
        """
        Tell what is held of the peer's bytes.

        @return: how many bytes wait, and where in the stream a message begins that the
            peer has not finished; None if there is no such message, or if it is this
            receiver that takes nothing more.
        """
        if self._held is None:
            return _NOTHING_HELD
        left = self._left()
        if left:
            return len(self._held) + sum(map(len, left)), None
        size, begun = super().heldInput()
        return size, None if self.paused else begun

    def hasUndeliveredLines(self) -> bool:
        return bool(
            length_hint(self._undelivered)
            or (self._held and self._held.has_message(self._splitter()))
        )

    def undeliveredLines(self) -> int:
        return length_hint(self._undelivered)
