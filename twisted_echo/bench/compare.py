"""
Measure servers side by side: in every round each one in turn, under one case after
the other, so that drift hits all alike.

What must hold: the figure to quote is the server's processor time per line, which is
the same whether the server or the load was the bottleneck. It is measured from when all
connections are made to when all lines are back, or, of a churn, from its first
connection to the end of its last. Every run has a new server.
"""

import platform
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from twisted_echo.bench.comparison import Case, Comparison, Run
from twisted_echo.bench.errors import BrokenServer, ChildFailed
from twisted_echo.bench.load_processes import run_processes
from twisted_echo.bench.metering import TRIES, Meter, least_disturbed
from twisted_echo.bench.plan import Plan, Target
from twisted_echo.bench.servers import Server, address
from twisted_echo.bench.wire import allow_files

WARM_UP = 0.15
"""
The share of a run's time whose lines are not counted.
"""

SETTLE = 0.2
"""
Seconds for a server to be done with accepting before it is measured.
"""

OVERHEAD = 1.2
"""
About the seconds that a run takes beside its time under load.
"""


@dataclass(frozen=True)
class Settings:
    """
    @ivar processors: those of the server, and those of the load; none for any.
    @ivar certificate: the folder of C{key.pem} and C{cert.pem}, for cases over TLS.
    """

    rounds: int
    seconds: float
    processes: int = 1
    processors: tuple[Collection[int], Collection[int]] = ((), ())
    certificate: str = ""


def facts(settings: Settings) -> dict[str, str | int | float | bool]:
    """
    The date, the versions and the settings, but no name of a machine or a person.
    """
    found: dict[str, str | int | float | bool] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "processes": settings.processes,
        "pinned": bool(settings.processors[0]),
    }
    for name in ("twisted-echo", "twisted", "uvloop"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def plan_of(case: Case, settings: Settings, target: Target) -> Plan:
    return Plan(
        target=replace(target, tls=case.tls, insecure=case.tls),
        connections=case.connections,
        sizes=(case.size,),
        depth=case.depth,
        duration=settings.seconds,
        warm_up=settings.seconds * WARM_UP,
        churn=case.churn,
    )


def prepare(cases: Sequence[Case], settings: Settings) -> None:
    """
    See to it that all cases can be carried out. What is started from here, servers
    and load alike, inherits the number of files that may be open.

    @raise BadRequest: if one cannot.
    """
    for case in cases:
        plan_of(case, settings, Target())
    allow_files(max(case.connections for case in cases))


def measure(server: Server, case: Case, round: int, settings: Settings) -> Run:
    """
    Start a server, put load on it, end it.

    @raise BrokenServer: if it does not send every line back, or none in time.
    @raise ChildFailed: if it does not start.
    """
    meter = Meter()
    lines = 0

    def ready() -> None:
        time.sleep(SETTLE)
        meter.look(child.pid)

    def measured(count: int) -> None:
        nonlocal lines
        meter.look(child.pid)
        lines = count

    certificate = settings.certificate if case.tls else ""
    with server.start(settings.processors[0], case.size, certificate) as child:
        result = run_processes(
            plan_of(case, settings, address(child)),
            min(settings.processes, case.connections),
            processors=settings.processors[1],
            ready=ready,
            measured=measured,
        )
    if result.failures:
        raise BrokenServer(f"{server.label}, {case}: {result.failures[0]}")
    summary = result.summary()
    if not summary["lines"] or meter.used <= 0:
        raise BrokenServer(f"{server.label}, {case}: too slow for runs so short")
    return Run(
        server=server.name,
        case=case,
        round=round,
        lines_per_second=summary["lines_per_second"],
        cpu_us=meter.used / max(lines, 1) * 1e6,
        latency_us=summary["latency_us"],
        load_busy=summary["load_busy"],
        stolen=meter.stolen,
        tries=1,
    )


def measure_quietly(measure_once: Callable[[], Run], tries: int = TRIES) -> Run:
    """
    The first run that the hypervisor did not disturb; failing that, the one, among
    a few, that it disturbed least.
    """
    best, tried = least_disturbed(measure_once, tries)
    return replace(best, tries=tried)


def compare(
    comparison: Comparison,
    servers: Sequence[Server],
    cases: Sequence[Case],
    settings: Settings,
    show: Callable[[float, str], None] = lambda share, words: None,
) -> None:
    """
    Measure all. A server that fails is recorded, and not measured again.

    @param comparison: gets each run when it is done.
    """
    failed: set[tuple[str, Case]] = set()
    total = settings.rounds * len(cases) * len(servers)
    done = 0
    for number in range(1, settings.rounds + 1):
        for case in cases:
            for server in servers:
                show(done / total, f"round {number}: {server.label}, {case}")
                done += 1
                if (server.name, case) in failed:
                    continue

                def once(
                    server: Server = server, case: Case = case, number: int = number
                ) -> Run:
                    return measure(server, case, number, settings)

                try:
                    comparison.runs.append(measure_quietly(once))
                except (BrokenServer, ChildFailed) as error:
                    failed.add((server.name, case))
                    comparison.failures.append(str(error))
