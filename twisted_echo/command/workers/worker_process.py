"""
One worker process, as its parent sees it: what it prints, what it says, its end.

What must hold: a worker is gone when its process has ended and all that it had to say
has been heard.
"""

import socket
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.command.workers.channel import (
    Channel,
    Drain,
    Finish,
    GetSnapshot,
    Log,
    Ping,
    Serve,
    SetState,
)
from twisted_echo.command.workers.relay import relay
from twisted_echo.metrics import Snapshot
from twisted_echo.validation.units import Seconds

__all__ = ["KILLED_WITHIN", "STOP_NOW_WITHIN", "WorkerProcess"]

STOP_NOW_WITHIN = 5.0
"""
Seconds that a worker has for its end when its sessions are no longer waited for.
"""
KILLED_WITHIN = 5.0
"""
Seconds between the kill of a process and the end of the wait for it.
"""

_PATIENCE = 2.0
"""
Seconds that a worker has to answer. It may be busy, but for less.
"""
_LONGEST_LINE = 8192

_log = Logger()


class Keeper(Protocol):
    """
    What a worker belongs to.
    """

    @property
    def clock(self) -> IReactorTime:
        """
        Where the time comes from.
        """

    def settingsOf(self, number: int) -> bytes:
        """
        What a worker is to be told first.
        """

    def processChanged(self, worker: "WorkerProcess") -> None:
        """
        Its state is another one.
        """

    def processServes(self) -> None:
        """
        It accepts from where it was told to.
        """

    def processGone(self, worker: "WorkerProcess", reason: Failure) -> None:
        """
        It has ended, and all that it had to say has been heard.
        """


