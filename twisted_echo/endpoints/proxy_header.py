"""
The header with which a proxy announces its client: HAProxy's PROXY protocol, versions 1
and 2, as a pure function over bytes.

Nothing here knows Twisted, sockets or sessions, nor who may send a header.

What must hold, whatever a peer sends and however it is cut:

  - L{parse} says the same of the same bytes, and raises nothing but L{BadHeader};
  - what does not begin as a header is refused with its first wrong byte; the rest is
    checked when it is complete, or too long;
  - it never waits for more than L{MAX_SIZE} bytes;
  - an error message holds only printable ASCII.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NoReturn

__all__ = ["MAX_SIZE", "Address", "BadHeader", "ProxyHeader", "parse"]

MAX_SIZE = 4096
"""
The longest header of version 2, in bytes. Addresses need 232 at most; the rest is
for what a proxy adds, such as the names in a client's certificate.
"""

_MAX_LINE = 107
"""The longest header of version 1, with its CRLF."""

_START = b"PROXY "
"""How a header of version 1 begins."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""How a header of version 2 begins."""

_FIXED = 16
"""Version 2: the bytes of the signature, the command, the family and the length."""

Address = tuple[IPv4Address | IPv6Address, int] | bytes | None
"""
A host and its port; the path of a UNIX socket, which may hold any byte but NUL; or
None: that of the connection itself.
"""


class BadHeader(ValueError):
    """
    The bytes are not a header, whatever follows. The message is safe to log.
    """


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """
    The contents of a header.

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
    if _START.startswith(data[: len(_START)]):
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


_HOST = rb"([0-9a-fA-F:.]+)"
_PORT = rb"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r]*)?"
    rb"|TCP([46]) %b %b %b %b)\r" % (_HOST, _HOST, _PORT, _PORT)
)
"""
A line up to its LF. (A zone of an IPv6 address means nothing on another machine.)
"""


def _parse_line(data: bytes) -> ProxyHeader | None:
    """
    Parse a header of version 1; return None while it is not whole.

    @param data: not more bytes than a line may have.
    """
    line, newline, _ = data.partition(b"\n")
    if not newline:
        if len(data) == _MAX_LINE:
            _refuse(f"a PROXY header of more than {_MAX_LINE} bytes", data)
        return None
    found = _LINE.fullmatch(line)
    if found is None:
        _refuse("a bad PROXY header", line)
    size = len(line) + len(newline)
    if found[1] is None:
        return ProxyHeader(None, None, size)
    host = IPv4Address if found[1] == b"4" else IPv6Address
    try:
        source = host(found[2].decode()), _port(found[4])
        destination = host(found[3].decode()), _port(found[5])
    except ValueError:
        _refuse("a bad address or port in a PROXY header", line)
    return ProxyHeader(source, destination, size)


def _port(word: bytes) -> int:
    port = int(word)
    if port > 65535:
        raise ValueError(word)
    return port


# Version 2


def _parse_binary(data: bytes) -> ProxyHeader | None:
    """
    Parse a header of version 2; return None while it is not whole.

    @param data: begins as the signature does.
    """
    if len(data) < _FIXED:
        return None
    command, family = data[12], data[13]
    if command not in (_LOCAL, _PROXY):
        _refuse("no version or command of PROXY that is known", data[12:13])
    if command == _LOCAL:
        # The proxy speaks for itself, and the family means nothing.
        family = _UNSPECIFIED
    if family not in _FAMILIES:
        _refuse("no family or protocol of PROXY that is known", data[13:14])
    read, needed = _FAMILIES[family]
    length = int.from_bytes(data[14:16])
    size = _FIXED + length
    if size > MAX_SIZE:
        _refuse(f"a PROXY header of more than {MAX_SIZE} bytes", data[14:16])
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

_LOCAL, _PROXY = 0x20, 0x21
"""Version 2 and its two commands, in one byte."""

_UNSPECIFIED = 0

_FAMILIES: dict[int, tuple[Callable[[bytes], tuple[Address, Address]], int]] = {
    _UNSPECIFIED: (_read_nothing, 0),
    0x11: (_read_inet, 12),
    0x21: (_read_inet6, 36),
    0x31: (_read_unix, 2 * _PATH),
}
"""
By the byte for family and protocol, each for streams: what reads its addresses, and
how many bytes they have. Whatever follows those is skipped.
"""
