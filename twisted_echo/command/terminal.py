"""
Whether the terminal of this process is still there.
"""

import errno
import os

__all__ = ["Terminal"]


class Terminal:
    """
    The controlling terminal that this process has when this is made, if it has one.
    """

    def __init__(self) -> None:
        self._wasThere = _errorOfOpening() == 0

    @property
    def isGone(self) -> bool:
        """
        Whether there was a terminal and it has hung up. (The kernel detaches it before
        it sends SIGHUP.)
        """
        return self._wasThere and _errorOfOpening() in (errno.ENXIO, errno.EIO)


def _errorOfOpening() -> int:
    # POSIX's name for the controlling terminal of the process that opens it.
    name = getattr(os, "ctermid", lambda: "")()
    try:
        os.close(os.open(name, os.O_RDONLY | getattr(os, "O_NOCTTY", 0)))
    except OSError as error:
        return error.errno or -1
    return 0
