"""
All listening ports of a service: opened all or none, paused, closed.
"""

from collections.abc import Container, Iterable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from twisted_echo.endpoints.listener import Hold, Listener
from twisted_echo.endpoints.strings import checkDistinctSockets, parseEndpoint
from twisted_echo.scheduling.waiters import Waiters

__all__ = ["Endpoint", "Listeners", "endpointsOf"]


Endpoint: TypeAlias = IStreamServerEndpoint | str
"""
Where to listen: an endpoint, or its string.
"""


def endpointsOf(
    endpoints: Endpoint | Iterable[Endpoint], reactor: IReactorTime
) -> list[IStreamServerEndpoint]:
    """
    The endpoints where a service is to listen, as an embedder may give them.

    @raise ValueError: if a string is not an endpoint string.
    @raise TypeError: if something else is.
    """
    if isinstance(endpoints, (str, bytes)) or not isinstance(endpoints, Iterable):
        endpoints = [endpoints]
    made, listening = [], []
    for each in endpoints:
        if isinstance(each, str):
            listening.append(parseEndpoint(reactor, each))
            made.append(listening[-1].endpoint)
        elif IStreamServerEndpoint.providedBy(each):
            made.append(each)
        else:
            raise TypeError(
                "what to listen on must be a server endpoint, or the string of one,"
                f" such as 'tcp:7008', got {each!r}"
            )
    checkDistinctSockets(listening)
    return made


class Listeners:
    """
    All endpoints of a service: they listen together or not at all.
    """

    def __init__(
        self, endpoints: Iterable[IStreamServerEndpoint], factory: Factory[Any]
    ) -> None:
        self._listeners = [Listener(endpoint, factory) for endpoint in endpoints]
        self._factory = factory
        self._isResuming = False
        self._untilResumed: Waiters[None] = Waiters()

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def ports(self) -> list[IListeningPort]:
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

        @return: fires when all listen. If one cannot, the ports that this call
            opened are closed again, and it fails with the first failure.
        """
        listeners = [each for each in self._listeners if each.port is None]
        openings: list[Deferred[None]] = []
        for listener in listeners:
            openings.append(listener.open())
            if listener.hasFailed:
                break

        def settled(results: list[tuple[bool, Any]]) -> Failure | None:
            failures: list[Failure] = [
                result for success, result in results if not success
            ]
            if not failures:
                return None
            for listener in listeners:
                listener.close()
            return failures[0]

        return DeferredList(openings, consumeErrors=True).addCallback(settled)

    def suspend(self) -> "Deferred[None]":
        """
        Stop accepting. Connections wait in the backlog of a port that can be
        paused; any other port is closed.

        @return: fires when nothing is accepted any more.
        """
        closings = []
        for listener in self._listeners:
            listener.hold(Hold.SUSPENDED)
            if not listener.canWait:
                closings.append(listener.close())
        return DeferredList(closings).addCallback(lambda _: None)

    def resume(self) -> "Deferred[None]":
        """
        Accept again, after L{suspend}.

        @return: fires when all ports accept. If one cannot listen again, the
            others stay suspended, and it fails.
        """

        resumed = self._untilResumed.wait()
        if not self._isResuming:
            self._isResuming = True
            self.open().addBoth(self._resumed)
        return resumed

    def _resumed(self, result: Failure | None) -> None:
        self._isResuming = False
        if result is None:
            for listener in self._listeners:
                listener.release(Hold.SUSPENDED)
        self._untilResumed.notify(result)

    def shut(self) -> bool:
        """
        Stop accepting, until L{reopen}. Connections wait in the backlog.

        @return: whether every port can be paused. One on which another service listens,
            with the same factory, cannot.
        """
        for listener in self._listeners:
            listener.hold(Hold.FULL)
        return self._factory.numPorts <= len(self._listeners) and all(
            listener.canWait for listener in self._listeners
        )

    def reopen(self) -> None:
        """
        Accept again, unless it is suspended.
        """
        for listener in self._listeners:
            listener.release(Hold.FULL)

    def acceptOnly(self, places: Container[int]) -> None:
        """
        Accept by some of the endpoints only, and leave what comes by the others to
        other processes, until they are closed or this is called again.

        @param places: the numbers of those endpoints, from 0 up.
        """
        for place, listener in enumerate(self._listeners):
            if place in places:
                listener.release(Hold.ELSEWHERE)
            else:
                listener.hold(Hold.ELSEWHERE)

    def close(self) -> "list[Deferred[None]]":
        """
        Close all listeners: L{Listener.close}.

        @return: for each endpoint a Deferred that fires when its port is closed.
        """
        return [listener.close() for listener in self._listeners]

    def closeNow(self) -> None:
        """
        Close all listeners at once: L{Listener.closeNow}.
        """
        for listener in self._listeners:
            listener.closeNow()
