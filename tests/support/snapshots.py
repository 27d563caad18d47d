"""
Snapshots and histograms with values in them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from twisted_echo.lifecycle import State
from twisted_echo.metrics import (
    DURATION_BOUNDS,
    LATENESS_BOUNDS,
    Histogram,
    Observation,
    Snapshot,
    WorkerObservation,
)
from twisted_echo.process_figures import ProcessFigures
from twisted_echo.tls.counts import HANDSHAKE_BOUNDS


def filled(bounds: tuple[float, ...], *values: float) -> Histogram:
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    return histogram


def full(more: int = 0) -> Snapshot:
    """
    A snapshot in which no field has its default.
    """
    return Snapshot(
        opened=10 + more,
        ended={"peer-closed": 3 + more, "idle": 1},
        refused={"refused-full": 2 + more},
        linesReceived=100 + more,
        bytesReceived=1000 + more,
        bytesSent=900 + more,
        acceptErrors=4 + more,
        tlsHandshakes={"TLSv1.3": 7 + more},
        tlsFailures={"alert": 5 + more},
        tlsResumptions=3 + more,
        tlsPlainDropped=2 + more,
        tlsSeconds=filled(HANDSHAKE_BOUNDS, 0.004),
        durations=filled(DURATION_BOUNDS, 0.5 + more),
        lateness=filled(LATENESS_BOUNDS, 0.002),
        sessions=6 + more,
        handshakes=1 + more,
        paused=2 + more,
        pendingBytes=50 + more,
        certificates={"cert.pem": 4_000_000_000 - more},
        maxSessions=1000 + more,
        maxPendingBytes=4096 + more,
    )


def figures(more: int = 0) -> ProcessFigures:
    """
    The figures of a process that has had every one of them.
    """
    return ProcessFigures(
        processorSeconds=1.25 + more,
        residentBytes=50_000_000 + more,
        virtualBytes=90_000_000 + more,
        startTime=1_700_000_000.5 + more,
        openFiles=14 + more,
        maxFiles=20_000 + more,
    )


def seen_worker(
    snapshot: Snapshot | None,
    process: ProcessFigures | None = None,
    restarts: Mapping[str, int] = MappingProxyType({"exited": 2, "hung": 0}),
) -> WorkerObservation:
    """
    A worker that was replaced twice.
    """
    return WorkerObservation(
        state="gone" if snapshot is None else "listening",
        restarts=restarts,
        snapshot=snapshot,
        process=process,
    )


def observed(total: Snapshot, **more: Any) -> Observation:
    """
    A service that listens, in one process unless there are C{workers}.
    """
    return Observation(
        **{
            "total": total,
            "workers": {},
            "process": None,
            "state": State.LISTENING.value,
            "states": tuple(each.value for each in State),
            "build": {"version": "1", "reactor": "Clock"},
            **more,
        }
    )
