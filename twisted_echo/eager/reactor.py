"""
The eager reactor: Twisted's epoll reactor with a shorter way for one chunk.

Its TCP and UNIX transports are those of L{twisted_echo.eager.transports}, and its poll
loop calls a transport that can be read directly, with a log context that was
prepared once, instead of by way of C{log.callWithLogger}. All else is inherited.

Name it before any other part of a program names a reactor::

    twistd --reactor=eager web --path .

or::

    from twisted_echo.reactor import install
    install()

Knows nothing of echo.
"""

import errno
import socket
from collections.abc import Callable
from time import perf_counter
from typing import Any

from twisted.internet import error
from twisted.python import context, log

from twisted_echo.twisted_internals import UnfitTwisted, require, unfit

try:
    from twisted.internet.epollreactor import EPOLLIN, EPollReactor

    from twisted_echo.eager.transports import (
        EagerClient,
        EagerConnector,
        EagerPort,
        EagerServer,
        EagerUNIXClient,
        EagerUNIXConnector,
        EagerUNIXPort,
        EagerUNIXServer,
    )
except (AttributeError, ImportError) as problem:
    # What is lacking is a class, without which there is nothing to install.
    raise UnfitTwisted(unfit("eager") or str(problem)) from problem

__all__ = ["EagerEPollReactor", "UnfitTwisted", "install"]

_EAGER = frozenset((EagerServer, EagerClient, EagerUNIXServer, EagerUNIXClient))
_NO_CONTEXT: dict[object, object] = {}


class EagerEPollReactor(EPollReactor):
    """
    An epoll reactor whose connections send when they are told to.
    """

    # Transports

    def listenTCP(
        self, port: Any, factory: Any, backlog: int = 50, interface: str = ""
    ) -> Any:
        listener = EagerPort(port, factory, backlog, interface, self)
        listener.startListening()
        return listener

    def connectTCP(
        self,
        host: Any,
        port: Any,
        factory: Any,
        timeout: float = 30.0,
        bindAddress: Any = None,
    ) -> Any:
        connector = EagerConnector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def listenUNIX(
        self,
        address: Any,
        factory: Any,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: Any = 0,
    ) -> Any:
        listener = EagerUNIXPort(address, factory, backlog, mode, self, wantPID)
        listener.startListening()
        return listener

    def connectUNIX(
        self, address: Any, factory: Any, timeout: float = 30, checkPID: Any = 0
    ) -> Any:
        connector = EagerUNIXConnector(address, factory, timeout, self, checkPID)
        connector.connect()
        return connector

    def adoptStreamPort(
        self, fileDescriptor: int, addressFamily: Any, factory: Any
    ) -> Any:
        if addressFamily not in self._supportedAddressFamilies:
            raise error.UnsupportedAddressFamily(addressFamily)
        if addressFamily == socket.AF_UNIX:
            listener = EagerUNIXPort._fromListeningDescriptor(
                self, fileDescriptor, factory
            )
        else:
            listener = EagerPort._fromListeningDescriptor(
                self, fileDescriptor, addressFamily, factory
            )
        listener.startListening()
        return listener

    def adoptStreamConnection(
        self, fileDescriptor: int, addressFamily: Any, factory: Any
    ) -> Any:
        if addressFamily not in self._supportedAddressFamilies:
            raise error.UnsupportedAddressFamily(addressFamily)
        if addressFamily == socket.AF_UNIX:
            return EagerUNIXServer._fromConnectedSocket(fileDescriptor, factory, self)
        return EagerServer._fromConnectedSocket(
            fileDescriptor, addressFamily, factory, self
        )

    # The loop

    # Who wants to know how long the reading of a chunk and the sending of its answer
    # take, and of how many more.
    _timings: dict[Callable[[float], object], int] = {}  # noqa: RUF012 - see timeReads

    def timeReads(self, observe: Callable[[float], object], count: int) -> None:
        """
        Time one C{doRead} of an eager connection in each of the next polls that have
        one: it reads, has the protocol answer, and sends what was written. While there
        is nothing to time, that costs nothing.

        @param observe: called with the seconds. It must not raise.
        @param count: how many are to be timed from now on; 0 for none.
        """
        timings = dict(self._timings)
        timings.pop(observe, None)
        if count > 0:
            timings[observe] = count
        self._timings = timings

    def _readTimed(self, events: Any, contexts: Any, top: int) -> Any:
        """
        Serve the first of those events that are chunks to be read, and time it.

        @return: the others.
        """
        for place, (fd, event) in enumerate(events):
            selectable: Any = self._selectables.get(fd)
            if event == EPOLLIN and type(selectable) in _EAGER:
                contexts[top] = selectable
                began = perf_counter()
                try:
                    why = selectable.doRead()
                except BaseException as problem:
                    log.err()
                    self._disconnect(selectable, problem, False)
                else:
                    seconds = perf_counter() - began
                    if why is not None:
                        self._disconnect(selectable, why, True)
                    else:
                        for observe, left in list(self._timings.items()):
                            self.timeReads(observe, left - 1)
                            observe(seconds)
                return events[:place] + events[place + 1 :]
        return events

    def doPoll(self, timeout: float | None) -> None:
        """
        Wait for events, and dispatch them.
        """
        contexts = context.theContextTracker.currentContext().contexts
        top = len(contexts)
        if top > 1:
            # Maybe called by a protocol in `dataReceived`, which waits for answers
            # to what it has written.
            for each in contexts:
                if type(each) in _EAGER:
                    each.stopGathering()
        selectables = self._selectables
        try:
            events = self._poller.poll(
                -1 if timeout is None else timeout, len(selectables)
            )
        except OSError as problem:
            if problem.errno == errno.EINTR:
                return
            raise
        contexts.append(_NO_CONTEXT)
        readable, eager = EPOLLIN, _EAGER
        try:
            if self._timings:
                events = self._readTimed(events, contexts, top)
            for fd, event in events:
                try:
                    selectable = selectables[fd]
                except KeyError:
                    continue
                if event == readable and type(selectable) in eager:
                    contexts[top] = selectable
                    try:
                        why = selectable.doRead()
                    except BaseException as problem:
                        log.err()
                        self._disconnect(selectable, problem, False)
                    else:
                        if why is not None:
                            self._disconnect(selectable, why, True)
                else:
                    contexts[top] = (
                        selectable if type(selectable) in eager else _NO_CONTEXT
                    )
                    log.callWithLogger(
                        selectable, self._doReadOrWrite, selectable, fd, event
                    )
        finally:
            del contexts[top:]

    doIteration = doPoll

    def _disconnect(self, selectable: Any, why: BaseException, isRead: bool) -> None:
        try:
            self._disconnectSelectable(selectable, why, isRead)
        except KeyboardInterrupt:
            raise
        except BaseException:
            log.err()


def install() -> None:
    """
    Install the eager reactor as Twisted's.

    @raise UnfitTwisted: if this Twisted does not suit it; nothing is installed.
    """
    from twisted.internet.main import installReactor

    require("eager")
    installReactor(EagerEPollReactor())
