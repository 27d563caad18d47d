"""
The header with which a proxy announces whom it speaks for: HAProxy's PROXY
protocol, versions 1 and 2, as a pure function over bytes.

Nothing here knows Twisted, sockets or sessions, nor who may send a header.

What must hold, whatever a peer sends and however it is cut:

  - L{parse} says the same of the same bytes, and raises nothing but L{BadHeader};
  - it waits only while some further bytes would make a header of what is there,
    so that a header is refused with its first wrong byte;
  - it never waits for more than L{MAX_SIZE} bytes;
  - no message holds a byte of the peer's that is not printable ASCII.
"""

import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NoReturn

__all__ = ["MAX_SIZE", "Address", "BadHeader", "ProxyHeader", "parse"]

MAX_SIZE = 4096
"""
The longest header of version 2, in bytes. Addresses need 232 at most; the rest is
for what a proxy adds, such as the names in a client's certificate.
"""

_MAX_LINE = 107
"""The longest header of version 1, with its CRLF."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16
"""Version 2: the signature, the command, the family and the length."""

Address = tuple[IPv4Address | IPv6Address, int] | bytes | None
"""
A host and its port; the path of a UNIX socket, which may hold any byte but NUL; or
None: that of the connection itself.
"""


class BadHeader(ValueError):
    """
    This is no header, whatever may follow. The message can be logged as it is.
    """


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """
    What a header says.

    @ivar source: who connected to the proxy.
    @ivar destination: what it connected to.
    @ivar size: how many bytes the header has; what follows them is the client's.
    """

    source: Address
    destination: Address
    size: int


def parse(data: bytes) -> ProxyHeader | None:
    """
    Read the header at the front of all that was received so far.

    @return: None if it goes on in what has not been received yet.
    @raise BadHeader: if there is none.
    """
    if data[:1] == b"P":
        return _parse_line(data[:_MAX_LINE])
    if not _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
        _refuse("no PROXY header", data)
    return _parse_binary(data)


def _refuse(why: str, what: bytes) -> NoReturn:
    """
    Refuse a header, with the escaped beginning of what is wrong.
    """
    shown = repr(what[:40])
    raise BadHeader(f"{why}: {shown if len(shown) <= 43 else shown[:40] + '...'}")


# Version 1


@dataclass(frozen=True, slots=True)
class _Kind:
    """
    A kind of word.

    @ivar read: what it means; raises C{ValueError} if it means nothing.
    @ivar ends: what completes each beginning of such a word that can be
        completed, shortest first.
    @ivar least: the size of the shortest such word.
    """

    read: Callable[[str], Any]
    ends: tuple[str, ...]
    least: int

    def missing(self, word: str) -> int:
        """
        How many characters the beginning of a word lacks at least.

        @raise ValueError: if no more can mend it.
        """
        for end in self.ends:
            with suppress(ValueError):
                self.read(word + end)
                return len(end)
        raise ValueError(word)


def _host6(word: str) -> IPv6Address:
    # A zone could hold anything, and means nothing on another machine.
    if "%" in word:
        raise ValueError(word)
    return IPv6Address(word)


def _port(word: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,4}", word) or int(word) > 65535:
        raise ValueError(word)
    return int(word)


_HOST4 = _Kind(
    IPv4Address,
    ("", "0", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0"),
    len("0.0.0.0"),
)
# An IPv6 address may end in an IPv4 one, and HAProxy writes C{::ffff:1.2.3.4}. No
# end begins that part: a group goes on as a group for one character less.
_HOST6 = _Kind(_host6, ("", "0", ":", "::", ".0", "0.0", ".0.0", "0.0.0"), len("::"))
_PORT = _Kind(_port, ("", "0"), len("0"))

_STARTS = {
    b"PROXY TCP4 ": (_HOST4, _HOST4, _PORT, _PORT),
    b"PROXY TCP6 ": (_HOST6, _HOST6, _PORT, _PORT),
    b"PROXY UNKNOWN": (),
}


def _parse_line(data: bytes) -> ProxyHeader | None:
    """
    @param data: not more bytes than a line may have.
    """
    line, ended, rest = data.partition(b"\r")
    if b"\n" in line or rest[:1] not in (b"", b"\n"):
        _refuse("CR or LF alone in a PROXY header", data)
    start = next(filter(line.startswith, _STARTS), None)
    if start is None:
        if not ended and any(each.startswith(line) for each in _STARTS):
            return None
        _refuse("no PROXY header", data)
    kinds = _STARTS[start]
    words = line[len(start) :]
    source: Address = None
    destination: Address = None
    missing = 0
    if kinds:
        try:
            values, missing = _read_words(words.decode("latin-1"), kinds, bool(ended))
        except ValueError:
            _refuse("a bad address or port in a PROXY header", words)
        if ended:
            source, destination = (values[0], values[2]), (values[1], values[3])
    elif words and not words.startswith(b" "):
        _refuse("no PROXY header", data)
    if len(line) + missing + len(b"\r\n") > _MAX_LINE:
        _refuse(f"a PROXY header of more than {_MAX_LINE} bytes", data)
    if not rest:
        return None
    return ProxyHeader(source, destination, len(line) + len(b"\r\n"))


def _read_words(
    text: str, kinds: tuple[_Kind, ...], ended: bool
) -> tuple[list[Any], int]:
    """
    Read what is there of the words of a line.

    @return: the meanings of those that have ended, and how many characters are
        missing, at least.
    @raise ValueError: if it cannot become such a line.
    """
    words = text.split(" ")
    if len(words) > len(kinds) or (ended and len(words) < len(kinds)):
        raise ValueError(text)
    known = words if ended else words[:-1]
    values = [kind.read(word) for kind, word in zip(kinds, known, strict=False)]
    if ended:
        return values, 0
    later = kinds[len(words) :]
    missing = kinds[len(known)].missing(words[-1])
    return values, missing + sum(len(" ") + kind.least for kind in later)


# Version 2


def _parse_binary(data: bytes) -> ProxyHeader | None:
    """
    @param data: begins as the signature does.
    """
    command, family = data[12:13], data[13:14]
    if command not in (b"", b"\x20", b"\x21"):
        _refuse("no version or command of PROXY that is known", command)
    # With LOCAL the proxy speaks for itself, and the family means nothing.
    announces = command == b"\x21"
    if announces and family not in _FAMILIES:
        _refuse("no family or protocol of PROXY that is known", family)
    # As long as it lacks a byte, this is the least that it can be.
    length = int.from_bytes(data[14:16].ljust(2, b"\0"))
    size = _FIXED + length
    if size > MAX_SIZE:
        _refuse(f"a PROXY header of more than {MAX_SIZE} bytes", data[14:16])
    if len(data) < _FIXED:
        return None
    read, needed = _FAMILIES[family] if announces else (_read_nothing, 0)
    if length < needed:
        _refuse("a PROXY header too short for its addresses", data[13:16])
    if len(data) < size:
        return None
    return ProxyHeader(*read(data[_FIXED : _FIXED + needed]), size)


def _read_nothing(block: bytes) -> tuple[Address, Address]:
    return None, None


def _read_inet(block: bytes) -> tuple[Address, Address]:
    source, destination, *ports = struct.unpack("!4s4sHH", block)
    return (IPv4Address(source), ports[0]), (IPv4Address(destination), ports[1])


def _read_inet6(block: bytes) -> tuple[Address, Address]:
    source, destination, *ports = struct.unpack("!16s16sHH", block)
    return (IPv6Address(source), ports[0]), (IPv6Address(destination), ports[1])


def _read_unix(block: bytes) -> tuple[Address, Address]:
    source, destination = block[:_PATH], block[_PATH:]
    return source.partition(b"\0")[0], destination.partition(b"\0")[0]


_PATH = 108
"""The size of the field for the path of a UNIX socket."""

_FAMILIES: dict[bytes, tuple[Callable[[bytes], tuple[Address, Address]], int]] = {
    # What has not been received yet.
    b"": (_read_nothing, 0),
    b"\x00": (_read_nothing, 0),
    b"\x11": (_read_inet, 12),
    b"\x21": (_read_inet6, 36),
    b"\x31": (_read_unix, 2 * _PATH),
}
"""
By the byte for family and protocol, each for streams: what reads its addresses, and
how many bytes they have. Whatever follows those is skipped.
"""
