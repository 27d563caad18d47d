"""
Tests for C{python -m twisted_echo.bench compare}. What is measured is not judged here.
"""

import io
import json
import os
import select
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import LinuxCase, bench
from tests.support.comparisons import a_comparison, a_run
from tests.support.marks import slow
from tests.support.processes import DEADLINE, new_folder
from twisted_echo.bench import cli, compare_command
from twisted_echo.bench.bursts import Burst
from twisted_echo.bench.cases import BY_LINE, CASES, Case, parse_case, servers_of
from twisted_echo.bench.children import Child
from twisted_echo.bench.compare import (
    Comparer,
    Settings,
    Subject,
    expected_seconds,
    facts,
)
from twisted_echo.bench.comparison import Comparison, Failed
from twisted_echo.bench.errors import BadRequest, BrokenServer
from twisted_echo.bench.metering import Meter
from twisted_echo.bench.screen import microseconds
from twisted_echo.bench.servers import OURS, PER_LINE, SERVERS, Server

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

TINY = Case("tiny", 2, 64)


class Corrupts(Server):
    def arguments(self, certificate: str) -> list[str]:
        return ["-c", CORRUPTING]


class DoesNotStart(Server):
    def arguments(self, certificate: str) -> list[str]:
        return ["-c", "raise SystemExit('no luck')"]


class CaseTests(SynchronousTestCase):
    def test_words(self) -> None:
        for name, words in (
            ("ping-pong", "ping-pong: 50 connections, 64 B a line, 1 in flight"),
            ("many", "many: 2,000 connections, 64 B a line, 1 in flight"),
            ("large", "large: 10 connections, 8,192 B a line, 8 in flight"),
            ("churn", "churn: 20 connections, 64 B a line, one line each"),
            ("steady", "steady: 50 connections, 64 B a line, 5,000 lines a second"),
        ):
            self.assertEqual(str(CASES[name]), words)
        over = CASES["churn"]._replace(tls=True)
        self.assertIn("20 connections over TLS, ", str(over))
        self.assertEqual((over.unit, TINY.unit), ("connection", "line"))

    def test_own(self) -> None:
        self.assertEqual(parse_case("1000x64x2"), Case("1000x64x2", 1000, 64, 2))
        self.assertIs(parse_case("many"), CASES["many"])
        for text, says in (
            ("some", "each must be of ping-pong, .* or CONNECTIONSxBYTESxDEPTH"),
            ("1x64", "each must be of"),
            ("0x64x1", "from 1 to 20,000, got '0x64x1'"),
            ("20001x64x1", "from 1 to 20,000"),
            ("1x7x1", "from 8 to 65,536"),
            ("1x65537x1", "from 8 to 65,536"),
            ("1x64x0", "from 1 to 1,024"),
            ("1x64x1025", "from 1 to 1,024, which are 65,536 bytes; got '1x64x1025'"),
        ):
            with self.assertRaisesRegex(ValueError, says):
                parse_case(text)
        for text in ("1x8x1", "20000x65536x1", "1x64x1024"):
            self.assertEqual(parse_case(text).name, text)

    def test_servers(self) -> None:
        """
        Ours is the first: the service, or the receiver that answers line by line.
        """
        for name in CASES:
            ours = PER_LINE if name == BY_LINE else OURS
            self.assertEqual(servers_of(CASES[name])[0], ours)


class ComparisonTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """
        Ratios are taken round by round, of the rounds that both have.
        """
        comparison = a_comparison([TINY], {})
        comparison.runs += [
            a_run(OURS, TINY, number, cpu) for number, cpu in ((1, 1), (2, 2), (3, 9))
        ]
        comparison.runs += [
            a_run("uvloop-raw", TINY, number, cpu) for number, cpu in ((2, 8), (1, 2))
        ]
        self.assertEqual(comparison.ratio("uvloop-raw", TINY), (0.375, 0.25, 0.5))
        self.assertEqual(comparison.cpu(OURS, TINY), (2, 1, 9))
        self.assertIsNone(comparison.ratio("asyncio-raw", TINY))
        self.assertIsNone(comparison.cpu("asyncio-raw", TINY))
        self.assertIsNone(comparison.latency(OURS, TINY, "p50"))

    def test_json(self) -> None:
        comparison = a_comparison([TINY, CASES["steady"]], {OURS: 2.0})
        comparison.failures.append(Failed("rloop-raw", "tiny", "no luck"))
        text = comparison.to_json()
        self.assertEqual(Comparison.from_json(text), comparison)
        self.assertTrue(comparison.has_failed("rloop-raw", TINY))
        # A run has a line of its own.
        self.assertEqual(text.count('"cpu_us"'), len(comparison.runs))
        self.assertEqual(
            sum('"cpu_us"' in line for line in text.splitlines()), len(comparison.runs)
        )
        empty = Comparison(comparison.made, {}, [])
        self.assertEqual(Comparison.from_json(empty.to_json()), empty)

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
        text = a_comparison([CASES["steady"]], {OURS: 2.0}).to_json()
        nan = float("nan")
        for name, values in {
            "made": (None, [], 1, {"date": "1999"}),
            "labels": (None, ["a"], {}, {"a": None}),
            "missing": (None, [], {"a": 1}),
            "cases": (None, [None], [{}], 1, []),
            "runs": (None, [None], [{}], 1),
            "failures": (None, [{}]),
        }.items():
            for value in values:
                fields = json.loads(text) | {name: value}
                self.assertRaises(BadRequest, Comparison.from_json, json.dumps(fields))
        for part, name, wrong in (
            *(("cases", "size", each) for each in ("64", None, 0, -1, [], 10**400)),
            *(("cases", "depth", each) for each in ("1", 0)),
            *(("cases", "connections", each) for each in (None, {})),
            *(("cases", "rate", each) for each in (None, -1)),
            *(("runs", "server", each) for each in (None, "b", [], {})),
            *(("runs", "case", each) for each in (None, "b")),
            *(("runs", "cpu_us", each) for each in ("abc", 0, -1, nan, None, 10**400)),
            *(("runs", "lines", each) for each in (None, 0, "1")),
            *(("runs", "latency_us", each) for each in (None, [], {"p50": 1}, 0)),
            *(("runs", "stolen", each) for each in (None, "1", nan)),
            *(("runs", "round", each) for each in (None, "1")),
        ):
            fields = json.loads(text)
            fields[part][0][name] = wrong
            with self.assertRaisesRegex(BadRequest, "is not what compare"):
                Comparison.from_json(json.dumps(fields))
        fields = json.loads(text)
        fields["runs"][0]["latency_us"]["p99"] = "1"
        with self.assertRaisesRegex(BadRequest, "p99 is not a number"):
            Comparison.from_json(json.dumps(fields))


class SettingsTests(SynchronousTestCase):
    def test_generations(self) -> None:
        """
        Processes are kept for six rounds.
        """
        self.assertEqual(Settings(3, 1).generations(), [range(1, 4)])
        self.assertEqual(
            Settings(13, 1).generations(), [range(1, 7), range(7, 13), range(13, 14)]
        )

    def test_expected(self) -> None:
        """
        The complete comparison takes less than a quarter of an hour.
        """
        plan = [
            (case, SERVERS[name])
            for case in CASES.values()
            for name in servers_of(case)
        ]
        settings = Settings(compare_command.ROUNDS, compare_command.SECONDS)
        self.assertLess(expected_seconds(plan, settings), 14 * 60)
        self.assertGreater(
            expected_seconds(plan, settings), 12 * len(plan) * settings.seconds
        )

    def test_facts(self) -> None:
        found = facts(Settings(3, 0.5))
        self.assertEqual((found["rounds"], found["pinned"]), (3, False))
        for name in ("python", "twisted", "rloop", "aiofastnet", "implementation"):
            self.assertTrue(found[name])
        self.assertNotIn(str(Path.home()), json.dumps(found))


