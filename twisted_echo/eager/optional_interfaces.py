"""
Interfaces that producers, protocols and factories may provide to the eager transports.
"""

from typing import Any, TypeAlias

from zope.interface import Attribute, Interface

__all__ = [
    "IOutputObserver",
    "IProtocolWithTLS",
    "IWantsSocketOptions",
    "SocketOptions",
]

SocketOptions: TypeAlias = tuple[tuple[int, int, int], ...]
"""
Options of a socket, each as the arguments of C{setsockopt}.
"""


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


class IWantsSocketOptions(Interface):
    """
    A factory whose protocols set options of their TCP sockets. A port sets them before
    it listens, where accepted sockets inherit them, and its connections say so: see
    L{twisted_echo.eager.tcp_transports.EagerServer.handedDown}.
    """

    socketOptions = Attribute("The options, as L{SocketOptions}.")
