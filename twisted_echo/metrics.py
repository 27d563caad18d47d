"""
The numbers of a service, without any exporter.

Sessions, factories and services count in plain integers of their own. A L{Snapshot} is
made of those when it is asked for.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from twisted_echo.process_figures import ProcessFigures

__all__ = [
    "DURATION_BOUNDS",
    "LATENESS_BOUNDS",
    "Histogram",
    "Observation",
    "Snapshot",
    "WorkerObservation",
]

DURATION_BOUNDS = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 3600.0, 86400.0)
"""
Seconds that sessions last: from a health check to a day.
"""
LATENESS_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""
Seconds by which a reactor is late: below a millisecond, unless something blocks it.
"""


class Histogram:
    """
    Counts of values, in buckets.

    @ivar bounds: the upper bounds of the buckets, ascending. A value that equals one is
        within it.
    @ivar counts: how many values each bucket has. The last one, which has no bound, is
        for the values above all bounds.
    @ivar sum: the sum of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(
        self,
        bounds: Sequence[float],
        counts: Iterable[int] | None = None,
        sum: float = 0.0,
    ) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1) if counts is None else list(counts)
        self.sum = sum
        if len(self.counts) != len(self.bounds) + 1:
            raise ValueError(
                f"{len(self.bounds)} bounds need {len(self.bounds) + 1} counts,"
                f" got {len(self.counts)}"
            )

    def observe(self, value: float) -> None:
        """
        Count a value.
        """
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """
        The number of values.
        """
        return sum(self.counts)

    def copy(self) -> "Histogram":
        """
        Copy the histogram as it is now.
        """
        return Histogram(self.bounds, self.counts, self.sum)

    def __add__(self, other: "Histogram") -> "Histogram":
        if self.bounds != other.bounds:
            raise ValueError(
                "histograms can be added only if their bounds are the same, got"
                f" {self.bounds} and {other.bounds}"
            )
        return Histogram(
            self.bounds,
            (a + b for a, b in zip(self.counts, other.counts, strict=True)),
            self.sum + other.sum,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.toJSON() == other.toJSON()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Histogram({self.bounds}, {self.counts}, {self.sum})"

    def toJSON(self) -> "HistogramJSON":
        """
        Make plain values of it, which C{json.dumps} takes.
        """
        return list(self.bounds), self.counts, self.sum

    @classmethod
    def fromJSON(cls, value: "HistogramJSON") -> "Histogram":
        """
        Make a histogram of what L{toJSON} has returned.
        """
        return cls(*value)


HistogramJSON = tuple[list[float], list[int], float]
"""
The bounds, the counts and the sum.
"""


def _durations() -> Histogram:
    return Histogram(DURATION_BOUNDS)


_GAUGE = {"gauge": True}
"""
Marks the fields of a L{Snapshot} that L{Snapshot.cumulative} leaves out.
"""


_LIMITS = ("maxSessions", "maxPendingBytes")
"""
The fields of a L{Snapshot} that are limits.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """
    The numbers of one service at one moment; several can be added up.

    From C{opened} to C{lateness} they are counters, which only grow while the service
    lives. The others are gauges, and each is marked as one.

    @ivar opened: sessions that have begun.
    @ivar ended: sessions that have ended, by L{EndReason} values.
    @ivar refused: connections that have not become sessions, by L{EndReason} values.
    @ivar linesReceived: whole lines that peers sent, as far as they are counted.
    @ivar bytesReceived: bytes of peers that were given to protocols.
    @ivar bytesSent: bytes of protocols that the kernel, or TLS, has taken; None if some
        transports do not count them.
    @ivar acceptErrors: connections that could not be accepted.
    @ivar tlsHandshakes: TLS handshakes that succeeded, by version. None, like the next
        four, if there is no TLS.
    @ivar tlsFailures: TLS handshakes that failed, by L{TLSFailure} values.
    @ivar tlsResumptions: TLS handshakes that resumed an earlier TLS session.
    @ivar tlsPlainDropped: sessions whose clients sent more in the clear behind the
        command that began TLS; it was dropped.
    @ivar tlsSeconds: seconds that the successful handshakes took.
    @ivar durations: seconds that the ended sessions lasted.
    @ivar lateness: seconds by which the reactor was late, sampled. None if it is not
        measured.
    @ivar sessions: open sessions.
    @ivar handshakes: connections that are to become sessions.
    @ivar paused: sessions under backpressure: their peers do not read.
    @ivar pendingBytes: bytes that are held: input that is to be answered, and output
        that is to be sent.
    @ivar certificates: when each certificate expires, in seconds since 1970, by its
        file. Of several processes, the earliest.
    @ivar maxSessions: how many sessions and handshakes there may be; 0 for no limit.
        None of a process whose service is gone or not there yet: it adds nothing.
    @ivar maxPendingBytes: how many bytes may be held; likewise.
    """

    opened: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    linesReceived: int = 0
    bytesReceived: int = 0
    bytesSent: int | None = 0
    acceptErrors: int = 0
    tlsHandshakes: Mapping[str, int] | None = None
    tlsFailures: Mapping[str, int] | None = None
    tlsResumptions: int | None = None
    tlsPlainDropped: int | None = None
    tlsSeconds: Histogram | None = None
    durations: Histogram = field(default_factory=_durations)
    lateness: Histogram | None = None
    sessions: int = field(default=0, metadata=_GAUGE)
    handshakes: int = field(default=0, metadata=_GAUGE)
    paused: int = field(default=0, metadata=_GAUGE)
    pendingBytes: int = field(default=0, metadata=_GAUGE)
    certificates: Mapping[str, int] = field(default_factory=dict, metadata=_GAUGE)
    maxSessions: int | None = field(default=None, metadata=_GAUGE)
    maxPendingBytes: int | None = field(default=None, metadata=_GAUGE)

    def __add__(self, other: "Snapshot") -> "Snapshot":
        return Snapshot(
            **{
                each.name: _added(getattr(self, each.name), getattr(other, each.name))
                for each in fields(self)
                if each.name not in ("bytesSent", "certificates", *_LIMITS)
            },
            bytesSent=None
            if self.bytesSent is None or other.bytesSent is None
            else self.bytesSent + other.bytesSent,
            certificates=earliest(self.certificates, other.certificates),
            # No limit and another one make no limit.
            maxSessions=_sumOfLimits(self.maxSessions, other.maxSessions),
            maxPendingBytes=_sumOfLimits(self.maxPendingBytes, other.maxPendingBytes),
        )

    def cumulative(self) -> "Snapshot":
        """
        The counters alone: what stays when the service is gone.
        """
        counters = [each.name for each in fields(self) if not each.metadata]
        return Snapshot(**{name: getattr(self, name) for name in counters})

    def toJSON(self) -> dict[str, Any]:
        """
        Make plain values of it, which C{json.dumps} takes.
        """
        value = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, each in value.items():
            if isinstance(each, Histogram):
                value[name] = each.toJSON()
            elif isinstance(each, Mapping):
                value[name] = dict(each)
        return value

    @classmethod
    def fromJSON(cls, value: Mapping[str, Any]) -> "Snapshot":
        """
        Make a snapshot of what L{toJSON} has returned.
        """
        read = dict(value)
        for name in ("tlsSeconds", "durations", "lateness"):
            if read[name] is not None:
                read[name] = Histogram.fromJSON(read[name])
        return cls(**read)