class CompareTests(LinuxCase):
    def compare(
        self, servers: list[Server], rounds: int = 2
    ) -> tuple[Comparison, list[float]]:
        labels = {each.name: each.label for each in servers}
        comparison = Comparison({}, labels, [TINY])
        shown: list[float] = []
        Comparer(
            [(TINY, each) for each in servers],
            comparison,
            Settings(rounds, 0.05),
            lambda share, words: shown.append(share),
        ).run()
        return comparison, shown

    def test_brokenServer(self) -> None:
        """
        A failure is shown, and that server is not measured again; the others are.
        """
        comparison, shown = self.compare(
            [
                Corrupts("corrupts", "a corrupting server"),
                DoesNotStart("absent", "an absent server"),
                SERVERS["asyncio-raw"],
            ]
        )
        self.assertEqual([run.server for run in comparison.runs], ["asyncio-raw"] * 2)
        self.assertEqual([run.round for run in comparison.runs], [1, 2])
        corrupts, absent = comparison.failures
        self.assertEqual(corrupts[:2], ("corrupts", "tiny"))
        self.assertIn("came back wrong", corrupts.why)
        self.assertRegex(absent.why, "an absent server did not start.*no luck")
        self.assertEqual(shown, sorted(shown))

    def test_processes(self) -> None:
        """
        A server has one process for six rounds, and each server is the first of a
        round in its turn. All have ended when the comparison has.
        """
        started: list[int] = []
        measured: list[tuple[int, str]] = []
        start = Server.start

        def remember(server: Server, *where: Any) -> Child:
            child = start(server, *where)
            started.append(os.pidfd_open(child.pid))
            self.addCleanup(os.close, started[-1])
            return child

        def measure(subject: Subject, number: int, seconds: float) -> Any:
            measured.append((number, subject.server.name))
            return a_run(subject.server.name, TINY, number, 1.0)

        self.patch(Server, "start", remember)
        self.patch(Subject, "measure", measure)
        raw = SERVERS["asyncio-raw"]
        self.compare([raw, SERVERS["asyncio-lines"]], rounds=7)
        self.assertEqual(len(started), 4)
        for handle in started:
            self.assertTrue(select.select([handle], [], [], DEADLINE)[0])
        firsts = dict(reversed(measured))
        self.assertEqual(
            [firsts[number] == raw.name for number in range(1, 8)],
            [False, True] * 3 + [False],
        )

    def test_tooShort(self) -> None:
        """
        A burst in which nothing could be measured has nothing to tell.
        """
        self.patch(Subject, "_burst", lambda subject, seconds: Burst(1, {}))
        self.patch(Meter, "used", 0.0)
        with Child("idle", ("-c", "import time; time.sleep(99)")) as child:
            subject = Subject(SERVERS[OURS], TINY, child, None)  # type: ignore[arg-type]
            with self.assertRaisesRegex(BrokenServer, "too short to be measured"):
                subject.measure(1, 0.1)

    @slow
    def test_quick(self) -> None:
        """
        Two servers under all kinds of cases measured, the ratios printed, all runs
        written.
        """
        path = new_folder(self) / "result.json"
        status, output, problems = bench(
            *("compare", "--only", "line-receiver", "--rounds", "2", "--seconds"),
            *("0.1", "--cases", "5x64x8,churn,steady,by-line", "--json", str(path)),
        )
        self.assertEqual(status, 0, problems)
        self.assertIn("16 runs, about ", problems)
        self.assertIn("5x64x8: 5 connections, 64 B a line, 8 in flight\n", output)
        number = r"[\d.]+"
        spread = rf"{number}( \({number}-{number}\))?"
        self.assertRegex(output, rf" Twisted LineReceiver +{number} +{spread}\n")
        comparison = Comparison.from_json(path.read_text())
        self.assertEqual(len(comparison.runs), 16)
        self.assertEqual([*comparison.labels], [OURS, PER_LINE, "line-receiver"])
        for run in comparison.runs:
            self.assertGreater(run.cpu_us, 0)
            self.assertEqual(bool(run.latency_us), run.case == "steady")
        self.assertEqual(comparison.made["rounds"], 2)
        self.assertNotIn(str(Path.home()), path.read_text())

    @slow
    def test_overTLS(self) -> None:
        status, output, problems = bench(
            *("compare", "--tls", "--only", "asyncio-raw", "--cases", "churn,4x64x2"),
            *("--rounds", "1", "--seconds", "0.2"),
        )
        self.assertEqual(status, 0, problems)
        self.assertIn("4 connections over TLS, 64 B a line, 2 in flight\n", output)


