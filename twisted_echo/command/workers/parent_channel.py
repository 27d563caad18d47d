"""
The parent's end of a worker's channel.
"""

from typing import Any, Protocol

from twisted.logger import Logger

from twisted_echo.command.workers.channel import Answer, Channel, Finish, Log, SetState
from twisted_echo.command.workers.log_relay import relay
from twisted_echo.command.workers.worker_state import WorkerState
from twisted_echo.metrics import Snapshot

__all__ = ["ChannelUser", "ParentChannel"]

_log = Logger()


class ChannelUser(Protocol):
    """
    The worker process at the other end, as its parent knows it.
    """

    @property
    def number(self) -> int:
        """
        Which worker it is.
        """

    def stateReported(self, state: WorkerState) -> None:
        """
        The worker has said what it is doing.
        """

    def snapshotReported(self, snapshot: Snapshot) -> None:
        """
        The worker has sent its last numbers.
        """

    def channelLost(self) -> None:
        """
        The worker sends nothing more.
        """


class ParentChannel(Channel):
    """
    Receives what one worker sends.
    """

    def __init__(self, process: ChannelUser) -> None:
        super().__init__()
        self._process = process

    # A failure in a responder would end the channel, and with it the worker.

    @Log.responder
    def _relay(self, event: str) -> Answer:
        try:
            relay(self._process.number, event)
        except Exception:
            _log.failure("cannot log an event of a worker", event="worker-log-failed")
        return {}

    @SetState.responder
    def _setState(self, state: str) -> Answer:
        try:
            self._process.stateReported(WorkerState(state))
        except Exception:
            _log.failure(
                "cannot handle the state of a worker", event="worker-state-failed"
            )
        return {}

    @Finish.responder
    def _finish(self, snapshot: Any) -> Answer:
        self._process.snapshotReported(Snapshot.fromJSON(snapshot))
        return {}

    def lost(self) -> None:
        self._process.channelLost()
