"""
The sockets of many processes, bound and listening before any of them runs.

What must hold: the kernel divides new connections among the TCP sockets of the workers
(C{SO_REUSEPORT}); no second service can put itself among them unnoticed; the sockets
are bound all or none. This process accepts nothing on them.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Sequence

from twisted.internet import unix
from twisted.internet.abstract import isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IReadDescriptor,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from twisted_echo.net.listening import deepenBacklog, dropNewConnections

__all__ = ["BoundEndpoint", "bind", "checkShareable"]

SHAREABLE = ("tcp", "tcp6", "unix", "systemd")
# What an endpoint has that named no backlog, and more than any kernel allows.
_TWISTED_BACKLOG, _DEEPEST_BACKLOG = 50, 65535


def checkShareable(description: str) -> None:
    """
    Check that many processes can listen on an endpoint.

    @param description: its string, without layers.
    @raise ValueError: if they cannot; without the name of the option.
    """
    kind = description.partition(":")[0]
    if kind not in SHAREABLE:
        raise ValueError(
            f"can listen on {', '.join(SHAREABLE)}, and on ssl and haproxy"
            f" over them, got {kind!r}"
        )
    if sys.platform != "linux":
        raise ValueError("needs Linux, which divides connections among them")


class BoundEndpoint:
    """
    The listening sockets of the workers for one endpoint.

    @ivar sockets: one for each worker, or one for all.
    @ivar address: where they listen.
    @ivar isOurs: whether no other service has them.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        isOurs: bool,
        port: unix.Port | None = None,
    ) -> None:
        """
        @param port: of C{unix:}, which knows its file and its lock.
        """
        self.sockets = list(sockets)
        self.isOurs = isOurs
        self.address = _address(self.sockets[0])
        self._port = port

    def shut(self) -> None:
        """
        Make the kernel begin no more connections. Waiting ones can be accepted.
        """
        if self.isOurs:
            for each in self.sockets:
                dropNewConnections(each)
        port, self._port = self._port, None
        if port is not None:
            # After --uid it may not be allowed any more. The next start finds a lock
            # that nobody holds, and clears up.
            with contextlib.suppress(OSError, ValueError):
                if not port.port.startswith(b"\0"):
                    os.unlink(port.port)
            with contextlib.suppress(OSError, ValueError):
                if port.lockFile is not None:
                    port.lockFile.unlock()

    def close(self) -> None:
        """
        Give the sockets up.
        """
        self.shut()
        for each in self.sockets:
            each.close()


def bind(descriptions: Sequence[str], workers: int) -> list[BoundEndpoint]:
    """
    Listen on all endpoints.

    @param descriptions: their strings, without layers.
    @param workers: how many processes will accept.
    @raise Exception: what the first one that cannot listen fails with, a
        C{CannotListenError} as a rule. Then none does.
    """
    bound: list[BoundEndpoint] = []
    try:
        for description in descriptions:
            checkShareable(description)
            binder = _Binder(workers)
            endpoint = serverFromString(binder, description)
            bound.append(_resultOf(endpoint.listen(Factory())))
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def _resultOf(listening: "Deferred[IListeningPort]") -> "BoundEndpoint":
    """
    The result of an endpoint that has listened on a L{_Binder}.

    @raise Exception: what it has failed with.
    """
    results: list[object] = []
    listening.addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    # No port of Twisted's, as the binder is not a reactor.
    assert isinstance(result, BoundEndpoint)
    return result


class _Binder:
    """
    Stands where Twisted's endpoints expect a reactor: it listens, and accepts nothing.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def listenTCP(
        self,
        port: int,
        factory: IProtocolFactory,
        backlog: int = 50,
        interface: str = "",
    ) -> BoundEndpoint:
        sockets: list[socket.socket] = []
        try:
            for _ in range(self._workers):
                sockets.append(_reusing(interface, port, isFirst=not sockets))
                # Of port 0 the kernel has made one that is free.
                port = sockets[0].getsockname()[1]
            for each in sockets:
                each.listen(
                    _DEEPEST_BACKLOG if backlog == _TWISTED_BACKLOG else backlog
                )
        except OSError as error:
            for each in sockets:
                each.close()
            raise CannotListenError(interface, port, error) from None
        return BoundEndpoint(sockets, isOurs=True)

    def listenUNIX(
        self,
        address: str | bytes,
        factory: Factory[Protocol],
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,
    ) -> BoundEndpoint:
        path = os.fsencode(address)
        factory.noisy = False
        port = unix.Port(path, factory, backlog, mode, self, wantPID)
        port.port = path
        try:
            port.startListening()
        except BaseException:
            if port.lockFile is not None and port.lockFile.locked:
                port.lockFile.unlock()
            raise
        deepenBacklog(port)
        return BoundEndpoint([port.socket], isOurs=True, port=port)

    def adoptStreamPort(
        self, descriptor: int, family: int, factory: IProtocolFactory
    ) -> BoundEndpoint:
        return BoundEndpoint([socket.socket(fileno=os.dup(descriptor))], isOurs=False)

    def addReader(self, reader: IReadDescriptor) -> None:
        """
        Nothing is accepted here.
        """

    def removeReader(self, reader: IReadDescriptor) -> None:
        """
        Nothing was read.
        """


def _reusing(interface: str, port: int, *, isFirst: bool) -> socket.socket:
    """
    Bind one of several sockets to the same address.
    """
    family = socket.AF_INET
    address: tuple[object, ...] = interface, port
    if isIPv6Address(interface):
        family = socket.AF_INET6
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        address = socket.getaddrinfo(interface, port, family, flags=numeric)[0][4]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if isFirst:
            # The first one shares only afterwards, or another service that shares the
            # address, a second of this kind, would not be noticed.
            bound.bind(address)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if not isFirst:
            bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def _address(listening: socket.socket) -> IAddress:
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return UNIXAddress(name)
    if listening.family == socket.AF_INET6:
        return IPv6Address("TCP", *name)
    return IPv4Address("TCP", *name)
