"""
What a worker logs, on its way to the log of its parent.

What must hold:

  - logging never makes a worker wait;
  - what waits to be sent is bounded, and the log says how many events were dropped;
  - an event in the parent's log has the level, the namespace and the fields that it
    had, and the number of its worker.
"""

import threading
from collections import deque
from collections.abc import Callable
from copy import copy
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    eventAsJSON,
    eventFromJSON,
    formatEvent,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from zope.interface import implementer

from twisted_echo.logs.values import Counted
from twisted_echo.scheduling.waiters import Waiters

__all__ = ["MOST_PENDING", "LogSender", "relay"]

MOST_PENDING = 1 << 20
"""
Characters of events that wait to be sent: some thousand events.
"""

_log = Logger()

# What means nothing in another process, and what its log makes for itself.
_LEFT_OUT = (
    *("log_logger", "log_source", "log_legacy", "message", "time", "system", "format"),
    *("isError", "failure", "why"),
)


# What Twisted writes so that it can be read again.
_KEPT = (str, bytes, int, float, list, tuple, dict, type(LogLevel.info))

_ALWAYS = ("log_level", "log_namespace", "log_time", "log_text", "log_format")


@implementer(ILogObserver, IPushProducer)
class LogSender:
    """
    An observer, in a worker, that hands events on as text.

    @ivar dropped: how many events were dropped since the log has last said so.
    """

    def __init__(self, callFromThread: Callable[..., object]) -> None:
        """
        @param callFromThread: has something called in the reactor's thread, which is
            the one that makes this.
        """
        self._callFromThread = callFromThread
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._queue: deque[str] = deque()
        self._pending = 0
        self._send: Callable[[str], object] | None = None
        self._isPaused = self._isSending = False
        self._untilSent: Waiters[None] = Waiters()
        self.dropped = 0

    def __call__(self, event: LogEvent) -> None:
        text = _asText(event)
        with self._lock:
            if self._pending + len(text) > MOST_PENDING:
                self.dropped += 1
                return
            self._pending += len(text)
            self._queue.append(text)
        if threading.get_ident() == self._thread:
            self._flush()
        else:
            self._callFromThread(self._flush)

    def begin(self, send: Callable[[str], object]) -> None:
        """
        Send the events that wait, and all later ones, by C{send}.
        """
        self._send = send
        self._flush()

    def _flush(self) -> None:
        if self._isSending or self._send is None:
            return
        self._isSending = True
        try:
            while self._queue and not self._isPaused:
                with self._lock:
                    text = self._queue.popleft()
                    self._pending -= len(text)
                self._send(text)
        finally:
            self._isSending = False
        if self.dropped and not self._queue:
            with self._lock:
                dropped, self.dropped = self.dropped, 0
            _log.warn(
                "{dropped} dropped, because they came faster than they can be logged",
                event="events-dropped",
                dropped=Counted(dropped, "event was", "events were"),
            )
        if not self._queue:
            self._untilSent.notify(None)

    def whenSent(self) -> "Deferred[None]":
        """
        Wait for all that was logged to be sent.

        @return: fires when it is, or when no process reads it any more.
        """
        return self._untilSent.wait() if self._queue else succeed(None)

    # What the transport says.

    def pauseProducing(self) -> None:
        self._isPaused = True

    def resumeProducing(self) -> None:
        self._isPaused = False
        self._flush()

    def stopProducing(self) -> None:
        """
        Stop sending: the parent is gone, and no process reads any more.
        """
        self._isPaused = True
        self._untilSent.notify(None)


def _asText(event: LogEvent) -> str:
    kept = {key: _plain(each) for key, each in event.items() if key not in _LEFT_OUT}
    # As it is worded here: Twisted's own way of flattening drops format specifiers.
    kept["log_text"] = formatEvent(event)
    kept["log_format"] = "{log_text}"
    try:
        return eventAsJSON(kept)
    except ValueError:
        # A value that holds itself. What it says is more than nothing.
        return eventAsJSON({key: kept.get(key) for key in _ALWAYS})


def _plain(value: object) -> object:
    if isinstance(value, Failure):
        # Else its exception would be left out, and with it what is wrong.
        plain: Any = copy(value)
        plain.value = safe_str(value.value)
        return plain
    if value is None or isinstance(value, _KEPT):
        return value
    return safe_str(value)


def relay(worker: int, text: str) -> None:
    """
    Log in this process what a worker has logged.
    """
    event: LogEvent = eventFromJSON(text)
    if not isinstance(event.get("log_level"), type(LogLevel.info)):
        event["log_level"] = LogLevel.info
    event.pop("log_flattened", None)
    event["log_format"] = "[worker {worker}] {log_text}"
    event["worker"] = worker
    globalLogPublisher(event)
