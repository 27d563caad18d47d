"""
What the log is told of a service: its limits, and all of it when an operator asks.

Used by: L{twisted_echo.command.service} alone.
"""

from twisted.logger import Logger

from twisted_echo.limits import Limits
from twisted_echo.metrics import Observation, Snapshot, tally

__all__ = ["inWords", "tellStatus"]

_log = Logger()


def inWords(limits: Limits) -> str:
    """
    Limits in words.
    """
    sessions = f"{limits.sessions} sessions" if limits.sessions else "any number of"
    perPeer = limits.sessionsPerPeer or "any number"
    buffered = f"{limits.buffered} bytes" if limits.buffered else "any number of bytes"
    return (
        f"{sessions}{'' if limits.sessions else ' sessions'}, {perPeer} by one peer,"
        f" {buffered} held"
    )


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
            restarts=tally(observation.restarts),
        )
    for name, snapshot in observation.workers.items():
        _tell(snapshot, state=observation.state, worker=name)


def _tell(snapshot: Snapshot, state: str, worker: str | None = None) -> None:
    _log.info(
        f"status{'' if worker is None else ' of worker {worker}'}"
        ": {state}, {sessions} sessions, {paused} of them paused,"
        " {handshakes} handshakes; {pending} bytes wait to be sent; {opened} sessions"
        " opened, ended {ended}; refused {refused}; {acceptErrors} accept errors;"
        " {received} bytes received, {sent} sent",
        event="status",
        state=state,
        worker=worker,
        sessions=snapshot.sessions,
        paused=snapshot.paused,
        handshakes=snapshot.handshakes,
        pending=snapshot.pendingBytes,
        opened=snapshot.opened,
        ended=tally(snapshot.ended),
        refused=tally(snapshot.refused),
        acceptErrors=snapshot.acceptErrors,
        received=snapshot.bytesReceived,
        sent="?" if snapshot.bytesSent is None else snapshot.bytesSent,
    )
