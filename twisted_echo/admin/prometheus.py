"""
Snapshots as Prometheus metrics. Needs prometheus-client (extra C{metrics}).

C{METRICS} is the table of what is exported of a service, C{PROCESS_METRICS} that of a
process. A new metric is a row there and, if nothing counts it yet, a field of
L{Snapshot} or of L{ProcessFigures}. Names and units follow Prometheus' conventions:
seconds and bytes, C{_total} for counters.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from twisted_echo.metrics import Histogram, Observation, Snapshot
from twisted_echo.process_figures import ProcessFigures
from twisted_echo.session.ends.end_reason import REFUSALS, EndReason
from twisted_echo.tls.counts import VERSIONS, TLSFailure

__all__ = [
    "METRICS",
    "PREFIX",
    "PROCESS_METRICS",
    "WORKER_PREFIX",
    "Exported",
    "SnapshotCollector",
]

PREFIX = "twisted_echo_"
WORKER_PREFIX = PREFIX + "worker_"

Value = float | Histogram | Mapping[str, int] | None
_Source = TypeVar("_Source")


@dataclass(frozen=True, slots=True)
class Exported(Generic[_Source]):
    """
    One metric.

    @ivar name: its name without the prefix, and without a counter's C{_total}.
    @ivar kind: C{counter}, C{gauge} or C{histogram}.
    @ivar help: what it counts.
    @ivar read: takes it from a snapshot, or from the figures of a process; it returns
        None if it is not known there.
    @ivar label: the label of its parts, if C{read} returns a mapping.
    """

    name: str
    kind: str
    help: str
    read: Callable[[_Source], Value]
    label: str = ""


_NO_ENDS: dict[str, int] = {each.value: 0 for each in EndReason if each not in REFUSALS}
_NO_HANDSHAKES = dict.fromkeys(VERSIONS, 0)
_NO_FAILURES: dict[str, int] = {each.value: 0 for each in TLSFailure}
_NO_REFUSALS: dict[str, int] = {each.value: 0 for each in EndReason if each in REFUSALS}


def _from(
    zeros: Mapping[str, int], counts: Mapping[str, int] | None
) -> Mapping[str, int] | None:
    """
    Add the counts that are zero: a rate needs a zero to begin with.
    """
    return None if counts is None else {**zeros, **counts}


METRICS: tuple[Exported[Snapshot], ...] = (
    Exported(
        "sessions_opened", "counter", "Sessions that have begun.", lambda s: s.opened
    ),
    Exported(
        "sessions_ended",
        "counter",
        "Sessions that have ended, by reason.",
        lambda s: _from(_NO_ENDS, s.ended),
        "reason",
    ),
    Exported(
        "connections_refused",
        "counter",
        "Connections that have not become sessions, by reason.",
        lambda s: _from(_NO_REFUSALS, s.refused),
        "reason",
    ),
    Exported(
        "accept_errors",
        "counter",
        "Connections that could not be accepted.",
        lambda s: s.acceptErrors,
    ),
    Exported(
        "tls_handshakes",
        "counter",
        "TLS handshakes that were finished, by version.",
        lambda s: _from(_NO_HANDSHAKES, s.tlsHandshakes),
        "version",
    ),
    Exported(
        "tls_handshake_failures",
        "counter",
        "TLS handshakes that failed, by reason.",
        lambda s: _from(_NO_FAILURES, s.tlsFailures),
        "reason",
    ),
    Exported(
        "tls_resumptions",
        "counter",
        "TLS handshakes that resumed an earlier TLS session.",
        lambda s: s.tlsResumptions,
    ),
    Exported(
        "tls_plain_input_dropped",
        "counter",
        "Sessions whose input in the clear behind STARTTLS was dropped.",
        lambda s: s.tlsPlainDropped,
    ),
    Exported(
        "lines_received",
        "counter",
        "Whole lines that were received.",
        lambda s: s.linesReceived,
    ),
    Exported(
        "received_bytes",
        "counter",
        "Bytes that were received, under TLS decrypted.",
        lambda s: s.bytesReceived,
    ),
    Exported(
        "sent_bytes",
        "counter",
        "Bytes that were sent, under TLS before they are encrypted.",
        lambda s: s.bytesSent,
    ),
    Exported("sessions", "gauge", "Sessions that are open.", lambda s: s.sessions),
    Exported(
        "sessions_max",
        "gauge",
        "How many sessions and handshakes there may be; 0 for no limit.",
        lambda s: s.maxSessions,
    ),
    Exported(
        "sessions_paused",
        "gauge",
        "Sessions that are not read from, as their peers do not read.",
        lambda s: s.paused,
    ),
    Exported(
        "handshakes",
        "gauge",
        "Connections that are to become sessions, by TLS or a PROXY header.",
        lambda s: s.handshakes,
    ),
    Exported(
        "pending_bytes",
        "gauge",
        "Bytes that are held: input to be answered, and output to be sent.",
        lambda s: s.pendingBytes,
    ),
    Exported(
        "pending_max_bytes",
        "gauge",
        "How many bytes may be held; 0 for no limit.",
        lambda s: s.maxPendingBytes,
    ),
    Exported(
        "tls_certificate_not_after_seconds",
        "gauge",
        "When the certificate in a file expires, in seconds since 1970.",
        lambda s: s.certificates or None,
        "file",
    ),
    Exported(
        "session_duration_seconds",
        "histogram",
        "How long the sessions lasted that have ended.",
        lambda s: s.durations,
    ),
    Exported(
        "tls_handshake_duration_seconds",
        "histogram",
        "How long the TLS handshakes took that were finished.",
        lambda s: s.tlsSeconds,
    ),
    Exported(
        "reactor_lateness_seconds",
        "histogram",
        "By how much calls come late that are due twice a second.",
        lambda s: s.lateness,
    ),
)
"""
All that is exported of a snapshot.
"""
PROCESS_METRICS: tuple[Exported[ProcessFigures], ...] = (
    Exported(
        "process_cpu_seconds",
        "counter",
        "Processor time that the process has used, user and system.",
        lambda process: process.processorSeconds,
    ),
    Exported(
        "process_resident_memory_bytes",
        "gauge",
        "Memory of the process that is in RAM.",
        lambda process: process.residentBytes,
    ),
    Exported(
        "process_virtual_memory_bytes",
        "gauge",
        "Size of the address space of the process.",
        lambda process: process.virtualBytes,
    ),
    Exported(
        "process_start_time_seconds",
        "gauge",
        "When the process began, in seconds since 1970.",
        lambda process: process.startTime,
    ),
    Exported(
        "process_open_fds",
        "gauge",
        "Descriptors that the process has open.",
        lambda process: process.openFiles,
    ),
    Exported(
        "process_max_fds",
        "gauge",
        "How many descriptors the process may have open.",
        lambda process: process.maxFiles,
    ),
)
"""
All that is exported of a process, by the names that every client of Prometheus uses.
"""


class SnapshotCollector(Collector):
    """
    Exports one observation.
    """

    def __init__(self, observation: Observation) -> None:
        self.observation = observation

    def collect(self) -> Iterator[Metric]:
        seen = self.observation
        for metric in METRICS:
            yield from _families(metric, PREFIX, {"": seen.total})
        for figure in PROCESS_METRICS:
            yield from _families(figure, "", {"": seen.process})
        if seen.workers:
            yield from self._workers()
        state = StateSetMetricFamily(PREFIX + "state", "What the service is doing.")
        state.add_metric([], {each: each == seen.state for each in seen.states})
        yield state
        build = InfoMetricFamily(PREFIX + "build", "Which software this is.")
        build.add_metric([], dict(seen.build))
        yield build

    def _workers(self) -> Iterator[Metric]:
        workers = self.observation.workers
        snapshots = {name: each.snapshot for name, each in workers.items()}
        for metric in METRICS:
            yield from _families(metric, WORKER_PREFIX, snapshots)
        processes = {name: each.process for name, each in workers.items()}
        for figure in PROCESS_METRICS:
            yield from _families(figure, WORKER_PREFIX, processes)
        restarts = CounterMetricFamily(
            WORKER_PREFIX + "restarts",
            "How often the worker was replaced, by cause.",
            labels=["worker", "cause"],
        )
        for name, each in workers.items():
            for cause, count in each.restarts.items():
                restarts.add_metric([name, cause], count)
        yield restarts


def _families(
    metric: Exported[_Source], prefix: str, sources: Mapping[str, _Source | None]
) -> Iterable[Metric]:
    """
    Make the family of one metric, of one process or of many; nothing, if none of them
    knows it.
    """
    ofWorkers = prefix == WORKER_PREFIX
    read = {
        (name,) if ofWorkers else (): value
        for name, source in sources.items()
        if source is not None and (value := metric.read(source)) is not None
    }
    if not read:
        return
    name, labels = prefix + metric.name, ["worker"] if ofWorkers else []
    if metric.label:
        labels.append(metric.label)
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.help, labels=labels)
        for own, value in read.items():
            if isinstance(value, Histogram):
                histogram.add_metric(own, _buckets(value), value.sum)
        yield histogram
        return
    numbers = _NUMBERS[metric.kind](name, metric.help, labels=labels)
    for own, value in read.items():
        if isinstance(value, Mapping):
            for part, count in sorted(value.items()):
                numbers.add_metric([*own, part], count)
        elif not isinstance(value, Histogram):
            numbers.add_metric(own, value)
    yield numbers


_NUMBERS: Mapping[str, type[CounterMetricFamily | GaugeMetricFamily]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
}


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """
    Count the values up to each bound, and up to infinity, as Prometheus has it.
    """
    below = 0
    buckets: list[tuple[str, float]] = []
    names = [*map(floatToGoString, histogram.bounds), "+Inf"]
    for name, count in zip(names, histogram.counts, strict=True):
        below += count
        buckets.append((name, below))
    return buckets
