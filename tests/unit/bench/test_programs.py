"""
Tests for C{python -m twisted_echo.bench programs}. What is measured is not judged here.
"""

import asyncio
import io
import json
import re
from collections.abc import Coroutine, Generator, Iterator
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from tests.support.bench import FakeTransport, LinuxCase, bench, until_closed
from tests.support.marks import slow
from tests.support.processes import new_folder
from twisted_echo.bench import program_runs, programs_command
from twisted_echo.bench.errors import BrokenServer, ChildFailed
from twisted_echo.bench.gains import FORMAT, Gains, ProgramRun
from twisted_echo.bench.metering import least_disturbed
from twisted_echo.bench.program_runs import Effort
from twisted_echo.bench.programs import program_load
from twisted_echo.bench.programs.dialogue import Dialogue, DialogueStep
from twisted_echo.bench.programs.kind import HOST
from twisted_echo.bench.programs.kinds import KINDS, Kind
from twisted_echo.bench.programs.program_load import LoadOrder, ProgramLoad, carry_out
from twisted_echo.bench.programs.program_reactors import REACTORS
from twisted_echo.bench.spreads import median_interval
from twisted_echo.bench.turns import Pair
from twisted_echo.validation.extras import install_packages

PAIR = Pair("epoll", "eager")


def a_run(reactor: str, number: int, cpu: float, kind: str = "amp") -> ProgramRun:
    return ProgramRun(kind, str(PAIR), reactor, number, cpu, 1000, 0.0)


class GainTests(SynchronousTestCase):
    def test_order(self) -> None:
        """
        Each reactor of a pair is the first in every second round.
        """
        orders = [PAIR.in_round(number) for number in (1, 2, 3, 4)]
        self.assertEqual(orders, [("epoll", "eager"), ("eager", "epoll")] * 2)

    def test_interval(self) -> None:
        """
        With 95 % the median is between these: the sixth of 20 from below and from
        above, as tables of the sign test have it.
        """
        for count, outside in ((1, 0), (2, 0), (5, 0), (6, 0), (8, 0), (9, 1), (20, 5)):
            values = [float(each) for each in range(count)]
            found = median_interval(values[::-1])
            self.assertEqual(
                found, ((count - 1) / 2, outside, count - 1 - outside), count
            )

    def test_ratios(self) -> None:
        """
        Round by round, of the rounds that both have, whatever their order.
        """
        gains = Gains({}, [PAIR])
        for reactor, number, cpu in (
            *(("epoll", 1, 10.0), ("eager", 1, 5.0)),
            *(("eager", 2, 8.0), ("epoll", 2, 20.0)),
            *(("epoll", 3, 20.0), ("eager", 3, 16.0), ("epoll", 4, 99.0)),
        ):
            gains.runs.append(a_run(reactor, number, cpu))
        gains.runs.append(a_run("epoll", 1, 1.0, kind="lines"))
        (gain,) = gains.rows(PAIR)
        self.assertEqual((gain.kind, gain.stock, gain.eager), ("amp", 20.0, 8.0))
        self.assertEqual(gain.ratio, (0.5, 0.4, 0.8))
        self.assertEqual(gains.rows(Pair("asyncio", "eager")), [])
        written = json.loads(gains.to_json())
        self.assertEqual(written["format"], FORMAT)
        self.assertEqual(written["gains"][0]["ratio"]["median"], 0.5)
        self.assertEqual(len(written["runs"]), 8)

    def test_leastDisturbed(self) -> None:
        shares = iter((0.5, 0.2, 0.3, 0.4))

        def measure() -> ProgramRun:
            return ProgramRun("amp", str(PAIR), "epoll", 1, 1.0, 1, next(shares))

        run, tries = least_disturbed(measure)
        self.assertEqual((run.stolen, tries), (0.2, 4))


def turns(count: int) -> Iterator[None]:
    return iter([None] * count)


