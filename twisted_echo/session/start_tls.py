"""
C{startTLS}: TLS that begins in the middle of a session.

What must hold: while a session lasts, the C{startTLS} of its transport is its own, and
afterwards no reference to the session is left in the transport.
"""

from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ITLSTransport
from twisted.internet.tcp import BaseClient, Connection
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import alsoProvides, implementer

from twisted_echo.eager.interfaces import IProtocolWithTLS
from twisted_echo.eager.sending import EagerMixin
from twisted_echo.net.transport_queries import bottomTransport
from twisted_echo.session.session_tls import SessionTLS
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
            loaded anew, or an C{ssl.SSLContext} for servers.
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
                "TLS begins only in the sessions of a SessionFactory, which has the"
                " deadline of the handshake"
            )
        deliverer = "protocol"
        if isinstance(transport, ProtocolWrapper):
            deliverer = "wrappedProtocol"
        if getattr(transport, deliverer, None) is not self or isinstance(
            bottomTransport(transport), BaseClient
        ):
            raise TypeError(
                "TLS begins on a connection that a server has accepted and whose"
                f" transport has the session for its {deliverer}, got {transport!r}"
            )
        # (Of a mere context nothing is known that could be told, as of its end.)
        counts = self.factory.useTLS(taken if taken is certificates else None)
        tls = SessionTLS(self, transport, taken.settings, counts)
        setattr(transport, deliverer, tls)
        self.transport = tls
        if self._connection is not None:
            self._connection = tls
        tls.begin()

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


def divertStartTLS(session: StartsTLS, transport: Any) -> None:
    """
    Have the C{startTLS} of a session's transport be the session's. (The transports of
    the eager reactor ask the session themselves.)
    """
    if isinstance(transport, EagerMixin):
        return
    bottom: Any = bottomTransport(transport)
    if not isinstance(bottom, Connection) or isTLS(transport):
        return
    vars(bottom)["startTLS"] = session.startTLSByTransport
    # Twisted's lack it without pyOpenSSL.
    for each in {bottom, transport}:
        if not ITLSTransport.providedBy(each):
            alsoProvides(each, ITLSTransport)


def restoreStartTLS(transport: Any) -> None:
    """
    Forget the session.
    """
    vars(bottomTransport(transport)).pop("startTLS", None)
