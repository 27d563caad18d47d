"""
Interfaces that producers and protocols may provide to the eager transports.
"""

from typing import Any

from zope.interface import Interface

__all__ = ["IOutputObserver", "IProtocolWithTLS"]


class IOutputObserver(Interface):
    """
    A streaming producer that wants to know when output waits.
    """

    def outputWaits() -> None:
        """
        The kernel has not taken all that was written, or data was received while it had
        not. That is earlier than C{pauseProducing}, which Twisted calls at 64 KiB. This
        may abort the connection.
        """


class IProtocolWithTLS(Interface):
    """
    A protocol that begins TLS itself when its transport's C{startTLS} is called.
    """

    def startTLSByTransport(context: Any, normal: bool) -> None:
        """
        Begin TLS, with the arguments of C{ITLSTransport.startTLS}.
        """
