"""
How far the output of a connection has got: what its peer has acknowledged, and what the
kernel still holds.
"""

import socket
import struct
from typing import NamedTuple

from twisted.internet.interfaces import ITransport

from twisted_echo.net.transport_queries import kernelQueue, outputPosition, tcpSocketOf

try:
    import termios
except ImportError:
    _OUTPUT_QUEUE = 0
else:
    _OUTPUT_QUEUE = termios.TIOCOUTQ

__all__ = ["TCPState", "outputProgress", "queuedOutput", "tcpState"]

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)


class TCPState(NamedTuple):
    """
    What the kernel knows of a TCP connection.

    @ivar acknowledged: how many bytes the peer has acknowledged so far.
    @ivar quiet: seconds since it sent or received data last.
    """

    acknowledged: int
    quiet: float


def tcpState(transport: ITransport) -> TCPState | None:
    """
    Ask the kernel for C{struct tcp_info} (C{linux/tcp.h}); None where it does not tell.
    """
    handle = tcpSocketOf(transport)
    if handle is None or _TCP_INFO is None:
        return None
    try:
        info = handle.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 128)
        sent, _, received = struct.unpack_from("3I", info, 44)
        (acknowledged,) = struct.unpack_from("Q", info, 120)
    except (OSError, struct.error):
        return None
    return TCPState(acknowledged, min(sent, received) / 1000)


def outputProgress(transport: ITransport) -> object:
    """
    A value that changes when the peer takes some of the pending output.
    """
    state = tcpState(transport)
    if state is not None:
        return state.acknowledged
    return outputPosition(transport), queuedOutput(transport)


def queuedOutput(transport: ITransport) -> int:
    """
    How many bytes the kernel holds that the peer has not acknowledged, or, at the
    other end of a UNIX socket, not read; 0 where it does not tell.
    """
    return kernelQueue(transport, _OUTPUT_QUEUE)
