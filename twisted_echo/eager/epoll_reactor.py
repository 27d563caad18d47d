"""
The eager reactor on epoll: Twisted's epoll reactor with a shorter way for one chunk.

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
    from twisted.internet.base import _topHandler
    from twisted.internet.epollreactor import EPOLLIN, EPOLLOUT, EPollReactor
    from twisted.internet.main import CONNECTION_LOST

    from twisted_echo.eager.reactor_mixin import (
        EAGER,
        PORTS,
        READABLE,
        EagerReactorMixin,
        stopGathering,
    )
except (AttributeError, ImportError) as problem:
    # What is lacking is a class, without which there is nothing to install.
    raise UnfitTwisted(
        unfit("eager", without="eager.asyncio_reactor") or str(problem)
    ) from problem

__all__ = ["EagerEPollReactor", "UnfitTwisted", "install"]


# How many seconds a poll may wait; for more, Twisted is asked.
_LONGEST = 2_000_000
# How many cancelled calls Twisted keeps until they are due, however few others it has.
_CANCELLATIONS = 50


class EagerEPollReactor(EagerReactorMixin, EPollReactor):
    """
    An epoll reactor whose connections send once in a turn.
    """

    tellsHangup = True
    # The log contexts of the thread in which the main loop runs.
    _contexts: list[Any] | None = None
    # Whether events are being handled: a turn that begins now is within another.
    _isDispatching = False

    def _remove(
        self,
        xer: Any,
        primary: set[int],
        other: set[int],
        selectables: dict[int, Any],
        event: int,
        antievent: int,
    ) -> None:
        number = xer.fileno()
        if number == -1:
            # It is closed already.
            numbers = (fd for fd, each in selectables.items() if each is xer)
            number = next(numbers, -1)
        elif number not in primary:
            return
        if number in selectables:
            # (Who had the number when the poll was made is the first.)
            self._removed.setdefault(number, selectables[number])
        super()._remove(xer, primary, other, selectables, event, antievent)

    def addReader(self, reader: Any) -> None:
        number = reader.fileno()
        if type(reader) not in EAGER or number in self._writes:
            super().addReader(reader)
        elif number not in self._reads:
            self._poller.register(number, EPOLLIN)
            self._reads.add(number)
            self._selectables[number] = reader

    def removeReader(self, reader: Any) -> None:
        if type(reader) not in EAGER:
            super().removeReader(reader)
            return
        # (It is a socket, which is never polled continuously, as a file is.)
        number, reads, writes = reader.fileno(), self._reads, self._writes
        selectables = self._selectables
        if number in writes or number == -1:
            self._remove(reader, reads, writes, selectables, EPOLLIN, EPOLLOUT)
        elif number in reads:
            self._removed.setdefault(number, selectables.pop(number))
            self._poller.unregister(number)
            reads.remove(number)

    def mainLoop(self) -> None:
        """
        Turn until the reactor stops. (What catches and logs the exceptions of turns is
        entered once, and not in each turn, which would be two calls.)
        """
        self._contexts = context.theContextTracker.currentContext().contexts
        try:
            while self._started:
                with _topHandler:
                    while self._started:
                        self.runUntilCurrent()
                        timeout = self.timeout()
                        self.doIteration(self.running and timeout)
        finally:
            self._contexts = None
        super().mainLoop()

    def runUntilCurrent(self) -> None:
        """
        Run what is due. In most turns nothing is, which takes one call to find out.
        """
        timed = self._pendingTimedCalls
        if (
            (timed and timed[0].time <= self.seconds())
            or self._newTimedCalls
            or self.threadCallQueue
            or self._justStopped
            or self._cancellations > _CANCELLATIONS
        ):
            super().runUntilCurrent()

    def timeout(self) -> float | None:
        timed = self._pendingTimedCalls
        if timed and not self._newTimedCalls:
            left: float = timed[0].time - self.seconds()
            if 0 < left < _LONGEST:
                return left
        return super().timeout()

    def doPoll(self, timeout: float | None) -> None:
        """
        End the turn: send what was written. Then wait for events, and dispatch them.
        """
        contexts = self._contexts
        if contexts is None:
            contexts = context.theContextTracker.currentContext().contexts
        outer = None
        if self._isDispatching:
            # Events of an outer poll may still wait.
            stopGathering(contexts)
            outer, self._removed = self._removed, {}
        try:
            if self._queued and self.flushWriteQueue():
                timeout = self._longestWait(timeout)
            if self._removed:
                self._removed.clear()
            try:
                events = self._poller.poll(
                    -1 if timeout is None else timeout, len(self._selectables)
                )
            except OSError as problem:
                if problem.errno == errno.EINTR:
                    return
                raise
            self._isDispatching = True
            self.dispatch(contexts, events, self._selectables)
        finally:
            self._isDispatching = outer is not None
            if outer is not None:
                outer.update({**self._removed, **outer})
                self._removed = outer

    def dispatchOther(self, selectable: Any, fd: int, event: int) -> None:
        isRead, kind = event & READABLE and not event & EPOLLOUT, type(selectable)
        if isRead and (kind in EAGER or kind in PORTS):
            self._readOther(selectable)
        else:
            log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)

    def _readOther(self, selectable: Any) -> None:
        """
        Read from a connection whose peer has hung up, or from a port.
        """
        try:
            why = selectable.doRead()
        except self.failures as problem:
            log.err()
            self._disconnect(selectable, problem, False)
            return
        if why is not None:
            self._disconnect(selectable, why, True, CONNECTION_LOST)
        elif selectable in self._queued:
            # The kernel is asked why it is lost: the event does not tell.
            self._queued[selectable] = False

    def _longestWait(self, timeout: float | None) -> float | None:
        """
        How long the next poll waits at most, now that protocols were called. They may
        have written, have set timers, or have stopped the reactor.
        """
        if self._queued or self._stopped or not self.running:
            return 0
        wait: float | None = self.timeout()
        if wait is None:
            return timeout
        return wait if timeout is None else min(wait, timeout)

    doIteration = doPoll


def install() -> None:
    """
    Install the eager reactor as Twisted's.

    @raise UnfitTwisted: if this Twisted does not suit it; nothing is installed.
    """
    from twisted.internet.main import installReactor

    require("eager", without="eager.asyncio_reactor")
    installReactor(EagerEPollReactor())
