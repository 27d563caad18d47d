"""
Say in one line why the command cannot start.

What must hold: it is one line on standard error, without a traceback.
"""

import atexit
import errno
import os
import sys
from socket import gaierror
from types import TracebackType

from twisted.internet.error import AlreadyListened, CannotListenError
from twisted.internet.interfaces import IReactorCore

__all__ = ["CannotStart", "endQuietly", "explain", "failProcess", "tellUser"]


class CannotStart(Exception):
    """
    The service cannot listen; the message says where, why, and what to do.
    """


_ADVICE = {
    errno.EADDRINUSE: "stop the process that uses it, or {option} elsewhere",
    errno.EADDRNOTAVAIL: "this machine has no such address; {option} on one it has",
    errno.ENOENT: "the folder must exist",
    errno.ENOTDIR: "the folder must be one",
    errno.EACCES: "a port below 1024 needs root; --uid gives it up afterwards",
}
_NO_ACCESS_TO_PATH = "the folder must be writable for this user"


def explain(error: Exception, option: str = "--listen") -> str:
    """
    Say in one line where, why, and what to do about it.

    @param option: the one that says where; the usual one need not be named.
    """
    reason: object = error
    where, isPath = "", False
    if isinstance(error, CannotListenError):
        reason, isPath = error.socketError, isinstance(error.port, bytes)
        if isinstance(error.port, bytes):
            where = f"unix:{os.fsdecode(error.port)}: "
        else:
            where = f"{error.interface or '*'}:{error.port}: "
    elif isinstance(error, AlreadyListened):
        return "a socket of systemd can be listened on once; start a new process"
    elif isinstance(error, OSError) and error.filename2:
        # A UNIX port's lock file cannot be made.
        path = os.fsdecode(error.filename2)
        where, isPath = f"unix:{path.removesuffix('.lock')}: ", True
    number = reason.errno if isinstance(reason, OSError) else None
    if str(reason) == "Cannot acquire lock":
        number = errno.EADDRINUSE
    if number is None or isinstance(reason, gaierror):
        text = reason.strerror if isinstance(reason, OSError) else None
        why, advice = text or str(reason) or type(reason).__name__, None
    else:
        why, advice = os.strerror(number), _ADVICE.get(number)
    if isPath and number == errno.EACCES:
        advice = _NO_ACCESS_TO_PATH
    line = f"{where}{why}" + (f"; {advice.format(option=option)}" if advice else "")
    return line if option in line or option == "--listen" else f"{line} ({option})"


def endQuietly() -> None:
    """
    Print no traceback if a L{CannotStart} ends the process: the user has seen the line.
    (twistd, whose standard error is its log, would log it line by line.)
    """
    before = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, where: TracebackType | None
    ) -> None:
        if not isinstance(error, CannotStart):
            before(kind, error, where)

    sys.excepthook = hook


def tellUser(line: str | None) -> None:
    """
    Say something on standard error, where there is one.

    @param line: None if there is nothing to be said.
    """
    if line is not None and sys.__stderr__ is not None:
        # Not `sys.stderr`, which twistd turns into the log.
        print(f"echo: {line}", file=sys.__stderr__)
        sys.__stderr__.flush()


def failProcess(reactor: IReactorCore, line: str) -> None:
    """
    End this process in order, but with status 1, and say why on standard error: for
    errors that are found only when the reactor runs.
    """
    tellUser(line)
    # Twisted's commands have a status of their own only for signals.
    atexit.register(_exitWithFailure)
    reactor.stop()


def _exitWithFailure() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(1)
