"""
The admin port of C{--admin}, made of its endpoint string. Needs prometheus-client
(extra C{metrics}).
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTime, IStreamServerEndpoint

from twisted_echo.admin.pages import AdminServer
from twisted_echo.admin.status_view import StatusSource
from twisted_echo.command.certificate_reload import certificatesOf, reload
from twisted_echo.command.options import option_parsers
from twisted_echo.endpoints.layered_endpoint import LayeredEndpoint
from twisted_echo.endpoints.strings import (
    BadEndpoint,
    ParsedEndpoint,
    checkDistinctSockets,
    parseEndpoint,
)
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.expiry import ExpiryWatch, notAfter
from twisted_echo.tls.site import TLSSite

__all__ = ["ReloadableAdmin", "adminPort"]

_CHECKED = ("tcp", "tcp6", "unix", "ssl", "tls", "systemd", "haproxy", "stdio")
"""
The kinds whose errors this package explains better than Twisted.
"""
_EXAMPLES = "9100, tcp:9100:interface=127.0.0.1 or unix:/run/echo-admin.sock"


class _ExplainedError(ValueError):
    """
    An error whose message says all that its user needs.
    """


class ReloadableAdmin(AdminServer):
    """
    The pages on an endpoint, whose certificates can be loaded again.
    """

    def __init__(
        self,
        endpoint: IStreamServerEndpoint,
        reactor: IReactorTime,
        secured: ParsedEndpoint | None = None,
        listening: Sequence[ParsedEndpoint] = (),
    ) -> None:
        """
        @param secured: what has the certificates, if there are some.
        @param listening: the endpoints of the service, which warns of theirs itself.
        """
        super().__init__(endpoint, reactor)
        self._secured = secured
        self._expiry = ExpiryWatch(
            lambda: self._certificates,
            reactor,
            besides=lambda: certificatesOf(listening),
        )

    @property
    def _certificates(self) -> list[Certificates]:
        return [] if self._secured is None else certificatesOf([self._secured])

    @property
    def notAfter(self) -> dict[str, int]:
        """
        When the certificates expire: L{notAfter<twisted_echo.tls.expiry.notAfter>}.
        """
        return notAfter(self._certificates)

    def open(self, source: StatusSource) -> "Deferred[None]":
        """
        Listen, and warn of certificates that expire.
        """
        self._expiry.start()
        return super().open(source)

    def close(self) -> "Deferred[None]":
        self._expiry.stop()
        return super().close()

    @property
    def canReload(self) -> bool:
        """
        Whether there are certificates.
        """
        return self._secured is not None

    def reload(self) -> None:
        """
        Load them again, for connections that are still to come.
        """
        if self._secured is not None:
            reload([self._secured])


def adminPort(
    reactor: IReactorTime, text: str, listening: Sequence[ParsedEndpoint]
) -> ReloadableAdmin:
    """
    Make the admin port of its endpoint string. Every kind that has a port is allowed,
    because Twisted's own web server serves it.

    @param listening: the endpoints that may use other sockets of systemd's.
    @raise ValueError: if there is none such; without the name of the option.
    """
    secured = certificates = None
    try:
        described = option_parsers.adminEndpoint(text)
        if described.partition(":")[0].lower() in _CHECKED:
            found = _checked(reactor, described, text, listening)
            if found.certificates is not None and not found.isProxied:
                secured, described = found, found.plainDescription
                certificates = found.certificates
        endpoint = serverFromString(reactor, described)
    except _ExplainedError:
        raise
    except Exception as error:
        # Every kind of endpoint has errors of its own.
        why = str(error) or type(error).__name__
        raise ValueError(
            f"{text!r} is not an endpoint: {why}; such as {_EXAMPLES}"
        ) from None
    if certificates is not None:
        endpoint = LayeredEndpoint(
            endpoint, lambda site: TLSSite(site, certificates, reactor)
        )
    return ReloadableAdmin(endpoint, reactor, secured, listening)


def _checked(
    reactor: IReactorTime,
    described: str,
    text: str,
    listening: Sequence[ParsedEndpoint],
) -> ParsedEndpoint:
    """
    Parse the endpoint string of the admin port, and check it.

    @param described: the endpoint string that was made of the user's C{text}.
    @raise _ExplainedError: if it is not an endpoint string, or names a socket that
        another endpoint uses.
    """
    try:
        found = parseEndpoint(reactor, described)
        checkDistinctSockets([*listening, found])
    except BadEndpoint as error:
        raise _ExplainedError(error.messageFor(text, _EXAMPLES)) from None
    except ValueError as error:
        raise _ExplainedError(str(error)) from None
    return found
