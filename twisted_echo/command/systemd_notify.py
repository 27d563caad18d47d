"""
Notify systemd of the state of the service, by the protocol of C{sd_notify(3)}.

It is a datagram of C{NAME=value} lines to the UNIX socket that C{NOTIFY_SOCKET}
names. What must hold: it never blocks and never raises, for a service manager that
does not listen is no reason to stop serving.
"""

import os
import socket
import time
from collections.abc import MutableMapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["Notifier"]

_log = Logger()

_TRY_AGAIN_AFTER = 0.5
"""
Seconds that the manager is left alone when its socket is full.
"""


class Notifier:
    """
    Notifies the service manager of the state of the service.
    """

    def __init__(
        self, address: str, clock: IReactorTime, watchdog: float | None = None
    ) -> None:
        """
        @param address: a path, or an abstract name after an C{@}.
        @param watchdog: seconds after which a service that has sent nothing is
            taken for dead; None if it is not.
        """
        self._clock = clock
        self._socket: socket.socket | None = None
        self._hasFailed = False
        # What a full socket did not take, by name.
        self._unsent: dict[str, object] = {}
        self._again: IDelayedCall | None = None
        self._alive = LoopingCall(self._send, WATCHDOG=1)
        self._alive.clock = clock
        self._interval = watchdog / 2 if watchdog else None
        self._address = "\0" + address[1:] if address[:1] == "@" else address
        if address[:1] in ("/", "@"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        else:
            self._fail(f"{address!r} is neither a path nor an abstract socket")

    @classmethod
    def fromEnvironment(
        cls, environ: MutableMapping[str, str], clock: IReactorTime
    ) -> "Notifier | None":
        """
        Make one of C{NOTIFY_SOCKET}, C{WATCHDOG_USEC} and C{WATCHDOG_PID}, and take
        them away, so that no child process speaks for this one.

        @return: None if no service manager asks for it.
        """
        address = environ.pop("NOTIFY_SOCKET", None)
        microseconds = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        watchdog = None
        if pid == str(os.getpid()) and microseconds.isdecimal():
            watchdog = int(microseconds) / 1e6
        return cls(address, clock, watchdog) if address else None

    def ready(self, status: str) -> None:
        """
        Report that the service serves, first or after L{reloading}. From now on the
        watchdog is kept quiet, as long as the reactor turns.
        """
        self._send(READY=1, STATUS=status)
        if self._socket is not None and self._interval and not self._alive.running:
            self._alive.start(self._interval)

    def status(self, status: str) -> None:
        """
        Report in a line what the service does, for C{systemctl status}.
        """
        self._send(STATUS=status)

    def reloading(self) -> None:
        """
        Report that the service loads its configuration again; L{ready} ends that.
        """
        self._send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)

    def stopping(self, within: float, status: str) -> None:
        """
        Report that the service stops.

        @param within: seconds that this may take, and that the manager should wait
            if it would kill sooner (C{TimeoutStopSec=}).
        """
        self._send(STOPPING=1, EXTEND_TIMEOUT_USEC=int(within * 1e6), STATUS=status)

    def close(self) -> None:
        """
        Send nothing more.
        """
        if self._alive.running:
            self._alive.stop()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, **assignments: object) -> None:
        if self._socket is None:
            return
        for name, value in assignments.items():
            # Of what contradicts itself, such as READY and STOPPING, the manager
            # believes the last.
            self._unsent.pop(name, None)
            self._unsent[name] = " ".join(str(value).split())
        message = "\n".join(f"{name}={value}" for name, value in self._unsent.items())
        try:
            self._socket.sendto(message.encode(errors="replace"), self._address)
        except BlockingIOError:
            if self._again is None:
                self._again = self._clock.callLater(_TRY_AGAIN_AFTER, self._retry)
            return
        except OSError as error:
            self._fail(str(error))
        self._unsent.clear()

    def _retry(self) -> None:
        self._again = None
        if self._unsent:
            self._send()

    def _fail(self, reason: str) -> None:
        if not self._hasFailed:
            self._hasFailed = True
            _log.warn(
                "cannot notify systemd: {reason}; the service goes on",
                event="notify-failed",
                reason=reason,
            )
