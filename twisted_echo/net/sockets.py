"""
Options of the socket under a transport, where there is one.
"""

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import directlyProvides, providedBy

from twisted_echo.twisted_internals import require
from twisted_echo.validation.checks import whole

__all__ = [
    "HoldableSocket",
    "KeepAlive",
    "bottomTransport",
    "checkListening",
    "closePort",
    "deepenBacklog",
    "dropNewConnections",
    "isGone",
    "ownsSocket",
    "provideAs",
    "refuseNewConnections",
    "tuneSocket",
]

require(__name__)


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """
    When the kernel asks a silent peer whether it is still there (C{tcp(7)}).

    The defaults notice a peer that vanished after two minutes. The kernel's own
    take more than two hours, in which a dead peer holds its connection.

    @ivar idle: seconds of silence before the first question.
    @ivar interval: seconds between two questions.
    @ivar count: how many may stay unanswered before the connection is lost.
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


def checkListening(descriptor: int, family: int) -> None:
    """
    Tell whether a descriptor, which stays open, is of a stream socket that listens.

    @param family: its family, such as C{AF_INET}.
    @raise ValueError: if it is not, with what it is instead.
    """
    try:
        copy = os.dup(descriptor)
    except OSError:
        raise ValueError(f"as descriptor {descriptor} is not open") from None
    try:
        found = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise ValueError(f"as descriptor {descriptor} is no socket") from None
    with found:
        if found.family != family:
            is_, said = found.family.name, socket.AddressFamily(family).name
            raise ValueError(
                f"is a socket of {is_.removeprefix('AF_')}, not of"
                f" {said.removeprefix('AF_')}"
            )
        if found.type != socket.SOCK_STREAM:
            raise ValueError(f"is a socket of {found.type.name}, not of SOCK_STREAM")
        if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError("is a socket that does not listen")


def bottomTransport(transport: Any) -> Any:
    """
    The transport under the layers (TLS, PROXY) that wrap it.
    """
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def provideAs(wrapper: Any, transport: Any, without: Any = None) -> None:
    """
    Have a wrapper provide the interfaces of the transport that it wraps, beside those
    of its class.

    @param without: an interface that it does not provide.
    """
    kind: Any = type(wrapper)
    wrapper.__provides__ = _provides(kind, providedBy(transport), without)


@lru_cache(64)
def _provides(kind: Any, provided: Any, without: Any) -> Any:
    # Made for one, it is good for all of its class, and dear to make.
    one = kind.__new__(kind)
    directlyProvides(one, provided if without is None else provided - without)
    return one.__provides__


def isGone(transport: Any) -> bool:
    """
    Tell whether a transport of Twisted's has lost its connection. (One that cannot
    tell has not.)
    """
    bottom = bottomTransport(transport)
    return bool(
        getattr(bottom, "disconnected", False)
        and not getattr(bottom, "connected", True)
    )


def tuneSocket(transport: Any, keepAlive: KeepAlive | None) -> None:
    """
    Set C{TCP_NODELAY} and keep-alive on a TCP transport; leave any other alone.

    @param keepAlive: None for none.
    """
    getHandle = getattr(bottomTransport(transport), "getHandle", None)
    handle = getHandle() if getHandle is not None else None
    if not (
        isinstance(handle, socket.socket)
        and handle.family in (socket.AF_INET, socket.AF_INET6)
        and handle.type == socket.SOCK_STREAM
    ):
        return
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    if keepAlive is not None:
        options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        options.extend(
            (socket.IPPROTO_TCP, option, getattr(keepAlive, name))
            for option, name in _KEEP_ALIVE_OPTIONS
            if option is not None
        )
    for option in options:
        try:
            handle.setsockopt(*option)
        except OSError:
            # The peer is gone already, which some platforms report here.
            # Whoever reads next will see it too.
            return


# What an endpoint has that named no backlog.
_TWISTED_BACKLOG = 50
# More than any kernel allows; it takes the most that it does.
_DEEPEST_BACKLOG = 65535


def deepenBacklog(port: Any) -> None:
    """
    Let as many connections wait for a Twisted port as the kernel allows
    (C{net.core.somaxconn}), unless its endpoint named a number of its own or it
    listens on a socket that somebody else opened.

    With Twisted's 50 a burst of 1,500 clients leaves some to try again after a
    second; with the kernel's 4,096, none.
    """
    if ownsSocket(port) and getattr(port, "backlog", None) == _TWISTED_BACKLOG:
        port.socket.listen(_DEEPEST_BACKLOG)


class HoldableSocket:
    """
    A listening socket that seems to have an empty backlog while it is held.

    A port of Twisted's accepts a batch of connections at a time, 100 to begin with, and
    does not end it when it is paused. With this for its C{socket} it does.

    @ivar listening: the socket itself.
    @ivar problem: the C{errno} for which its last C{accept} gave no connection; None if
        it did. Twisted's ports do not tell. (An exception would keep the frames that it
        went through, and with them the last connection.)
    """

    problem: int | None = None

    def __init__(self, listening: Any, isHeld: Callable[[], bool]) -> None:
        """
        @param isHeld: asked before each connection.
        """
        self.listening = listening
        self._isHeld = isHeld

    def accept(self) -> Any:
        """
        Accept the next connection.

        @raise BlockingIOError: if there is none, or the socket is held.
        """
        try:
            if self._isHeld():
                raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
            accepted = self.listening.accept()
        except OSError as problem:
            self.problem = problem.errno
            raise
        self.problem = None
        return accepted

    def __getattr__(self, name: str) -> Any:
        return getattr(self.listening, name)


def ownsSocket(port: Any) -> bool:
    """
    Tell whether a Twisted port listens on a socket of its own, or on an adopted one
    whose backlog no other process will serve.
    """
    return bool(
        getattr(port, "_shouldShutdown", False) or getattr(port, "ownsBacklog", False)
    )


_SO_ATTACH_FILTER = 26
# A filter that a listening socket applies to what comes for it, in the classic BPF
# of socket(7): load byte 13 of the TCP header, the flags; if SYN is among them, keep
# 0 bytes of the packet; else all.
_NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),
        (0x45, 0, 1, 2),
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 0xFFFFFFFF),
    )
)


def dropNewConnections(listening: socket.socket) -> None:
    """
    Have the kernel begin no more connections with a listening TCP socket, while
    those in its backlog can still be accepted. On Linux; elsewhere nothing
    happens.

    Between the last C{accept} and C{close} the kernel would go on connecting
    clients, only to reset them. With their first packet dropped they try again
    after a second, and find the port closed.
    """
    if sys.platform != "linux" or listening.family not in (
        socket.AF_INET,
        socket.AF_INET6,
    ):
        return
    code = ctypes.create_string_buffer(_NO_SYN)
    program = struct.pack("HL", len(_NO_SYN) // 8, ctypes.addressof(code))
    # If it is not allowed here, a client may be reset at the last moment.
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def refuseNewConnections(listening: socket.socket) -> None:
    """
    The same for a listening UNIX socket, by which a client is connected at once, and
    so refused at once. On Linux.
    """
    if sys.platform == "linux" and listening.family == socket.AF_UNIX:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RD)


def closePort(port: Any) -> "Deferred[Any]":
    """
    Have a port listen no more, whatever has become of the file of its socket.

    Twisted's UNIX ports stop half-way where they cannot remove it: somebody has done so
    before, or this user has no right to, as after C{twistd --uid}. Then it is left to
    whoever listens there next.

    @return: fires when the port is closed.
    """

    def finish(failure: Any) -> Any:
        failure.trap(OSError, ValueError)
        if not (isinstance(port, tcp.Port) and port.connected):
            return failure
        lock = getattr(port, "lockFile", None)
        if lock is not None:
            with suppress(OSError, ValueError):
                lock.unlock()
        tcp.Port.connectionLost(port, failure)
        return None

    return maybeDeferred(port.stopListening).addErrback(finish)
