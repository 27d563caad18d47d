"""
C{startTLS}: TLS that begins in the middle of a session.

What must hold: while a session lasts, the C{startTLS} of its transport is its own, and
afterwards no reference to the session is left in the transport.
"""

from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ITLSTransport, ITransport
from twisted.internet.tcp import BaseClient, Connection
from zope.interface import alsoProvides, implementer

from twisted_echo.eager.optional_interfaces import IProtocolWithTLS
from twisted_echo.eager.sending import EagerMixin
from twisted_echo.net.transport_queries import (
    bottomTransport,
    receiverOf,
    replaceReceiver,
)
from twisted_echo.session.starttls.diversion import Methods, divert, restore
from twisted_echo.session.starttls.session_tls import SessionTLS
from twisted_echo.session.state import isTLS
from twisted_echo.tls.certificates import Certificates, TLSSettings, certificatesOf

__all__ = ["StartsTLS", "divertStartTLS", "restoreStartTLS"]


@implementer(IProtocolWithTLS)
class StartsTLS:
    """
    A session that can begin TLS in its middle.
    """

    factory: Any
    transport: Any
    _connection: Any
    if TYPE_CHECKING:

        @property
        def isGone(self) -> bool: ...

    def startTLS(self, certificates: Certificates | TLSSettings | SSLContext) -> None:
        """
        Begin TLS, as the server, when the client has been told to.

        What was written before goes out in the clear. What is written from now on waits
        for the end of the handshake, and is encrypted. What the client has sent already
        is dropped; a protocol with a buffer of its own overrides C{forgetInput} to
        empty it, and calls the inherited one if there is one. The handshake has the
        time that the factory's C{deadlines} allow. If it fails, the session ends.

        If the connection is lost already, nothing happens.

        @param certificates:
            L{Certificates<twisted_echo.tls.certificates.Certificates>}, which can be
            loaded again, or an C{ssl.SSLContext} for servers.
        @raise TypeError: if it is of another kind, such as Twisted's
            C{CertificateOptions}; or if the session is a client's, or has a transport
            that TLS cannot be put on. The session goes on in the clear.
        @raise ValueError: if it is a context for clients.
        @raise RuntimeError: if there is TLS already, or no factory.
        """
        taken = certificatesOf(certificates)
        if self.isGone:
            return
        transport = self._connection or self.transport
        if isTLS(transport):
            raise RuntimeError("TLS has begun already")
        if self.factory is None:
            raise RuntimeError(
                "TLS needs a session of a SessionFactory, whose deadlines bound the"
                " handshake"
            )
        if receiverOf(transport) is not self or isinstance(
            bottomTransport(transport), BaseClient
        ):
            raise TypeError(
                "TLS needs a connection that a server has accepted, and whose transport"
                f" gives its input to the session, got {transport!r}"
            )
        # (Of a mere context nothing is known that could be told, as of its end.)
        counts = self.factory.useTLS(taken if taken is certificates else None)
        session: Any = self
        tls = SessionTLS(session, transport, self.factory, taken.settings, counts)
        replaceReceiver(transport, tls)
        self.transport = tls
        if self._connection is not None:
            self._connection = tls
        tls.begin()

    def plainInputDropped(self) -> None:
        """
        Report that input was dropped which came in the clear behind the command that
        has begun TLS. It is counted and logged once for each session.
        """
        if isinstance(self.transport, SessionTLS):
            self.transport.plainInput.dropped()

    def startTLSByTransport(
        self, context: Certificates | TLSSettings | SSLContext, normal: bool = True
    ) -> None:
        """
        L{startTLS}, as C{transport.startTLS}, which protocols of Twisted's call.

        @raise TypeError: as L{startTLS}; or if C{normal} is false.
        """
        if not normal:
            raise TypeError("a session begins TLS as the server, got normal=False")
        self.startTLS(context)


def divertStartTLS(session: StartsTLS, transport: ITransport) -> None:
    """
    Replace the C{startTLS} of a session's transport by the session's.

    The eager transports ask the session themselves. Twisted's own always begin
    pyOpenSSL's TLS, and are made by ports which the session may not even know.
    """
    if isinstance(transport, EagerMixin):
        return
    bottom = bottomTransport(transport)
    if not isinstance(bottom, Connection) or isTLS(transport):
        return
    divert(bottom, _diverted(session))
    # Without pyOpenSSL, Twisted's transports do not provide it.
    for each in {bottom, transport}:
        if not ITLSTransport.providedBy(each):
            alsoProvides(each, ITLSTransport)


def restoreStartTLS(session: StartsTLS, transport: ITransport) -> None:
    """
    Give a transport its own C{startTLS} back.
    """
    if isinstance(transport, EagerMixin):
        return
    restore(bottomTransport(transport), _diverted(session))


def _diverted(session: StartsTLS) -> Methods:
    return {"startTLS": session.startTLSByTransport}
