"""
Results of C{compare}, made up.
"""

from collections.abc import Mapping, Sequence

from twisted_echo.bench.cases import Case, servers_of
from twisted_echo.bench.comparison import Comparison, Run
from twisted_echo.bench.latency import PERCENTILES
from twisted_echo.bench.servers import SERVERS

__all__ = ["a_comparison", "a_run"]


def a_run(
    server: str, case: Case, number: int, cpu: float, *, stolen: float = 0.0
) -> Run:
    latency = dict.fromkeys(PERCENTILES, 10 * cpu) if case.rate else {}
    return Run(server, case.name, number, 1000, cpu, latency, stolen)


def a_comparison(
    cases: Sequence[Case], times: Mapping[str, float], rounds: int = 2
) -> Comparison:
    """
    @param times: microseconds a line of some servers in the first round; a tenth more
        in each that follows.
    """
    made: dict[str, str | int | float | bool] = {
        "date": "1999-12-31",
        "python": "CPython 3.99",
        "twisted": "99.1",
        "uvloop": "9.9",
        "rloop": "not installed",
        "rounds": rounds,
        "seconds": 0.5,
        "implementation": "compiled",
    }
    labels = {name: server.label for name, server in SERVERS.items()}
    comparison = Comparison(made, labels, list(cases))
    for number in range(1, rounds + 1):
        comparison.runs += [
            a_run(name, case, number, cpu * (1 + (number - 1) / 10))
            for case in cases
            for name, cpu in times.items()
            if name in servers_of(case)
        ]
    return comparison
