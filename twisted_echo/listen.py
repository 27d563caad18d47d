"""
What C{--listen} takes: Twisted's endpoint strings, with layers of our own for
C{ssl:} and C{haproxy:}.

Used by: the commands, and embedders who want the strings of C{--listen}, by
L{listenString}.
"""

# mypy: disable-error-code="no-untyped-call"
# (These parts of Twisted are not annotated.)

from collections.abc import Callable, Sequence
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
    @ivar bottom: the string of the endpoint under the layers.
    @ivar certificates: of C{ssl:}, else None.
    @ivar files: those that the certificates are loaded from.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, bottom: str = "") -> None:
        self.endpoint = endpoint
        self.bottom = bottom
        self.certificates: Any = None
        self.files: list[str] = []

    def over(self, bottom: IStreamServerEndpoint) -> IStreamServerEndpoint:
        """
        The same layers over another endpoint.
        """
        if isinstance(self.endpoint, LayeredEndpoint):
            return self.endpoint.over(bottom)
        return bottom


def listenString(
    reactor: Any,
    description: str,
    proxyFrom: Sequence[IPv4Network | IPv6Network] = (),
    bottom: IStreamServerEndpoint | None = None,
) -> Listening:
    """
    Make an endpoint of its string.

    C{haproxy:ssl:…} expects the PROXY header in the clear, before TLS, which is how
    HAProxy sends it.

    @param proxyFrom: who may send a PROXY header; everybody, if empty.
    @param bottom: what takes the place of all that is under TLS and PROXY, for whoever
        was handed a socket that listens already.
    @raise ValueError: if the string is no endpoint's.
    """
    try:
        return _listening(reactor, description, proxyFrom, bottom)
    except Exception as error:
        # Every kind of endpoint has errors of its own.
        raise ValueError(
            f"{description!r} is no endpoint: {str(error) or type(error).__name__};"
            " such as tcp:7007, tcp6:7007, unix:/run/echo.sock or"
            " ssl:7007:privateKey=key.pem"
        ) from error


def _listening(
    reactor: Any,
    description: str,
    proxyFrom: Sequence[IPv4Network | IPv6Network],
    bottom: IStreamServerEndpoint | None,
) -> Listening:
    words, named = endpoints._parse(description)
    if not words:
        raise ValueError("no type of endpoint, such as tcp")
    isProxied = words[0] == "haproxy"
    if isProxied:
        words = words[1:]
        if words[:1] == ["haproxy"]:
            raise ValueError("one PROXY header is all that is expected")

    def plain(words: Sequence[str], named: dict[str, str]) -> Listening:
        string = _string(words, named)
        try:
            return Listening(bottom or serverFromString(reactor, string), string)
        except LookupError as error:
            if words[:1] != ["systemd"]:
                raise
            raise ValueError(
                "systemd has handed down no socket of this index or name"
            ) from error

    if words[:1] == ["ssl"]:
        listening = _withTLS(plain, words[1:], named)
    else:
        listening = plain(words, named)
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


def _string(words: Sequence[str], named: dict[str, str]) -> str:
    # In a word without a name an equals sign would end one.
    parts = [quoteStringArgument(word).replace("=", "\\=") for word in words]
    parts += [f"{key}={quoteStringArgument(each)}" for key, each in named.items()]
    return ":".join(parts)


def _arguments(words: Sequence[str], named: dict[str, str]) -> dict[str, str]:
    """
    What the words of an C{ssl:} string mean, by Twisted's own names for them.
    """
    names = list(signature(endpoints._parseSSL).parameters)[1:]
    if len(words) > len(names):
        raise ValueError(f"ssl: has {len(names)} words at most, {words[-1]!r} is over")
    arguments = dict(zip(names, words, strict=False))
    for name in named:
        if name not in names:
            raise ValueError(f"ssl: has no {name!r}, only {', '.join(names)}")
        if name in arguments:
            raise ValueError(f"ssl: has its {name} twice")
    arguments |= named
    if not arguments.get("port"):
        raise ValueError("ssl: needs a port")
    arguments.setdefault("privateKey", "server.pem")
    return arguments


def _withTLS(
    plain: Callable[[Sequence[str], dict[str, str]], Listening],
    words: Sequence[str],
    named: dict[str, str],
) -> Listening:
    try:
        from OpenSSL import SSL, crypto

        from twisted_echo.tls import Certificates, TLSFactory
    except ImportError as error:
        raise ImportError(f"ssl: needs the extra 'tls' ({error})") from None

    arguments = _arguments(words, named)

    def load() -> Any:
        with open(arguments["privateKey"], "rb") as key:
            if b"ENCRYPTED" in key.read():
                # OpenSSL would ask for the pass phrase, with the reactor waiting.
                raise ValueError("the key is encrypted; it must be readable as it is")
        try:
            parsed, _ = endpoints._parseSSL(None, **arguments)
            # Now, for some of what is wrong is found by this alone.
            parsed[2].getContext()
        except (SSL.Error, crypto.Error) as error:
            why = "; ".join(str(each[-1]) for each in error.args[0] if each[-1])
            raise ValueError(f"the key or a certificate is broken: {why}") from None
        return parsed[2]

    certificates = Certificates(load)
    port = arguments["port"]
    tcp = {
        key: each for key, each in arguments.items() if key not in ("port", *_TLS_WORDS)
    }
    listening = plain(["tcp", port], tcp)
    listening.endpoint = LayeredEndpoint(
        listening.endpoint, lambda factory: TLSFactory(factory, certificates)
    )
    listening.certificates = certificates
    listening.files = [
        arguments[word] for word in _FILE_WORDS if arguments.get(word) is not None
    ]
    return listening