class WorkerProcess(ProcessProtocol):
    """
    One process, from its start to its end::

        starting -> listening <-> silent -> hung

    and from each of them to C{ending}, if the service stops, and to C{draining}.

    @ivar number: which worker it is.
    @ivar state: C{silent} is one that does not answer; C{hung}, one that was killed for
        that, or for not starting; C{ending}, one that was told to drain; C{draining},
        one that accepts nothing any more.
    @ivar snapshot: the last of its numbers that are known.
    @ivar wasReady: whether it ever listened.
    @ivar serves: the shares that it is known to accept from.
    @ivar owned: the shares whose backlogs it deals with at the stop; None if it does
        so with none, nor with what all workers accept from.
    @ivar waited: see L{Watched<twisted_echo.command.workers.watch.Watched>}.
    """

    transport: Any

    def __init__(self, keeper: Keeper, number: int) -> None:
        self.keeper = keeper
        self.name = str(number)
        self.number = number
        self.state = "starting"
        self.wasReady = False
        self.serves: set[int] = set()
        self.owned: set[int] | None = None
        self.waited = 0.0
        self.snapshot = Snapshot()
        self.channel = _ParentEnd(self)
        self._askers: list[Deferred[None]] = []
        self._isAsked = self._isPinged = False
        self._toldToServe: list[int] = []
        self._lines = {"stdout": b"", "stderr": b""}
        self._ended: Failure | None = None
        self._isChannelLost = False

    @property
    def pid(self) -> int:
        """
        Its process's number.
        """
        return self.transport.pid or 0

    # What it prints: nothing, unless something is very wrong.

    def connectionMade(self) -> None:
        self.transport.write(self.keeper.settingsOf(self.number))
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._printed("stdout", data)

    def errReceived(self, data: bytes) -> None:
        self._printed("stderr", data)

    def _printed(self, stream: str, data: bytes) -> None:
        *lines, rest = (self._lines[stream] + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._lines[stream] = rest
        for line in lines:
            _log.warn(
                "[worker {worker}] {line}",
                event="worker-printed",
                worker=self.number,
                line=line.decode("utf-8", "backslashreplace"),
                stream=stream,
            )

    # Its beginning and its end

    def open(self, reactor: Any, end: socket.socket) -> None:
        """
        Talk to it.
        """
        try:
            self.channel.open(reactor, end)
        except OSError:
            # Not a descriptor is free. It ends, as its channel has.
            _log.failure(
                "cannot talk to worker {worker}",
                event="worker-channel-failed",
                worker=self.number,
            )
            self.channelLost()

    def processEnded(self, reason: Failure) -> None:
        for stream, rest in self._lines.items():
            if rest:
                self._printed(stream, b"\n")
        self._ended = reason
        self._perhapsGone()

    def channelLost(self) -> None:
        """
        It has said its last word.
        """
        self._isChannelLost = True
        self._perhapsGone()

    def _perhapsGone(self) -> None:
        if self._ended is not None and self._isChannelLost:
            self.keeper.processGone(self, self._ended)

    def signal(self, name: str) -> None:
        """
        Send it a signal, if it is there.
        """
        try:
            self.transport.signalProcess(name)
        except ProcessExitedAlready:
            # What is known of its end is heard soon.
            return

    @property
    def cause(self) -> str:
        """
        The cause of its end, in a word.
        """
        if not self.wasReady:
            return "start-failed"
        if self.state == "hung":
            return "hung"
        value: Any = None if self._ended is None else self._ended.value
        return "exited" if getattr(value, "signal", None) is None else "killed"

    # What it is told

    def serve(self, shares: list[int]) -> None:
        """
        Make it accept from these shares, and no others.
        """
        if shares == self._toldToServe:
            return
        self._toldToServe = shares
        self.serves.intersection_update(shares)

        def done(_: Any) -> None:
            if self._toldToServe is shares:
                self.serves = set(shares)
                self.keeper.processServes()

        # One that is gone serves nothing.
        self.channel.ask(Serve, shares=shares).addCallbacks(done, lambda _: None)

    def drain(self) -> None:
        """
        Make it stop as part of a stop of the whole service.
        """
        self.state = "ending"

        def told(answer: Any) -> None:
            if answer["owns"]:
                self.owned = set(self._toldToServe)

        # One that is gone has ended.
        self.channel.ask(Drain).addCallbacks(told, lambda _: None)

    # Whether it is there

    def ping(self) -> bool:
        if self._isPinged:
            return False
        self._isPinged = True
        # One that is gone does not answer.
        self.channel.ask(Ping).addCallbacks(self._answered, lambda _: None)
        return True

    def _answered(self, _: Any) -> None:
        self._isPinged = False
        self.waited = 0.0
        if self.state == "silent":
            self.state = "listening"
            _log.info(
                "worker {worker} answers again",
                event="worker-answers",
                worker=self.number,
            )
            self.keeper.processChanged(self)

    def fallSilent(self) -> None:
        self.state = "silent"
        _log.warn(
            "worker {worker} does not answer; others accept in its place",
            event="worker-silent",
            worker=self.number,
        )
        self.keeper.processChanged(self)

    def killHung(self, seconds: float) -> None:
        _log.error(
            "worker {worker} "
            + ("has not answered" if self.wasReady else "has been starting")
            + " for {seconds}, and is killed",
            event="worker-hung",
            worker=self.number,
            hasListened=self.wasReady,
            seconds=Seconds(round(seconds)),
        )
        self.state = "hung"
        self.keeper.processChanged(self)
        self.signal("KILL")

    # What it is asked

    def ask(self) -> "Deferred[None]":
        """
        Bring C{snapshot} up to date.

        @return: fires when that is done, or is not possible.
        """
        asker: Deferred[None] = Deferred()
        # Without those who have waited in vain.
        self._askers = [*(each for each in self._askers if not each.called), asker]
        if not self._isAsked:
            # Else it does not answer faster for being asked again.
            self._isAsked = True
            self.channel.ask(GetSnapshot).addBoth(self._heard)
        return asker.addTimeout(
            _PATIENCE, self.keeper.clock, onTimeoutCancel=lambda *_: None
        )

    def _heard(self, answer: Any) -> None:
        if not isinstance(answer, Failure):
            self.snapshot = Snapshot.fromJSON(answer["snapshot"])
        self._isAsked = False
        # Who is told may ask again.
        askers, self._askers = self._askers, []
        for asker in askers:
            if not asker.called:
                asker.callback(None)


class _ParentEnd(Channel):
    """
    The parent's end of a worker's channel.
    """

    def __init__(self, process: WorkerProcess) -> None:
        super().__init__()
        self._process = process

    @Log.responder
    def _relay(self, event: str) -> dict[str, Any]:
        # A failure here would end the channel, and with it the worker.
        try:
            relay(self._process.number, event)
        except Exception:
            _log.failure(
                "cannot log what a worker has logged", event="worker-log-failed"
            )
        return {}

    @SetState.responder
    def _setState(self, state: str) -> dict[str, Any]:
        process = self._process
        if state == "listening":
            process.wasReady = True
            if process.state != "starting":
                # It was told to end meanwhile.
                return {}
            _log.info(
                "worker {worker} listens, as process {process}",
                event="worker-listening",
                worker=process.number,
                process=process.pid,
            )
        process.state = state
        try:
            process.keeper.processChanged(process)
        except Exception:
            _log.failure(
                "cannot deal with a worker's state", event="worker-state-failed"
            )
        return {}

    @Finish.responder
    def _finish(self, snapshot: Any) -> dict[str, Any]:
        self._process.snapshot = Snapshot.fromJSON(snapshot)
        return {}

    def lost(self) -> None:
        self._process.channelLost()
