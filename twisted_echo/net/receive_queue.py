"""
Input that has arrived for a connection and has not been read yet.

The kernel receives while the process is busy or stopped. Before a deadline strikes or a
connection is closed, L{readArrived} reads what the kernel holds. It does not wait for
the reactor's next poll, because timed calls run before that, and on some reactors even
the calls that they schedule do.

What must hold: input that is read here is handled as if the reactor had read it, with
errors and ends too; one call reads no more than had arrived when it began.
"""

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor, ITransport
from twisted.python import log

from twisted_echo.net.transport_queries import (
    bottomTransport,
    isClosing,
    isConnected,
    isReadingNow,
    kernelQueue,
)
from twisted_echo.twisted_internals import require

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


def isReadable(descriptor: Any) -> bool:
    """
    Whether a descriptor is readable: it has bytes, an end-of-file or an error, or, if
    it listens, a connection. False where the kernel cannot be asked.

    @param descriptor: what has a C{fileno}.
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

    Does nothing for a transport that is no descriptor, is closed or closing, or is
    reading just now: C{isWanted} and its protocol are called from here, so not to be
    called by the protocol's own C{dataReceived}.

    @param isWanted: asked before each read; false once the protocol wants no more, as
        when it has paused.
    @param atMost: how many bytes to read, rounded up to one whole read; all that had
        arrived, if None.
    @return: how many bytes were read.
    """
    found = bottomTransport(transport)
    if not IReadDescriptor.providedBy(found):
        return 0
    # (The interface knows nothing of what a connection has.)
    bottom: Any = found
    arrived = unreadBytes(bottom)
    left = arrived if atMost is None else min(arrived, atMost)
    count = 0
    while _canRead(bottom) and isWanted() and isReadable(bottom):
        size = min(unreadBytes(bottom), bottom.bufferSize)
        if size and left <= 0:
            # That has come since.
            break
        count += size
        left -= size
        log.callWithLogger(bottom, asReactor, bottom, bottom.doRead)
        if not size:
            break
    return count


def _canRead(bottom: Any) -> bool:
    return isConnected(bottom) and not isClosing(bottom) and not isReadingNow(bottom)


def asReactor(bottom: Any, event: Callable[[], Any]) -> None:
    """
    Call what handles an event of a connection, and do with what it returns or raises as
    every reactor of Twisted's does.

    @param bottom: the transport.
    """
    try:
        why = event()
    except BaseException as problem:
        log.err()
        bottom.reactor._disconnectSelectable(bottom, problem, False)
    else:
        if why:
            bottom.reactor._disconnectSelectable(bottom, why, True)
