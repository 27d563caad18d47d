"""
Latencies: recorded cheaply while a load runs, then kept in an HDR histogram.

Cost: one dict update for the lines that came back in one chunk, a tenth of what
C{HdrHistogram.record_value} takes. A value is rounded to what the histogram can
tell apart (three digits), so the dict stays below some 30,000 entries however
long the load runs, and nothing is lost that the histogram would have kept.
"""

from typing import Any

LONGEST = 3600 * 10**9
DIGITS = 3
_KEPT_BITS = 11
"""
With three digits the histogram keeps the 11 highest bits of a value.
"""

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}


class Recorder:
    """
    The latencies of lines, in nanoseconds.

    @ivar since: lines that were due earlier are not counted.
    @ivar last: when the last counted line was back.
    """

    def __init__(self, since: int = 0) -> None:
        self.since = since
        self.last = since
        self.lines = 0
        self.counts: dict[int, int] = {}

    def record(self, due: int, now: int, lines: int) -> None:
        if due < self.since:
            return
        value = now - due
        shift = value.bit_length() - _KEPT_BITS
        if shift > 0:
            value = value >> shift << shift
        self.counts[value] = self.counts.get(value, 0) + lines
        self.lines += lines
        self.last = now


class Latencies:
    """
    An HDR histogram of nanoseconds.
    """

    def __init__(self, histogram: Any = None) -> None:
        from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

        self._histogram = histogram or HdrHistogram(1, LONGEST, DIGITS)

    @classmethod
    def of(cls, recorder: Recorder) -> "Latencies":
        latencies = cls()
        for value, lines in recorder.counts.items():
            latencies._histogram.record_value(min(max(value, 0), LONGEST), lines)
        return latencies

    @classmethod
    def decode(cls, text: str) -> "Latencies":
        """
        Read what L{encode} wrote, in this process or another.
        """
        from hdrh.histogram import HdrHistogram

        return cls(HdrHistogram.decode(text))

    def encode(self) -> str:
        """
        The histogram in HDR's own format, compressed, as base64.
        """
        encoded: bytes = self._histogram.encode()
        return encoded.decode()

    def add(self, other: "Latencies") -> None:
        """
        Add the counts of another histogram.
        """
        self._histogram.add(other._histogram)

    @property
    def lines(self) -> int:
        return int(self._histogram.get_total_count())

    def percentiles(self) -> dict[str, float]:
        """
        L{PERCENTILES} in microseconds; empty if no line was counted.
        """
        if not self.lines:
            return {}
        found = self._histogram.get_percentile_to_value_dict(PERCENTILES.values())
        return {name: found[at] / 1e3 for name, at in PERCENTILES.items()}
