"""
How a worker process has ended.
"""

import signal

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

__all__ = ["WorkerExit"]


class WorkerExit(dict[str, int | str | None]):
    """
    The C{status} or the C{signal} with which a process has ended, as fields of a log
    event and as text for a person; neither, if there was no process.

    @ivar isOrderly: whether it has ended by itself, with status 0.
    """

    def __init__(self, reason: Failure | None) -> None:
        """
        @param reason: what C{processEnded} was called with; None if the process could
            not be started.
        """
        error = None if reason is None else reason.value
        status = number = None
        if isinstance(error, (ProcessDone, ProcessTerminated)):
            status, number = error.exitCode, error.signal
        super().__init__(
            status=status,
            signal=None if number is None else signal.Signals(number).name,
        )
        self.isOrderly = isinstance(error, ProcessDone)

    @property
    def isBySignal(self) -> bool:
        """
        Whether a signal has ended it.
        """
        return self["signal"] is not None

    def __str__(self) -> str:
        if self.isBySignal:
            return f"signal {self['signal']}"
        if self["status"] is None:
            return "no process could be made"
        return f"status {self['status']}"
