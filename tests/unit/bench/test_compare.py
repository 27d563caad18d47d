"""
Tests for C{python -m twisted_echo.bench compare} and C{plot}. What is measured is
not judged here.
"""

import asyncio
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import (
    FakeTransport,
    LinuxCase,
    bench,
    need_extra,
)
from tests.support.marks import slow
from tests.support.processes import DEADLINE, environment, new_folder
from twisted_echo.bench import children, cli, compare_command, machine, rivals
from twisted_echo.bench.children import Child
from twisted_echo.bench.compare import Settings, compare, measure, measure_quietly
from twisted_echo.bench.comparison import Case, Comparison, Run, cases, ratio, spread
from twisted_echo.bench.errors import BadRequest, BrokenServer, ChildFailed
from twisted_echo.bench.load import run_load
from twisted_echo.bench.plan import Plan
from twisted_echo.bench.result import Result
from twisted_echo.bench.screen import microseconds
from twisted_echo.bench.servers import (
    OURS,
    PER_LINE,
    READY,
    SERVERS,
    Server,
    address,
)

CORRUPTING = """\
import asyncio, sys
class Corrupting(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data.lower())
async def main():
    server = await asyncio.get_running_loop().create_server(Corrupting, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on 127.0.0.1:{port}, by nobody", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Corrupts(Server):
    def arguments(self, certificate: str) -> list[str]:
        return ["-c", CORRUPTING]


class DoesNotStart(Server):
    def arguments(self, certificate: str) -> list[str]:
        return ["-c", "raise SystemExit('no luck')"]


def a_run(server: str, case: Case, number: int, cpu: float, **more: Any) -> Run:
    latencies = {"p50": cpu, "p90": cpu, "p99": 2 * cpu, "p99.9": 3 * cpu, "max": 9.0}
    usual = {"load_busy": 0.5, "stolen": 0.0, "tries": 1}
    return Run(server, case, number, 1e6 / cpu, cpu, latencies, **usual | more)


class ComparisonTests(SynchronousTestCase):
    def test_cases(self) -> None:
        """
        Sizes and depths on the first number of connections, lines of about 64
        bytes on the others; and long lines are fewer in flight.
        """
        found = cases((16, 80, 65536, 1 << 20), (1, 64), (50, 1000))
        self.assertEqual(
            found,
            [
                *(Case(50, 16, 1), Case(50, 16, 64), Case(50, 80, 1), Case(50, 80, 64)),
                *(Case(50, 65536, 1), Case(50, 65536, 4), Case(50, 1 << 20, 1)),
                *(Case(1000, 80, 1), Case(1000, 80, 64)),
            ],
        )

    def test_ratios(self) -> None:
        """
        Round by round, of the rounds that both have.
        """
        case = Case(1, 64, 1)
        ours = [
            a_run("a", case, number, cpu) for number, cpu in ((1, 1), (2, 2), (3, 9))
        ]
        theirs = [a_run("b", case, number, cpu) for number, cpu in ((2, 8), (1, 2))]
        found = ratio(ours, theirs, lambda run: run.cpu_us)
        self.assertEqual(found, (0.375, 0.25, 0.5))
        self.assertEqual(str(found), "0.375 (0.25-0.5)")
        self.assertIsNone(ratio(ours, [], lambda run: run.cpu_us))
        self.assertIsNone(spread([]))

    def test_json(self) -> None:
        comparison = Comparison({"date": "today"}, {"a": "A"}, failures=["x"])
        comparison.runs.append(a_run("a", Case(2, 64, 1), 1, 3.0))
        again = Comparison.from_json(comparison.to_json())
        self.assertEqual(again, comparison)
        self.assertEqual(again.cases, [Case(2, 64, 1)])

    def test_notJson(self) -> None:
        for text in ("", "[]", "{}", '{"format": 1}', "3"):
            with self.assertRaisesRegex(
                BadRequest, "is not what compare --json writes"
            ):
                Comparison.from_json(text)

    def test_malformed(self) -> None:
        """
        JSON that is right but for one thing is refused, with its name.
        """
        comparison = Comparison({"date": "today"}, {"a": "A"})
        comparison.runs.append(a_run("a", Case(2, 64, 1), 1, 3.0, stolen=0, tries=2))
        text = comparison.to_json()
        nan = float("nan")
        for name, values in {
            "made": (None, [], 1),
            "labels": (None, ["a"], {}, {"a": None}),
            "runs": (None, [None], [{}], 1),
        }.items():
            for value in values:
                fields = json.loads(text) | {name: value}
                self.assertRaises(BadRequest, Comparison.from_json, json.dumps(fields))
        for name, run_values in {
            "server": (None, "b", [], {}),
            "size": ("64", None, 0, -1, [], 10**400),
            "depth": ("1", 0),
            "connections": (None, {}),
            "cpu_us": ("abc", 0, -1, nan, None, 10**400),
            "lines_per_second": (None, 0, "1"),
            "latency_us": (None, {}, [], {"p50": 1}),
            "load_busy": ("", None, -1, nan),
            "stolen": (None, "1"),
            "round": (None, "1"),
        }.items():
            for value in run_values:
                fields = json.loads(text)
                fields["runs"][0][name] = value
                with self.assertRaisesRegex(BadRequest, "is not what compare"):
                    Comparison.from_json(json.dumps(fields))
        fields = json.loads(text)
        fields["runs"][0]["latency_us"]["p99"] = "1"
        with self.assertRaisesRegex(BadRequest, "p99 is wrong or missing"):
            Comparison.from_json(json.dumps(fields))


class QuietTests(SynchronousTestCase):
    def run_with(self, *stolen: float) -> Run:
        shares = list(stolen)
        return measure_quietly(
            lambda: a_run("a", Case(1, 64, 1), 1, 1.0, stolen=shares.pop(0))
        )

    def test_firstUndisturbed(self) -> None:
        found = self.run_with(0.5, 0.03, 0.0)
        self.assertEqual((found.stolen, found.tries), (0.03, 2))

    def test_leastDisturbed(self) -> None:
        found = self.run_with(0.5, 0.2, 0.4, 0.3, 0.0)
        self.assertEqual((found.stolen, found.tries), (0.2, 4))


class MachineTests(LinuxCase):
    def test_processorTime(self) -> None:
        """
        Includes that of children.
        """
        before = machine.processor_seconds(os.getpid())
        own = time.process_time()
        with Child("burner", ("-c", "while True: pass")) as child:
            while machine.processor_seconds(child.pid) < 0.05:
                time.sleep(0.01)
            both = machine.processor_seconds(os.getpid())
            self.assertGreaterEqual(both - before, 0.05)
            self.assertGreaterEqual(both, own)

    def test_withoutTheClock(self) -> None:
        """
        The kernel's own book-keeping is as good, if coarser.
        """
        exact = machine.processor_seconds(os.getpid())

        def refuse(clock: int) -> float:
            raise OSError(22, "Invalid argument")

        self.patch(machine.time, "clock_gettime", refuse)
        coarse = machine.processor_seconds(os.getpid())
        self.assertApproximates(coarse, exact, 0.1 + exact / 10)

    def test_processors(self) -> None:
        for allowed, split in (
            ({3}, (set(), set())),
            ({1, 2}, ({1}, {2})),
            ({0, 1, 5, 7}, ({0}, {1, 5, 7})),
        ):
            self.patch(
                machine.os, "sched_getaffinity", lambda pid, found=allowed: found
            )
            self.assertEqual(machine.split_processors(), split)

    def test_elsewhere(self) -> None:
        self.patch(machine.Path, "exists", lambda path: False)
        with self.assertRaisesRegex(BadRequest, "needs Linux"):
            machine.check("compare")


class ChildTests(LinuxCase):
    def gone(self, handle: int) -> bool:
        try:
            return bool(select.select([handle], [], [], DEADLINE)[0])
        finally:
            os.close(handle)

    def test_pinned(self) -> None:
        where = min(os.sched_getaffinity(0))
        code = "import os; print('on', os.sched_getaffinity(0))"
        with Child("child", ("-c", code), processors={where}) as child:
            self.assertEqual(child.wait_for(r"on \{(\d+)\}\n")[1], str(where))

    def test_endsWithTheBlock(self) -> None:
        with Child("child", ("-c", "import time; time.sleep(999)")) as child:
            handle = os.pidfd_open(child.pid)
        self.assertTrue(self.gone(handle))

    def test_ignoresSIGTERM(self) -> None:
        code = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            "print('deaf', flush=True); time.sleep(999)"
        )
        self.patch(children, "GRACE", 0.05)
        with Child("child", ("-c", code)) as child:
            handle = os.pidfd_open(child.pid)
            child.wait_for("deaf\n")
        self.assertTrue(self.gone(handle))

    def test_diesWithItsParent(self) -> None:
        """
        Even one that is killed.
        """
        code = (
            "from twisted_echo.bench.children import Child\n"
            "child = Child('x', ('-c', 'import time; print(5, flush=True);"
            " time.sleep(999)'))\n"
            "child.wait_for('5')\n"
            "import time\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(999)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as parent:
            assert parent.stdout is not None
            handle = os.pidfd_open(int(parent.stdout.readline()))
            parent.send_signal(signal.SIGKILL)
            parent.wait(DEADLINE)
        self.assertTrue(self.gone(handle))

    def test_doesNotStart(self) -> None:
        with (
            Child("it", ("-c", "raise SystemExit('no luck')")) as child,
            self.assertRaisesRegex(
                ChildFailed, r"it did not start \(it ended with status 1\): no luck"
            ),
        ):
            child.wait_for("listening")

    def test_saysNothing(self) -> None:
        self.patch(children, "PATIENCE", 0.05)
        with (
            Child("it", ("-c", "import time; time.sleep(999)")) as child,
            self.assertRaisesRegex(ChildFailed, "it did not start: it printed nothing"),
        ):
            child.wait_for("listening")


class TCPStringTransport(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None:
        self.noDelay = enabled


class RivalTests(LinuxCase):
    @slow
    def test_all(self) -> None:
        """
        Every server that C{compare} starts sends every line back.
        """
        for server in SERVERS.values():
            with server.start((), 70_000) as child:
                plan = Plan(
                    address(child), connections=4, sizes=(16, 70_000), count=40, depth=3
                )
                result = run_load(plan)
            self.assertEqual((server.name, result.failures), (server.name, []))
            self.assertEqual(result.lines, 40)

    def test_eager(self) -> None:
        """
        Ours run on the reactor that is the service's default, the others on
        Twisted's.
        """
        for name in (OURS, PER_LINE, "line-receiver"):
            with SERVERS[name].start(()) as child:
                loop = child.wait_for(READY)["loop"]
            self.assertEqual(loop.startswith("Eager"), name != "line-receiver", loop)

    def test_protocols(self) -> None:
        for kind in (
            rivals.FastLineEcho,
            rivals.LineReceiverEcho,
            rivals.LineOnlyReceiverEcho,
        ):
            transport = TCPStringTransport()
            protocol = kind()
            protocol.makeConnection(transport)
            protocol.dataReceived(b"one\ntwo\nthr")
            protocol.dataReceived(b"ee\n")
            self.assertEqual(transport.value(), b"one\ntwo\nthree\n")
            self.assertTrue(transport.noDelay)
        for kind in (rivals.RawEcho, rivals.LineEcho):
            fake = FakeTransport()
            echo = kind()
            echo.connection_made(fake)
            echo.data_received(b"one\ntwo\nthr")
            echo.data_received(b"ee\n")
            self.assertEqual(b"".join(fake.written), b"one\ntwo\nthree\n")

    def test_asyncio(self) -> None:
        said: list[int] = []
        self.patch(rivals, "say", lambda port, loop: said.append(port))

        async def main() -> bytes:
            replies = b""
            for protocol in (None, rivals.LineEcho):
                task = asyncio.create_task(rivals.serve(protocol))
                while not said:
                    await asyncio.sleep(0)
                reader, writer = await asyncio.open_connection(rivals.HOST, said.pop())
                writer.write(b"hello\n")
                replies += await reader.readline()
                writer.close()
                await writer.wait_closed()
                await asyncio.sleep(0.05)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return replies

        self.assertEqual(asyncio.run(main()), b"hello\nhello\n")


class CompareTests(LinuxCase):
    @slow
    def test_quick(self) -> None:
        """
        Two servers measured, the ratios printed, all runs written, and drawn.
        """
        folder = new_folder(self)
        path = folder / "result.json"
        options = ("--quick", "--only", "line-receiver", "--rounds", "2")
        more = ("--seconds", "0.1", "--depths", "8", "--connections", "5,9")
        status, output, problems = bench(
            "compare", *options, *more, "--json", str(path)
        )
        self.assertEqual(status, 0, problems)
        self.assertIn("8 runs, about ", problems)
        self.assertIn("5 connections, 64 B a line, 8 in flight\n", output)
        number = r"[\d.e-]+"
        spread = rf"{number} \({number}-{number}\)"
        self.assertEqual(
            len(re.findall(rf" Twisted LineReceiver +{number} +{spread} ", output)), 2
        )

        comparison = Comparison.from_json(path.read_text())
        self.assertEqual(len(comparison.runs), 8)
        self.assertEqual(list(comparison.labels), [OURS, "line-receiver"])
        for run in comparison.runs:
            self.assertGreater(run.cpu_us, 0)
            self.assertGreater(run.lines_per_second, 0)
            self.assertGreater(run.latency_us["p50"], 0)
        self.assertEqual(comparison.made["rounds"], 2)
        self.assertNotIn(str(Path.home()), path.read_text())

        picture = folder / "result.png"
        self.assertEqual(bench("plot", str(path), "-o", str(picture)), (0, "", ""))
        self.assertEqual(picture.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")

    def test_brokenServer(self) -> None:
        """
        It is told of, not measured again, and the others are.
        """
        servers = [
            Corrupts("corrupts", "a corrupting server"),
            DoesNotStart("absent", "an absent server"),
            SERVERS["asyncio-raw"],
        ]
        case = Case(2, 64, 1)
        shown: list[float] = []
        comparison = Comparison({}, {each.name: each.label for each in servers})
        compare(
            comparison,
            servers,
            [case],
            Settings(2, 0.1, processes=9),
            lambda share, words: shown.append(share),
        )
        self.assertEqual([run.server for run in comparison.runs], ["asyncio-raw"] * 2)
        corrupts, absent = comparison.failures
        self.assertRegex(corrupts, "^a corrupting server, 2 conn.*came back wrong")
        self.assertRegex(absent, "an absent server did not start.*no luck")
        self.assertEqual(shown, sorted(shown))
        self.assertEqual(len(shown), 6)
        row = compare_command.row(comparison, case, "corrupts")
        self.assertEqual(row, ["a corrupting server", "not measured"])

    def test_tooSlow(self) -> None:
        """
        A run in which no line was counted has nothing to tell.
        """
        self.patch(Result, "summary", lambda result: {"lines": 0})
        with self.assertRaisesRegex(BrokenServer, "asyncio, raw, 1 conn.*too slow"):
            measure(SERVERS["asyncio-raw"], Case(1, 64, 1), 1, Settings(1, 0.1))

    def test_failureIsTheStatus(self) -> None:
        broken = Corrupts(OURS, "a corrupting server")
        self.patch(compare_command, "SERVERS", {OURS: broken})
        status, _, problems = bench("compare", "--quick", "--rounds", "1", "--no-pin")
        self.assertEqual(status, 1)
        self.assertIn("compare: a corrupting server, 50 conn", problems)

    def test_endsTheServer(self) -> None:
        """
        Whatever happens while it is measured.
        """
        started: list[int] = []
        start = Server.start

        def remember(server: Server, *where: Any) -> Child:
            child = start(server, *where)
            started.append(os.pidfd_open(child.pid))
            return child

        self.patch(Server, "start", remember)
        with self.assertRaises(BrokenServer):
            measure(Corrupts("c", "c"), Case(1, 64, 1), 1, Settings(1, 0.1))
        (handle,) = started
        self.assertTrue(ChildTests.gone(self, handle))  # type: ignore[arg-type]

    def test_table(self) -> None:
        """
        What was disturbed, and what the load could not drive, is said.
        """
        case = Case(1, 64, 1)
        comparison = Comparison({}, {OURS: "ours", "x": "an x"})
        comparison.runs += [
            a_run(OURS, case, 1, 5.0, load_busy=0.99),
            a_run("x", case, 1, 10.0, stolen=0.2),
        ]
        ours, theirs = (
            compare_command.row(comparison, case, each) for each in (OURS, "x")
        )
        self.assertEqual(ours[:5], ["ours", "5.000", "", "", "200,000*"])
        self.assertEqual(theirs[2], "0.5")
        self.assertEqual(theirs[5], "2")

    def test_refused(self) -> None:
        for options, says in (
            (("--only", "nonsense"), "'nonsense' is no server; .* line-receiver"),
            (("--sizes", "64,3", "--only", "asyncio-raw"), "8 bytes or more"),
            (("--connections", "5,60000", "--depths", "9999"), "at most 1024 MiB"),
            (("--rounds", "0"), "from 1 to 1,000, got 0"),
            (("--seconds", "forever"), "number of seconds .* got 'forever'"),
            (("--json", "/nonsense/x.json"), "--json /nonsense/x.json: No such file"),
        ):
            status, _, problems = bench("compare", *options)
            self.assertEqual(status, 2, problems)
            self.assertRegex(problems, says)
            self.assertNotIn("runs, about", problems)

    def test_files(self) -> None:
        """
        As many may be open in every process as a case needs, or nothing is begun.
        """
        import resource

        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        allowed: list[int] = []
        self.patch(
            compare_command,
            "compare",
            lambda *_: allowed.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        )
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
        status, _, problems = bench("compare", "--quick", "--connections", "5,500")
        self.assertEqual((status, allowed), (0, [564]), problems)
        self.patch(resource, "getrlimit", lambda kind: (200, 300))
        status, _, problems = bench("compare", "--quick", "--connections", "5,500")
        self.assertEqual((status, allowed), (2, [564]))
        self.assertIn("564 open files are needed, this process may have 300", problems)

    def test_interrupted(self) -> None:
        """
        What has been measured is written and printed.
        """
        path = new_folder(self) / "result.json"
        case = Case(50, 70_000, 1)

        def some(comparison: Comparison, *_: object) -> None:
            comparison.runs.append(a_run(OURS, case, 1, 5.0))
            raise KeyboardInterrupt

        self.patch(compare_command, "compare", some)
        output = io.StringIO()
        with redirect_stdout(output), redirect_stderr(io.StringIO()):
            self.assertRaises(
                KeyboardInterrupt, cli.main, ["compare", "--quick", "--json", str(path)]
            )
        self.assertEqual(len(Comparison.from_json(path.read_text()).runs), 1)
        self.assertIn(str(case), output.getvalue())
        self.assertRegex(output.getvalue(), " asyncio, raw +not measured\n")
        self.assertIn("echo has a larger --max-length for lines", output.getvalue())

        def none(*_: object) -> None:
            raise KeyboardInterrupt

        before = path.read_text()
        self.patch(compare_command, "compare", none)
        arguments = ["compare", "--quick", "--only", "asyncio-raw", "--json", str(path)]
        with redirect_stderr(io.StringIO()):
            self.assertRaises(KeyboardInterrupt, cli.main, arguments)
        self.assertEqual(path.read_text(), before)

    def test_withoutUvloop(self) -> None:
        """
        What needs it is left out, or refused where it was asked for.
        """
        absent = Server("uvloop-raw", "uvloop, raw", "no_such_module")
        self.patch(
            compare_command, "SERVERS", {OURS: SERVERS[OURS], absent.name: absent}
        )
        self.assertEqual(compare_command.chosen(None), [SERVERS[OURS]])
        with self.assertRaisesRegex(BadRequest, "uvloop-raw needs no_such_module: pip"):
            compare_command.chosen("uvloop-raw")


class PlotTests(SynchronousTestCase):
    def setUp(self) -> None:
        need_extra()
        self.folder = new_folder(self)

    def comparison(self, wanted: list[Case]) -> str:
        made: dict[str, str | int | float | bool] = {
            "python": "CPython 3.99",
            "rounds": 2,
            "seconds": 1.5,
            "date": "1999",
        }
        labels = {name: server.label for name, server in SERVERS.items()}
        comparison = Comparison(made, {**labels, "unknown": "something new"})
        for number in (1, 2):
            for case in wanted:
                for at, name in enumerate(comparison.labels):
                    cpu = (5 + at + number / 9) * (1 + case.size / 5000)
                    comparison.runs.append(a_run(name, case, number, cpu))
        path = self.folder / "result.json"
        path.write_text(comparison.to_json())
        return str(path)

    def plot(self, path: str, name: str) -> bytes:
        picture = self.folder / name
        self.assertEqual(bench("plot", path, "-o", str(picture)), (0, "", ""))
        return picture.read_bytes()

    @slow
    def test_formats(self) -> None:
        path = self.comparison(cases((16, 64, 65536), (1, 64), (50, 1000)))
        self.assertEqual(self.plot(path, "a.png")[:8], b"\x89PNG\r\n\x1a\n")
        svg = self.plot(path, "a.svg")
        self.assertIn(b"<svg", svg)
        for said in (
            b"Echo servers side by side",
            b"CPython 3.99",
            b"medians of 2 rounds of 1.5 s",
            b"Processor time by size: 64 to 4",
            b"Latency: 50 connections, 64 B a line, 1 in flight",
            b"Scaling: 64 B a line",
            b"64 KiB",
            b"Twisted LineReceiver",
            b"something new",
        ):
            self.assertIn(said, svg)
        self.assertNotIn(str(self.folder).encode(), svg)

    def test_oneSize(self) -> None:
        """
        Bars, with the ratios; the last of three panels has the whole row.
        """
        svg = self.plot(self.comparison(cases((64,), (1, 64), (50,))), "a.svg")
        self.assertIn(b"ours/this 0.", svg)
        self.assertIn(b"Processor time: 64 B a line, 64 in flight", svg)

    def test_refused(self) -> None:
        path = self.comparison([Case(1, 64, 1)])
        nonsense = self.folder / "nonsense.json"
        nonsense.write_text("nonsense")
        empty = self.folder / "empty.json"
        empty.write_text(Comparison({}, {}).to_json())
        for source, picture, says in (
            (path, "a.jpg", "must end in .png or .svg, got a.jpg"),
            (path, "/nonsense/a.png", "--output /nonsense/a.png: No such file"),
            ("/nonsense.json", "a.png", "/nonsense.json: .*No such file"),
            (str(nonsense), "a.png", "nonsense.json is not what compare --json writes"),
            (str(empty), "a.png", "empty.json holds no runs"),
        ):
            status, _, problems = bench("plot", source, "-o", picture)
            self.assertEqual(status, 2, problems)
            self.assertRegex(problems, says)

    def test_jsonIsPlain(self) -> None:
        """
        A program can read it without this package.
        """
        found = json.loads(Path(self.comparison([Case(1, 64, 2)])).read_text())
        self.assertEqual(found["format"], "twisted-echo compare 1")
        run = found["runs"][0]
        self.assertEqual((run["size"], run["depth"], run["connections"]), (64, 2, 1))


class ScreenTests(SynchronousTestCase):
    def test_microseconds(self) -> None:
        for value, text in (
            (None, "-"),
            (0.5, "0.5 µs"),
            (12.34, "12.3 µs"),
            (1234.5, "1.23 ms"),
            (2.5e6, "2.5 s"),
        ):
            self.assertEqual(microseconds(value), text)
