"""
What the words of the command line mean. Each function raises a C{ValueError} that says
what was given and what is allowed.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from twisted.internet import endpoints

from twisted_echo.net.sockets import KeepAlive
from twisted_echo.twisted_internals import require
from twisted_echo.validation.units import parse_duration

__all__ = [
    "AUTO",
    "OFF",
    "adminEndpoint",
    "delimiter",
    "keepAlive",
    "network",
    "sessions",
]

require(__name__)

OFF = "off"
"""
For what there is not to be.
"""
AUTO = "auto"
"""
For L{sessions}: as many as the process may open files for.
"""


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
            f"--delimiter must be one character or more, in which \\n, \\r, \\0 and"
            f" \\xHH stand for bytes, got {text!r}"
        )
    return delimiter


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
            "--keepalive must be 'off' or IDLE[,INTERVAL[,COUNT]], such as"
            f" 60,10,6 or 1m,10s,6, got {text!r}{detail}"
        ) from None


def _wholeSeconds(text: str) -> int:
    # (A minus is for `KeepAlive` to refuse.)
    seconds = float(text) if text.startswith("-") else parse_duration(text)
    if seconds != int(seconds):
        raise ValueError("the kernel counts whole seconds")
    return int(seconds)


def sessions(text: str) -> int:
    """
    Read a number; C{auto} is for L{makeService} to find out.
    """
    return 0 if text == AUTO else int(text)


def network(text: str) -> IPv4Network | IPv6Network:
    """
    Read C{10.0.0.0/8}, C{::1} or the like.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(
            "--proxy-from must be an address or a network such as 10.0.0.0/8,"
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
the port and the interface among the words without a name.
"""


def adminEndpoint(text: str) -> str:
    """
    Read an endpoint string, or the number of a port alone. It listens on this machine's
    loopback address, unless it names another.
    """
    described = f"tcp:{text}" if re.fullmatch(r"-?\d+", text) else text
    words, named = endpoints._parse(described)
    kind = words[0].lower() if words else ""
    if kind not in _LOOPBACKS:
        return described
    loopback, portAt, interfaceAt = _LOOPBACKS[kind]
    unsaid = "443" if kind == "tls" else ""
    port = named.get("port", words[portAt] if len(words) > portAt else unsaid)
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f"a port must be a whole number from 0 to 65535, got {port!r}")
    if "interface" not in named and len(words) <= interfaceAt:
        return f"{described}:interface={loopback}"
    return described
