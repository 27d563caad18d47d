"""
The listening ports of some endpoints: opened all or none, paused, closed.
"""

from collections.abc import Container, Iterable
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
    IDelayedCall,
    IProtocolFactory,
    IPushProducer,
    IReadDescriptor,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.net.backlog import BacklogDrain
from twisted_echo.net.listening import (
    HoldableSocket,
    closePort,
    deepenBacklog,
    ownsBacklog,
)
from twisted_echo.net.refusal import RefusesInOrder
from twisted_echo.twisted_internals import require

__all__ = ["Listener", "Listeners"]

require(__name__)

_log = Logger()

_REST = 1.0
"""
Seconds that a port rests which could not accept a connection. Without a rest it would
be told of the same connection again and again.
"""
_A_MINUTE = 60.0

# Why a port is held.
_SUSPENDED, _SHUT, _RESTS, _LEFT = "suspended", "shut", "rests", "left"


class Listener:
    """
    One endpoint, and its port while it listens.
    """

    def __init__(
        self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory
    ) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self.port: Any = None
        # Why the port does not accept, though it listens.
        self._held: set[str] = set()
        # How many connections could not be accepted.
        self.acceptErrors = 0
        self._resting: IDelayedCall | None = None
        self._errorTold: float | None = None
        # What whoever opened it waits for, until it listens or is closed.
        self._opening: Deferred[None] | None = None
        self._closing: Deferred[Any] = succeed(None)
        # What empties the backlog before the port closes.
        self._drain: BacklogDrain | None = None

    def open(self) -> "Deferred[None]":
        """
        Listen, as soon as what L{close} began is done.

        @return: fires when it listens, or fails: with a C{CancelledError} if it
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
                    self._hearAcceptErrors(self.port)
                    if _isTwisteds(self.port):
                        self.port.factory = RefusesInOrder(self.port.factory)
                        self.port.socket = HoldableSocket(
                            self.port.socket, lambda: bool(self._held)
                        )
                    if self._held:
                        self._pauseOrResume()
                elif isinstance(result.value, AlreadyListened):
                    result = Failure(
                        AlreadyListened("an adopted socket can be listened on once")
                    )
                opening.callback(result)
            elif not isinstance(result, Failure):
                # Too late. A port that nobody waits for any more must not stay.
                closePort(result)

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

        What is in the port's backlog is accepted first, as soon as there is room: its
        client is connected already, and must see the end of a session and not a reset.
        But what is in the backlog of an adopted socket stays there: another process
        (systemd, a parent process) keeps that socket open, and the next process that
        listens on it serves them.

        @return: fires when the port is closed. Cancelling it gives up the connections
            that still wait.
        """
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.errback(CancelledError())
        if self._resting is not None:
            self._resting.cancel()
            self._rested()
        port, self.port = self.port, None
        # At the limit, connections in the backlog wait.
        self._held.difference_update((_SUSPENDED, _RESTS))
        if port is None:
            if self._drain is None:
                self._held.discard(_SHUT)
            return self._closing
        if _isTwisteds(port) and port.connected and ownsBacklog(port):
            self._drain = BacklogDrain(port, lambda: _SHUT not in self._held)
            self._closing = self._drain.closed
        else:
            self._closing = closePort(port)
        self._closing.addBoth(self._closed)
        return self._closing

    def closeNow(self) -> None:
        """
        Make a L{close} that has begun wait for room no longer.
        """
        if self._drain is not None:
            self._drain.finish()

    def _closed(self, result: Any) -> Any:
        self._drain = None
        self._held.discard(_SHUT)
        return result

    @property
    def canWait(self) -> bool:
        """
        Whether connections can be left in the port's backlog.
        """
        return bool(IPushProducer.providedBy(self.port))

    def hold(self, why: str) -> None:
        """
        Leave connections in the port's backlog, if it can be paused, from this moment
        on until there is no reason left to.
        """
        self._held.add(why)
        self._pauseOrResume()

    def release(self, why: str) -> None:
        """
        Give up a reason to L{hold} connections.
        """
        self._held.discard(why)
        self._pauseOrResume()

    def _pauseOrResume(self) -> None:
        if self._drain is not None and _SHUT not in self._held:
            self._drain.proceed()
        if self.port is None or not self.canWait:
            return
        if self._held:
            self.port.pauseProducing()
        else:
            self.port.resumeProducing()

    def _hearAcceptErrors(self, port: Any) -> None:
        # Twisted's ports log an event for each connection that they cannot accept, or
        # that they close as there is no descriptor for it, and two around the latter.
        if hasattr(port, "_logger") and hasattr(port, "reactor"):
            port._logger = Logger(observer=self._cannotAccept)  # type: ignore[arg-type]

    def _cannotAccept(self, event: Any) -> None:
        """
        Let the port rest, and tell the log once a minute.
        """
        if "acceptError" in event or "address" in event:
            self.acceptErrors += 1
        if self.port is None:
            # It is being closed, and accepts for the last time.
            return
        clock = self.port.reactor
        now = clock.seconds()
        if self._errorTold is None or now - self._errorTold >= _A_MINUTE:
            self._errorTold = now
            _log.warn(
                "cannot accept connections: {reason}; sessions go on",
                event="accept-failed",
                reason=event.get("acceptError", "no file descriptor is free"),
            )
        if self._resting is None:
            self._resting = clock.callLater(_REST, self._rested)
            self.hold(_RESTS)

    def _rested(self) -> None:
        self._resting = None
        self.release(_RESTS)


