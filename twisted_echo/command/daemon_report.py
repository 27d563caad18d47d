"""
Report on the terminal how the start of a daemon ended.

The process that the user started waits for twistd's daemon, and prints the first
hundred bytes of an exception. With this module it first waits for the whole line.

What must hold: the wait ends if the daemon is gone; if the daemon listens, the exit
status is the one that twistd gives.
"""

import os
from contextlib import suppress

__all__ = ["DaemonReport"]


class DaemonReport:
    """
    A pipe from a daemon to the process that starts it.

    Make it in that process, before C{twistd} forks; the daemon calls it.
    """

    def __init__(self) -> None:
        self._launcher = os.getpid()
        self._reader, self._writer = os.pipe()
        self._isWaitedFor = True
        # (It cannot be taken back.)
        os.register_at_fork(after_in_parent=self._wait)

    def __call__(self, line: str | None) -> None:
        """
        Say that the daemon listens, or why it cannot.

        @param line: the error; None if there is none.
        """
        if line is None:
            self._isWaitedFor = False
            os.close(self._reader)
            os.close(self._writer)
        else:
            # The launcher may have been killed.
            with suppress(OSError):
                os.write(self._writer, os.fsencode(line))
            # It stays open, for the launcher waits until this process has tidied up.

    def _wait(self) -> None:
        if os.getpid() != self._launcher or not self._isWaitedFor:
            return
        self._isWaitedFor = False
        os.close(self._writer)
        with open(self._reader, "rb") as pipe:
            line = pipe.read()
        if line:
            os.write(2, b"echo: " + line + b"\n")
            # As twistd does it: what there is to tidy up is the daemon's.
            os._exit(1)
