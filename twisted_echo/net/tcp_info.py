"""
How far a connection's bytes have got, as its transport and the kernel know it.
"""

import socket
import struct
import sys
from contextlib import suppress
from typing import Any, NamedTuple

from twisted.protocols.policies import ProtocolWrapper

from twisted_echo.net.sockets import bottomTransport

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:
    ioctl = None  # type: ignore[assignment]

from twisted_echo.twisted_internals import require

__all__ = [
    "TCPState",
    "giveUpHeld",
    "heldBytes",
    "outputProgress",
    "pendingOutput",
    "queuedOutput",
    "tcpState",
]

require(__name__)


class TCPState(NamedTuple):
    """
    What the kernel knows of a TCP connection.

    @ivar acknowledged: how many bytes the peer has acknowledged so far.
    @ivar quiet: seconds since it sent or received data last.
    """

    acknowledged: int
    quiet: float


def tcpState(transport: Any) -> TCPState | None:
    """
    Ask the kernel (C{struct tcp_info} of C{linux/tcp.h}); None where it does not
    tell.
    """
    getHandle = getattr(bottomTransport(transport), "getHandle", None)
    handle = getHandle() if getHandle is not None else None
    if (
        not isinstance(handle, socket.socket)
        or handle.family not in (socket.AF_INET, socket.AF_INET6)
        or not hasattr(socket, "TCP_INFO")
    ):
        return None
    try:
        info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
        sent, _, received = struct.unpack_from("3I", info, 44)
        (acknowledged,) = struct.unpack_from("Q", info, 120)
    except (OSError, struct.error):
        return None
    return TCPState(acknowledged, min(sent, received) / 1000)


def outputProgress(transport: Any) -> object:
    """
    What changes when the peer takes something of the output that waits.
    """
    state = tcpState(transport)
    if state is not None:
        return state.acknowledged
    bottom = bottomTransport(transport)
    data = getattr(bottom, "dataBuffer", None)
    return id(data), getattr(bottom, "offset", 0), queuedOutput(transport)


def queuedOutput(transport: Any) -> int:
    """
    How many bytes the kernel holds that the peer has not acknowledged, or, at the
    other end of a UNIX socket, not read; 0 where it does not tell.
    """
    if ioctl is not None:
        with suppress(AttributeError, OSError, TypeError):
            descriptor = bottomTransport(transport).fileno()
            return int.from_bytes(ioctl(descriptor, TIOCOUTQ, bytes(4)), sys.byteorder)
    return 0


def pendingOutput(transport: Any) -> int:
    """
    How many bytes wait in a transport of Twisted, under its layers, for the kernel
    to take them.
    """
    bottom = bottomTransport(transport)
    sent: int = bottom.offset if getattr(bottom, "dataBuffer", b"") else 0
    return _buffered(bottom) - sent


def _buffered(bottom: Any) -> int:
    size = len(getattr(bottom, "dataBuffer", b""))
    if gathered := getattr(bottom, "_tempDataBuffer", ()):
        size += sum(map(len, gathered))
    return size


def heldBytes(holder: Any) -> int:
    """
    How many bytes this process holds for a session, or for a connection that is to
    become one: input that waits to be answered, answers that wait for their turn, and
    output that waits for the kernel, in all layers. (A buffer is held as a whole until
    the kernel has taken all of it.) What OpenSSL holds, it does not tell.
    """
    held: int = holder.ownBytes()
    transport = holder.transport
    while isinstance(transport, ProtocolWrapper):
        # A layer of this package, or another one.
        ownBytes = getattr(transport, "ownBytes", None)
        if ownBytes is not None:
            held += ownBytes()
        transport = transport.transport
    return held + _buffered(transport)


def giveUpHeld(session: Any) -> None:
    """
    Release what is held for an aborted session now: its connection is closed only in
    the next turn of the reactor.
    """
    session.discardInput()
    forgetInput = getattr(session, "forgetInput", None)
    if forgetInput is not None:
        forgetInput()
    bottom = bottomTransport(session.transport)
    if hasattr(bottom, "_tempDataBuffer"):
        bottom.dataBuffer, bottom.offset = b"", 0
        bottom._tempDataBuffer, bottom._tempDataLen = [], 0
