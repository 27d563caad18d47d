"""
The backlog of a port that closes, emptied in order.

Clients in a backlog were told that they are connected. They are accepted, as many as
there is room for, and the others as soon as sessions have ended; only then the port
closes.

What must hold:

  - whether connections wait is what the kernel says, who is asked for one more;
  - the limits, and the reserve of descriptors, hold while it is emptied;
  - other connections have their turns meanwhile;
  - it ends: on Linux the kernel begins no new connections, elsewhere they are counted.
"""

import errno
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall

from twisted_echo.sockets import (
    HoldableSocket,
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
How many are accepted altogether. More than wait anywhere
(C{net.core.somaxconn} is 4,096 by default), so it ends a flood and nothing else.
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
    Empties the backlog of one of Twisted's own ports, and closes it.

    @ivar closed: fires when the port is closed. To cancel it closes the port at once.
    """

    def __init__(self, port: Any, mayAccept: Callable[[], bool]) -> None:
        """
        @param mayAccept: asked before each connection. After it was false, call
            L{proceed} when it may be true again.
        """
        dropNewConnections(port.socket)
        port.pauseProducing()
        self._port = port
        self._mayAccept = mayAccept
        # This class holds back by itself, and accepts one after the other.
        port.socket = HoldableSocket(port.socket.listening, lambda: False)
        self._left = _MOST_ACCEPTS
        self._next: IDelayedCall | None = None
        self._isLast = self._isClosing = False
        self.closed: Deferred[Any] = Deferred(lambda _: self._close())
        self._acceptBatch()

    def proceed(self) -> None:
        """
        Perhaps there is room again.
        """
        self._schedule(0)

    def finish(self) -> None:
        """
        Wait for no more room: those who are left are accepted now, to be refused.
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
            self._next = self._port.reactor.callLater(delay, self._acceptBatch)

    def _acceptBatch(self) -> None:
        """
        Accept what there is room for, as much as one turn has time for.
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
                # It will hardly go better at once.
                self._schedule(_REST)
                return
        refuseNewConnections(self._port.socket)
        self._schedule(0)

    def _accept(self) -> int | None:
        """
        Have the port accept one connection.

        @return: the C{errno} for which it could not: one of C{_NOBODY_WAITS} if there
            is none.
        """
        self._left -= 1
        self._port.numberAccepts = 1
        self._port.doRead()
        problem: int | None = self._port.socket.problem
        return problem

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
        self._port.reactor.callLater(0, self._acceptRest)
        closing = maybeDeferred(self._port.stopListening)
        closing.addBoth(self._tell)

    def _acceptRest(self) -> None:
        if self._port.connected:
            refuseNewConnections(self._port.socket)
            while self._left and self._accept() is None:
                pass

    def _tell(self, result: Any) -> None:
        if not self.closed.called:
            self.closed.callback(result)