class CommandTests(LinuxCase):
    def test_whoseFailure(self) -> None:
        """
        That ours fails is a failure of the command, that a rival does is a result.
        """
        broken = Corrupts("", "a corrupting server")
        for name, others, status in (
            (OURS, {}, 1),
            ("asyncio-raw", {OURS: SERVERS["asyncio-lines"]}, 0),
        ):
            server = Corrupts(name, broken.label)
            self.patch(compare_command, "SERVERS", {**others, name: server})
            found, output, problems = bench(
                *("compare", "--cases", "2x64x1", "--rounds", "1", "--no-pin"),
                *("--seconds", "0.05", "--markdown"),
            )
            self.assertEqual(found, status, problems)
            self.assertIn("compare: 2x64x1: a corrupting server: line 1 ", problems)
            self.assertIn("| a corrupting server | fails |", output)

    def test_missing(self) -> None:
        """
        What is not installed is named, or refused where it was asked for.
        """
        absent = Server("rloop-raw", "rloop, raw", ("no_such_module",))
        self.patch(
            compare_command, "SERVERS", {OURS: SERVERS[OURS], absent.name: absent}
        )
        self.patch(compare_command.Comparer, "run", lambda comparer: None)
        status, output, problems = bench("compare", "--cases", "2x64x1", "--markdown")
        self.assertEqual(status, 0)
        self.assertIn("| rloop, raw | not measured |", output)
        self.assertIn(
            "not measured: rloop, raw: rloop-raw needs no_such_module: ", problems
        )
        with self.assertRaisesRegex(BadRequest, "rloop-raw needs no_such_module: "):
            compare_command.what_to_measure([TINY], [absent], tls=False)
        asked = compare_command.what_to_measure([TINY], [SERVERS[OURS]], tls=False)
        self.assertEqual(asked, ([(TINY, SERVERS[OURS])], {}))

    def test_refused(self) -> None:
        for options, says in (
            (("--only", "nonsense"), "each must be of echo, .*; got 'nonsense'"),
            (("--cases", "1x3x1"), "bytes of a line must be from 8"),
            (("--rounds", "0"), "from 1 to 1,000, got 0"),
            (("--seconds", "forever"), "number of seconds .* got 'forever'"),
            (("--json", "/nonsense/x.json"), "--json /nonsense/x.json: No such file"),
            (("--tls", "--only", "fast-lines"), "--only: fast-lines has no TLS"),
            (
                ("--cases", "many", "--only", "fast-lines"),
                "--only: fast-lines is for none of these cases",
            ),
            (("--cases", "by-line", "--tls"), "by-line: fast-lines has no TLS"),
        ):
            status, _, problems = bench("compare", *options)
            self.assertEqual(status, 2, problems)
            self.assertRegex(problems, says)
            self.assertNotIn("runs, about", problems)

    def test_noCertificate(self) -> None:
        """
        What is missing for a throw-away certificate is said.
        """
        from twisted_echo.validation.extras import MissingPackage

        def missing(folder: Path) -> None:
            raise MissingPackage("this", "pip install that")

        self.patch(compare_command, "make_certificate", missing)
        status, _, problems = bench("compare", "--cases", "many", "--tls")
        self.assertEqual(status, 2)
        self.assertIn("--tls: this is not installed; to install it: pip", problems)

    def test_interrupted(self) -> None:
        """
        What has been measured is written and printed.
        """
        path = new_folder(self) / "result.json"

        def some(comparer: Comparer) -> None:
            case = CASES["ping-pong"]
            comparer._comparison.runs.append(a_run(OURS, case, 1, 5.0, stolen=0.2))
            raise KeyboardInterrupt

        self.patch(Comparer, "run", some)
        output, problems = io.StringIO(), io.StringIO()
        arguments = ["compare", "--quick", "--json", str(path)]
        with redirect_stdout(output), redirect_stderr(problems):
            self.assertRaises(KeyboardInterrupt, cli.main, arguments)
        self.assertEqual(len(Comparison.from_json(path.read_text()).runs), 1)
        self.assertIn(str(CASES["ping-pong"]), output.getvalue())
        self.assertRegex(output.getvalue(), " asyncio, raw +not measured\n")
        self.assertIn("1 of 1 runs were disturbed", problems.getvalue())

        def none(comparer: Comparer) -> None:
            raise KeyboardInterrupt

        before = path.read_text()
        self.patch(Comparer, "run", none)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            self.assertRaises(KeyboardInterrupt, cli.main, arguments)
        self.assertEqual(path.read_text(), before)


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
