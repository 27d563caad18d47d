"""
The TLS settings of a server, which can be reloaded.

What must hold: connections that are made after a reload have the new settings, all of
them; what cannot be loaded leaves the old ones in place.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from twisted_echo.tls.x509 import Certificate
from twisted_echo.validation.checks import callback

__all__ = ["Certificates", "TLSSettings", "certificatesOf"]


@dataclass(frozen=True)
class TLSSettings:
    """
    The TLS settings that new connections get.

    @ivar context: of the standard library, for servers.
    @ivar requiresProtocol: whether a client is closed after its handshake if it has no
        ALPN protocol in common with the server.
    @ivar chains: the certificates that the server presents, each with its file: those
        whose end the metrics and the log tell.
    @ivar files: the files that it was loaded from, folders included.
    @ivar named: the contexts that take its place for some names (SNI).
    """

    context: ssl.SSLContext
    requiresProtocol: bool = False
    chains: tuple[tuple[str, Certificate], ...] = ()
    files: tuple[str, ...] = ()
    named: tuple[ssl.SSLContext, ...] = ()

    def __post_init__(self) -> None:
        """
        @raise TypeError: if the context is none of the standard library's.
        @raise ValueError: if it is for clients.
        """
        if not isinstance(self.context, ssl.SSLContext):
            _refuse("context", self.context)
        for each in self.chains:
            if not (
                isinstance(each, tuple)
                and [type(part) for part in each] == [str, Certificate]
            ):
                raise TypeError(
                    "chains must hold a file's name and an x509.Certificate each,"
                    f" got {each!r}"
                )
        if self.context.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                "context must be for servers, such as"
                " ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),"
                " got one for clients"
            )


class Certificates:
    """
    The key, the certificates and the other TLS settings of a server.

    @ivar settings: the settings that new connections get.
    @ivar watchers: functions that are called when they were loaded again.
    """

    settings: TLSSettings

    def __init__(self, load: Callable[[], ssl.SSLContext | TLSSettings]) -> None:
        """
        @param load: reads the files and makes an C{ssl.SSLContext} of them.
        @raise Exception: what C{load} raises.
        """
        self._load = callback("load", load)
        self.watchers: set[Callable[[], object]] = set()
        self.reload()

    @property
    def context(self) -> ssl.SSLContext:
        """
        The context of new connections.
        """
        return self.settings.context

    def reload(self) -> None:
        """
        Load everything again, for new connections.

        @raise Exception: what C{load} raises; the settings that were loaded before
            stay.
        """
        loaded = self._load()
        self.settings = (
            loaded if isinstance(loaded, TLSSettings) else TLSSettings(loaded)
        )
        for watcher in list(self.watchers):
            watcher()


def certificatesOf(
    given: "ssl.SSLContext | TLSSettings | Certificates",
) -> Certificates:
    """
    Take certificates in any of the forms in which embedders may give them.

    @raise TypeError: if it is neither a context of the standard library nor a
        L{TLSSettings} or L{Certificates}.
    @raise ValueError: if it is a context for clients.
    """
    if isinstance(given, Certificates):
        return given
    if not isinstance(given, ssl.SSLContext | TLSSettings):
        _refuse("certificates", given)
    return Certificates(lambda: given)


def _refuse(name: str, given: object) -> NoReturn:
    kind = type(given)
    message = (
        f"{name} must be an ssl.SSLContext or what twisted_echo.tls offers,"
        f" got {kind.__module__}.{kind.__qualname__}"
    )
    if kind.__module__.startswith(("OpenSSL.", "twisted.")):
        message += (
            ", which stands on pyOpenSSL: make an"
            " ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) of the standard library and give"
            " it the same files by load_cert_chain and load_verify_locations"
        )
    raise TypeError(message)
