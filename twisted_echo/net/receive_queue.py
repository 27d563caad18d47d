"""
Input that has arrived for a connection and has not been read yet.

The kernel receives while the process is busy or stopped. Before a deadline expires or a
connection is closed, L{readArrived} reads what the kernel holds. It does not wait for
the reactor's next poll: timed calls run before that, and on some reactors so do the
calls that they schedule.

What must hold: input that is read here is handled as if the reactor had read it, with
errors and ends too; one call reads no more than had arrived when it began.
"""

import select
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ITransport
from twisted.python import log

from twisted_echo.net.transport_queries import (
    bottomTransport,
    isClosing,
    isConnected,
    isReadingNow,
    kernelQueue,
)
from twisted_echo.twisted_internals.check import require

try:
    import termios
except ImportError:
    _INPUT_QUEUE = 0
else:
    _INPUT_QUEUE = termios.FIONREAD

__all__ = ["asReactor", "isReadable", "readArrived", "unreadBytes"]

require(__name__)


def unreadBytes(transport: ITransport | None) -> int:
    """
    The number of unread bytes that the kernel holds; under TLS they are encrypted. 0
    where the kernel does not say.
    """
    return kernelQueue(transport, _INPUT_QUEUE)


class HasFileno(Protocol):
    """
    An object with a descriptor, such as a transport, a port or a socket.
    """

    def fileno(self) -> int: ...


def isReadable(descriptor: HasFileno) -> bool:
    """
    Whether a descriptor is readable: it has bytes, an end-of-file or an error, or, if
    it listens, a connection. False where the kernel cannot be asked.
    """
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    try:
        poll.register(descriptor, select.POLLIN)
        events = poll.poll(0)
    except (OSError, TypeError, ValueError, AttributeError):
        # It is closed, or no descriptor at all.
        return False
    return bool(events) and not events[0][1] & select.POLLNVAL


def readArrived(
    transport: ITransport | None,
    isWanted: Callable[[], bool] = lambda: True,
    atMost: int | None = None,
) -> int:
    """
    Read what has arrived for a connection, as the reactor would in its next polls: the
    bytes that the kernel holds now, and the end-of-file or the error behind them.

    Does nothing for a transport that is no descriptor, is closed or closing, or is just
    reading. The protocol is called from here, so its C{dataReceived} must not call
    this.

    @param isWanted: called before each read; returns false when the protocol wants
        nothing more, for example because it has paused.
    @param atMost: how many bytes to read, rounded up to one whole read; all that had
        arrived, if None.
    @return: how many bytes were read.
    """
    bottom = bottomTransport(transport)
    if not isinstance(bottom, FileDescriptor):
        return 0
    arrived = unreadBytes(bottom)
    left = arrived if atMost is None else min(arrived, atMost)
    count = 0
    while _canRead(bottom) and isWanted() and isReadable(bottom):
        size = min(unreadBytes(bottom), bottom.bufferSize)
        if size and left <= 0:
            # It has arrived since then.
            break
        count += size
        left -= size
        log.callWithLogger(bottom, asReactor, bottom, bottom.doRead)
        if not size:
            break
    return count


def _canRead(bottom: FileDescriptor) -> bool:
    return isConnected(bottom) and not isClosing(bottom) and not isReadingNow(bottom)


def asReactor(bottom: FileDescriptor, event: Callable[[], object]) -> None:
    """
    Call a function that handles an event of a connection. What it returns or raises is
    handled as by every reactor of Twisted's.

    @param bottom: the bottom transport of the connection.
    """
    reactor: Any = bottom.reactor
    try:
        why = event()
    except BaseException as problem:
        log.err()
        reactor._disconnectSelectable(bottom, problem, False)
    else:
        if why:
            reactor._disconnectSelectable(bottom, why, True)
