"""
What a load has seen: of one process, or of several added up.
"""

import json
from dataclasses import dataclass, field
from typing import Any, TypedDict

from twisted_echo.bench.latency import Latencies

BUSY = 0.95
"""
The share of a processor above which a load process is the bottleneck.
"""


class Part(TypedDict):
    """
    The lines that count, of all sizes or of one. Latencies are percentiles in
    microseconds, by name.
    """

    lines: int
    lines_per_second: float
    latency_us: dict[str, float]


class Summary(Part):
    """
    What C{--json} prints of a result.
    """

    unsent: int
    seconds: float
    megabytes_per_second: float
    load_busy: float
    sizes: dict[str, Part]
    failures: list[str]


@dataclass
class Result:
    """
    What a load has seen. Times are of the machine's monotonic clock.

    @ivar latencies: of the lines that count, by size; those unsent included, with
        their age when time was up.
    @ivar unsent: by size, how many of these were due and not sent.
    @ivar lines: that came back, warm-up included.
    @ivar busy: the share of a processor that the busiest load process took.
    """

    began: int = 0
    ended: int = 0
    lines: int = 0
    busy: float = 0.0
    latencies: dict[int, Latencies] = field(default_factory=dict)
    unsent: dict[int, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Result") -> None:
        """
        Add what another process has seen in the same time.
        """
        self.began = min(self.began, other.began) or other.began
        self.ended = max(self.ended, other.ended)
        self.lines += other.lines
        self.busy = max(self.busy, other.busy)
        self.failures += other.failures
        for size, latencies in other.latencies.items():
            self.latencies.setdefault(size, Latencies()).add(latencies)
            self.unsent[size] = self.unsent.get(size, 0) + other.unsent.get(size, 0)

    def to_json(self) -> str:
        encoded = {size: each.encode() for size, each in self.latencies.items()}
        return json.dumps(vars(self) | {"latencies": encoded})

    @classmethod
    def from_json(cls, text: str) -> "Result":
        fields: dict[str, Any] = json.loads(text)
        fields["latencies"] = {
            int(size): Latencies.decode(each)
            for size, each in fields["latencies"].items()
        }
        fields["unsent"] = {int(size): each for size, each in fields["unsent"].items()}
        return cls(**fields)

    @property
    def seconds(self) -> float:
        return max(self.ended - self.began, 1) / 1e9

    def summary(self) -> Summary:
        """
        What C{--json} prints: counts, rates, and latencies in microseconds, of all
        lines that count and of those of each size.
        """
        total = Latencies()
        for each in self.latencies.values():
            total.add(each)
        back = {
            size: each.lines - self.unsent.get(size, 0)
            for size, each in sorted(self.latencies.items())
        }
        lines = sum(back.values())
        data = sum(size * count for size, count in back.items())
        return {
            "lines": lines,
            "unsent": sum(self.unsent.values()),
            "seconds": round(self.seconds, 6),
            "lines_per_second": round(lines / self.seconds, 1),
            "megabytes_per_second": round(data / self.seconds / 1e6, 3),
            "load_busy": round(self.busy, 3),
            "latency_us": total.percentiles(),
            "sizes": {
                str(size): {
                    "lines": count,
                    "lines_per_second": round(count / self.seconds, 1),
                    "latency_us": self.latencies[size].percentiles(),
                }
                for size, count in back.items()
            },
            "failures": self.failures,
        }
