"""
Options of a connection's socket: C{TCP_NODELAY} and keep-alive.
"""

import socket
from dataclasses import dataclass
from functools import cached_property

from twisted.internet.interfaces import ITransport

from twisted_echo.eager.optional_interfaces import SocketOptions
from twisted_echo.eager.tcp_transports import NO_DELAY, EagerServer
from twisted_echo.net.transport_queries import tcpSocketOf
from twisted_echo.validation.checks import whole

__all__ = ["KeepAlive", "socketOptions", "tuneSocket"]

_KEEP_ALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
_NO_KEEP_ALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)

# macOS names the idle time TCP_KEEPALIVE. A platform may lack any of them.
_KEEP_ALIVE_OPTIONS = (
    (getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None)), "idle"),
    (getattr(socket, "TCP_KEEPINTVL", None), "interval"),
    (getattr(socket, "TCP_KEEPCNT", None), "count"),
)


@dataclass(frozen=True)
class KeepAlive:
    """
    When the kernel probes a silent peer (C{tcp(7)}).

    With the defaults, a peer that has vanished is noticed after two minutes. With the
    kernel's own it holds its connection for more than two hours.

    @ivar idle: seconds of silence before the first probe.
    @ivar interval: seconds between two probes.
    @ivar count: the number of unanswered probes after which the connection is lost.
    """

    idle: int = 60
    interval: int = 10
    count: int = 6

    def __post_init__(self) -> None:
        # The kernel's bounds: MAX_TCP_KEEPIDLE, -INTVL and -CNT of Linux.
        for name, most in (("idle", 32767), ("interval", 32767), ("count", 127)):
            value = whole(
                f"keep-alive {name}",
                getattr(self, name),
                f" from 1 to {most}",
                least=1,
                most=most,
            )
            object.__setattr__(self, name, value)

    @cached_property
    def options(self) -> SocketOptions:
        """
        The same as L{socketOptions}.
        """
        times = (
            (socket.IPPROTO_TCP, option, getattr(self, name))
            for option, name in _KEEP_ALIVE_OPTIONS
            if option is not None
        )
        return (NO_DELAY, _KEEP_ALIVE, *times)


def socketOptions(keepAlive: KeepAlive | None) -> SocketOptions:
    """
    The options of a new TCP socket, each as the arguments of C{setsockopt}.

    @param keepAlive: None for none.
    """
    return (NO_DELAY,) if keepAlive is None else keepAlive.options


def tuneSocket(transport: ITransport, keepAlive: KeepAlive | None) -> None:
    """
    Give a TCP transport its L{socketOptions}; leave any other alone. The system is not
    called if the socket is known to have inherited them.

    @param keepAlive: None turns keep-alive off: it may have been turned on for the
        listening socket.
    """
    options = socketOptions(keepAlive)
    if isinstance(transport, EagerServer) and transport.handedDown == options:
        return
    handle = tcpSocketOf(transport)
    if handle is None:
        return
    if keepAlive is None:
        options = (*options, _NO_KEEP_ALIVE)
    for option in options:
        try:
            handle.setsockopt(*option)
        except OSError:
            # The peer is gone, which some platforms report here; the next read will
            # report it, too.
            return
