"""
Process-wide settings that only the command makes, and an embedder should make by
itself: the limit of open files, and signals.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger

__all__ = [
    "RELOAD_SIGNAL",
    "ROTATE_SIGNAL",
    "STATUS_SIGNAL",
    "STOP_SIGNALS",
    "OnSecondSignal",
    "OnSignal",
    "failProcess",
    "mostSessions",
    "raiseFileLimit",
    "sessionsWithin",
    "unreadable",
    "unusable",
]

_log = Logger()

RELOAD_SIGNAL = getattr(signal, "SIGHUP", None)
ROTATE_SIGNAL = getattr(signal, "SIGUSR1", None)
STATUS_SIGNAL = getattr(signal, "SIGUSR2", None)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_RESERVED_FILES = 256
"""
Descriptors kept for what is no session: standard streams, the log and its successor,
the reactor's own, ports, the admin port's clients, channels of workers.
"""
_FEWEST_RESERVED = 24
"""
Descriptors kept where the limit is so low that half of it is less. About 14 are open
without any client; an eighth of the limit is for those of the admin port.
"""
_FILES_FOR_PORT = 2
"""
Descriptors of each further port: an adopted one has two.
"""
_MOST_SESSIONS = 100_000
"""
More than one process serves well; with a limit of a million descriptors it is
memory and the processor that run out.
"""


def raiseFileLimit() -> int:
    """
    Allow this process as many open files as the administrator allows it.

    @return: how many that is.
    """
    try:
        import resource
    except ImportError:
        return 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError) as error:
            # Some systems do not allow what they say is their limit.
            _log.warn(
                "the limit of open files stays {soft}: {reason}",
                event="file-limit-kept",
                soft=soft,
                reason=str(error),
            )
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def _room(files: int, ports: int) -> int:
    reserved = max(min(_RESERVED_FILES, files // 2), _FEWEST_RESERVED)
    return max(1, files - reserved - _FILES_FOR_PORT * (ports - 1))


def mostSessions(files: int, ports: int = 1) -> int:
    """
    How many sessions a process that may open so many files should take.

    @param ports: on how many it listens.
    """
    return min(_room(files, ports), _MOST_SESSIONS)


def sessionsWithin(asked: int, files: int, ports: int = 1) -> int:
    """
    How many of the sessions that its user has asked for a process can take that may
    open so many files. If they are too many, the log says so.

    @param asked: 0 for no limit, which is left alone.
    """
    most = _room(files, ports)
    if asked > most:
        _log.warn(
            "--max-sessions {asked} is lowered to {most}: the limit of open files is"
            " {openFiles}",
            event="max-sessions-lowered",
            asked=asked,
            most=most,
            openFiles=files,
        )
    return min(asked, most)


class OnSignal:
    """
    Calls a function in the reactor when a signal comes, until it is ended.
    """

    def __init__(self, number: int, reactor: Any, act: Callable[[], object]) -> None:
        self._number = number
        self._before = signal.signal(number, lambda *_: reactor.callFromThread(act))

    def end(self) -> None:
        """
        Have done again what was done before.
        """
        signal.signal(self._number, self._before or signal.SIG_DFL)


class OnSecondSignal:
    """
    Has something done in the reactor when one of some signals comes and one of them has
    come before, which did what it always does; until it is ended.
    """

    def __init__(
        self, numbers: Iterable[int], reactor: Any, act: Callable[[], object]
    ) -> None:
        self._reactor = reactor
        self._act = act
        self._hasCome = False
        # One that is ignored stays so.
        handlers = {number: signal.getsignal(number) for number in numbers}
        self._before: dict[int, Callable[[int, Any], object]] = {
            number: each for number, each in handlers.items() if callable(each)
        }
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        if self._hasCome:
            self._reactor.callFromThread(self._act)
        else:
            self._hasCome = True
            self._before[number](number, frame)

    def end(self) -> None:
        """
        Have done again what was done before.
        """
        for number, each in self._before.items():
            signal.signal(number, each)


def unreadable(files: list[str]) -> list[str]:
    """
    The files that this process may not read.
    """
    return unusable(files, os.R_OK)


def unusable(files: list[str], mode: int) -> list[str]:
    """
    Those of some files that this process may not use in a way that C{os.access} knows.
    """
    # By its effective user, which `os.access` does not ask for unless told to.
    effective = os.access in os.supports_effective_ids
    return [
        each for each in files if not os.access(each, mode, effective_ids=effective)
    ]


def failProcess(reactor: Any, line: str) -> None:
    """
    End this process in order, but with status 1, and tell the user why: for what cannot
    be known before the reactor runs.
    """
    if sys.__stderr__ is not None:
        # Not `sys.stderr`, which twistd turns into the log.
        print(f"echo: {line}", file=sys.__stderr__, flush=True)
    # Twisted's commands have a status of their own only for signals.
    atexit.register(_exitWithFailure)
    reactor.stop()


def _exitWithFailure() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(1)
