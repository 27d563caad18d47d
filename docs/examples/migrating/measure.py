"""
What each step gains: the processor time of its server for a line.

    pip install '.[bench]'
    python docs/examples/migrating/measure.py

Each step's server is a process of its own, under `twistd`, on a port of the kernel's
choice; the load is that of `python -m twisted_echo.bench`, which checks every byte. In
every round each step is measured in turn, so that what slows the machine slows all. A
ratio is step 0's time over the step's, round by round: the median, and in brackets the
interval that holds the true one with 95 %, or of few rounds the least and the most.
"""

import argparse
import re
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted_echo.bench.cases import Case
from twisted_echo.bench.children import Child
from twisted_echo.bench.compare import Comparer, Settings
from twisted_echo.bench.comparison import Comparison
from twisted_echo.bench.servers import TWISTD, Server
from twisted_echo.bench.spreads import Spread, median_interval, paired_ratios

HERE = Path(__file__).parent
CASES = [Case("ping-pong", 50, 64, 1), Case("pipelined", 50, 64, 1024)]


class StepChild(Child):
    def wait_for(self, pattern: str) -> re.Match[str]:
        # Stock Twisted tells its port alone, and in words of its own.
        port = super().wait_for(r"(?:on [\d.]+:| starting on )(\d+)")[1]
        found = re.search(pattern, f"listening on 127.0.0.1:{port}, by twistd")
        assert found is not None
        return found


@dataclass(frozen=True)
class Step(Server):
    """
    @ivar options: those of C{twistd}.
    """

    options: tuple[str, ...] = ()

    def arguments(self, certificate: str = "") -> list[str]:
        options = ["--pidfile=", *self.options]
        return ["-c", TWISTD, *options, "-ny", self.name]

    def start(self, processors: Collection[int], certificate: str = "") -> Child:
        return StepChild(self.label, self.arguments(), processors=processors)


def steps(folder: Path) -> list[Step]:
    """
    Copy each step's program to C{folder}, on a port of the kernel's choice.
    """
    found = []
    for path in sorted(HERE.glob("step*.py")):
        source = path.read_text()
        (folder / path.name).write_text(source.replace("tcp:7008", "tcp:0"))
        eager = ("--reactor=eager",) if "--reactor=eager" in source else ()
        label = path.stem.replace("_", ", ").replace("step", "step ")
        found.append(Step(str(folder / path.name), label, options=eager))
    return found


def show(spread: Spread) -> str:
    return f"{spread.median:.3g} ({spread.least:.3g}-{spread.most:.3g})"


def print_case(comparison: Comparison, case: Case) -> None:
    print(case)
    times = {
        step: {run.round: run.cpu_us for run in comparison.of(step, case)}
        for step in comparison.labels
    }
    stock = next(iter(times.values()))
    for step, own in times.items():
        time = show(median_interval([*own.values()]))
        gain = show(median_interval(paired_ratios(stock, own)))
        label = comparison.labels[step]
        print(f"  {label:18} {time:>22} µs a line  {gain:>20} times")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the steps side by side.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each burst")
    options = parser.parse_args(arguments)
    settings = Settings(max(1, options.rounds), options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        found = steps(Path(folder))
        labels = {step.name: step.label for step in found}
        comparison = Comparison({}, labels, CASES)
        plan = [(case, step) for case in CASES for step in found]
        Comparer(plan, comparison, settings).run()
    for failure in comparison.failures:
        raise SystemExit(f"{labels[failure.server]}, {failure.case}: {failure.why}")
    for case in CASES:
        print_case(comparison, case)


if __name__ == "__main__":
    main()
