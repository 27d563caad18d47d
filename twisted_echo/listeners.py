"""
The listening ports of some endpoints: opened all or none, paused, closed.
"""

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    maybeDeferred,
    succeed,
)
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IPushProducer,
    IReadDescriptor,
    IStreamServerEndpoint,
)
from twisted.python.failure import Failure

from twisted_echo.sockets import deepenBacklog, dropNewConnections, ownsSocket

__all__ = ["Listener", "Listeners"]

_MOST_ACCEPTS = 4096
"""
How often a port that closes is asked for connections that wait. As many as Linux
lets wait (C{net.core.somaxconn}), so that a flood of new ones has an end.
"""


class Listener:
    """
    One endpoint, and its port while it listens.
    """

    def __init__(
        self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory
    ) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self.port: IListeningPort | None = None
        # What whoever opened it waits for, until it listens or is closed.
        self._opening: Deferred[None] | None = None
        self._closing: Deferred[Any] = succeed(None)

    def open(self) -> "Deferred[None]":
        """
        Listen, as soon as what L{close} began is done.

        @return: fires when it listens, or fails: with a L{CancelledError} if it
            is closed before.
        """
        opening: Deferred[None] = Deferred()
        self._opening = opening

        def settle(result: Any) -> None:
            if self._opening is opening:
                self._opening = None
                if not isinstance(result, Failure):
                    self.port, result = result, None
                    deepenBacklog(self.port)
                elif isinstance(result.value, AlreadyListened):
                    result = Failure(  # type: ignore[no-untyped-call]
                        AlreadyListened("an adopted socket can be listened on once")
                    )
                opening.callback(result)
            elif not isinstance(result, Failure):
                # Too late. A port that nobody waits for any more must not stay.
                result.stopListening()

        def listen(closed: Any) -> Any:
            if self._opening is opening:
                listening = maybeDeferred(self._endpoint.listen, self._factory)
                listening.addBoth(settle)
            return closed

        if self._closing.called:
            listen(None)
        else:
            self._closing.addBoth(listen)
        return opening

    def close(self) -> "Deferred[Any]":
        """
        Stop listening, or trying to.

        What is in the port's back-log is accepted first: its client was told
        that it is connected, and shall see the end of a session, not a reset.

        @return: fires when the port is closed.
        """
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.errback(CancelledError())
        port, self.port = self.port, None
        if port is not None:
            if ownsSocket(port):
                # Nobody else listens on it.
                dropNewConnections(port.socket)  # type: ignore[attr-defined]
            _acceptWaiting(port)
            reactor = getattr(port, "reactor", None)
            if reactor is not None:
                # Twisted's ports close in the next turn. Until then the kernel
                # goes on connecting.
                reactor.callLater(0, _acceptWaiting, port)
            self._closing = maybeDeferred(port.stopListening)
        return self._closing


class Listeners:
    """
    All endpoints of a service: they listen together or not at all.
    """

    def __init__(
        self, endpoints: Iterable[IStreamServerEndpoint], factory: IProtocolFactory
    ) -> None:
        self._listeners = [Listener(endpoint, factory) for endpoint in endpoints]
        # Why the ports do not accept: they are suspended, or shut, or both.
        self._isSuspended = False
        self._isShut = False
        self._resuming: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def ports(self) -> list[Any]:
        """
        The ports that are open.
        """
        return [each.port for each in self._listeners if each.port is not None]

    def open(self) -> "Deferred[None]":
        """
        Listen on every endpoint that has no port.

        @return: fires when all listen. If one cannot, those that this call
            opened are closed again, and it fails with the first failure.
        """
        listeners = [each for each in self._listeners if each.port is None]
        openings: list[Deferred[None]] = []
        for listener in listeners:
            opening = listener.open()
            openings.append(opening)
            if isinstance(getattr(opening, "result", None), Failure):
                break

        def settled(results: list[tuple[bool, Any]]) -> Any:
            failures = [result for success, result in results if not success]
            if failures:
                for listener in listeners:
                    listener.close()
                return failures[0]
            return None

        return DeferredList(openings, consumeErrors=True).addCallback(settled)

    def suspend(self) -> "Deferred[None]":
        """
        Stop accepting. Connections wait in the back-log of a port that can be
        paused; any other port is closed.

        @return: fires when nothing is accepted any more.
        """
        self._isSuspended = True
        closings = []
        for listener in self._listeners:
            if IPushProducer.providedBy(listener.port):
                listener.port.pauseProducing()
            else:
                closings.append(listener.close())
        return DeferredList(closings).addCallback(lambda _: None)

    def resume(self) -> "Deferred[None]":
        """
        Accept again.

        @return: fires when all ports accept. If one cannot listen again, the
            others stay suspended, and it fails.
        """

        def accept(_: None) -> None:
            self._isSuspended = False
            self._pauseOrResume()

        def settled(result: Any) -> Any:
            self._resuming = None
            return result

        resumed: Deferred[None] = Deferred()
        if self._resuming is None:
            self._resuming = self.open().addCallback(accept)
            resuming = self._resuming
            resuming.addBoth(settled)
        else:
            resuming = self._resuming

        def tell(result: Any) -> Any:
            resumed.callback(result)
            return None if isinstance(result, Failure) else result

        resuming.addBoth(tell)
        return resumed

    def shut(self) -> bool:
        """
        Accept nothing more for now. Connections wait in the back-log.

        @return: whether every port can be paused.
        """
        self._isShut = True
        self._pauseOrResume()
        return all(IPushProducer.providedBy(port) for port in self.ports)

    def reopen(self) -> None:
        """
        Accept again, unless it is suspended.
        """
        self._isShut = False
        self._pauseOrResume()

    def _pauseOrResume(self) -> None:
        for port in self.ports:
            if not IPushProducer.providedBy(port):
                continue
            if self._isShut or self._isSuspended:
                port.pauseProducing()
            else:
                port.resumeProducing()

    def close(self) -> "list[Deferred[Any]]":
        """
        L{Listener.close} them all.

        @return: for each endpoint a Deferred that fires when its port is closed.
        """
        self._isShut = self._isSuspended = False
        return [listener.close() for listener in self._listeners]


def _acceptWaiting(port: Any) -> None:
    """
    Have one of Twisted's own ports accept what its back-log holds.
    """
    if not IReadDescriptor.providedBy(port) or not getattr(port, "connected", False):
        return
    for _ in range(_MOST_ACCEPTS):
        before = getattr(port, "sessionno", None)
        port.doRead()
        if getattr(port, "sessionno", None) == before:
            return
