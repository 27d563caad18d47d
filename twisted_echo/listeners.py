"""
The listening ports of some endpoints: opened all or none, paused, closed.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IPushProducer,
    IReadDescriptor,
    IStreamServerEndpoint,
)
from twisted.python.failure import Failure

__all__ = ["Listeners"]

_MOST_ACCEPTS = 4096
"""
How often a port is asked for connections that wait while it closes. As many as
Linux lets wait (C{net.core.somaxconn}), so that a flood of new ones ends too.
"""


class Listeners:
    """
    One port for each endpoint, or none at all.
    """

    def __init__(
        self, endpoints: Iterable[IStreamServerEndpoint], factory: IProtocolFactory
    ) -> None:
        self.endpoints = tuple(endpoints)
        self._factory = factory
        # By place; None where nothing listens.
        self.ports: list[Any] = [None] * len(self.endpoints)
        self._attempts: list[Deferred[IListeningPort]] = []
        self._closings: dict[int, Deferred[Any]] = {}

    def open(self) -> "Deferred[None]":
        """
        Listen on every endpoint that has no port yet.

        @return: fires when all listen. If one cannot, those opened by this call
            are closed, and then it fails with the first failure.
        """
        places = [place for place, port in enumerate(self.ports) if port is None]
        self._attempts = []
        for place in places:
            attempt = maybeDeferred(self.endpoints[place].listen, self._factory)
            self._attempts.append(attempt)
            if isinstance(getattr(attempt, "result", None), Failure):
                break
        settled = DeferredList(self._attempts, consumeErrors=True)

        def opened(results: Sequence[tuple[bool, Any]]) -> Any:
            failures = []
            for place, (success, result) in zip(places, results, strict=False):
                if success:
                    self.ports[place] = result
                else:
                    failures.append(result)
            self._attempts = []
            if not failures:
                return None
            closed = [self._close(place) for place in places]
            return DeferredList(closed).addCallback(lambda _: failures[0])

        return settled.addCallback(opened)

    def suspend(self) -> "Deferred[None]":
        """
        Stop accepting. Connections wait in the back-log of a port that can be
        paused; any other port is closed.

        @return: fires when nothing is accepted any more.
        """
        closed = []
        for place, port in enumerate(self.ports):
            if IPushProducer.providedBy(port):
                port.pauseProducing()
            else:
                closed.append(self._close(place))
        return DeferredList(closed).addCallback(lambda _: None)

    def resume(self) -> "Deferred[None]":
        """
        Accept again.

        @return: fires when all ports accept. If one cannot listen again, the
            others stay suspended, and it fails.
        """
        paused = [port for port in self.ports if IPushProducer.providedBy(port)]

        def accept(_: None) -> None:
            for port in paused:
                port.resumeProducing()

        closed = DeferredList(list(self._closings.values()))
        return closed.addCallback(lambda _: self.open()).addCallback(accept)

    def close(self) -> "list[Deferred[Any]]":
        """
        Stop listening, and trying to.

        What is in a port's back-log is accepted first: its client has been told
        that it is connected, and shall see the end of a session, not a reset.

        @return: for each endpoint a Deferred that fires when its port is closed.
        """
        for attempt in self._attempts:
            attempt.cancel()
        return [self._close(place) for place in range(len(self.endpoints))]

    def _close(self, place: int) -> "Deferred[Any]":
        port, self.ports[place] = self.ports[place], None
        if port is not None:
            _acceptWaiting(port)
            self._closings[place] = maybeDeferred(port.stopListening)
        return self._closings.get(place) or succeed(None)


def _acceptWaiting(port: Any) -> None:
    """
    Have Twisted's own ports accept what their back-logs hold.
    """
    if not IReadDescriptor.providedBy(port):
        return
    for _ in range(_MOST_ACCEPTS):
        before = getattr(port, "sessionno", None)
        port.doRead()
        if getattr(port, "sessionno", None) == before:
            return
