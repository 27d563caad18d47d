"""
Tests for L{twisted_echo.frames} and L{twisted_echo.prefixes}.
"""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import IntNStringReceiver, StringTooLongError

from twisted_echo.frames import FastIntNStringReceiver
from twisted_echo.prefixes import prefix_of

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


@pytest.mark.parametrize("format", ["!h", "!HH", "!f", "?", "!s", "nonsense", ""])
def test_refused(format: str) -> None:
    with pytest.raises(ValueError, match="structFormat must be"):
        prefix_of(format, 2)
