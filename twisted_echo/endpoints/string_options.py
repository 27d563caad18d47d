"""
The options in Twisted's endpoint strings, such as C{port} in C{tcp:port=7007}: read and
checked before anything is made of them.

What must hold: each option is one that its kind of endpoint has, and is given once; an
error names the option, what was given and what is allowed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from itertools import pairwise

from twisted.internet import endpoints

from twisted_echo.tls.options import FOLDER_OPTIONS, SHARED_OPTIONS
from twisted_echo.twisted_internals.check import require

__all__ = ["KINDS", "EndpointString", "Unusable", "optionNames", "readString"]

require(__name__)

# Functions that have the options of a kind as parameters.
_PARSERS: Mapping[str, Callable[..., object]] = {
    "tcp": endpoints._parseTCP,
    "tcp6": endpoints._TCP6ServerParser._parseServer,
    "unix": endpoints._parseUNIX,
    "systemd": endpoints._SystemdParser._parseServer,
    "ssl": endpoints._parseSSL,
    # As Twisted's own, which it has since 26.4, in a place that cannot be imported.
    "tls": lambda path, port="443", backlog="50", interface="::": None,
}
KINDS = tuple(_PARSERS)
"""
The kinds of endpoints. C{haproxy:} may stand before a kind.
"""
_NAMED_OPTIONS: Mapping[str, Sequence[str]] = {
    "ssl": SHARED_OPTIONS,
    "tls": (*SHARED_OPTIONS, *FOLDER_OPTIONS),
}
"""
Options of this package, which can be given by name only.
"""
_REFUSED = {
    "stdio": "stdio: is one connection and no port, so it cannot be accepted from nor"
    " closed; use tcp: or unix:",
}
# Easily forgotten in IPv6 addresses.
_COLON = r" (a colon within a value is written \:)"


class Unusable(ValueError):
    """
    This package cannot listen on an endpoint string, though it is correct.
    """


@dataclass(frozen=True, slots=True)
class EndpointString:
    """
    The contents of an endpoint string.

    @ivar kind: such as C{tcp}.
    @ivar options: the options that are given, by their names.
    @ivar isProxied: whether it begins with C{haproxy:}.
    """

    kind: str
    options: dict[str, str]
    isProxied: bool


def readString(description: str) -> EndpointString:
    """
    Read an endpoint string.

    @raise ValueError: if it is none, or has a wrong option.
    @raise Unusable: if this package cannot listen on it.
    """
    positional, named = endpoints._parse(description)
    _checkGivenOnce(description)
    if not positional:
        raise ValueError("it names no kind of endpoint, such as tcp")
    # In any case, as Twisted has it for endpoints of plugins.
    kind = positional.pop(0).lower()
    isProxied = kind == "haproxy"
    if isProxied:
        kind = positional.pop(0).lower() if positional else ""
        if kind == "haproxy":
            raise ValueError("haproxy: can be given once")
    options = _named(kind, positional, named)
    _checkNumbers(options)
    return EndpointString(kind, options, isProxied)


def _named(
    kind: str, positional: Sequence[str], named: dict[str, str]
) -> dict[str, str]:
    """
    Name the options that are given without a name, by Twisted's own names.
    """
    if kind in _REFUSED:
        raise Unusable(_REFUSED[kind])
    if kind not in _PARSERS:
        if kind.isdecimal():
            raise ValueError(f"a port needs its kind before it, as in tcp:{kind}")
        raise ValueError(
            f"there is no kind {kind!r}, only {', '.join(_PARSERS)}, and haproxy before"
            " one of them"
        )
    parameters = _positional(kind)
    names = [each.name for each in parameters]
    allowed = optionNames(kind)
    if len(positional) > len(names):
        raise ValueError(
            f"{kind}: takes at most {len(names)} options without a name, so"
            f" {positional[-1]!r} is one too many{_COLON}"
        )
    options = dict(zip(names, positional, strict=False))
    for name in named:
        if name not in allowed:
            raise ValueError(f"{kind}: has no {name!r}, only {', '.join(allowed)}")
        if name in options:
            raise ValueError(f"{kind}: its {name} is given twice{_COLON}")
    options |= named
    for each in parameters:
        if each.default is Parameter.empty and not options.get(each.name):
            raise ValueError(f"{kind}: needs its {each.name}")
    return options


def optionNames(kind: str) -> list[str]:
    """
    Name the options of one of the L{KINDS}: first the ones that need no name.
    """
    names = (each.name for each in _positional(kind))
    return list(dict.fromkeys((*names, *_NAMED_OPTIONS.get(kind, ()))))


def _positional(kind: str) -> list[Parameter]:
    """
    The options that Twisted has, which can be given without their names.
    """
    return [
        each
        for each in signature(_PARSERS[kind]).parameters.values()
        if each.name not in ("self", "factory", "reactor")
    ]


def _checkGivenOnce(description: str) -> None:
    # Twisted takes the last one, as if the others had not been given.
    tokens = list(endpoints._tokenize(description))
    names = [
        name for (_, name), each in pairwise(tokens) if each == (endpoints._OP, "=")
    ]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"its {name} is given twice{_COLON}")


def _checkNumbers(options: Mapping[str, str]) -> None:
    for name, most in (("port", 65535), ("backlog", 2**31 - 1)):
        value = options.get(name, "0")
        try:
            isNumber = 0 <= int(value) <= most
        except ValueError:
            isNumber = False
        if not isNumber:
            raise Unusable(f"a {name} must be from 0 to {most}, got {value}{_COLON}")
