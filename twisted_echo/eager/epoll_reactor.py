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
    from twisted.internet.epollreactor import EPOLLIN, EPollReactor

    from twisted_echo.eager.reactor_mixin import (
        EAGER,
        NO_CONTEXT,
        EagerReactorMixin,
        stopGathering,
    )
    from twisted_echo.eager.sending import EagerMixin
except (AttributeError, ImportError) as problem:
    # What is lacking is a class, without which there is nothing to install.
    raise UnfitTwisted(
        unfit("eager", without="eager.asyncio_reactor") or str(problem)
    ) from problem

__all__ = ["EagerEPollReactor", "UnfitTwisted", "install"]


class EagerEPollReactor(EagerReactorMixin, EPollReactor):
    """
    An epoll reactor whose connections send once in a turn.
    """

    # The descriptors that were registered since the poll whose events are being
    # dispatched. An event for such a number is of the descriptor that had it before.
    _fresh: set[int] | None = None

    def _add(
        self,
        xer: Any,
        primary: set[int],
        other: set[int],
        selectables: dict[int, Any],
        event: int,
        antievent: int,
    ) -> None:
        if self._fresh is not None and xer.fileno() not in selectables:
            self._fresh.add(xer.fileno())
        super()._add(xer, primary, other, selectables, event, antievent)

    def doPoll(self, timeout: float | None) -> None:
        """
        End the turn: send what was written. Then wait for events, and dispatch them.
        """
        contexts = context.theContextTracker.currentContext().contexts
        if len(contexts) > 1:
            stopGathering(contexts)
        if self._queued and self.flushWriteQueue():
            timeout = 0
        selectables = self._selectables
        try:
            events = self._poller.poll(
                -1 if timeout is None else timeout, len(selectables)
            )
        except OSError as problem:
            if problem.errno == errno.EINTR:
                return
            raise
        fresh: set[int] = set()
        outer, self._fresh = self._fresh, fresh
        contexts.append(NO_CONTEXT)
        readable, eager, read = EPOLLIN, EAGER, self.read
        try:
            for fd, event in events:
                selectable = selectables.get(fd)
                if selectable is None or (fresh and fd in fresh):
                    continue
                if event == readable and type(selectable) in eager:
                    read(contexts, selectable)
                else:
                    isEager = isinstance(selectable, EagerMixin)
                    contexts[-1] = selectable if isEager else NO_CONTEXT
                    log.callWithLogger(
                        selectable, self._doReadOrWrite, selectable, fd, event
                    )
        finally:
            contexts.pop()
            if outer is not None:
                outer.update(fresh)
            self._fresh = outer

    doIteration = doPoll


def install() -> None:
    """
    Install the eager reactor as Twisted's.

    @raise UnfitTwisted: if this Twisted does not suit it; nothing is installed.
    """
    from twisted.internet.main import installReactor

    require("eager", without="eager.asyncio_reactor")
    installReactor(EagerEPollReactor())
