"""
Options of a connection's socket: C{TCP_NODELAY} and keep-alive.
"""

import socket
from dataclasses import dataclass
from functools import lru_cache

from twisted.internet.interfaces import ITransport

from twisted_echo.net.transport_queries import tcpSocketOf
from twisted_echo.validation.checks import whole

__all__ = ["KeepAlive", "tuneSocket"]


@dataclass(frozen=True, slots=True)
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


# macOS names the idle time TCP_KEEPALIVE. A platform may lack any of them.
_KEEP_ALIVE_OPTIONS = (
    (getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None)), "idle"),
    (getattr(socket, "TCP_KEEPINTVL", None), "interval"),
    (getattr(socket, "TCP_KEEPCNT", None), "count"),
)


def tuneSocket(transport: ITransport, keepAlive: KeepAlive | None) -> None:
    """
    Set C{TCP_NODELAY} and keep-alive on a TCP transport; leave any other alone.

    @param keepAlive: None for none.
    """
    handle = tcpSocketOf(transport)
    if handle is None:
        return
    for option in _optionsOf(keepAlive):
        try:
            handle.setsockopt(*option)
        except OSError:
            # The peer is gone, which some platforms report here; the next read will
            # report it, too.
            return


@lru_cache(8)
def _optionsOf(keepAlive: KeepAlive | None) -> tuple[tuple[int, int, int], ...]:
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    if keepAlive is not None:
        options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        options.extend(
            (socket.IPPROTO_TCP, option, getattr(keepAlive, name))
            for option, name in _KEEP_ALIVE_OPTIONS
            if option is not None
        )
    return tuple(options)
