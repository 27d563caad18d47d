"""
What each step gains: the processor time of its server for a line.

    pip install 'twisted-echo[bench]'
    python docs/examples/migrating/measure.py

Each step's server is a process of its own, under `twistd`, on a port of the kernel's
choice; the load is that of `python -m twisted_echo.bench`, which checks every byte. In
every round each step is measured in turn, so that what slows the machine slows all. A
ratio is step 0's time over the step's, round by round: the median, the least, the most.
"""

import argparse
import re
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted_echo.bench.children import Child
from twisted_echo.bench.compare import Settings, measure, prepare
from twisted_echo.bench.comparison import Case, Run, ratio, spread
from twisted_echo.bench.servers import TWISTD, Server

HERE = Path(__file__).parent
CASES = {"ping-pong": Case(50, 64, 1), "pipelined": Case(50, 64, 1024)}


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

    def start(
        self, processors: Collection[int], size: int = 0, certificate: str = ""
    ) -> Child:
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the steps side by side.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each run")
    options = parser.parse_args(arguments)
    settings = Settings(max(1, options.rounds), options.seconds)
    prepare(list(CASES.values()), settings)
    runs: dict[tuple[str, str], list[Run]] = {}
    with tempfile.TemporaryDirectory() as folder:
        found = steps(Path(folder))
        for number in range(settings.rounds):
            for name, case in CASES.items():
                for step in found:
                    run = measure(step, case, number, settings)
                    runs.setdefault((name, step.label), []).append(run)
    for name, case in CASES.items():
        print(f"{name}: {case}")
        for step in found:
            own, stock = runs[name, step.label], runs[name, found[0].label]
            time = spread(run.cpu_us for run in own)
            gain = ratio(stock, own, lambda run: run.cpu_us)
            print(f"  {step.label:18} {time!s:>22} µs a line  {gain!s:>20} times")


if __name__ == "__main__":
    main()
