"""
The eager reactor: Twisted's epoll reactor with a shorter way for one chunk.

Its TCP and UNIX connections are those of L{twisted_echo.eager.tcp_transports} and
L{twisted_echo.eager.unix_transports}. Its poll loop calls the C{doRead} of such a
connection with a log context that was prepared once, instead of by way of
C{log.callWithLogger}. Before it polls, it sends what was written meanwhile. All else is
inherited.

Name it before any other part of a program names a reactor::

    twistd --reactor=eager web --path .

or::

    from twisted_echo.reactor import install
    install()
"""

import errno
from typing import Any

from twisted.python import context, log

from twisted_echo.twisted_internals.check import UnfitTwisted, require, unfit

try:
    from twisted.internet.epollreactor import EPollReactor

    from twisted_echo.eager.reactor_mixin import EagerReactorMixin, stopGathering
except (AttributeError, ImportError) as problem:
    # What is lacking is a class, without which there is nothing to install.
    raise UnfitTwisted(
        unfit("eager", without="eager.asyncio_reactor") or str(problem)
    ) from problem

__all__ = ["EagerEPollReactor", "UnfitTwisted", "install"]


class _All(set[int]):
    """
    All descriptors.
    """

    def __contains__(self, descriptor: object) -> bool:
        return True

    def __bool__(self) -> bool:
        return True


class EagerEPollReactor(EagerReactorMixin, EPollReactor):
    """
    An epoll reactor whose connections send once in a turn.
    """

    def __init__(self) -> None:
        self._fresh: set[int] = set()
        super().__init__()

    def _add(
        self,
        xer: Any,
        primary: set[int],
        other: set[int],
        selectables: dict[int, Any],
        event: int,
        antievent: int,
    ) -> None:
        if xer.fileno() not in selectables:
            self._fresh.add(xer.fileno())
        super()._add(xer, primary, other, selectables, event, antievent)

    def doPoll(self, timeout: float | None) -> None:
        """
        End the turn: send what was written. Then wait for events, and dispatch them.
        """
        contexts = context.theContextTracker.currentContext().contexts
        isWithin = len(contexts) > 1
        if isWithin:
            stopGathering(contexts)
        if self._queued and self.flushWriteQueue():
            timeout = 0
        try:
            events = self._poller.poll(
                -1 if timeout is None else timeout, len(self._selectables)
            )
        except OSError as problem:
            if problem.errno == errno.EINTR:
                return
            raise
        if self._fresh:
            self._fresh = set()
        self.dispatch(contexts, events, self._selectables)
        if isWithin:
            # The remaining events of an outer poll are dropped: they come again.
            self._fresh = _All()

    def dispatchOther(self, selectable: Any, fd: int, event: int) -> None:
        log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)

    doIteration = doPoll


def install() -> None:
    """
    Install the eager reactor as Twisted's.

    @raise UnfitTwisted: if this Twisted does not suit it; nothing is installed.
    """
    from twisted.internet.main import installReactor

    require("eager", without="eager.asyncio_reactor")
    installReactor(EagerEPollReactor())
