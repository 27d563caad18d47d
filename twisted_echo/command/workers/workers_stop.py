"""
The stop of all workers, step by step.

What must hold: the kernel begins no more connections, the workers serve what waits for
them, and drain; what they leave in the backlogs is served here. The stop ends, always.
"""

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime

from twisted_echo.command.workers.aggregate_status import AggregateStatus
from twisted_echo.command.workers.binding import BoundEndpoint
from twisted_echo.command.workers.channel import StopNow
from twisted_echo.command.workers.kill_timers import KILLED_WITHIN, STOP_NOW_WITHIN
from twisted_echo.command.workers.unserved_backlogs import UnservedBacklogs
from twisted_echo.command.workers.worker_monitor import WorkerMonitor
from twisted_echo.echo import EchoConfig
from twisted_echo.endpoints.strings import ParsedEndpoint

__all__ = ["WorkersStop", "longestWorkersStop"]


def longestWorkersStop(killTime: float) -> float:
    """
    Seconds that the stop of all workers takes at the most.

    @param killTime: seconds that a worker may take for its end.
    """
    return killTime + KILLED_WITHIN


class WorkersStop:
    """
    One stop of all workers.

    @ivar endsBy: the time, by the reactor, at which it will have ended at the latest.
    """

    def __init__(
        self,
        config: EchoConfig,
        reactor: IReactorTime,
        listening: Sequence[ParsedEndpoint],
        bound: Sequence[BoundEndpoint],
        monitor: WorkerMonitor,
        status: AggregateStatus,
    ) -> None:
        """
        @param listening: the endpoints, for what is above their sockets.
        @param bound: the sockets.
        """
        self._monitor = monitor
        self._status = status
        self._bound = bound
        self._backlogs = UnservedBacklogs(
            config, reactor, listening, bound, lambda: monitor.workers
        )
        self.endsBy = monitor.clock.seconds() + longestWorkersStop(monitor.killTime)

    async def run(self) -> None:
        """
        Stop the workers.
        """
        # 1. The kernel begins no more connections.
        for each in self._bound:
            each.shut()
        # 2. The workers drain, each with the backlogs that it accepts from.
        self._status.countOwn(self._backlogs.snapshot)
        self._backlogs.serveWhenAnswered()
        await self._monitor.stop()
        # 3. What they have left ends, too.
        await self._backlogs.serve()
        # 4. All is counted.
        self._status.settleOwn()

    def now(self) -> None:
        """
        Wait for no client any more.
        """
        self._monitor.sendToAll(StopNow)
        self._backlogs.stopNow()
        # A worker that hangs does not receive it.
        self._monitor.stopNow()
        latest = self._monitor.clock.seconds() + longestWorkersStop(STOP_NOW_WITHIN)
        self.endsBy = min(self.endsBy, latest)

    def workersChanged(self) -> None:
        """
        Find again which backlogs are served.
        """
        self._backlogs.workersChanged()
