"""
Log what a worker prints. It prints nothing, unless something is very wrong.
"""

from twisted.logger import Logger

__all__ = ["WorkerOutput"]

_LONGEST_LINE = 8192

_log = Logger()


class WorkerOutput:
    """
    Logs the lines that one worker prints.
    """

    def __init__(self, worker: int) -> None:
        """
        @param worker: its number.
        """
        self._worker = worker
        self._unfinished = {"stdout": b"", "stderr": b""}

    def received(self, stream: str, data: bytes) -> None:
        """
        Log the lines that are complete. One that is too long is cut.
        """
        *lines, rest = (self._unfinished[stream] + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._unfinished[stream] = rest
        for line in lines:
            _log.warn(
                "[worker {worker}] printed to {stream}: {line}",
                event="worker-printed",
                worker=self._worker,
                line=line.decode("utf-8", "backslashreplace"),
                stream=stream,
            )

    def finish(self) -> None:
        """
        Log what has no end of line.
        """
        for stream, rest in self._unfinished.items():
            if rest:
                self.received(stream, b"\n")
