"""
Tests for C{python -m twisted_echo.bench storm}: a session beside the connections of
others. What is measured is not judged here.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import (
    LinuxCase,
    MisbehavingServer,
    bench,
    need_extra,
    serve_both,
)
from tests.support.marks import slow
from twisted_echo.bench import storm
from twisted_echo.bench.children import Child
from twisted_echo.bench.errors import BadRequest
from twisted_echo.bench.load import run_load
from twisted_echo.bench.plan import Plan, Target
from twisted_echo.bench.result import Result


class NicenessTests(LinuxCase):
    def test_child(self) -> None:
        code = "import os; print('nice', os.nice(0))"
        most = min(os.nice(0) + 7, 19)
        with Child("child", ("-c", code), niceness=7) as child:
            self.assertEqual(child.wait_for(r"nice (\d+)\n")[1], str(most))


class StormTests(SynchronousTestCase):
    short = ("--connections", "12", "--duration", "0.2")

    def setUp(self) -> None:
        need_extra()

    def storm(self, *arguments: str) -> list[dict[str, Any]]:
        status, output, problems = bench("storm", *arguments, "--json")
        self.assertEqual((status, problems), (0, ""))
        phases: list[dict[str, Any]] = json.loads(output)
        return phases

    def test_beside(self) -> None:
        """
        A session in the clear beside handshakes: lines and handshakes are counted in
        each time.
        """

        def here(
            plan: Plan, processes: int, *, niceness: int, **callbacks: Any
        ) -> Result:
            self.assertEqual((processes, niceness), (1, storm.NICENESS))
            return run_load(plan, **callbacks)

        self.patch(storm, "run_processes", here)
        plain, tls, _ = serve_both(self)
        alone, at_once, others = self.storm(
            *(tls, "--insecure", "--beside", plain, *self.short)
        )
        self.assertEqual(
            [each["name"] for each in (alone, at_once, others)],
            [storm.ALONE, storm.AT_ONCE, storm.STORM],
        )
        self.assertGreater(alone["lines"], 0)
        self.assertEqual((alone["connections"], at_once["connections"]), (0, 12))
        self.assertGreaterEqual(others["connections"], 12)
        for each in (alone, others):
            self.assertGreaterEqual(each["seconds"], 0.2)
        self.assertGreater(alone["latency_us"]["p50"], 0)

    @slow
    def test_plain(self) -> None:
        """
        Connections in the clear are a storm as well.
        """
        plain, _, _ = serve_both(self)
        alone, at_once, others = self.storm(plain, *self.short)
        self.assertEqual((alone["connections"], at_once["connections"]), (0, 12))
        self.assertGreaterEqual(others["connections"], 12)
        self.assertGreater(at_once["lines"] + others["lines"], 0)

    @slow
    def test_overTLS(self) -> None:
        """
        A session over TLS is the usual one; the storm may have several processes.
        """
        _, tls, _ = serve_both(self)
        status, output, problems = bench(
            "storm", tls, "--insecure", "-p", "2", *self.short
        )
        self.assertEqual((status, problems), (0, ""))
        self.assertIn("over TLS", output)
        self.assertRegex(output, r"\n all at once +[\d.]+ +12 ")

    def test_latenciesBelongToTheirTime(self) -> None:
        """
        A line that was sent before a time ended counts in it, whenever it is back.
        """
        session = storm.OpenSession(Target("127.0.0.1", 7))
        first = session.turn()
        due = first.since + 1
        second = session.turn()
        session._record(due, second.since + 500, 1)
        self.assertEqual((first.lines, second.lines), (1, 0))
        session._record(second.since, second.since + 500, 1)
        self.assertEqual((first.lines, second.lines), (1, 1))
        phase = session.phase("some", first, second)
        self.assertEqual((phase.lines, phase.name), (1, "some"))

    def fails(self, says: str, *arguments: str, status: int = 1) -> None:
        found, output, problems = bench("storm", *arguments)
        self.assertEqual((found, output), (status, ""), problems)
        self.assertRegex(problems, says)

    def test_broken(self) -> None:
        """
        A server that breaks a line or a connection ends the storm with status 1.
        """
        plain, tls, _ = serve_both(self)
        options = (tls, "-c", "3", "-t", "0.1")
        self.fails("certificate verify failed", *options)
        options = (*options, "--insecure", "--beside")
        for answer, says in (
            (lambda number, line: line.lower(), "line 1 came back wrong"),
            (lambda number, line: None, "closed by the server; 0 lines"),
        ):
            beside = MisbehavingServer(self, answer).target
            self.fails(f"the session with {beside}: {says}", *options, beside)
        self.patch(storm, "TIMEOUT", 0.3)
        beside = MisbehavingServer(self, lambda number, line: b"").target
        self.fails("a line did not come back within 0.3 s", *options, beside)
        # The handshakes' server, at last.
        self.fails("cannot connect", f"tls:{plain}", *options[1:], plain)

    def test_arguments(self) -> None:
        self.fails("are for TLS: a target must be", "h:7", "--insecure", status=2)
        self.fails("are for TLS: a target must be", "h:7", "--ca", "x", status=2)
        tls = "tls:127.0.0.1:7"
        more: Sequence[str] = ("-c", "2", "-p", "3")
        self.fails("3 processes need as many connections", tls, *more, status=2)
        self.assertRaises(BadRequest, storm.storm_plan, Target(), 0, 1.0)
