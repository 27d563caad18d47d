"""
What C{--listen} takes: Twisted's endpoint strings, with layers of our own for
C{ssl:}, C{tls:} and C{haproxy:}.

What must hold: every connection is a plain one of Twisted's, or has the layers of this
package. A kind of endpoint for which that is not known is refused.
"""

from collections.abc import Iterable, Sequence
from inspect import Parameter, signature
from ipaddress import IPv4Network, IPv6Network
from itertools import pairwise
from typing import Any

from twisted.internet import endpoints
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.interfaces import IProtocolFactory, IStreamServerEndpoint

from twisted_echo.endpoints.layers import LayeredEndpoint
from twisted_echo.endpoints.proxy_layer import ProxyFactory, checkNetworks
from twisted_echo.endpoints.tls_layer import TLSFactory
from twisted_echo.net.listening import checkListening
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.options import (
    FOLDER_OPTIONS,
    PAIR_OPTIONS,
    SHARED_OPTIONS,
    certificates_of,
)
from twisted_echo.tls.pem_files import BadFile
from twisted_echo.twisted_internals import require
from twisted_echo.validation.checks import InvalidSetting

__all__ = ["ParsedEndpoint", "checkDistinctSockets", "parseEndpoint"]

require(__name__)

_PARSERS: dict[str, Any] = {
    "tcp": endpoints._parseTCP,
    "tcp6": endpoints._TCP6ServerParser._parseServer,
    "unix": endpoints._parseUNIX,
    "systemd": endpoints._SystemdParser._parseServer,
    "ssl": endpoints._parseSSL,
    # As Twisted's, which has them since 26.4 in a place that is none of ours.
    "tls": lambda path, port="443", backlog="50", interface="::": None,
}
"""
What knows the arguments of each kind of endpoint; C{haproxy:} stands before one.
"""
_MORE_WORDS = {"ssl": SHARED_OPTIONS, "tls": (*SHARED_OPTIONS, *FOLDER_OPTIONS)}
"""
What is had by name alone, beside these.
"""
_TLS_WORDS = {*PAIR_OPTIONS, *FOLDER_OPTIONS, *SHARED_OPTIONS}
_REFUSED = {
    "stdio": "stdio: is one connection and no port, so it cannot be accepted from nor"
    " closed; use tcp: or unix:",
}
# What is forgotten for IPv6 addresses.
_COLON = r" (a colon within a word is written \:)"


class _Unusable(ValueError):
    """
    A string is an endpoint's, but not one to listen on here.
    """


class ParsedEndpoint:
    """
    What became of an endpoint string.

    @ivar description: the string.
    @ivar endpoint: to be listened on by a L{SessionFactory}.
    @ivar plainDescription: the string of the endpoint under the layers.
    @ivar isProxied: whether a PROXY header is expected.
    @ivar descriptor: of the socket that systemd has handed down, else None.
    @ivar certificates: of C{ssl:} and C{tls:}, else None.
    """

    def __init__(
        self, endpoint: IStreamServerEndpoint, plainDescription: str = ""
    ) -> None:
        self.description = self.plainDescription = plainDescription
        self.endpoint = endpoint
        self.isProxied = False
        self.descriptor: int | None = None
        self.certificates: Certificates | None = None

    @property
    def files(self) -> list[str]:
        """
        Those that the certificates were loaded from, last.
        """
        return [] if self.certificates is None else [*self.certificates.settings.files]

    def reload(self) -> None:
        """
        Load the certificates anew, where there are some.

        @raise Exception: why they cannot be; those that were loaded before stay.
        """
        if self.certificates is not None:
            self.certificates.reload()

    def withPlainEndpoint(
        self, plainEndpoint: IStreamServerEndpoint
    ) -> IStreamServerEndpoint:
        """
        The same layers over another endpoint.
        """
        if isinstance(self.endpoint, LayeredEndpoint):
            return self.endpoint.withPlainEndpoint(plainEndpoint)
        return plainEndpoint


