"""
One worker process, as its parent knows it, from its start to its end.

What must hold: a worker is gone when its process has ended and everything that it sent
has been received.
"""

import socket
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import (
    IProcessTransport,
    IReactorSocket,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.command.workers.channel import (
    Accept,
    Answer,
    Drain,
    GetSnapshot,
    Ping,
)
from twisted_echo.command.workers.parent_channel import ParentChannel
from twisted_echo.command.workers.worker_exit import WorkerExit
from twisted_echo.command.workers.worker_output import WorkerOutput
from twisted_echo.command.workers.worker_state import WorkerState
from twisted_echo.metrics import Snapshot
from twisted_echo.scheduling.waiters import Waiters
from twisted_echo.validation.units import Seconds

__all__ = ["ProcessOwner", "WorkerProcess"]

_ANSWERS_WITHIN = 2.0
"""
Seconds that a worker has to answer. It may be busy, but for less.
"""

_log = Logger()


class ProcessOwner(Protocol):
    """
    The owner of a worker process, which starts it and is notified of its changes.
    """

    @property
    def clock(self) -> IReactorTime:
        """
        The source of the time.
        """

    def settingsOf(self, number: int) -> bytes:
        """
        The pickled settings of a worker.
        """

    def processChanged(self, worker: "WorkerProcess") -> None:
        """
        Report that the process has another state.
        """

    def processAccepts(self) -> None:
        """
        Report that the process accepts from its partitions.
        """

    def processGone(self, worker: "WorkerProcess") -> None:
        """
        Report that the process has ended, and that all that it sent was received.
        """


class WorkerProcess(ProcessProtocol):
    """
    One worker process.

    @ivar number: which worker it is.
    @ivar state: its L{WorkerState}.
    @ivar snapshot: the last of its numbers that are known.
    @ivar hasListened: whether it ever listened.
    @ivar accepted: the partitions that it is known to accept from.
    @ivar owned: the partitions whose backlogs it serves at the stop; None if it serves
        none, nor the backlogs that all workers share.
    @ivar exit: how it has ended, once it has.
    """

    transport: IProcessTransport

    def __init__(self, owner: ProcessOwner, number: int) -> None:
        self.number = number
        self.state = WorkerState.STARTING
        self.hasListened = False
        self.accepted: set[int] = set()
        self.owned: set[int] | None = None
        self.snapshot = Snapshot()
        self.exit: WorkerExit | None = None
        self.channel = ParentChannel(self)
        self._owner = owner
        self._output = WorkerOutput(number)
        self._assigned: list[int] = []
        self._untilSnapshot: Waiters[None] = Waiters()
        # Whether an answer is still to come, to each of two questions.
        self._isSnapshotPending = self._isPingPending = False
        self._processEnded: Deferred[None] = Deferred()
        self._channelLost: Deferred[None] = Deferred()
        ends = DeferredList([self._processEnded, self._channelLost])
        ends.addCallback(lambda _: owner.processGone(self))

    @property
    def name(self) -> str:
        """
        The number of the worker, as text.
        """
        return str(self.number)

    @property
    def pid(self) -> int:
        """
        The process ID.
        """
        return self.transport.pid or 0

    def _become(self, state: WorkerState) -> None:
        """
        Change the state and notify the owner, if there is such a step. (A worker that
        was told to end may still say that it listens.)
        """
        if not self.state.canBecome(state):
            return
        self.state = state
        if state is WorkerState.LISTENING:
            self.hasListened = True
        self._owner.processChanged(self)

    # The process

    def connectionMade(self) -> None:
        self.transport.write(self._owner.settingsOf(self.number))
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._output.received("stdout", data)

    def errReceived(self, data: bytes) -> None:
        self._output.received("stderr", data)

    def processEnded(self, reason: Failure) -> None:
        self._output.finish()
        self.exit = WorkerExit(reason)
        self._processEnded.callback(None)

    def signal(self, name: str) -> None:
        """
        Send the process a signal, if it runs.
        """
        try:
            self.transport.signalProcess(name)
        except ProcessExitedAlready:
            # `processEnded` is called soon.
            return

    @property
    def exitCause(self) -> str:
        """
        The cause of the end, in a word.
        """
        if not self.hasListened:
            return "start-failed"
        if self.state is WorkerState.HUNG:
            return "hung"
        return "exited" if self.exit is None or not self.exit.isBySignal else "killed"

    # The channel

    def open(self, reactor: IReactorSocket, end: socket.socket) -> None:
        """
        Open the channel.
        """
        try:
            self.channel.open(reactor, end)
        except OSError:
            # Not a descriptor is free. The worker ends, as its channel has.
            _log.failure(
                "cannot communicate with worker {worker}, and replaces it",
                event="worker-channel-failed",
                worker=self.number,
            )
            self.channelLost()

    def channelLost(self) -> None:
        self._channelLost.callback(None)

    def snapshotReported(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def stateReported(self, state: WorkerState) -> None:
        if state is WorkerState.LISTENING and self.state.canBecome(state):
            _log.info(
                "worker {worker} listens (process {process})",
                event="worker-listening",
                worker=self.number,
                process=self.pid,
            )
        self._become(state)

    # Requests

    def acceptFrom(self, partitions: list[int]) -> None:
        """
        Make the worker accept from these partitions, and no others.
        """
        if partitions == self._assigned:
            return
        self._assigned = partitions
        self.accepted.intersection_update(partitions)

        def done(_: object) -> None:
            if self._assigned is partitions:
                self.accepted = set(partitions)
                self._owner.processAccepts()

        # One that is gone accepts nothing.
        asked = self.channel.ask(Accept, partitions=partitions)
        asked.addCallbacks(done, lambda _: None)

    def drain(self) -> None:
        """
        Make the worker stop as part of a stop of the whole service.
        """
        if self.state.canBecome(WorkerState.ENDING):
            self.state = WorkerState.ENDING

        def answered(answer: Answer) -> None:
            if answer["owns"]:
                self.owned = set(self._assigned)

        # One that is gone has ended.
        self.channel.ask(Drain).addCallbacks(answered, lambda _: None)

    def updateSnapshot(self) -> "Deferred[None]":
        """
        Bring C{snapshot} up to date.

        @return: fires when that is done, or is not possible.
        """
        updated = self._untilSnapshot.wait()
        if not self._isSnapshotPending:
            # Else it does not answer faster for being asked again.
            self._isSnapshotPending = True
            self.channel.ask(GetSnapshot).addBoth(self._snapshotReceived)
        return updated.addTimeout(
            _ANSWERS_WITHIN, self._owner.clock, onTimeoutCancel=lambda *_: None
        )

    def _snapshotReceived(self, answer: Answer | Failure) -> None:
        if not isinstance(answer, Failure):
            self.snapshotReported(Snapshot.fromJSON(answer["snapshot"]))
        self._isSnapshotPending = False
        self._untilSnapshot.notify(None)

    # Whether it answers

    def ping(self) -> bool:
        if self._isPingPending:
            return False
        self._isPingPending = True
        # One that is gone does not answer.
        self.channel.ask(Ping).addCallbacks(self._pingAnswered, lambda _: None)
        return True

    def _pingAnswered(self, _: object) -> None:
        self._isPingPending = False
        if self.state is WorkerState.UNRESPONSIVE:
            _log.info(
                "worker {worker} answers again",
                event="worker-answers",
                worker=self.number,
            )
            self._become(WorkerState.LISTENING)

    def markUnresponsive(self) -> None:
        _log.warn(
            "worker {worker} does not answer; the others accept from its sockets",
            event="worker-unresponsive",
            worker=self.number,
        )
        self._become(WorkerState.UNRESPONSIVE)

    def killHung(self, seconds: float) -> None:
        _log.error(
            "worker {worker} "
            + ("has not answered" if self.hasListened else "has been starting")
            + " for {seconds}, and is killed",
            event="worker-hung",
            worker=self.number,
            hasListened=self.hasListened,
            seconds=Seconds(round(seconds)),
        )
        self._become(WorkerState.HUNG)
        self.signal("KILL")
