"""
The endpoints that C{--listen} takes: Twisted's endpoint strings, with layers of this
package for C{ssl:}, C{tls:} and C{haproxy:}.

What must hold: every connection is one of Twisted's own, or has the layers of this
package. A kind of endpoint of which that is not known is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.interfaces import (
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)

from twisted_echo.endpoints.layered_endpoint import LayeredEndpoint
from twisted_echo.endpoints.proxy_layer import Networks, ProxyFactory, checkNetworks
from twisted_echo.endpoints.string_options import Unusable, readString
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
from twisted_echo.validation.checks import InvalidSetting

__all__ = ["BadEndpoint", "ParsedEndpoint", "checkDistinctSockets", "parseEndpoint"]

_TLS_OPTIONS = {*PAIR_OPTIONS, *FOLDER_OPTIONS, *SHARED_OPTIONS}


class ParsedEndpoint:
    """
    An endpoint, made of its string.

    @ivar description: the string.
    @ivar endpoint: the endpoint, on which a L{SessionFactory} can listen.
    @ivar plainDescription: the string of the endpoint under the layers.
    @ivar isProxied: whether a PROXY header is expected.
    @ivar descriptor: the socket that systemd has handed down, else None.
    @ivar certificates: the certificates of C{ssl:} and C{tls:}, else None.
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
        The files from which the certificates were loaded last.
        """
        return [] if self.certificates is None else [*self.certificates.settings.files]

    def reload(self) -> None:
        """
        Load the certificates again, if there are some.

        @raise Exception: why they cannot be loaded; the loaded ones stay in use.
        """
        if self.certificates is not None:
            self.certificates.reload()

    def withPlainEndpoint(
        self, plainEndpoint: IStreamServerEndpoint
    ) -> IStreamServerEndpoint:
        """
        Make an endpoint with the same layers, on another endpoint.
        """
        if isinstance(self.endpoint, LayeredEndpoint):
            return self.endpoint.withPlainEndpoint(plainEndpoint)
        return plainEndpoint


_EXAMPLES = "tcp:7007, tcp6:7007, unix:/run/echo.sock or ssl:7007:privateKey=key.pem"


class BadEndpoint(ValueError):
    """
    A string is not an endpoint string, or not one to listen on.
    """

    def __init__(self, description: str, problem: str, examples: str = "") -> None:
        """
        @param problem: what is wrong, to be read after the string.
        @param examples: of strings that are right; none, if only a detail is wrong.
        """
        self._problem = problem
        self._hasExamples = bool(examples)
        super().__init__(self.messageFor(description, examples))

    def messageFor(self, description: str, examples: str) -> str:
        """
        The message, with the string as a user has written it, and other examples.
        """
        suchAs = f"; such as {examples}" if self._hasExamples else ""
        return f"{description!r}{self._problem}{suchAs}"


def parseEndpoint(
    reactor: IReactorTime,
    description: str,
    proxyFrom: Networks = (),
    plainEndpoint: IStreamServerEndpoint | None = None,
) -> ParsedEndpoint:
    """
    Make an endpoint of its string: C{tcp:}, C{tcp6:}, C{unix:}, C{systemd:}, C{ssl:} or
    C{tls:}, or C{haproxy:} before one of them. Other kinds, Twisted's and those of
    plugins, may wrap their connections in a way that sessions do not support. To use
    one all the same, pass the endpoint itself.

    C{haproxy:ssl:…} expects the PROXY header in the clear, before TLS, which is how
    HAProxy sends it.

    @param proxyFrom: the networks from which a PROXY header is accepted; from
        everywhere, if empty.
    @param plainEndpoint: is used under TLS and PROXY instead of the endpoint that the
        string names, for a caller that was handed a socket which listens already.
    @raise BadEndpoint: if the string is not an endpoint string, or not one to listen
        on: of another kind, with a file that is not a key or certificate, or for a
        socket of systemd's that is not as it says.
    @raise TypeError: if C{proxyFrom} holds anything but networks.
    """
    maker = _EndpointMaker(reactor, checkNetworks(proxyFrom), plainEndpoint)
    try:
        parsed = maker.make(description)
    except Unusable as error:
        raise BadEndpoint(description, f": {error}") from error.__cause__
    except Exception as error:
        # Every kind of endpoint has errors of its own.
        problem = f" is not an endpoint: {str(error) or type(error).__name__}"
        raise BadEndpoint(description, problem, _EXAMPLES) from error
    parsed.description = description
    return parsed


def checkDistinctSockets(parsed: Iterable[ParsedEndpoint]) -> None:
    """
    Check that no two endpoints are for one socket of systemd's.

    @raise ValueError: if two are.
    """
    seen: dict[int, str] = {}
    for each in parsed:
        if each.descriptor is None:
            continue
        if each.descriptor in seen:
            raise ValueError(
                f"{each.description!r} and {seen[each.descriptor]!r} are one socket of"
                " systemd's, which can be listened on once"
            )
        seen[each.descriptor] = each.description


@dataclass(frozen=True, slots=True)
class _EndpointMaker:
    """
    Makes endpoints of what strings say. See L{parseEndpoint}.
    """

    reactor: IReactorTime
    proxyFrom: Networks
    plainEndpoint: IStreamServerEndpoint | None

    def make(self, description: str) -> ParsedEndpoint:
        string = readString(description)
        if string.kind in ("ssl", "tls"):
            parsed = self._withTLS(string.kind, string.options)
        else:
            parsed = self._plain(string.kind, string.options)
        if string.isProxied:
            self._addProxyLayer(parsed)
        return parsed

    def _plain(self, kind: str, options: dict[str, str]) -> ParsedEndpoint:
        """
        Make an endpoint of Twisted's own, without layers.
        """
        parts = (
            f"{name}={quoteStringArgument(value)}" for name, value in options.items()
        )
        string = ":".join((kind, *parts))
        if self.plainEndpoint is not None:
            return ParsedEndpoint(self.plainEndpoint, string)
        if kind == "systemd":
            return self._adopted(string, options)
        return ParsedEndpoint(serverFromString(self.reactor, string), string)

    def _adopted(self, string: str, options: dict[str, str]) -> ParsedEndpoint:
        """
        Make an endpoint for a socket that systemd has handed down.
        """
        domain, index = options["domain"], options.get("index", "0")
        if domain not in ("INET", "INET6", "UNIX"):
            raise Unusable(f"domain must be INET, INET6 or UNIX, got {domain!r}")
        try:
            if int(index) < 0:
                raise LookupError
            endpoint = serverFromString(self.reactor, string)
        except LookupError as error:
            raise Unusable(
                "systemd has passed no socket of this index or name"
            ) from error
        try:
            checkListening(endpoint.fileno, endpoint.addressFamily)
        except ValueError as error:
            raise Unusable(f"the socket that systemd has passed {error}") from None
        parsed = ParsedEndpoint(endpoint, string)
        parsed.descriptor = endpoint.fileno
        return parsed

    def _withTLS(self, kind: str, options: dict[str, str]) -> ParsedEndpoint:
        """
        Make an endpoint of TCP with TLS over it.
        """
        tls = {name: each for name, each in options.items() if name in _TLS_OPTIONS}
        tcp = {name: each for name, each in options.items() if name not in tls}
        if kind == "tls":
            # Twisted's defaults.
            tcp = {"port": "443", "interface": "::"} | tcp
        try:
            certificates = certificates_of(tls)
        except (BadFile, InvalidSetting) as error:
            raise Unusable(str(error)) from None
        isIPv6 = ":" in tcp.get("interface", "")
        parsed = self._plain("tcp6" if isIPv6 else "tcp", tcp)
        parsed.endpoint = LayeredEndpoint(
            parsed.endpoint, lambda factory: TLSFactory(factory, certificates)
        )
        parsed.certificates = certificates
        return parsed

    def _addProxyLayer(self, parsed: ParsedEndpoint) -> None:
        def proxied(factory: IProtocolFactory) -> ProxyFactory:
            return ProxyFactory(factory, self.proxyFrom)

        inner = parsed.endpoint
        parsed.isProxied = True
        parsed.endpoint = (
            inner.withInnerLayer(proxied)
            if isinstance(inner, LayeredEndpoint)
            else LayeredEndpoint(inner, proxied)
        )