class DialogueTests(SynchronousTestCase):
    opening = (
        DialogueStep(b"", re.compile(rb"hello \w+\n")),
        DialogueStep(b"name\n", b"ok\n"),
    )
    operation = (DialogueStep(b"one\n", b"1\n"), DialogueStep(b"two\n", b"2\n"))

    def talk(self, *chunks: bytes, opening: bool = True) -> list[bytes]:
        """
        Give a dialogue these chunks, and end the connection.

        @return: what it has sent.
        """
        transport = FakeTransport()

        async def main() -> None:
            dialogue = Dialogue(self.opening if opening else (), self.operation)
            dialogue.connection_made(transport)

            async def answer() -> None:
                for chunk in chunks:
                    await asyncio.sleep(0)
                    dialogue.data_received(chunk)
                await asyncio.sleep(0)
                dialogue.connection_lost(None)

            answers = asyncio.ensure_future(answer())
            await dialogue.open()
            await dialogue.converse(turns(2))
            dialogue.leave()
            await answers

        asyncio.run(main())
        return transport.written

    def test_steps(self) -> None:
        """
        The opening once, and the operation for each turn, however the replies are cut.
        """
        sent = self.talk(
            *(b"hel", b"lo you\n", b"ok\n", b"", b"1", b"\n", b"2\n", b"1\n", b"2\n")
        )
        operation = [b"one\n", b"two\n"]
        self.assertEqual(sent, [b"name\n", *operation, *operation])

    def test_wrong(self) -> None:
        """
        A reply that is another one, or is more than the reply, is an error.
        """
        for chunks, says in (
            ((b"3\n",), r"wrong reply to b'one\\n': expected b'1\\n', got b'3\\n'"),
            ((b"1\n1",), r"got b'1\\n1'"),
            ((b"1\n", b"2\n", b"2"), r"wrong reply to b'one\\n'"),
            ((b"1",), "the connection was lost: the server closed it"),
        ):
            with self.assertRaisesRegex(BrokenServer, says):
                self.talk(*chunks, opening=False)

    def test_tooEarly(self) -> None:
        """
        A greeting may come before it is waited for.
        """

        async def main() -> None:
            dialogue = Dialogue(self.opening[:1], ())
            dialogue.connection_made(FakeTransport())
            dialogue.data_received(b"hello you\n")
            await asyncio.wait_for(dialogue.open(), 5)

        asyncio.run(main())


def on_reactor(coroutine: Coroutine[Any, Any, None]) -> Deferred[None]:
    """
    Run a coroutine of asyncio's by turns of the reactor, in its thread.
    """
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)

    def step() -> None:
        loop.call_soon(loop.stop)
        loop.run_forever()
        if task.done():
            steps.stop()

    def finish(_: object) -> None:
        loop.close()
        task.result()

    steps = LoopingCall(step)
    return steps.start(0).addCallback(finish)


class ProgramTests(TestCase):
    """
    Servers on the reactor of this process, with a load in a thread.
    """

    @inlineCallbacks
    def serve(
        self, kind: Kind, *, twisted_client: bool = False
    ) -> Generator[Deferred[Any], Any, None]:
        """
        @param twisted_client: whether the client is on the reactor, too.
        """
        if kind.obstacle:
            raise SkipTest(kind.obstacle)
        program = kind.program()
        reactor: Any = installed
        port = reactor.listenTCP(0, program.factory(), interface=HOST)
        self.addCleanup(port.stopListening)
        order = LoadOrder(kind.name, port.getHost().port, 2, 60, 6)
        answers = io.StringIO()
        load = carry_out(order, io.StringIO("go\nend\n"), answers)
        yield on_reactor(load) if twisted_client else deferToThread(asyncio.run, load)
        self.assertEqual(answers.getvalue(), "warm\nmeasured 6\n")
        yield until_closed(reactor)

    def test_lines(self) -> Deferred[None]:
        return self.serve(KINDS["lines"])

    def test_fastLines(self) -> Deferred[None]:
        return self.serve(KINDS["fast-lines"])

    def test_timer(self) -> Deferred[None]:
        return self.serve(KINDS["timer"])

    def test_large(self) -> Deferred[None]:
        return self.serve(KINDS["large"])

    def test_amp(self) -> Deferred[None]:
        return self.serve(KINDS["amp"])

    def test_webSocket(self) -> Deferred[None]:
        return self.serve(KINDS["websocket"])

    def test_smtp(self) -> Deferred[None]:
        return self.serve(KINDS["smtp"])

    def test_ftp(self) -> Deferred[None]:
        return self.serve(KINDS["ftp"])

    def test_ftpDownload(self) -> Deferred[None]:
        return self.serve(KINDS["ftp-download"])

    def test_web(self) -> Deferred[None]:
        return self.serve(KINDS["web"])

    def test_webWrites(self) -> Deferred[None]:
        return self.serve(KINDS["web-writes"])

    def test_broker(self) -> Deferred[None]:
        return self.serve(KINDS["pb"], twisted_client=True)

    def test_conch(self) -> Deferred[None]:
        return self.serve(KINDS["conch"], twisted_client=True)