def parseEndpoint(
    reactor: Any,
    description: str,
    proxyFrom: Sequence[IPv4Network | IPv6Network] = (),
    plainEndpoint: IStreamServerEndpoint | None = None,
) -> ParsedEndpoint:
    """
    Make an endpoint of its string: C{tcp:}, C{tcp6:}, C{unix:}, C{systemd:}, C{ssl:} or
    C{tls:}, or C{haproxy:} before one of them. Other kinds, Twisted's and those of
    plugins, may wrap their connections in a way that sessions do not support. To use
    one all the same, pass the endpoint itself.

    C{haproxy:ssl:…} expects the PROXY header in the clear, before TLS, which is how
    HAProxy sends it.

    @param proxyFrom: who may send a PROXY header; everybody, if empty.
    @param plainEndpoint: is used under TLS and PROXY instead of the endpoint that the
        string names, for a caller that was handed a socket which listens already.
    @raise ValueError: if the string is no endpoint's, or not one to listen on: of
        another kind, with a file that is no key or certificate, or for a socket of
        systemd's that is not as it says.
    @raise TypeError: if C{proxyFrom} holds anything but networks.
    """
    proxyFrom = checkNetworks(proxyFrom)
    try:
        listening = _listening(reactor, description, proxyFrom, plainEndpoint)
    except _Unusable as error:
        raise ValueError(f"{description!r}: {error}") from error.__cause__
    except Exception as error:
        # Every kind of endpoint has errors of its own.
        raise ValueError(
            f"{description!r} is no endpoint: {str(error) or type(error).__name__};"
            " such as tcp:7007, tcp6:7007, unix:/run/echo.sock or"
            " ssl:7007:privateKey=key.pem"
        ) from error
    listening.description = description
    return listening


def checkDistinctSockets(listening: Iterable[ParsedEndpoint]) -> None:
    """
    Tell whether each socket of systemd's is listened on once.

    @raise ValueError: if one is not.
    """
    seen: dict[int, str] = {}
    for each in listening:
        if each.descriptor is None:
            continue
        if each.descriptor in seen:
            raise ValueError(
                f"{each.description!r} and {seen[each.descriptor]!r} are one socket of"
                " systemd's, which can be listened on once"
            )
        seen[each.descriptor] = each.description


def _listening(
    reactor: Any,
    description: str,
    proxyFrom: Sequence[IPv4Network | IPv6Network],
    plainEndpoint: IStreamServerEndpoint | None,
) -> ParsedEndpoint:
    words, named = endpoints._parse(description)
    _checkTwice(description)
    if not words:
        raise ValueError("no type of endpoint, such as tcp")
    # As in Twisted, for those of plugins.
    kind = words.pop(0).lower()
    isProxied = kind == "haproxy"
    if isProxied:
        kind = words.pop(0).lower() if words else ""
        if kind == "haproxy":
            raise ValueError("one PROXY header is all that is expected")
    arguments = _arguments(kind, words, named)
    _checkNumbers(arguments)
    if kind in ("ssl", "tls"):
        listening = _withTLS(reactor, kind, arguments, plainEndpoint)
    else:
        listening = _plain(reactor, kind, arguments, plainEndpoint)
    if isProxied:
        inner = listening.endpoint

        def announced(factory: IProtocolFactory) -> ProxyFactory:
            return ProxyFactory(factory, proxyFrom)

        listening.isProxied = True
        listening.endpoint = (
            inner.withInnerLayer(announced)
            if isinstance(inner, LayeredEndpoint)
            else LayeredEndpoint(inner, announced)
        )
    return listening


