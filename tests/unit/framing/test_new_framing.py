"""
A framing that is not in the package: netstrings,
U{https://cr.yp.to/proto/netstrings.txt}.

One splitter is all that it takes. These tests drive it through the cases that the
other framings pass, too.
"""

import re
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import NetstringReceiver

from tests.support.reference import cuts_of
from twisted_echo import Session
from twisted_echo.framing.splitter import Found, Splitter
from twisted_echo.framing.string_receiver import StringReceiver

LIMIT = 12


class NetstringSplitter(Splitter):
    """
    Splits netstrings: C{5:hello,} for C{hello}.

    What is no netstring is taken for one that never ends, and so for one that is too
    long.
    """

    __slots__ = ()

    _length = re.compile(rb"(0|[1-9][0-9]{0,8})(:)?")

    def first(
        self, data: bytes | bytearray, start: int = 0, searched: int = 0
    ) -> Found | None:
        if start == len(data):
            return None
        length = self._length.match(data, start)
        if length is None:
            return start + 1, sys.maxsize, sys.maxsize
        begin = length.end()
        if length[2] is None:
            # What follows is missing, or is no colon.
            endless = (begin, sys.maxsize, sys.maxsize)
            return (
                None if begin == len(data) and int(length[1]) <= self.limit else endless
            )
        end = begin + int(length[1])
        if data[end : end + 1] not in (b"", b","):
            return begin, sys.maxsize, sys.maxsize
        return begin, end, end + 1

    def split(self, block: bytes) -> list[bytes]:
        return NetstringSplitter(sys.maxsize).split_front(block)[1]

    def join(self, messages: Iterable[bytes], rest: bytes = b"") -> bytes:
        return b"".join([*(b"%d:%s," % (len(each), each) for each in messages), rest])


class FastNetstringReceiver(StringReceiver[NetstringSplitter], Protocol):
    MAX_LENGTH = LIMIT

    def _splitter(self) -> NetstringSplitter:
        return NetstringSplitter(self.MAX_LENGTH)


class Recorder:
    """
    A mix-in that records the strings.
    """

    def __init__(self) -> None:
        self.strings: list[bytes] = []

    def stringReceived(self, string: bytes) -> None:
        self.strings.append(string)


class Stock(Recorder, NetstringReceiver):
    MAX_LENGTH = LIMIT


class Alone(Recorder, FastNetstringReceiver):
    pass


class InSession(Recorder, Session, FastNetstringReceiver):
    pass


def received(kind: type[Any], chunks: Iterable[bytes]) -> tuple[list[bytes], bool]:
    """
    Receive chunks until the connection is closed.

    @return: the strings, and whether it is closed.
    """
    receiver = kind()
    receiver.makeConnection(StringTransport())
    for chunk in chunks:
        if not receiver.transport.disconnecting:
            receiver.dataReceived(chunk)
    return receiver.strings, receiver.transport.disconnecting


CASES = [
    pytest.param(b"", [], False, id="nothing"),
    pytest.param(b"0:,", [b""], False, id="empty string"),
    pytest.param(b"5:hello,3:a,b,0:,", [b"hello", b"a,b", b""], False, id="strings"),
    pytest.param(b"2:ab,5:hel", [b"ab"], False, id="partial body"),
    pytest.param(b"2:ab,1", [b"ab"], False, id="partial length"),
    pytest.param(b"11:%s,1:a," % (b"x" * 11), [b"x" * 11, b"a"], False, id="limit - 1"),
    pytest.param(b"12:%s,1:a," % (b"x" * 12), [b"x" * 12, b"a"], False, id="limit"),
    pytest.param(b"1:a,13:%s,1:a," % (b"x" * 13), [b"a"], True, id="limit + 1"),
    pytest.param(b"1:a,999999999999:", [b"a"], True, id="endless length"),
    pytest.param(b"1:a,hello", [b"a"], True, id="no length"),
    pytest.param(b"1:a,05:hello,", [b"a"], True, id="leading zero"),
    pytest.param(b"1:a,5;hello,", [b"a"], True, id="no colon"),
    pytest.param(b"1:a,5:hello;", [b"a"], True, id="no comma"),
]


@pytest.mark.parametrize("kind", [Stock, Alone, InSession])
@pytest.mark.parametrize(("data", "strings", "closed"), CASES)
def test_every_cut(
    kind: type[Any], data: bytes, strings: list[bytes], closed: bool
) -> None:
    """
    However the bytes are cut, the strings are the same, and those of Twisted's.
    """
    for chunks in cuts_of(data):
        assert received(kind, chunks) == (strings, closed), chunks


def test_blocks() -> None:
    """
    Whoever overrides C{blockReceived} gets whole strings as they came.
    """
    blocks: list[bytes] = []

    class Blocks(FastNetstringReceiver):
        def blockReceived(self, block: bytes) -> None:
            blocks.append(block)

    receiver = Blocks()
    receiver.makeConnection(StringTransport())
    receiver.dataReceived(b"1:a,2:bc,3:d")
    receiver.dataReceived(b"ef,")
    assert (blocks, receiver.lineCount) == ([b"1:a,2:bc,", b"3:def,"], 3)


def test_pause() -> None:
    """
    A pause takes effect after the string in which it happens; what waits is told.
    """
    receiver: Any = Alone()
    receiver.makeConnection(StringTransport())
    receiver.stringReceived = lambda each: (
        receiver.strings.append(each),
        receiver.pauseProducing(),
    )
    receiver.dataReceived(b"1:a,2:bc,3:d")
    assert receiver.strings == [b"a"]
    assert (receiver.undeliveredLines(), receiver.hasUndeliveredLines()) == (1, True)
    receiver.resumeProducing()
    receiver.resumeProducing()
    assert receiver.strings == [b"a", b"bc"]
    assert receiver.heldInput() == (3, 9)
    receiver.forgetInput()
    assert receiver.heldInput() == (0, None)