class LoadTests(SynchronousTestCase):
    def test_broken(self) -> None:
        """
        What a client raises, and what takes too long, is the server's fault.
        """

        class Client:
            def __init__(self, error: Exception | None) -> None:
                self.error = error

            async def converse(self, turns: Iterator[None]) -> None:
                if self.error:
                    raise self.error
                await asyncio.sleep(999)

            def leave(self) -> None:
                pass

        self.patch(program_load, "TIMEOUT", 0.05)
        for error, says in (
            (BrokenServer("wrong"), "^wrong$"),
            (EOFError("it ended"), "^EOFError: it ended$"),
            (None, "1 of 1 connections were not served to the end within 0.1 s"),
        ):
            load = ProgramLoad(LoadOrder("lines", 1, 1, 0.05, 1))
            load._clients = [Client(error)]
            with self.assertRaisesRegex(BrokenServer, says):
                asyncio.run(load.run())


class CommandTests(LinuxCase):
    tiny = ("--rounds", "1", "--seconds", "0.05", "-c", "2")

    def test_run(self) -> None:
        """
        A kind on a reactor beside a bare protocol, which the other kind has not.
        """
        file = new_folder(self) / "gains.json"
        status, output, problems = bench(
            *("programs", *self.tiny, "--only", "fast-lines,timer", "--markdown"),
            *("--reactors", "bare-asyncio:eager", "--json", str(file)),
        )
        self.assertEqual((status, problems), (0, ""))
        number = r"[\d.]+ \| "
        self.assertRegex(
            output,
            r"^eager over bare-asyncio, .*:\n\n\| kind: an operation \|"
            r" bare-asyncio \| eager \| ratio \|\n.*\n\| FastLineReceiver: a line of"
            rf" 64 bytes echoed \| {number}{number}[\d.]+ \([\d.]+-[\d.]+\) \|\n\n$",
        )
        runs = json.loads(file.read_text())["runs"]
        self.assertEqual([each["reactor"] for each in runs], ["bare-asyncio", "eager"])
        for run in runs:
            self.assertGreater(run["operations"], 0)
            self.assertGreater(run["cpu_us"], 0)

    def test_turns(self) -> None:
        """
        In a round, each kind has its turn on each pair; and what fails has no more.
        """
        measured = []

        def measure(
            kind: Kind, pair: Pair, reactor: str, number: int, effort: Effort
        ) -> ProgramRun:
            measured.append((number, kind.name, reactor))
            if kind.name == "timer":
                raise ChildFailed("no luck")
            return a_run(reactor, number, 1.0, kind.name)

        self.patch(program_runs, "measure_program", measure)
        gains = Gains({}, [PAIR])
        kinds = [KINDS["amp"], KINDS["timer"]]
        program_runs.compare_programs(gains, kinds, 2, Effort(1.0, 1, ((), ())))
        self.assertEqual(
            measured,
            [
                *((1, "amp", "epoll"), (1, "amp", "eager"), (1, "timer", "epoll")),
                *((2, "amp", "eager"), (2, "amp", "epoll")),
            ],
        )
        self.assertEqual((len(gains.runs), gains.failures), (4, ["no luck"]))

    @slow
    def test_all(self) -> None:
        """
        All kinds that can run here; and one of them on all reactors that there are.
        """
        short = ("programs", *self.tiny)
        status, output, problems = bench(*short, "--reactors", "epoll:eager-asyncio")
        self.assertEqual(status, 0, problems)
        for kind in KINDS.values():
            if not kind.obstacle:
                self.assertIn(f"\n {kind.label} ", output)
        status, output, problems = bench(*short, "--only", "lines")
        self.assertEqual((status, problems), (0, ""))
        self.assertEqual(output.count("\n LineReceiver "), 4)

    def test_broken(self) -> None:
        """
        A kind whose server fails is reported once, and the others are measured.
        """
        self.patch(program_runs, "SERVER", ("-c", "raise SystemExit('no luck')"))
        status, output, problems = bench(
            *("programs", *self.tiny, "--only", "fast-lines"),
            *("--reactors", "epoll:eager,bare-asyncio:eager"),
        )
        self.assertEqual((status, output), (1, ""))
        self.assertEqual(problems.count("programs: FastLineReceiver on "), 2)
        self.assertIn(
            "on epoll did not start (it ended with status 1): no luck", problems
        )

    def test_brokenReply(self) -> None:
        """
        A server that does not send what it should is named, with what it printed.
        """
        code = (
            "import asyncio, sys\n"
            "from twisted_echo.bench import rivals\n"
            "class Wrong(rivals.RawEcho):\n"
            "    def data_received(self, data):\n"
            "        self.transport.write(data.upper())\n"
            "rivals.run_asyncio(Wrong, '')\n"
        )
        self.patch(program_runs, "SERVER", ("-c", code))
        status, _, problems = bench(
            *("programs", *self.tiny, "--only", "lines", "--reactors", "epoll:eager")
        )
        self.assertEqual(status, 1)
        self.assertRegex(
            problems, "LineReceiver on epoll: wrong reply to b'line of 64 "
        )
        self.assertIn("got b'LINE OF 64", problems)
        self.assertIn("; listening on ", problems)

    def test_left_out(self) -> None:
        """
        What cannot run is left out with a reason; asked for, it is refused.
        """
        missing = Kind("x", "X", "an x", "x:x", ("no_such_module",), "no-such")
        self.patch(programs_command, "KINDS", {"x": missing})
        quiet = ("--rounds", "1", "--reactors", "epoll:eager")
        says = f"x needs no_such_module: {install_packages('no-such')}"
        status, output, problems = bench("programs", *quiet)
        self.assertEqual((status, output), (0, ""))
        self.assertEqual(problems, f"left out: {says}\n")
        status, output, problems = bench("programs", *quiet, "--only", "x")
        self.assertEqual((status, output), (2, ""))
        self.assertIn(says, problems)

    def test_arguments(self) -> None:
        for arguments, says in (
            (("--only", "amp,nothing"), "each must be of lines, .*; got 'nothing'"),
            (("--reactors", "epoll"), "each must be FIRST:SECOND, .*; got 'epoll'"),
            (("--reactors", "epoll:kqueue"), "both of epoll, eager, "),
            (("--reactors", "epoll:bare-uvloop"), "can only be the first of two"),
            (("--rounds", "0"), "must be a whole number from 1 to 1,000, got 0"),
            (("--json", "/no/such/file"), "--json /no/such/file: No such file"),
        ):
            status, output, problems = bench("programs", *arguments)
            self.assertEqual((status, output), (2, ""), arguments)
            self.assertRegex(problems, says)

    def test_reactors(self) -> None:
        """
        Each has a module to install or a rival to start.
        """
        for name, each in REACTORS.items():
            self.assertEqual(bool(each.module), not each.rival, name)
