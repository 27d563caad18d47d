"""
What is counted, in plain numbers: an embedder's and an exporter's view of a service.

A leaf: it knows no session and no service. Who counts bumps integers of his own; a
L{Snapshot} is made of them when somebody asks.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = [
    "DURATION_BOUNDS",
    "LATENESS_BOUNDS",
    "Histogram",
    "Observation",
    "Snapshot",
]

DURATION_BOUNDS = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 3600.0, 86400.0)
"""
Seconds that sessions last: from a probe's to a day.
"""
LATENESS_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""
Seconds that a reactor is late: below a millisecond, unless something blocks it.
"""


class Histogram:
    """
    How many of some values were up to which bound.

    @ivar bounds: the upper bounds, ascending; a value equal to one is within it.
    @ivar counts: how many fell between a bound and the one before; one more, at the
        end, for those above all.
    @ivar sum: of all values.
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
        How many values there have been.
        """
        return sum(self.counts)

    def copy(self) -> "Histogram":
        """
        The same, as it is now.
        """
        return Histogram(self.bounds, self.counts, self.sum)

    def __add__(self, other: "Histogram") -> "Histogram":
        if self.bounds != other.bounds:
            raise ValueError(
                f"histograms of other bounds: {self.bounds} and {other.bounds}"
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

    def toJSON(self) -> list[Any]:
        return [list(self.bounds), self.counts, self.sum]

    @classmethod
    def fromJSON(cls, value: Sequence[Any]) -> "Histogram":
        return cls(*value)


def _durations() -> Histogram:
    return Histogram(DURATION_BOUNDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """
    The numbers of one service at one moment; of several, when added up.

    From C{opened} to C{lateness} they only grow while the service lives; the others
    come and go.

    @ivar opened: sessions that have begun.
    @ivar ended: sessions that have ended, by L{EndReason} values.
    @ivar refused: connections that have not become sessions, by the same.
    @ivar linesReceived: whole lines of the peers', as far as they are counted.
    @ivar bytesReceived: bytes of the peers' that were handed to protocols.
    @ivar bytesSent: bytes of the protocols' that the kernel, or TLS, has taken; None
        if there are transports that do not count them.
    @ivar acceptErrors: connections that could not be accepted.
    @ivar tlsHandshakes: TLS handshakes that were finished, by version. None, like the
        next four, if there is no TLS.
    @ivar tlsFailures: those that failed, by L{TLSFailure} values.
    @ivar tlsResumptions: those that resumed an earlier TLS session.
    @ivar tlsPlainDropped: sessions whose clients had sent more in the clear behind what
        began TLS, which was dropped.
    @ivar tlsSeconds: seconds that those which were finished took.
    @ivar durations: seconds that the sessions which have ended lasted.
    @ivar lateness: seconds that the reactor was late, now and then. None if it is
        not measured.
    @ivar sessions: sessions that are open.
    @ivar handshakes: connections that are to become sessions.
    @ivar paused: sessions that are not read from, as their peers do not read.
    @ivar pendingBytes: bytes that are held: of input that waits to be answered, and of
        output that waits to be sent.
    @ivar certificates: when each certificate expires, in seconds since 1970, by its
        file. Of several processes, the first to expire.
    @ivar maxSessions: how many sessions and handshakes there may be; 0 for no limit.
        None of a process whose service is gone or not there yet: it adds nothing.
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
    sessions: int = 0
    handshakes: int = 0
    paused: int = 0
    pendingBytes: int = 0
    certificates: Mapping[str, int] = field(default_factory=dict)
    maxSessions: int | None = None

    def __add__(self, other: "Snapshot") -> "Snapshot":
        return Snapshot(
            **{
                each.name: _added(getattr(self, each.name), getattr(other, each.name))
                for each in fields(self)
                if each.name not in ("bytesSent", "certificates", "maxSessions")
            },
            bytesSent=None
            if self.bytesSent is None or other.bytesSent is None
            else self.bytesSent + other.bytesSent,
            certificates=earliest(self.certificates, other.certificates),
            # No limit and another one make no limit.
            maxSessions=_sumOfLimits(self.maxSessions, other.maxSessions),
        )

    def cumulative(self) -> "Snapshot":
        """
        What stays of it when its service is gone: what only ever grows.
        """
        return Snapshot(
            **{name: getattr(self, name) for name in _GROWING},
        )

    def toJSON(self) -> dict[str, Any]:
        """
        As what C{json.dumps} takes.
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
        What L{toJSON} was called on.
        """
        read = dict(value)
        for name in ("tlsSeconds", "durations", "lateness"):
            if read[name] is not None:
                read[name] = Histogram.fromJSON(read[name])
        return cls(**read)


_GROWING = (
    *("opened", "ended", "refused", "linesReceived", "bytesReceived", "bytesSent"),
    *("acceptErrors", "tlsHandshakes", "tlsFailures", "tlsResumptions", "tlsSeconds"),
    *("tlsPlainDropped", "durations", "lateness"),
)


@dataclass(frozen=True, slots=True)
class Observation:
    """
    What is exported at one moment.

    @ivar total: the sum of all processes.
    @ivar workers: each of them, by its number; none if there is one process only.
    @ivar state: what the service is doing, and of which states that is one.
    @ivar build: versions and the like, by name.
    @ivar restarts: how often a worker was replaced, by cause.
    """

    total: Snapshot
    workers: Mapping[str, Snapshot]
    state: str
    states: tuple[str, ...]
    build: Mapping[str, str]
    restarts: Mapping[str, int] = field(default_factory=dict)


def earliest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """
    When certificates expire, by their files; of two of the same file, the first to
    expire.
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
    # Whoever does not measure it adds nothing to what another measured.
    if one is None or other is None:
        return other if one is None else one
    return one + other
