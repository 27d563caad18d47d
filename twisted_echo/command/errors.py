"""
Why the command cannot start, in a line for its user.

Used by: L{twisted_echo.command.service} alone.
"""

import errno
import os
import sys
from socket import gaierror

from twisted.internet.error import AlreadyListened, CannotListenError

__all__ = ["CannotStart", "explain", "tellUser"]


class CannotStart(Exception):
    """
    The service cannot listen; the message says where, why, and what to do.
    """


_ADVICE = {
    errno.EADDRINUSE: "stop the process that uses it, or --listen elsewhere",
    errno.EADDRNOTAVAIL: "this machine has no such address; --listen on one it has",
    errno.ENOENT: "the folder must exist",
    errno.EACCES: "a port below 1024 needs root, which --uid sheds afterwards",
}
_NO_ACCESS_TO_PATH = "the folder must be writable for this user"


def explain(error: Exception) -> str:
    """
    Say in one line where, why, and what to do about it.
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
    number = getattr(reason, "errno", None)
    if str(reason) == "Cannot acquire lock":
        number = errno.EADDRINUSE
    if number is None or isinstance(reason, gaierror):
        text = getattr(reason, "strerror", None) or str(reason)
        return f"{where}{text or type(reason).__name__}"
    advice = _ADVICE.get(number)
    if isPath and number == errno.EACCES:
        advice = _NO_ACCESS_TO_PATH
    return where + os.strerror(number) + (f"; {advice}" if advice else "")


def tellUser(line: str) -> None:
    """
    Say something on standard error, where there is one.
    """
    if sys.__stderr__ is not None:
        # Not `sys.stderr`, which twistd turns into the log.
        print(f"echo: {line}", file=sys.__stderr__)
        sys.__stderr__.flush()
