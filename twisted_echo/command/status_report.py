"""
What the log is told of a service: its limits, and all of it when an operator asks.
"""

from typing import Any

from twisted.logger import Logger

from twisted_echo.logs.values import Tally
from twisted_echo.metrics import Observation, Snapshot
from twisted_echo.session.limits import Limits
from twisted_echo.validation.units import Size

__all__ = ["SaidLimits", "tellStatus"]

_log = Logger()


class SaidLimits(dict[str, Any]):
    """
    Limits, in words to a person.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__(
            sessions=limits.sessions,
            sessionsPerPeer=limits.sessionsPerPeer,
            whenFull=limits.whenFull.value,
            buffered=limits.buffered,
        )

    def __str__(self) -> str:
        sessions = self["sessions"] or "any number of"
        perPeer = self["sessionsPerPeer"] or "any number"
        buffered = Size(self["buffered"]) if self["buffered"] else "any number of"
        return f"{sessions} sessions, {perPeer} by one peer, {buffered} bytes held"


def tellStatus(observation: Observation) -> None:
    """
    Tell the log all there is to tell: a line for the whole; with workers, one for each,
    and one for how often they were restarted.
    """
    _tell(observation.total, state=observation.state)
    if observation.restarts:
        _log.info(
            "status of workers: {restarts} restarts",
            event="status-workers",
            restarts=Tally(observation.restarts),
        )
    for name, snapshot in observation.workers.items():
        _tell(snapshot, state=observation.state, worker=int(name))


def _tell(snapshot: Snapshot, state: str, worker: int | None = None) -> None:
    _log.info(
        f"status{'' if worker is None else ' of worker {worker}'}"
        ": {state}, {sessions} sessions, {paused} of them paused,"
        " {handshakes} handshakes; {pending} bytes held; {opened} sessions"
        " opened, ended {ended}; refused {refused}; {acceptErrors} accept errors;"
        " {received} bytes received"
        + ("" if snapshot.bytesSent is None else ", {sent} sent"),
        event="status",
        state=state,
        worker=worker,
        sessions=snapshot.sessions,
        paused=snapshot.paused,
        handshakes=snapshot.handshakes,
        pending=snapshot.pendingBytes,
        opened=snapshot.opened,
        ended=Tally(snapshot.ended),
        refused=Tally(snapshot.refused),
        acceptErrors=snapshot.acceptErrors,
        received=snapshot.bytesReceived,
        sent=snapshot.bytesSent,
    )
