"""
Parsers for the values of the options.

What must hold: each raises a C{ValueError} that says what is allowed and what was
given, and leaves it to the caller to name the option.
"""

import re
from collections.abc import Callable
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

from twisted.internet import endpoints

from twisted_echo.net.sockets import KeepAlive
from twisted_echo.twisted_internals.check import require
from twisted_echo.validation.units import parse_duration

__all__ = [
    "AUTO",
    "OFF",
    "adminEndpoint",
    "delimiter",
    "endpoint",
    "keepAlive",
    "network",
    "number",
    "oneOf",
    "sessions",
    "wholeNumber",
    "workers",
]

require(__name__)

OFF = "off"
"""
Turns a feature off.
"""
AUTO = "auto"
"""
For L{sessions}: as many as the limit of open files allows.
"""

_Choice = TypeVar("_Choice", bound=Enum)


def oneOf(kind: type[_Choice]) -> Callable[[str], _Choice]:
    """
    Make a parser for the values of an enum.
    """
    *others, last = (repr(each.value) for each in kind)
    allowed = f"{', '.join(others)} or {last}"

    def parse(text: str) -> _Choice:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"must be {allowed}, got {text!r}") from None

    return parse


def wholeNumber(text: str) -> int:
    """
    Read a whole number.
    """
    return _whole(text, "a whole number")


def _whole(text: str, allowed: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"must be {allowed}, got {text!r}") from None


def number(text: str) -> float:
    """
    Read a number such as 0.01.
    """
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number, got {text!r}") from None


def sessions(text: str) -> int | None:
    """
    Read how many sessions there may be at once.

    @return: None for C{auto}.
    """
    return None if text == AUTO else _whole(text, f"{AUTO!r} or a whole number")


def workers(text: str) -> int:
    """
    Read how many processes serve.
    """
    count = wholeNumber(text)
    if count < 1:
        raise ValueError(f"must be from 1 up, got {count!r}")
    return count


def delimiter(text: str) -> bytes:
    """
    Read C{\\r\\n}, C{\\0} or C{END} as bytes, with the escapes of Python.
    """
    try:
        # By way of Latin-1, in which every byte is a character.
        characters = text.encode().decode("unicode_escape")
        delimiter = characters.encode("latin-1")
    except UnicodeError:
        delimiter = b""
    if not delimiter:
        raise ValueError(
            "must be one character or more, in which \\n, \\r, \\0 and"
            f" \\xHH stand for bytes, got {text!r}"
        )
    return delimiter


def endpoint(text: str) -> str:
    """
    Leave an endpoint string as it is. All of them are checked together.
    """
    return text


def keepAlive(text: str) -> KeepAlive | None:
    """
    Read C{off} or C{IDLE[,INTERVAL[,COUNT]]}.
    """
    if text == OFF:
        return None
    try:
        parts = text.split(",")
        return KeepAlive(*map(_wholeSeconds, parts[:2]), *map(int, parts[2:]))
    except (ValueError, TypeError) as error:
        detail = f" ({error})" if str(error).startswith("keep-alive") else ""
        raise ValueError(
            "must be 'off' or IDLE[,INTERVAL[,COUNT]], such as"
            f" 60,10,6 or 1m,10s,6, got {text!r}{detail}"
        ) from None


def _wholeSeconds(text: str) -> int:
    # (A minus is for `KeepAlive` to refuse.)
    seconds = float(text) if text.startswith("-") else parse_duration(text)
    if seconds != int(seconds):
        raise ValueError("the kernel counts whole seconds")
    return int(seconds)


def network(text: str) -> IPv4Network | IPv6Network:
    """
    Read C{10.0.0.0/8}, C{::1} or the like.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(
            "must be an address or a network such as 10.0.0.0/8,"
            f" got {text!r} ({error})"
        ) from None


_LOOPBACKS = {
    "tcp": ("127.0.0.1", 1, 2),
    "tcp6": (r"\:\:1", 1, 3),
    "ssl": ("127.0.0.1", 1, 5),
    "tls": ("127.0.0.1", 2, 4),
}
"""
Where endpoints with a port listen, unless their interface is named; and the places of
the port and the interface among the positional arguments.
"""


def adminEndpoint(text: str) -> str:
    """
    Read an endpoint string, or the number of a port alone. It listens on this machine's
    loopback address, unless it names another.
    """
    described = f"tcp:{text}" if re.fullmatch(r"-?\d+", text) else text
    positional, named = endpoints._parse(described)
    kind = positional[0].lower() if positional else ""
    if kind not in _LOOPBACKS:
        return described
    loopback, portAt, interfaceAt = _LOOPBACKS[kind]
    unsaid = "443" if kind == "tls" else ""
    default = positional[portAt] if len(positional) > portAt else unsaid
    port = named.get("port", default)
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f"a port must be a whole number from 0 to 65535, got {port!r}")
    if "interface" not in named and len(positional) <= interfaceAt:
        return f"{described}:interface={loopback}"
    return described
