"""
Measure servers side by side: in every round each one in turn, so that drift hits all
alike.

A server has a process of its own under each case, and so has its load; both are kept
for some rounds, and are then made again, so that what differs from process to process
is in the spread. A first burst, which is not measured, warms them up.

What must hold: the figure to quote is the server's processor time per line, from
before the first line of a burst is sent until the last is back. It is the same whether
the server or the load was the bottleneck.
"""

import contextlib
import json
import platform
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from twisted_echo.bench.bursts import Burst, Order
from twisted_echo.bench.cases import Case
from twisted_echo.bench.children import Child, SpeakingChild
from twisted_echo.bench.comparison import Comparison, Facts, Failed, Run
from twisted_echo.bench.errors import BrokenServer, ChildFailed
from twisted_echo.bench.metering import Meter, least_disturbed
from twisted_echo.bench.screen import Show
from twisted_echo.bench.servers import Server, address
from twisted_echo.bench.wire import allow_files
from twisted_echo.compiled.choice import implementation

LOAD = ("-m", "twisted_echo.bench.bursts")
ROUNDS_EACH = 6
"""
Rounds for which a process is kept.
"""

WARM_UP = 0.2
"""
Seconds of the burst that is not measured.
"""

OVERHEAD, BEGINNING = 0.15, 1.3
"""
About how many seconds a burst takes beside its time, and how many a server and its
load take to begin.
"""


@dataclass(frozen=True)
class Settings:
    """
    How a comparison measures.

    @ivar seconds: of a burst.
    @ivar processors: those of the server, and those of the load; none for any.
    @ivar certificate: the folder of C{key.pem} and C{cert.pem}, for cases over TLS.
    """

    rounds: int
    seconds: float
    processors: tuple[Collection[int], Collection[int]] = ((), ())
    certificate: str = ""

    def generations(self) -> list[range]:
        """
        The numbers of the rounds, in groups that have the same processes.
        """
        end = self.rounds + 1
        return [
            range(first, min(first + ROUNDS_EACH, end))
            for first in range(1, end, ROUNDS_EACH)
        ]


def facts(settings: Settings) -> Facts:
    """
    The date, the versions and the settings, but no name of a machine or a person.
    """
    found: Facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "pinned": bool(settings.processors[0]),
        "implementation": implementation(),
    }
    for name in ("twisted-echo", "twisted", "uvloop", "rloop", "aiofastnet"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def expected_seconds(plan: Sequence[tuple[Case, Server]], settings: Settings) -> float:
    """
    About how long it takes.
    """
    burst = settings.seconds + OVERHEAD
    generations = len(settings.generations())
    return len(plan) * (settings.rounds * burst + generations * BEGINNING)


class Subject:
    """
    A server, and its load, for one case.
    """

    def __init__(
        self, server: Server, case: Case, child: Child, load: SpeakingChild
    ) -> None:
        self.server = server
        self._case = case
        self._child = child
        self._load = load

    def begin(self) -> None:
        """
        Wait until the server is warm.

        @raise BrokenServer: if it breaks a line or a connection.
        @raise ChildFailed: if it does not start.
        """
        case, where = self._case, address(self._child)
        order = Order(
            where.host,
            where.port,
            case.connections,
            case.size,
            case.depth,
            case.rate,
            case.churn,
            case.tls,
        )
        self._load.tell(json.dumps(asdict(order)))
        self._load.hear("ready")
        self._burst(WARM_UP)

    def _burst(self, seconds: float) -> Burst:
        self._load.tell(str(seconds))
        return Burst(*json.loads(self._load.hear("done")))

    def measure(self, number: int, seconds: float) -> Run:
        """
        Load the server for some seconds, and return what it used.

        @raise BrokenServer: if the server breaks a line or a connection.
        """
        meter = Meter()
        meter.look(self._child.pid)
        burst = self._burst(seconds)
        meter.look(self._child.pid)
        if meter.used <= 0:
            raise BrokenServer("the burst was too short to be measured")
        return Run(
            server=self.server.name,
            case=self._case.name,
            round=number,
            lines=burst.lines,
            cpu_us=round(meter.used / burst.lines * 1e6, 4),
            latency_us={name: round(us, 1) for name, us in burst.latency_us.items()},
            stolen=round(meter.stolen, 4),
        )


class Comparer:
    """
    Measures all that is wanted.

    @param plan: each server under each case.
    @param comparison: gets each run when it is done. A server that fails under a case
        is recorded, and not measured again under it.
    """

    def __init__(
        self,
        plan: Sequence[tuple[Case, Server]],
        comparison: Comparison,
        settings: Settings,
        show: Show = lambda share, words: None,
    ) -> None:
        self._plan = plan
        self._comparison = comparison
        self._settings = settings
        self._show = show
        self._total = len(plan) * settings.rounds
        self._done = 0

    def run(self) -> None:
        for rounds in self._settings.generations():
            for case in dict.fromkeys(case for case, _ in self._plan):
                servers = [each for of, each in self._plan if of == case]
                with contextlib.ExitStack() as stack:
                    self._measure(case, self._begin(case, servers, stack), rounds)

    @contextlib.contextmanager
    def _watched(self, server: Server, case: Case) -> Iterator[None]:
        try:
            yield
        except (BrokenServer, ChildFailed) as error:
            failed = Failed(server.name, case.name, str(error))
            self._comparison.failures.append(failed)

    def _begin(
        self, case: Case, servers: Sequence[Server], stack: contextlib.ExitStack
    ) -> list[Subject]:
        for_server, for_load = self._settings.processors
        certificate = self._settings.certificate if case.tls else ""
        allow_files(case.connections)
        subjects = []
        # One after the other: at once, each would hold up the others for long.
        for server in servers:
            if self._comparison.has_failed(server.name, case):
                continue
            self._show(self._done / self._total, f"{server.label}, {case}")
            child = stack.enter_context(server.start(for_server, certificate))
            load = SpeakingChild("the load", LOAD, processors=for_load)
            subject = Subject(server, case, child, stack.enter_context(load))
            with self._watched(server, case):
                subject.begin()
            subjects.append(subject)
        return subjects

    def _measure(self, case: Case, subjects: Sequence[Subject], rounds: range) -> None:
        for number in rounds:
            # Each is first in its turn, and behind each other as often.
            first = number % max(len(subjects), 1)
            for each in (*subjects[first:], *subjects[:first]):
                words = f"round {number}: {each.server.label}, {case}"
                self._show(self._done / self._total, words)
                self._done += 1
                if not self._comparison.has_failed(each.server.name, case):
                    with self._watched(each.server, case):
                        self._comparison.runs.append(self._run(each, number))

    def _run(self, subject: Subject, number: int) -> Run:
        """
        The first run that the hypervisor did not disturb; failing that, the one, among
        a few, that it disturbed least.
        """

        def once() -> Run:
            return subject.measure(number, self._settings.seconds)

        best, tries = least_disturbed(once)
        return replace(best, tries=tries)
