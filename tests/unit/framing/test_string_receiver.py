"""
Tests for L{twisted_echo.framing.string_receiver} and
L{twisted_echo.framing.length_prefixed}.
"""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import IntNStringReceiver, StringTooLongError

from twisted_echo.framing.length_prefixed import FrameSplitter, prefix_of
from twisted_echo.framing.string_receiver import FastIntNStringReceiver

FORMATS = ("!B", "!H", "!I", "<H", "!Q")


def receiver(base: type[Any], format: str, limit: int) -> Any:
    class Receiver(base):  # type: ignore[misc]
        structFormat = format
        prefixLength = struct.calcsize(format)
        MAX_LENGTH = limit

        def __init__(self) -> None:
            self.events: list[Any] = []

        def stringReceived(self, string: bytes) -> None:
            self.events.append(string)

        def lengthLimitExceeded(self, length: int) -> None:
            self.events.append(length)

    made = Receiver()
    made.makeConnection(StringTransport())
    return made


lengths = st.one_of(
    st.lists(st.integers(0, 9), max_size=20),
    st.tuples(st.integers(0, 5), st.integers(8, 60)).map(lambda x: [x[0]] * x[1]),
)


@given(
    format=st.sampled_from(FORMATS),
    runs=st.lists(lengths, max_size=3),
    size=st.integers(1, 50),
    more=st.sampled_from([b"", b"\0", b"\xff" * 9]),
)
@settings(deadline=None, print_blob=True)
def test_reference(format: str, runs: list[list[int]], size: int, more: bytes) -> None:
    """
    The strings are the same as with Twisted's, however the bytes are cut.
    """
    sizes = [each for run in runs for each in run]
    data = b"".join(struct.pack(format, n) + b"x" * n for n in sizes) + more
    stock = receiver(IntNStringReceiver, format, 8)
    stock.dataReceived(data)
    for step in (size, len(data) or 1):
        ours = receiver(FastIntNStringReceiver, format, 8)
        for at in range(0, len(data), step):
            if ours.events and isinstance(ours.events[-1], int):
                break
            ours.dataReceived(data[at : at + step])
        assert ours.events == stock.events


def test_overlong_holds_nothing() -> None:
    """
    Nothing of the body is held, and nothing in it is taken for a frame.
    """
    ours = receiver(FastIntNStringReceiver, "!H", 3)
    for byte in b"\0\1a\0\4" + b"\0\0" * 50:
        ours.dataReceived(bytes([byte]))
        assert ours.heldInput()[0] <= 2
    assert ours.events[:2] == [b"a", 4]
    assert set(ours.events[1:]) == {4}
    assert ours.heldInput() == (2, 3)


def test_pause() -> None:
    ours = receiver(FastIntNStringReceiver, "!B", 9)
    ours.stringReceived = lambda s: (ours.events.append(s), ours.pauseProducing())
    ours.dataReceived(b"\1a\1b\1c\2")
    assert (ours.events, ours.recvd) == ([b"a"], b"\1b\1c\2")
    assert (ours.undeliveredLines(), ours.hasUndeliveredLines()) == (2, True)
    ours.resumeProducing()
    ours.resumeProducing()
    assert ours.events == [b"a", b"b", b"c"]
    assert ours.lineCount == 3


def test_send() -> None:
    ours = receiver(FastIntNStringReceiver, "!B", 9)
    with pytest.raises(StringTooLongError, match="255 bytes or less, got one of 256"):
        ours.sendStrings([b"a", b"x" * 256])
    ours.sendStrings([b"a", b""])
    assert ours.transport.value() == b"\1a\0"


@pytest.mark.parametrize("format", ["!HH", "!f", "?", "!s", "nonsense", ""])
def test_refused(format: str) -> None:
    with pytest.raises(ValueError, match="structFormat must be"):
        prefix_of(format, 2)


class Counted(bytes):
    """
    Bytes that know how many of them were looked at.
    """

    looked = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.looked += 1 if isinstance(found, int) else len(found)
        return found


class CountedStruct:
    """
    What unpacks a prefix, and knows how often.
    """

    def __init__(self, struct_: struct.Struct) -> None:
        self.struct = struct_
        self.times = 0

    def unpack_from(self, data: bytes, offset: int = 0) -> tuple[Any, ...]:
        self.times += 1
        return self.struct.unpack_from(data, offset)


@pytest.mark.parametrize("period", [1, 2, 7, 8, 9, 10, 17, 33, 64, 100, 1000, 5000])
def test_linear(period: int) -> None:
    """
    Whatever the mix, runs that end just when they were found to be some included, no
    byte is looked at more often than a few times, and no prefix unpacked twice.
    """
    prefix = prefix_of("!H", 2)
    # Runs of one length, each a frame longer than the one before it.
    sizes = [3 + each // period % 2 for each in range(5000)]
    data = Counted(b"".join(struct.pack("!H", n) + b"x" * n for n in sizes))
    counting: Any = CountedStruct(prefix.struct)
    splitter = FrameSplitter(prefix._replace(struct=counting), 100)
    end, count = splitter.end_of_block(data)
    assert (end, count) == (len(data), len(sizes))
    assert counting.times <= len(sizes)
    assert data.looked <= 2 * len(data)
    data.looked = counting.times = 0
    end, strings = splitter.split_front(data)
    assert (end, list(map(len, strings))) == (len(data), sizes)
    assert counting.times <= len(sizes)
    assert data.looked <= 3 * len(data)


def test_limitOfAnotherMaking() -> None:
    """
    C{MAX_LENGTH} may be a property, or be changed in the class.
    """
    made = receiver(FastIntNStringReceiver, "!B", 9)
    type(made).MAX_LENGTH = 2
    made.dataReceived(b"\5hello")
    assert made.events == [5]

    class Asking(receiver(FastIntNStringReceiver, "!B", 0).__class__):  # type: ignore[misc]
        MAX_LENGTH = property(lambda self: 5)

    asking = Asking()
    asking.makeConnection(StringTransport())
    asking.dataReceived(b"\5hello\6")
    assert asking.events == [b"hello", 6]


def test_limitThatChangesEachTime() -> None:
    """
    A limit that changes with every string is minded each time, and costs no more
    splitting the more strings wait.
    """

    class Changing(receiver(FastIntNStringReceiver, "!B", 9).__class__):  # type: ignore[misc]
        def stringReceived(self, string: bytes) -> None:
            self.events.append(string)
            self.MAX_LENGTH = 1

        def lengthLimitExceeded(self, length: int) -> None:
            self.MAX_LENGTH = 9

        def stringsReceived(self, strings: list[bytes]) -> object:
            self.found += len(strings)
            return super().stringsReceived(strings)

    count = 2000
    changing = Changing()
    changing.found = 0
    changing.makeConnection(StringTransport())
    changing.dataReceived(b"\2ab" * count)
    assert len(changing.events) == count
    # All of them once, then each time as many as fit into what is looked at.
    assert changing.found <= count + count * 256 // 3
