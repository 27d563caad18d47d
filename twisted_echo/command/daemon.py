"""
How the start of a daemon ended, said on the terminal that it was started from.

twistd waits in the process that the user started, and prints the first hundred bytes of
an exception. By what is here that process first waits for the whole line.

What must hold: nobody waits for a daemon that is gone; a daemon that listens has the
status that twistd gives it.
"""

import os
from contextlib import suppress

__all__ = ["DaemonReport"]


class DaemonReport:
    """
    A pipe from a daemon that is still to be to the process that makes it.

    To be made in that process, before C{twistd} forks; to be called by the daemon.
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
