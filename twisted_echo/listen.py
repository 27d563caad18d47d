"""
What C{--listen} takes: Twisted's endpoint strings, with layers of our own for
C{ssl:} and C{haproxy:}.
"""

# mypy: disable-error-code="no-untyped-call"
# (These parts of Twisted are not annotated.)

from collections.abc import Sequence
from inspect import signature
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from twisted.internet import endpoints
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.interfaces import IProtocolFactory, IStreamServerEndpoint

from twisted_echo.layers import LayeredEndpoint
from twisted_echo.proxy import ProxyFactory

__all__ = ["Listening", "listenString"]

# What an `ssl:` string has more than a `tcp:` one.
_TLS_WORDS = ("privateKey", "certKey", "sslmethod", "extraCertChain", "dhParameters")
_FILE_WORDS = ("privateKey", "certKey", "extraCertChain", "dhParameters")


class Listening:
    """
    What became of an endpoint string.

    @ivar endpoint: to be listened on by a L{SessionFactory}.
    @ivar certificates: of C{ssl:}, else None.
    @ivar files: those that the certificates are loaded from.
    """

    def __init__(self, endpoint: IStreamServerEndpoint) -> None:
        self.endpoint = endpoint
        self.certificates: Any = None
        self.files: list[str] = []


def listenString(
    reactor: Any,
    description: str,
    proxyFrom: Sequence[IPv4Network | IPv6Network] = (),
) -> Listening:
    """
    Make an endpoint of its string.

    C{haproxy:ssl:…} expects the PROXY header in the clear, before TLS, which is how
    HAProxy sends it.

    @param proxyFrom: who may send a PROXY header; everybody, if empty.
    @raise Exception: each kind of endpoint has errors of its own.
    """
    words, named = endpoints._parse(description)
    isProxied = words[0] == "haproxy"
    if isProxied:
        words = words[1:]
    if words[:1] != ["ssl"]:
        listening = Listening(_plain(reactor, words, named))
    else:
        listening = _withTLS(reactor, words[1:], named)
    if isProxied:
        inner = listening.endpoint

        def announced(factory: IProtocolFactory) -> ProxyFactory:
            return ProxyFactory(factory, proxyFrom)

        if listening.certificates is None:
            listening.endpoint = LayeredEndpoint(inner, announced)
        else:
            assert isinstance(inner, LayeredEndpoint)
            listening.endpoint = inner.under(announced)
    return listening


def _plain(reactor: Any, words: Sequence[str], named: dict[str, str]) -> Any:
    parts = [quoteStringArgument(word) for word in words]
    parts += [f"{key}={quoteStringArgument(each)}" for key, each in named.items()]
    return serverFromString(reactor, ":".join(parts))


def _withTLS(reactor: Any, words: Sequence[str], named: dict[str, str]) -> Listening:
    from twisted_echo.tls import Certificates, TLSFactory

    names = list(signature(endpoints._parseSSL).parameters)[1:]
    arguments = dict(zip(names, words, strict=False)) | named
    arguments.setdefault("privateKey", "server.pem")

    def load() -> Any:
        parsed, _ = endpoints._parseSSL(None, **arguments)
        return parsed[2]

    certificates = Certificates(load)
    port = arguments["port"]
    tcp = {
        key: each for key, each in arguments.items() if key not in ("port", *_TLS_WORDS)
    }
    listening = Listening(
        LayeredEndpoint(
            _plain(reactor, ["tcp", port], tcp),
            lambda factory: TLSFactory(factory, certificates),
        )
    )
    listening.certificates = certificates
    listening.files = [
        arguments[word] for word in _FILE_WORDS if arguments.get(word) is not None
    ]
    return listening
