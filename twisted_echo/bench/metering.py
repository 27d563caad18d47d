"""
Look at what a process uses while it is measured, and measure again if the hypervisor
disturbed that.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from twisted_echo.bench.machine import processor_seconds, stolen_seconds

STOLEN = 0.03
"""
The share of a processor above which a run says nothing: it may read twice too high.
"""

TRIES = 4


class Meter:
    """
    What a process used between two moments, and how much of a processor the hypervisor
    took from this machine meanwhile.
    """

    def __init__(self) -> None:
        self._looks: list[tuple[float, float, float]] = []

    def look(self, pid: int) -> None:
        seconds = processor_seconds(pid), stolen_seconds(), time.monotonic()
        self._looks.append(seconds)

    @property
    def used(self) -> float:
        """
        Seconds of processor time; 0 if there was no second look.
        """
        return self._looks[-1][0] - self._looks[0][0] if self._looks else 0.0

    @property
    def stolen(self) -> float:
        # Some kernels take back what they have counted.
        (_, first, began), (_, last, ended) = self._looks
        return max(last - first, 0.0) / (ended - began)


class Disturbed(Protocol):
    @property
    def stolen(self) -> float:
        """
        The share of a processor that the hypervisor took during the run.
        """


R = TypeVar("R", bound=Disturbed)


def least_disturbed(measure_once: Callable[[], R], tries: int = TRIES) -> tuple[R, int]:
    """
    The first run that the hypervisor did not disturb; failing that, the one, among
    a few, that it disturbed least; and how many there were.
    """
    runs: list[R] = []
    while len(runs) < tries:
        runs.append(measure_once())
        if runs[-1].stolen <= STOLEN:
            break
    return min(runs, key=lambda run: run.stolen), len(runs)


def warn_if_disturbed(runs: Sequence[Disturbed]) -> None:
    """
    Say on standard error how many runs were disturbed each time that they were tried.
    """
    disturbed = sum(run.stolen > STOLEN for run in runs)
    if disturbed:
        print(
            f"{disturbed} of {len(runs)} runs were disturbed by the hypervisor,"
            " each time that they were tried: look at the intervals",
            file=sys.stderr,
        )
