"""
Ask any transport of Twisted's about its connection, whatever it can tell.

C{ITransport} promises little. Whether a connection has a socket, can be aborted or
half-closed, and how much it still has to send: some transports tell, others do not.
Each function here asks one such question, and answers for transports that do not tell.

What must hold: no function raises because a transport lacks something, and no other
module asks a transport for a name that it may not have.
"""

import socket
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    ISSLTransport,
    ITransport,
)
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import Interface, directlyProvides, providedBy
from zope.interface.declarations import Declaration

from twisted_echo.twisted_internals.check import require

try:
    from fcntl import ioctl
except ImportError:
    ioctl = None  # type: ignore[assignment]

__all__ = [
    "BufferingLayer",
    "abort",
    "bottomTransport",
    "bufferedOutput",
    "canHalfClose",
    "discardOutput",
    "endOutput",
    "hasOutput",
    "isClosing",
    "isConnected",
    "isGone",
    "isOpen",
    "isReadWithoutCalls",
    "isReadingNow",
    "kernelQueue",
    "layerBuffers",
    "outputPosition",
    "peerOf",
    "pendingOutput",
    "producerOf",
    "provideAs",
    "receiverOf",
    "replaceReceiver",
    "sentBytes",
    "showsOutput",
    "socketOf",
    "takesProducers",
    "tcpSocketOf",
]

require(__name__)


# Layers


class BufferingLayer:
    """
    A layer that holds bytes of its own; a base class of those of this package.
    """

    def ownBytes(self) -> int:
        """
        The number of bytes that this layer itself holds.
        """
        return 0


def bottomTransport(transport: ITransport | None) -> Any:
    """
    The transport under the layers (TLS, PROXY) that wrap it.
    """
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def layerBuffers(transport: ITransport | None) -> int:
    """
    The number of bytes that the layers over the bottom transport hold.
    """
    held = 0
    while isinstance(transport, ProtocolWrapper):
        if isinstance(transport, BufferingLayer):
            held += transport.ownBytes()
        transport = transport.transport
    return held


def provideAs(
    wrapper: ProtocolWrapper,
    transport: ITransport,
    without: type[Interface] | None = None,
) -> None:
    """
    Make a wrapper provide the interfaces of the transport that it wraps, in addition to
    those of its class.

    @param without: an interface that it does not provide.
    """
    kind: Any = type(wrapper)
    wrapper.__provides__ = _provides(kind, providedBy(transport), without)  # type: ignore[attr-defined]


@lru_cache(64)
def _provides(kind: Any, provided: Declaration, without: type[Interface] | None) -> Any:
    # Expensive to make; one made for an instance is good for all of its class.
    one = kind.__new__(kind)
    directlyProvides(one, provided if without is None else provided - without)
    return one.__provides__


def receiverOf(transport: ITransport | None) -> object:
    """
    The protocol that a transport, or a layer, gives its input to.
    """
    if isinstance(transport, ProtocolWrapper):
        return transport.wrappedProtocol
    return getattr(transport, "protocol", None)


def replaceReceiver(transport: ITransport, protocol: IProtocol) -> None:
    """
    Give the input of a transport, or of a layer, to another protocol.
    """
    name = "wrappedProtocol" if isinstance(transport, ProtocolWrapper) else "protocol"
    setattr(transport, name, protocol)


# The connection


def isGone(transport: ITransport | None) -> bool:
    """
    Whether the connection is lost. False for a transport that does not tell.
    """
    # (Twisted's StringTransport says that it is both when it was aborted.)
    bottom = bottomTransport(transport)
    return bool(
        getattr(bottom, "disconnected", False)
        and not getattr(bottom, "connected", True)
    )


def isConnected(transport: ITransport | None) -> bool:
    """
    Whether a transport says that it is connected. (A port says it while it listens.)
    """
    return bool(getattr(transport, "connected", False))


def isReadingNow(transport: ITransport | None) -> bool:
    """
    Whether this is called from within a transport's C{doRead}: the eager ones tell.
    """
    return bool(getattr(transport, "isGathering", False))


def isOpen(transport: ITransport | None) -> bool:
    """
    Whether a connection is not lost. False for a transport that does not tell.
    """
    return not getattr(transport, "disconnected", True) and hasattr(
        bottomTransport(transport), "fileno"
    )


def isClosing(transport: ITransport | None) -> bool:
    """
    Whether C{loseConnection} was called on this transport (not on those below it).
    """
    return bool(getattr(transport, "disconnecting", False))


def abort(transport: ITransport) -> None:
    """
    End a connection with a reset, or in order if its transport can only do that.
    """
    getattr(transport, "abortConnection", transport.loseConnection)()


def canHalfClose(transport: ITransport | None) -> bool:
    """
    Whether the output can be ended while input still comes.
    """
    return hasattr(transport, "loseWriteConnection")