@dataclass(frozen=True, slots=True)
class WorkerObservation:
    """
    What an exporter shows of one of several workers at one moment.

    @ivar state: what it is doing; C{gone} while it has no process.
    @ivar restarts: how often it was replaced, by cause.
    @ivar snapshot: its numbers, those of a process that drains included; None while
        it has no process.
    @ivar process: the figures of its process, or of the successor of one that drains;
        None if they are not known.
    """

    state: str
    restarts: Mapping[str, int]
    snapshot: Snapshot | None
    process: ProcessFigures | None


@dataclass(frozen=True, slots=True)
class Observation:
    """
    The state of a service at one moment, for an exporter.

    @ivar total: the sum of all processes.
    @ivar workers: each worker, by its number; empty if there is only one process.
    @ivar process: the figures of the only process, or of the parent of the workers;
        None if they are not known.
    @ivar state: the state of the service.
    @ivar states: all states that there are.
    @ivar build: versions and the like, by name.
    """

    total: Snapshot
    workers: Mapping[str, WorkerObservation]
    process: ProcessFigures | None
    state: str
    states: tuple[str, ...]
    build: Mapping[str, str]


def earliest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """
    Merge the times at which certificates expire, by file; of two times of one file,
    take the earlier.
    """
    both = one.keys() & other.keys()
    return {**one, **other, **{file: min(one[file], other[file]) for file in both}}


def _sumOfLimits(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return one and other and one + other


def _added(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return dict(Counter(one) + Counter(other))
    # A process that does not measure it adds nothing.
    if one is None or other is None:
        return other if one is None else one
    return one + other
