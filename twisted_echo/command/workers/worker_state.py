"""
The states of a worker process, as its parent knows it.
"""

from enum import Enum

__all__ = ["WorkerState"]


class WorkerState(Enum):
    """
    What a worker process is doing::

                  listens             no answer
        STARTING ---------> LISTENING ---------> UNRESPONSIVE
           |                    |    <---------       |
           |                    |      answers        |
           | too late           |                     | too late
           +--------> HUNG <----|---------------------+
           |           |        |                     |
           +-----------+--------+-- asked to drain ---+---> ENDING
           |                    |                     |       |
           +--------------------+-- drains -----------+-------+---> DRAINING

    A worker that is L{HUNG} was killed. One that is L{ENDING} was asked to drain;
    L{DRAINING} is one that no longer accepts, for whatever reason.
    """

    STARTING = "starting"
    LISTENING = "listening"
    UNRESPONSIVE = "unresponsive"
    HUNG = "hung"
    ENDING = "ending"
    DRAINING = "draining"

    def canBecome(self, other: "WorkerState") -> bool:
        """
        Whether there is a step from this state to another one.
        """
        return other in _STEPS[self]


_STEPS = {
    WorkerState.STARTING: {
        WorkerState.LISTENING,
        WorkerState.HUNG,
        WorkerState.ENDING,
        WorkerState.DRAINING,
    },
    WorkerState.LISTENING: {
        WorkerState.UNRESPONSIVE,
        WorkerState.ENDING,
        WorkerState.DRAINING,
    },
    WorkerState.UNRESPONSIVE: {
        WorkerState.LISTENING,
        WorkerState.HUNG,
        WorkerState.ENDING,
        WorkerState.DRAINING,
    },
    WorkerState.HUNG: {WorkerState.ENDING},
    WorkerState.ENDING: {WorkerState.DRAINING},
    WorkerState.DRAINING: set(),
}
