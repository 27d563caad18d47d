"""
Tests for C{python -m twisted_echo.bench load}, with real servers and broken ones.
"""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import SkipTest

from tests.support.bench import RESET, Answer, LoadCase, MisbehavingServer, bench
from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.paths import PROJECT
from tests.support.processes import (
    DEADLINE,
    Server,
    environment,
    new_folder,
    wait_until,
)
from twisted_echo.bench import errors, load, load_command
from twisted_echo.bench import load_processes as processes
from twisted_echo.bench import load_worker as worker
from twisted_echo.bench.plan import Plan, Target
from twisted_echo.bench.result import Result
from twisted_echo.validation.extras import install_extra


class RealServerTests(LoadCase):
    """
    Against C{twistd -n echo}.
    """

    def test_ways(self) -> None:
        """
        Closed and open loops, TCP, TLS and UNIX, one process and several.
        """
        folder = new_folder(self)
        make_certificate(folder)
        server = Server.start(
            self,
            listen=(
                "tcp:0:interface=127.0.0.1",
                "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem",
                "unix:echo.sock",
            ),
            folder=folder,
        )
        plain, tls = (f"127.0.0.1:{port}" for port in server.ports)
        ca = ("--ca", str(folder / "cert.pem"))

        found = self.load(plain, "-n", "1000", "-c", "7", "-s", "16,64,1024,70")
        self.assertEqual((found["lines"], found["loop"]), (1000, "closed"))
        self.assertEqual((found["tls"], found["processes"]), (False, 1))
        sizes = found["sizes"]
        assert isinstance(sizes, dict)
        self.assertEqual(list(sizes), ["16", "64", "70", "1024"])
        for part in (*sizes.values(), found):
            latencies = list(part["latency_us"].values())
            self.assertEqual(len(latencies), 5)
            self.assertEqual(latencies, sorted(latencies))
            self.assertGreater(latencies[0], 0)

        for options in (
            (plain, "--depth", "64"),
            (plain, "--processes", "2", "--depth", "10"),
            (plain, "--rate", "20000"),
            (plain, "--rate", "20000", "--depth", "1", "-p", "3"),
            (f"tls:{tls}", "--insecure", "--sizes", "20000"),
            (f"ssl:{tls}", *ca, "--rate", "20000"),
            (tls, "--tls", *ca, "--depth", "9", "-p", "2"),
            (f"unix:{folder / 'echo.sock'}", "--depth", "9"),
        ):
            found = self.load(*options, "-n", "2000", "-c", "10")
            self.assertEqual(found["lines"], 2000, options)

        found = self.load(plain, "--duration", "0.3", "--warm-up", "0.1", "-c", "3")
        self.assertGreater(found["lines"], 0)
        found = self.load(plain, "--duration", "0.2", "--rate", "1000", "-c", "3")
        self.assertEqual(found["lines"], 200)

        status, output, problems = bench("load", tls, "--tls", "-c", "5", "-n", "100")
        self.assertEqual((status, output), (1, ""))
        self.assertIn("certificate verify failed", problems)
        self.assertIn("and 2 other connections failed", problems)

        status, output, problems = bench(
            "load", plain, "-c", "5", "-s", "16,64", "-n", "100", "--progress"
        )
        self.assertEqual(status, 0)
        self.assertIn("5 connections, closed loop, 1 in flight", output)
        self.assertRegex(output, r"line +lines +lines/s +p50 +p90 +p99 +p99.9 +max\n")
        self.assertRegex(output, r"\n 64 B +40 .* µs.*\n all +100 ")
        self.assertIn("load", problems)

    def test_short(self) -> None:
        """
        Of very little no rate is told, nor that anything was too slow for it.
        """
        self.patch(load_command, "SHORTEST", DEADLINE)
        target = MisbehavingServer(self, lambda number, line: line).target
        for options in (("-n", "1"), ("-n", "1", "--rate", "1")):
            status, output, problems = bench("load", target, "-c", "1", *options)
            self.assertEqual((status, problems), (0, ""))
            self.assertRegex(output, r"\n 64 B +1 +- ")
            self.assertNotIn("MB/s", output)
            self.assertNotIn("busy", output)
            self.assertNotIn("see --processes", output)

    def test_nothingCounted(self) -> None:
        target = MisbehavingServer(self, lambda number, line: line).target
        found = bench("load", target, "-n", "10", "--warm-up", "3600")
        said = "load: no line was counted: all 10 belonged to the 3600 s of --warm-up\n"
        self.assertEqual(found, (0, "", said))

    def test_otherDelimiters(self) -> None:
        server = Server.start(self, "--delimiter", "\\r\\n")
        target = "{}:{}".format(*server.address)
        found = self.load(target, "--delimiter", "crlf", "-n", "500", "-s", "9,1000")
        self.assertEqual(found["lines"], 500)

    def test_tooLongForTheServer(self) -> None:
        """
        It disconnects, which is told as what it is.
        """
        server = Server.start(self, "--max-length", "100")
        target = "{}:{}".format(*server.address)
        status, _, problems = bench("load", target, "-s", "200", "-n", "5", "-c", "1")
        self.assertEqual(status, 1)
        self.assertIn(f"connection 0 of 1 to {target}: ", problems)
        self.assertIn("0 lines had come back, 1 were still out", problems)