class Listeners:
    """
    All endpoints of a service: they listen together or not at all.
    """

    def __init__(
        self, endpoints: Iterable[IStreamServerEndpoint], factory: Factory[Any]
    ) -> None:
        self._listeners = [Listener(endpoint, factory) for endpoint in endpoints]
        self._factory = factory
        self._resuming: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def ports(self) -> list[Any]:
        """
        The ports that are open.
        """
        return [each.port for each in self._listeners if each.port is not None]

    @property
    def acceptErrors(self) -> int:
        """
        How many connections could not be accepted.
        """
        return sum(each.acceptErrors for each in self._listeners)

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
        Stop accepting. Connections wait in the backlog of a port that can be
        paused; any other port is closed.

        @return: fires when nothing is accepted any more.
        """
        closings = []
        for listener in self._listeners:
            listener.hold(_SUSPENDED)
            if not listener.canWait:
                closings.append(listener.close())
        return DeferredList(closings).addCallback(lambda _: None)

    def resume(self) -> "Deferred[None]":
        """
        Accept again.

        @return: fires when all ports accept. If one cannot listen again, the
            others stay suspended, and it fails.
        """

        def accept(_: None) -> None:
            for listener in self._listeners:
                listener.release(_SUSPENDED)

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
        Accept nothing more for now. Connections wait in the backlog.

        @return: whether every port can be paused. One on which somebody else listens,
            with the same factory, cannot.
        """
        for listener in self._listeners:
            listener.hold(_SHUT)
        return self._factory.numPorts <= len(self._listeners) and all(
            listener.canWait for listener in self._listeners
        )

    def reopen(self) -> None:
        """
        Accept again, unless it is suspended.
        """
        for listener in self._listeners:
            listener.release(_SHUT)

    def acceptOnly(self, places: Container[int]) -> None:
        """
        Leave to other processes what comes by the other endpoints, until they are
        closed, or this is called again.

        @param places: of endpoints, from 0 up.
        """
        for place, listener in enumerate(self._listeners):
            if place in places:
                listener.release(_LEFT)
            else:
                listener.hold(_LEFT)

    def close(self) -> "list[Deferred[Any]]":
        """
        L{Listener.close} them all.

        @return: for each endpoint a Deferred that fires when its port is closed.
        """
        return [listener.close() for listener in self._listeners]

    def closeNow(self) -> None:
        """
        L{Listener.closeNow} for them all.
        """
        for listener in self._listeners:
            listener.closeNow()


def _isTwisteds(port: Any) -> bool:
    """
    Tell whether it is one of Twisted's own ports, which accept in their C{doRead}.
    """
    return IReadDescriptor.providedBy(port) and hasattr(port, "numberAccepts")
