"""
Listening sockets and ports: their backlog, and how to close them without losing a
connection in it.
"""

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import LogEvent, Logger
from twisted.python.failure import Failure

from twisted_echo.eager.accepting import acceptor
from twisted_echo.twisted_internals.check import require

__all__ = [
    "AdoptedPort",
    "HoldableSocket",
    "checkListening",
    "closePort",
    "deepenBacklog",
    "dropNewConnections",
    "ownsBacklog",
    "refuseNewConnections",
    "watchAcceptErrors",
]

require(__name__)


def checkListening(descriptor: int, family: int) -> None:
    """
    Check that a descriptor is a stream socket that listens. It stays open.

    @param family: its family, such as C{AF_INET}.
    @raise ValueError: what it is instead.
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


# The backlog of an endpoint that names none.
_TWISTED_BACKLOG = 50
# More than any kernel allows; it takes the most that it does.
_DEEPEST_BACKLOG = 65535


def deepenBacklog(port: IListeningPort) -> None:
    """
    Make the backlog of one of Twisted's ports as long as the kernel allows
    (C{net.core.somaxconn}), unless its endpoint named a length or another process
    opened its socket.

    With Twisted's 50, some clients of a burst of 1,500 try again after a second; with
    the kernel's 4,096, none.
    """
    if (
        isinstance(port, tcp.Port)
        and ownsBacklog(port)
        and port.backlog == _TWISTED_BACKLOG
    ):
        port.socket.listen(_DEEPEST_BACKLOG)


class HoldableSocket:
    """
    A listening socket that seems to have an empty backlog while it is held.

    A port of Twisted's accepts connections in batches, of 100 to begin with, and does
    not end a batch when it is paused. With this as its C{socket} it does.

    @ivar listening: the socket itself.
    @ivar problem: the C{errno} with which the last C{accept} failed; None if it did
        not. Twisted's ports do not tell. (An exception would keep the frames that it
        went through, and with them the last connection.)
    """

    problem: int | None = None

    def __init__(self, listening: socket.socket, isHeld: Callable[[], object]) -> None:
        """
        @param isHeld: called before each connection.
        """
        self.listening = listening
        self._isHeld = isHeld

    @cached_property
    def _accept(self) -> Callable[[], tuple[socket.socket, Any]]:
        return acceptor(self.listening)

    def accept(self) -> tuple[socket.socket, Any]:
        """
        Accept the next connection.

        @raise BlockingIOError: if there is none, or the socket is held.
        """
        try:
            if self._isHeld():
                raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
            accepted = self._accept()
        except OSError as problem:
            self.problem = problem.errno
            raise
        self.problem = None
        return accepted

    def __getattr__(self, name: str) -> Any:
        return getattr(self.listening, name)


class AdoptedPort:
    """
    A port that listens on a socket which other processes have, too; a base class of
    such ports.

    @ivar ownsBacklog: whether this process serves the backlog when the port closes.
    """

    ownsBacklog = False


def watchAcceptErrors(port: tcp.Port, watcher: Callable[[int, str], object]) -> None:
    """
    Call a function when a port cannot accept a connection, instead of logging that.

    @param watcher: called with how many connections that was, and the reason.
    """

    def observe(event: LogEvent) -> None:
        # One for each connection that cannot be accepted, or is closed as there is no
        # descriptor for it, and two around the latter.
        isConnection = "acceptError" in event or "address" in event
        reason = event.get("acceptError", "no file descriptor is free")
        watcher(int(isConnection), str(reason))

    port._logger = Logger(observer=observe)  # type: ignore[arg-type]


def ownsBacklog(port: IListeningPort) -> bool:
    """
    Whether no other process will serve the backlog of a port: its socket is its own, or
    was handed over for good.
    """
    if isinstance(port, AdoptedPort) and port.ownsBacklog:
        return True
    return isinstance(port, tcp.Port) and port._shouldShutdown


_SO_ATTACH_FILTER = 26
# A filter that a listening socket applies to incoming packets, in the classic BPF of
# socket(7): load byte 13 of the TCP header, the flags; if SYN is among them, keep 0
# bytes of the packet; else all.
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
    Make the kernel begin no more connections with a listening TCP socket; those in its
    backlog can still be accepted. On Linux; elsewhere nothing happens.

    Between the last C{accept} and C{close} the kernel would go on connecting clients,
    only to reset them. If their first packet is dropped instead, they try again after a
    second, and find the port closed.
    """
    if sys.platform != "linux" or listening.family not in (
        socket.AF_INET,
        socket.AF_INET6,
    ):
        return
    code = ctypes.create_string_buffer(_NO_SYN)
    program = struct.pack("HL", len(_NO_SYN) // 8, ctypes.addressof(code))
    # Where this is not allowed, a client may be reset at the last moment.
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def refuseNewConnections(listening: socket.socket) -> None:
    """
    Make the kernel refuse new connections with a listening UNIX socket; those in its
    backlog can still be accepted. On Linux; elsewhere nothing happens.
    """
    if sys.platform == "linux" and listening.family == socket.AF_UNIX:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RD)


def closePort(port: IListeningPort) -> "Deferred[None]":
    """
    Close a port, even if the file of its socket cannot be removed.

    Twisted's UNIX ports stop half-way then: somebody has removed the file before, or
    this user has no right to, as after C{twistd --uid}. The file is left to the next
    program that listens there.

    @return: fires when the port is closed.
    """
    return Deferred.fromCoroutine(_close(port))


async def _close(port: IListeningPort) -> None:
    try:
        await maybeDeferred(port.stopListening)
    except (OSError, ValueError) as problem:
        if not (isinstance(port, tcp.Port) and port.connected):
            raise
        if isinstance(port, unix.Port) and port.lockFile is not None:
            with suppress(OSError, ValueError):
                port.lockFile.unlock()
        tcp.Port.connectionLost(port, Failure(problem))