class BrokenServerTests(LoadCase):
    """
    Whatever a server does to a line or a connection ends the load with status 1,
    and with the place.
    """

    def breaks(self, answer: Answer, *says: str, options: Sequence[str] = ()) -> None:
        target = MisbehavingServer(self, answer).target
        arguments = (target, "-c", "2", "-n", "100", *options)
        status, output, problems = bench("load", *arguments)
        self.assertEqual(status, 1, output)
        self.assertIn(f"of 2 to {target}: ", problems)
        for each in says:
            self.assertRegex(problems, each)

    def test_noFault(self) -> None:
        target = MisbehavingServer(self, lambda number, line: line).target
        self.assertEqual(self.load(target, "-n", "100")["lines"], 100)

    def test_corrupts(self) -> None:
        def answer(number: int, line: bytes) -> bytes:
            return line.replace(line[20:21], b"?", 1) if number == 7 else line

        for options in ((), ("-p", "2"), ("--rate", "2000")):
            self.breaks(answer, "line 8 came back wrong at its byte", options=options)

    def test_closes(self) -> None:
        def answer(number: int, line: bytes) -> bytes | None:
            return line if number < 7 else None

        self.breaks(answer, "closed by the server; 7 lines had come back, 1 were")

    def test_resets(self) -> None:
        def answer(number: int, line: bytes) -> bytes:
            return line if number < 7 else RESET

        self.breaks(answer, "broken: .*reset.*; 7 lines had come back, 1 were")

    def test_swaps(self) -> None:
        kept: list[bytes] = []

        def answer(number: int, line: bytes) -> bytes:
            if number % 4 == 1:
                kept.append(line)
                return b""
            return line + kept.pop() if number % 4 == 2 else line

        self.breaks(
            answer,
            "line 2 came back wrong at its byte .* these are the bytes of line 3 of"
            " connection [01]",
            options=("--depth", "4"),
        )

    def test_duplicatesTheLast(self) -> None:
        """
        Noticed though nothing is waited for any more.
        """
        self.breaks(
            lambda number, line: line * 2 if number == 49 else line,
            "64 bytes more came back than were sent, after line 50",
        )

    def test_isSilent(self) -> None:
        self.breaks(
            lambda number, line: line if number < 3 else b"",
            "line 4 did not come back: nothing did for 0.3 s",
            options=("--timeout", "0.3"),
        )

    def test_isSilentUnderOpenLoop(self) -> None:
        self.breaks(
            lambda number, line: line if number < 3 else b"",
            "line 4 did not come back",
            options=("--timeout", "0.3", "--rate", "1000"),
        )

    def test_isTooSlow(self) -> None:
        """
        An open loop ends in time all the same, and says what it did not send.
        """

        def answer(number: int, line: bytes) -> bytes:
            time.sleep(0.02)
            return line

        options = ("-c", "1", "--rate", "10000", "-t", "0.1")
        target = MisbehavingServer(self, answer).target
        found = self.load(target, *options, "--depth", "1")
        lines, unsent = found["lines"], found["unsent"]
        assert isinstance(lines, int)
        assert isinstance(unsent, int)
        self.assertEqual(lines + unsent, 1000)
        self.assertLess(lines, 10)
        latencies = found["latency_us"]
        assert isinstance(latencies, dict)
        self.assertGreater(latencies["p50"], 40e3)
        # As much as is in flight if nothing is said.
        _, output, _ = bench("load", target, *options, "--sizes", str(256 * 1024))
        self.assertRegex(output, r"\n99\d more lines were due, but not sent when time")

    def test_refuses(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        for options in ((), ("-p", "2")):
            status, output, problems = bench(
                "load", f"127.0.0.1:{port}", "-n", "5", *options
            )
            self.assertEqual((status, output), (1, ""))
            self.assertRegex(
                problems, f"to 127.0.0.1:{port}: cannot connect: .*refused"
            )

    def test_handshakeNeverEnds(self) -> None:
        target = MisbehavingServer(self, lambda number, line: line).target
        status, _, problems = bench(
            "load", target, "--tls", "-c", "1", "--timeout", "0.2"
        )
        self.assertEqual(status, 1)
        self.assertIn("cannot connect: no answer within 0.2 s", problems)


class ArgumentTests(LoadCase):
    def test_badNumbers(self) -> None:
        """
        What was given and what is allowed is said.
        """
        for options, says in (
            (("--connections", "0"), "whole number from 1 to 60,000, got 0"),
            (("--connections", "x"), "whole number from 1 to 60,000, got 'x'"),
            (("--sizes", "16,-1"), "each must be a whole number of bytes .* got -1"),
            (("--sizes", "16,,4"), "got ''; such as 16,64,1024"),
            (("--sizes", "4"), "8 bytes or more, .*; got 4"),
            (("--depth", "0"), "whole number of lines from 1 to 100,000, got 0"),
            (("--duration", "nan"), "number of seconds from 0.05 to 86,400, got nan"),
            (("--rate", "0"), "from 0.1 to 10,000,000, got 0"),
            (("--count", "1.5"), "whole number of lines from 1 .* got '1.5'"),
            (("--count", "1", "--duration", "1"), "not allowed with"),
            (("--processes", "60"), "60 processes need .* --connections 50"),
            (("--warm-up", "10"), "shorter than --duration, .* got 10"),
            (("--delimiter", "x"), "invalid choice: 'x'"),
            (("--insecure",), "--insecure are for TLS: add --tls"),
            (("--tls", "--ca", "/nonsense"), "--ca /nonsense: No such file"),
            (("--tls", "--ca", __file__), "--ca .*PEM file is needed"),
        ):
            self.assertRegex(self.refused("127.0.0.1:7", *options), says)

    def test_badTargets(self) -> None:
        self.assertRegex(self.refused("nonsense"), "HOST:PORT.*; got 'nonsense'")
        self.assertRegex(self.refused("unix:/a", "--tls"), "TCP only, got unix:/a")
        self.assertIn("TARGET", self.refused())

    def test_help(self) -> None:
        """
        Every command's tells of every option.
        """
        for command, option in (
            ("load", "--rate"),
            ("compare", "--rounds"),
            ("storm", "--beside"),
            ("plot", "--output"),
            ("split", "--rounds"),
        ):
            status, output, _ = bench(command, "--help")
            self.assertEqual(status, 0)
            self.assertIn(option, output)

    @slow
    def test_missingExtra(self) -> None:
        """
        The command says what is missing and how to get it; C{split} needs nothing.
        """
        blocked = (
            "import sys\n"
            "for name in ('hdrh', 'hdrh.histogram', 'rich', 'matplotlib', 'uvloop'):\n"
            "    sys.modules[name] = None\n"
            "from twisted_echo.bench.cli import main\n"
            "sys.exit(main(sys.argv[1:]))\n"
        )
        for arguments, status, says in (
            (("load", "127.0.0.1:7"), 2, "load needs hdrh: .* pip install"),
            (("compare",), 2, re.escape(install_extra("bench"))),
            (("plot", "a.json", "-o", "a.png"), 2, "plot needs matplotlib"),
            (("split", "--rounds", "1"), 0, "^$"),
        ):
            done = subprocess.run(
                [sys.executable, "-c", blocked, *arguments],
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                env=environment(),
                check=False,
            )
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertRegex(done.stderr, says)

    def test_tooFewFiles(self) -> None:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        asked: list[tuple[int, int]] = []
        limits = (100, 1000)
        self.patch(resource, "getrlimit", lambda kind: limits)
        self.patch(resource, "setrlimit", lambda kind, pair: asked.append(pair))
        load.allow_files(30)
        self.assertEqual(asked, [])
        load.allow_files(200)
        self.assertEqual(asked, [(264, 1000)])
        error = self.assertRaises(errors.BadRequest, load.allow_files, 2000)
        self.assertIn(
            "2064 open files are needed, this process may have 1000", str(error)
        )


class WorkerTests(LoadCase):
    def work(self, plan: Plan) -> list[list[str]]:
        answers = io.StringIO()
        worker.main(io.StringIO(f"{plan.to_json()}\ngo\n"), answers)
        return [line.split(" ", 1) for line in answers.getvalue().splitlines()]

    def test_dialogue(self) -> None:
        server = MisbehavingServer(self, lambda number, line: line)
        host, _, port = server.target.rpartition(":")
        plan = Plan(Target(host, int(port)), connections=3, count=30)
        said = self.work(plan)
        self.assertEqual(said[0], ["connected"])
        self.assertEqual(said[-2], ["measured", "30"])
        self.assertEqual(said[-1][0], "result")
        self.assertEqual(Result.from_json(said[-1][1]).lines, 30)

    def test_refused(self) -> None:
        plan = Plan(Target("127.0.0.1", 7, tls=True, ca="/nonsense"))
        (said,) = self.work(plan)
        self.assertEqual(said[0], "refused")
        with self.assertRaisesRegex(errors.BadRequest, "--ca /nonsense"):
            processes.run_processes(plan, 2)

    def test_endsEarly(self) -> None:
        """
        A process that dies is told of, with what it printed.
        """
        self.patch(processes, "WORKER", ("-c", "raise SystemExit('out of luck')"))
        with self.assertRaisesRegex(
            errors.ChildFailed,
            re.escape("load process 1 of 1 ended early (it ended with status 1): out"),
        ):
            processes.run_processes(Plan(Target("127.0.0.1", 7)), 1)


class CommandTests(LoadCase):
    def test_tree(self) -> None:
        status, output, _ = bench()
        self.assertEqual(status, 0)
        names = "one of: load, compare, storm, programs, wait, plot, tables, split."
        self.assertIn(names, " ".join(output.split()))
        status, _, problems = bench("nonsense")
        self.assertEqual(status, 2)
        self.assertIn("unknown command: nonsense; it must be one of: load", problems)

    def test_split(self) -> None:
        status, output, problems = bench("split", "--rounds", "1")
        self.assertEqual((status, problems), (0, ""))
        self.assertIn("FastLineReceiver.blockReceived", output)
        status, _, problems = bench("split", "--rounds", "0")
        self.assertEqual(status, 2)
        self.assertIn("whole number from 1 to 1,000, got 0", problems)

    def test_missing(self) -> None:
        with self.assertRaisesRegex(
            errors.BadRequest,
            re.escape(f"load needs no_such_module: {install_extra('bench')}"),
        ):
            errors.need("load", ["rich", "no_such_module.part"])

    def test_terminated(self) -> None:
        """
        C{compare} ends in order, and leaves no process behind.
        """
        if sys.platform != "linux":
            raise SkipTest("Linux only")
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "twisted_echo.bench", "compare", "--quick"),
                *("--only", "asyncio-raw", "--seconds", "60"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        ) as command:
            assert command.stderr is not None
            self.assertIn("runs, about", command.stderr.readline())
            tasks = Path(f"/proc/{command.pid}/task/{command.pid}/children")
            wait_until(lambda: bool(tasks.read_text()))
            command.terminate()
            self.assertEqual(command.wait(DEADLINE), 128 + signal.SIGTERM)

        def is_gone() -> bool:
            try:
                os.killpg(command.pid, 0)
            except ProcessLookupError:
                return True
            return False

        # A child that is only just being started when the signal comes is killed by
        # the kernel, when its parent has gone.
        wait_until(is_gone)

    def test_signals(self) -> None:
        """
        One ends C{load} without a word and with its own status, wherever the event
        loop is.
        """
        for options, number in (
            ((), signal.SIGTERM),
            (("--rate", "5000"), signal.SIGINT),
        ):
            under_load = threading.Event()

            def answer(
                count: int, line: bytes, seen: threading.Event = under_load
            ) -> bytes:
                if count == 20:
                    seen.set()
                return line

            target = MisbehavingServer(self, answer).target
            with subprocess.Popen(
                [
                    *(sys.executable, "-m", "twisted_echo.bench", "load", target),
                    *("-c", "5", "-t", "60", *options),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(),
            ) as command:
                self.assertTrue(under_load.wait(DEADLINE))
                command.send_signal(number)
                said = command.communicate(timeout=DEADLINE)
            self.assertEqual((command.returncode, said), (128 + number, (b"", b"")))

    def test_nobodyReads(self) -> None:
        """
        As in C{split | head}: it ends without a word.
        """
        reader, writer = os.pipe()
        os.close(reader)
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "twisted_echo.bench"),
                *("split", "--rounds", "1"),
            ],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=environment(),
        ) as command:
            os.close(writer)
            _, problems = command.communicate(timeout=DEADLINE)
        self.assertEqual((command.returncode, problems), (128 + signal.SIGPIPE, b""))

    def test_asCommand(self) -> None:
        """
        C{python -m twisted_echo.bench load}, as a user runs it.
        """
        server = MisbehavingServer(self, lambda number, line: line)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "twisted_echo.bench", "load"),
                *(server.target, "-n", "50"),
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env=environment(),
            cwd=PROJECT,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("50 connections", done.stdout)
