"""
Find which command of Twisted runs the options: C{twistd}, C{twist}, or none.
"""

import sys

from twisted.application.app import ServerOptions
from twisted.logger import Logger
from twisted.python.runtime import platform

__all__ = ["chooseReactor", "isDaemon", "twistedCommand"]

_log = Logger()


def twistedCommand(parent: object) -> tuple[str, int] | None:
    """
    Name the command that reads the options, and the status with which it ends for
    wrong ones.

    @param parent: the command's own options.
    @return: None if the parent is no command of Twisted's.
    """
    if isinstance(parent, ServerOptions):
        return "twistd", 1
    # (The class is private.)
    if type(parent).__module__ == "twisted.application.twist._options":
        return "twist", 64
    return None


def isDaemon(parent: object) -> bool:
    """
    Whether C{twistd} is going to leave the terminal.
    """
    # What runs in the debugger stays.
    return (
        isinstance(parent, ServerOptions)
        # (Where there is no such option, as on Windows, there are no daemons.)
        and "nodaemon" in parent
        and not (parent["nodaemon"] or parent["debug"])
    )


def chooseReactor() -> None:
    """
    Install the eager reactor, unless the user named another.
    """
    if "twisted.internet.reactor" in sys.modules or not platform.isLinux():
        return
    try:
        from twisted_echo.eager.epoll_reactor import install

        install()
    except ImportError as error:
        _log.warn(
            "cannot use the eager reactor: {reason}; the service works, but slower",
            event="reactor-not-eager",
            reason=str(error),
        )