def _arguments(
    kind: str, words: Sequence[str], named: dict[str, str]
) -> dict[str, str]:
    """
    What the words of a string mean, by Twisted's own names for them.
    """
    if kind in _REFUSED:
        raise _Unusable(_REFUSED[kind])
    if kind not in _PARSERS:
        raise ValueError(
            f"{kind!r} is none of the kinds that can be listened on by a string:"
            f" {', '.join(_PARSERS)}, and haproxy before one of them"
        )
    parameters = [
        each
        for each in signature(_PARSERS[kind]).parameters.values()
        if each.name not in ("self", "factory", "reactor")
    ]
    names = [each.name for each in parameters]
    allowed = dict.fromkeys((*names, *_MORE_WORDS.get(kind, ())))
    if len(words) > len(names):
        raise ValueError(
            f"{kind}: has {len(names)} words at most, {words[-1]!r} is over{_COLON}"
        )
    arguments = dict(zip(names, words, strict=False))
    for name in named:
        if name not in allowed:
            raise ValueError(f"{kind}: has no {name!r}, only {', '.join(allowed)}")
        if name in arguments:
            raise ValueError(f"{kind}: has its {name} twice{_COLON}")
    arguments |= named
    for each in parameters:
        if each.default is Parameter.empty and not arguments.get(each.name):
            raise ValueError(f"{kind}: needs its {each.name}")
    return arguments


def _plain(
    reactor: Any,
    kind: str,
    arguments: dict[str, str],
    plainEndpoint: IStreamServerEndpoint | None,
) -> ParsedEndpoint:
    """
    An endpoint of Twisted's own, without layers.
    """
    parts = (f"{name}={quoteStringArgument(each)}" for name, each in arguments.items())
    string = ":".join((kind, *parts))
    if plainEndpoint is not None:
        return ParsedEndpoint(plainEndpoint, string)
    if kind == "systemd":
        return _adopted(reactor, string, arguments)
    return ParsedEndpoint(serverFromString(reactor, string), string)


def _checkTwice(description: str) -> None:
    # Twisted takes the last of several, as if the others had not been said.
    tokens = list(endpoints._tokenize(description))
    names = [
        name for (_, name), each in pairwise(tokens) if each == (endpoints._OP, "=")
    ]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"it has its {name} twice{_COLON}")


def _checkNumbers(arguments: dict[str, str]) -> None:
    for name, most in (("port", 65535), ("backlog", 2**31 - 1)):
        word = arguments.get(name, "0")
        try:
            isNumber = 0 <= int(word) <= most
        except ValueError:
            isNumber = False
        if not isNumber:
            raise _Unusable(f"a {name} must be from 0 to {most}, got {word}{_COLON}")


def _adopted(reactor: Any, string: str, arguments: dict[str, str]) -> ParsedEndpoint:
    """
    An endpoint for a socket that systemd has handed down.
    """
    domain, index = arguments["domain"], arguments.get("index", "0")
    if domain not in ("INET", "INET6", "UNIX"):
        raise _Unusable(f"domain must be INET, INET6 or UNIX, got {domain!r}")
    try:
        if int(index) < 0:
            raise LookupError
        endpoint = serverFromString(reactor, string)
    except LookupError as error:
        raise _Unusable(
            "systemd has handed down no socket of this index or name"
        ) from error
    try:
        checkListening(endpoint.fileno, endpoint.addressFamily)
    except ValueError as error:
        raise _Unusable(f"what systemd has handed down {error}") from None
    listening = ParsedEndpoint(endpoint, string)
    listening.descriptor = endpoint.fileno
    return listening


def _withTLS(
    reactor: Any,
    kind: str,
    arguments: dict[str, str],
    plainEndpoint: IStreamServerEndpoint | None,
) -> ParsedEndpoint:
    """
    An endpoint of TCP with TLS over it.
    """
    tls = {name: each for name, each in arguments.items() if name in _TLS_WORDS}
    tcp = {name: each for name, each in arguments.items() if name not in _TLS_WORDS}
    if kind == "tls":
        # Twisted's defaults.
        tcp = {"port": "443", "interface": "::"} | tcp
    try:
        certificates = certificates_of(tls)
    except (BadFile, InvalidSetting) as error:
        raise _Unusable(str(error)) from None
    isIPv6 = ":" in tcp.get("interface", "")
    listening = _plain(reactor, "tcp6" if isIPv6 else "tcp", tcp, plainEndpoint)
    listening.endpoint = LayeredEndpoint(
        listening.endpoint, lambda factory: TLSFactory(factory, certificates)
    )
    listening.certificates = certificates
    return listening