def endOutput(transport: ITransport) -> None:
    """
    Send an end-of-file and go on reading, or close if the transport can only do that.
    """
    getattr(transport, "loseWriteConnection", transport.loseConnection)()


def peerOf(transport: ITransport | None) -> IAddress | None:
    """
    The address at the other end; None if the transport does not tell.
    """
    getPeer = getattr(transport, "getPeer", None)
    return None if getPeer is None else getPeer()


def takesProducers(transport: ITransport | None) -> bool:
    """
    Whether a producer can be registered with a transport.
    """
    return hasattr(transport, "registerProducer")


def producerOf(transport: ITransport | None) -> Any:
    """
    The producer that is registered with the bottom transport; None if there is none,
    or the transport does not tell.
    """
    return getattr(bottomTransport(transport), "producer", None)


# The socket


def socketOf(transport: ITransport | None) -> socket.socket | None:
    """
    The socket of a connection, if it has one.
    """
    getHandle = getattr(bottomTransport(transport), "getHandle", None)
    handle = getHandle() if getHandle is not None else None
    return handle if isinstance(handle, socket.socket) else None


def tcpSocketOf(transport: ITransport | None) -> socket.socket | None:
    """
    The socket of a TCP connection; None for a connection of another kind.
    """
    handle = socketOf(transport)
    if handle is None:
        return None
    # (The attributes of a `socket` make an enumeration member each; these are numbers.)
    if super(socket.socket, handle).family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return handle if super(socket.socket, handle).type == socket.SOCK_STREAM else None


def kernelQueue(transport: ITransport | None, request: int) -> int:
    """
    The number of bytes in one of the kernel's two queues of a connection; 0 where the
    kernel does not tell.

    @param request: C{FIONREAD} for input, C{TIOCOUTQ} for output.
    """
    if ioctl is not None:
        with suppress(AttributeError, OSError, TypeError, ValueError):
            descriptor = bottomTransport(transport).fileno()
            return int.from_bytes(ioctl(descriptor, request, bytes(4)), sys.byteorder)
    return 0


# The output, in this process. A transport of Twisted's keeps it as `dataBuffer`, sent
# up to `offset`, and what was written since as `_tempDataBuffer`.


def sentBytes(transport: ITransport | None) -> int | None:
    """
    How many bytes the kernel, or the TLS of this package, has taken; None if the
    transport does not count them, or counts them encrypted.
    """
    sent: int | None = getattr(transport, "bytesSent", None)
    if sent is None or getattr(transport, "TLS", False):
        return None
    # A TLS layer that does not count hands on what the transport below it counts.
    isHandedOn = not hasattr(type(transport), "bytesSent")
    return None if isHandedOn and ISSLTransport.providedBy(transport) else sent


def showsOutput(transport: ITransport | None) -> bool:
    """
    Whether a transport tells what it still has to send.
    """
    return hasattr(transport, "dataBuffer") and hasattr(transport, "_tempDataBuffer")


def isReadWithoutCalls(transport: ITransport | None) -> bool:
    """
    Whether a transport has the attributes that tell, without a call, whether output
    waits and whether the connection is lost.
    """
    return showsOutput(transport) and hasattr(transport, "disconnected")


def hasOutput(transport: ITransport | None) -> bool:
    """
    Whether the kernel has not yet taken everything that was written.
    """
    return bool(
        getattr(transport, "dataBuffer", b"")
        or getattr(transport, "_tempDataBuffer", ())
    )


def bufferedOutput(transport: ITransport | None) -> int:
    """
    The size of the bottom transport's buffers, each of which is held until it is sent.
    """
    bottom = bottomTransport(transport)
    size = len(getattr(bottom, "dataBuffer", b""))
    if gathered := getattr(bottom, "_tempDataBuffer", ()):
        size += sum(map(len, gathered))
    return size


def pendingOutput(transport: ITransport | None) -> int:
    """
    The number of bytes that the bottom transport holds and the kernel has not taken.
    """
    bottom = bottomTransport(transport)
    sent: int = bottom.offset if getattr(bottom, "dataBuffer", b"") else 0
    return bufferedOutput(bottom) - sent


def outputPosition(transport: ITransport | None) -> object:
    """
    A value that changes when the kernel takes some of the output.
    """
    bottom = bottomTransport(transport)
    return id(getattr(bottom, "dataBuffer", None)), getattr(bottom, "offset", 0)


def discardOutput(transport: ITransport | None) -> None:
    """
    Drop what the kernel has not taken, when a connection is being aborted.
    """
    bottom = bottomTransport(transport)
    if showsOutput(bottom):
        bottom.dataBuffer, bottom.offset = b"", 0
        bottom._tempDataBuffer, bottom._tempDataLen = [], 0
