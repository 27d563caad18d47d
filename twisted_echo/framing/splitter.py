"""
Base class of splitters, which find where messages end in a stream of bytes.

A message is a line, a frame, or whatever else has an end. For a new framing, subclass
L{Splitter}: L{Splitter.first} and L{Splitter.join} are enough, and the other methods
are overridden where there is a faster way. A receiver
(L{twisted_echo.framing.message_receiver}) turns what is found into calls.

What must hold:

  - a splitter is a value: it holds settings and no bytes, and never changes. The bytes
    that wait are in a L{ReceiveBuffer};
  - an incomplete message is no error, and an overlong one is found as soon as it cannot
    end within the limit;
  - for C{n} bytes in any number of pieces the time is linear in C{n}: no byte is
    searched or copied more often than a small fixed number of times.
"""

import sys
from collections.abc import Iterable

__all__ = ["Found", "ReceiveBuffer", "Splitter"]


Found = tuple[int, int, int]
"""
Where a message is, though perhaps not all of it has come: the index of its first byte,
after any prefix; the index after its last byte, before any delimiter; and the index at
which the next message begins.
"""


class Splitter:
    """
    Splits bytes into messages of at most C{limit} bytes. It holds no bytes itself.

    @ivar limit: the longest legal message in bytes, without prefix and delimiter.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: float) -> None:
        """
        @param limit: the longest legal message in bytes, without prefix and delimiter.
        """
        self.limit = limit

    def first(
        self, data: bytes | bytearray, start: int = 0, searched: int = 0
    ) -> Found | None:
        """
        Find the message that begins at C{start}, legal or not.

        @param searched: how many bytes at the front an earlier call has searched in
            vain.
        @return: None while its length is not known.
        """
        raise NotImplementedError

    def join(self, messages: Iterable[bytes], rest: bytes = b"") -> bytes:
        """
        Put messages back together, as they came.

        @param rest: what follows them.
        """
        raise NotImplementedError

    def is_overlong(self, size: int) -> bool:
        """
        Tell whether a message whose length is not known yet is too long, when C{size}
        bytes of it have come. By default it never is.
        """
        return False

    def end_of_block(self, data: bytes | bytearray, known: int = 0) -> tuple[int, int]:
        """
        Find the end of the whole legal messages at the front.

        @param known: how many bytes at the front are known to be such messages.
        @return: the index after the last of them, 0 if there is none; and how many they
            are, or 0 where counting them would cost another look at the bytes.
        """
        end, messages = self.split_front(bytes(data))
        return end, len(messages)

    def split_front(self, data: bytes) -> tuple[int, list[bytes]]:
        """
        Split the whole legal messages at the front.

        @return: the index after the last of them, and the messages.
        """
        messages: list[bytes] = []
        start, size, limit = 0, len(data), self.limit
        while (found := self.first(data, start)) is not None:
            begin, end, after = found
            if end - begin > limit or after > size:
                break
            messages.append(data[begin:end])
            start = after
        return start, messages

    def split(self, block: bytes) -> list[bytes]:
        """
        Split a block, whose messages may be of any length.
        """
        raise NotImplementedError


class ReceiveBuffer(bytearray):
    """
    A buffer of bytes that wait for the rest of their message, or to be taken.

    Append with C{+=}, which is amortized over the bytes. What a splitter has searched
    once in vain is not searched again.

    It is a C{bytearray} instead of having one, so that to append, and to ask for its
    size, runs no Python code: two pieces of a line cost a third fewer instructions.
    """

    __slots__ = ("_searched", "_splitter")

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        # How many bytes at the front `_splitter` has searched.
        self._searched = 0
        self._splitter: Splitter | None = None

    def take(self, size: int | None = None) -> bytes:
        """
        Take the first C{size} bytes, or all.
        """
        self._searched = 0
        if size is None or size == len(self):
            taken = bytes(self)
            self.clear()
            return taken
        with memoryview(self) as view:
            taken = bytes(view[:size])
        del self[:size]
        return taken

    def cut(self, size: int) -> int:
        """
        Drop all but the first C{size} bytes.

        @return: how many were dropped.
        """
        dropped = max(0, len(self) - size)
        del self[size:]
        return dropped

    def first(self, splitter: Splitter) -> Found | None:
        """
        Find the first message, as L{Splitter.first} does.
        """
        if splitter is not self._splitter:
            self._splitter = splitter
            self._searched = 0
        found = splitter.first(self, 0, self._searched)
        self._searched = len(self) if found is None else found[1]
        return found

    def has_message(self, splitter: Splitter) -> bool:
        """
        Tell whether the first message is whole.
        """
        found = self.first(splitter)
        return found is not None and found[2] <= len(self)

    def take_block(
        self, splitter: Splitter, first: Found, at_most: int = sys.maxsize
    ) -> tuple[bytes, int]:
        """
        Take the whole legal messages from the front.

        @param first: the first of them, as L{first} has found it; it must be whole and
            legal.
        @param at_most: how many bytes to look at, though for one message at least.
        @return: the messages as they came, in one piece, and how many they are, as
            L{Splitter.end_of_block} counts them.
        """
        after = first[2]
        data = self[: max(after, at_most)] if at_most < len(self) else self
        end, count = splitter.end_of_block(data, after)
        return self.take(end), count

    def take_messages(
        self, splitter: Splitter, first: Found, at_most: int = sys.maxsize
    ) -> list[bytes]:
        """
        Take what is in the messages that L{take_block} would take.
        """
        with memoryview(self) as view:
            data = bytes(view[: max(first[2], at_most)])
        end, messages = splitter.split_front(data)
        self._searched = 0
        del self[:end]
        return messages
