"""
Drain the backlog of a port that closes.

For a client in the backlog the connection is established. So the port closes only when
all of them are accepted: as many as the limits allow at once, the others as sessions
end.

What must hold:

  - the backlog is empty when the kernel says so, at the next C{accept};
  - the limits, and the reserve of descriptors, hold meanwhile;
  - other connections have their turns meanwhile;
  - it ends: on Linux the kernel makes no new connections, elsewhere the number of
    accepted ones is bounded.
"""

import errno
import os
from collections.abc import Callable

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from twisted_echo.net.listening import (
    HoldableSocket,
    closePort,
    dropNewConnections,
    refuseNewConnections,
)

__all__ = ["BacklogDrain"]

_BATCH = 100
"""
How many connections are accepted in one turn of the reactor, as by a port of Twisted's
that listens.
"""
_MOST_ACCEPTS = 65536
"""
How many connections are accepted in total. No backlog is that long
(C{net.core.somaxconn} is 4,096 by default), so only a flood reaches it.
"""
_RESERVE = 8
"""
Descriptors that are left free, for what a log or a protocol may open.
"""
_NOBODY_WAITS = (errno.EAGAIN, errno.EWOULDBLOCK)
_REST = 0.05
"""
Seconds until the next try, where no descriptor was free, or C{accept} failed.
"""


class BacklogDrain:
    """
    Drains the backlog of one of Twisted's own ports, and closes the port.

    @ivar closed: fires when the port is closed. Cancelling it closes the port at once.
    """

    def __init__(self, port: tcp.Port, mayAccept: Callable[[], bool]) -> None:
        """
        @param mayAccept: asked before each connection. After it was false, call
            L{proceed} when it may be true again.
        """
        dropNewConnections(port.socket)
        port.pauseProducing()
        self._port = port
        self._mayAccept = mayAccept
        # This class holds back by itself, and accepts one after the other.
        held = port.socket
        listening = held.listening if isinstance(held, HoldableSocket) else held
        port.socket = self._socket = HoldableSocket(listening, lambda: False)
        self._clock = IReactorTime(port.reactor)
        self._left = _MOST_ACCEPTS
        self._next: IDelayedCall | None = None
        self._isLast = self._isClosing = False
        self.closed: Deferred[None] = Deferred(lambda _: self._close())
        self._acceptBatch()

    def proceed(self) -> None:
        """
        Go on: the limits may allow another session now.
        """
        self._schedule(0)

    def finish(self) -> None:
        """
        Stop waiting for room: accept the connections that are left, to refuse them.
        """
        self._isLast = True
        # Not before what is being aborted has given its descriptors back.
        self._schedule(0)

    def _schedule(self, delay: float) -> None:
        if self._isClosing:
            return
        if self._next is not None and self._next.active():
            self._next.reset(delay)
        else:
            self._next = self._clock.callLater(delay, self._acceptBatch)

    def _acceptBatch(self) -> None:
        """
        Accept what the limits allow, at most a batch.
        """
        for _ in range(_BATCH):
            if not (self._isLast or self._mayAccept()):
                refuseNewConnections(self._port.socket)
                return
            if not (self._isLast or self._areDescriptorsFree()):
                self._schedule(_REST)
                return
            problem = self._accept()
            if problem in _NOBODY_WAITS or not self._left:
                self._close()
                return
            if problem is not None:
                # The next try would most likely fail for the same reason.
                self._schedule(_REST)
                return
        refuseNewConnections(self._port.socket)
        self._schedule(0)

    def _accept(self) -> int | None:
        """
        Make the port accept one connection.

        @return: the C{errno} for which it could not: one of C{_NOBODY_WAITS} if there
            is none.
        """
        self._left -= 1
        self._port.numberAccepts = 1
        self._port.doRead()
        return self._socket.problem

    def _areDescriptorsFree(self) -> bool:
        copies: list[int] = []
        try:
            while len(copies) <= _RESERVE:
                copies.append(os.dup(self._port.fileno()))
        except OSError:
            return False
        finally:
            for each in copies:
                os.close(each)
        return True

    def _close(self) -> None:
        if self._isClosing:
            return
        self._isClosing = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        # Twisted's ports close in the next turn. Until then connections can come that
        # the kernel had begun before.
        self._clock.callLater(0, self._acceptRest)
        closePort(self._port).addBoth(self._reportClosed)

    def _acceptRest(self) -> None:
        if self._port.connected:
            refuseNewConnections(self._port.socket)
            while self._left and self._accept() is None:
                pass

    def _reportClosed(self, result: "Failure | None") -> None:
        if not self.closed.called:
            self.closed.callback(result)
