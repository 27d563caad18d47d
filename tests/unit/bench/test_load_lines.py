"""
Tests for what C{bench load} is made of, without sockets:
L{twisted_echo.bench.load_lines}, C{latency}, C{schedule}, C{connection} and C{plan}.
"""

import random
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import FakeTransport, need_extra
from twisted_echo.bench.errors import BadRequest, BrokenServer
from twisted_echo.bench.latency import LONGEST, Latencies, Recorder
from twisted_echo.bench.load_connection import ClosedLoop, Connection, OpenLoop
from twisted_echo.bench.load_lines import Exchange, LineSource, digits, number_of
from twisted_echo.bench.plan import Plan, Target, parse_target
from twisted_echo.bench.result import Result
from twisted_echo.bench.schedule import SECOND, Schedule

MILLISECOND = 10**6


class LineSourceTests(SynchronousTestCase):
    def test_shape(self) -> None:
        """
        Lines have their size and one delimiter, at their end.
        """
        for delimiter in (b"\n", b"\r\n", b"\0"):
            for size in (7 + len(delimiter), 16, 64, 255, 256, 270, 5000):
                source = LineSource(3, size, 10, delimiter)
                data = source.take(25)
                self.assertEqual(len(data), 25 * size)
                lines = data.split(delimiter)
                self.assertEqual(lines.pop(), b"")
                self.assertEqual({len(line) for line in lines}, {size - len(delimiter)})

    def test_noTwoAlike(self) -> None:
        """
        No line is like another of its connection or of another one.
        """
        for size in (16, 64, 3000):
            lines = [
                line
                for connection in range(20)
                for line in LineSource(connection, size, 7).take(50).split(b"\n")[:-1]
            ]
            self.assertEqual(len(set(lines)), 20 * 50)

    def test_longLinesDifferThroughout(self) -> None:
        """
        A quarter of a KiB of one line is found nowhere else.
        """
        size = 8192
        data = b"".join(LineSource(n, size, 2).take(6) for n in range(3))
        pieces = [data[at : at + 256] for at in range(0, len(data), 256)]
        self.assertEqual(len(set(pieces)), len(pieces))

    def test_anyCut(self) -> None:
        """
        The lines are the same, however many are taken at once.
        """
        whole = LineSource(1, 20, 8).take(100)
        source, parts = LineSource(1, 20, 8), []
        choose = random.Random(1)
        left = 100
        while left:
            count = min(left, choose.randint(1, 20))
            parts.append(source.take(count))
            left -= count
        self.assertEqual(b"".join(parts), whole)

    def test_digits(self) -> None:
        for number in (0, 1, 63, 64, 4095, 64**3 - 1):
            self.assertEqual(number_of(digits(number, 3)), number)
        self.assertEqual(digits(64**3, 3), b"000")


class ExchangeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.records: list[tuple[int, int, int]] = []
        self.exchange = Exchange(
            LineSource(5, 20, 4), lambda *record: self.records.append(record)
        )

    def test_everyCut(self) -> None:
        """
        Replies are right whole, byte by byte, and cut in two anywhere.
        """
        for cut in range(121):
            self.setUp()
            data = self.exchange.send(4, 0) + self.exchange.send(2, 0)
            for part in (data[:cut], data[cut:]):
                self.exchange.receive(part, 9)
            self.assertEqual(
                (self.exchange.outstanding, self.exchange.received), (0, 6)
            )
            self.assertEqual(sum(lines for _, _, lines in self.records), 6)
        data = self.exchange.send(4, 0)
        for at in range(len(data)):
            outstanding = self.exchange.receive(data[at : at + 1], 9)
            self.assertEqual(outstanding, 4 - (at + 1) // 20)

    def test_latencyIsPerLine(self) -> None:
        """
        A line is recorded when it is back, from when it was due.
        """
        data = self.exchange.send(4, 100)
        self.exchange.receive(data[:50], 107)
        self.exchange.receive(data[50:], 109)
        self.assertEqual(self.records, [(100, 107, 2), (100, 109, 2)])

    def test_dueOneAfterAnother(self) -> None:
        data = self.exchange.send(3, 100, 10)
        self.exchange.receive(data[:45], 200)
        self.exchange.receive(data[45:], 300)
        self.assertEqual(self.records, [(100, 200, 1), (110, 200, 1), (120, 300, 1)])

    def assert_wrong(self, data: bytes, *says: str) -> None:
        error = self.assertRaises(BrokenServer, self.exchange.receive, data, 1)
        for each in says:
            self.assertIn(each, str(error))

    def test_everyWrongByte(self) -> None:
        """
        Any byte that is not as it was sent is noticed and named.
        """
        for at in range(80):
            self.setUp()
            data = bytearray(self.exchange.send(4, 0))
            data[at] ^= 1
            where = (
                f"line {at // 20 + 1} came back wrong at its byte {at % 20 + 1} of 20"
            )
            self.assert_wrong(bytes(data), where, f"got {bytes(data[at : at + 24])!r}")

    def test_wrongByteInALaterPart(self) -> None:
        data = bytearray(self.exchange.send(4, 0))
        data[33] = 0
        self.exchange.receive(bytes(data[:30]), 1)
        self.assert_wrong(bytes(data[30:]), "line 2 came back wrong at its byte 14")

    def test_swapped(self) -> None:
        data = self.exchange.send(4, 0)
        lines = [data[at : at + 20] for at in range(0, 80, 20)]
        lines[1], lines[2] = lines[2], lines[1]
        self.assert_wrong(b"".join(lines), "line 2", "line 3 of connection 5")

    def test_lost(self) -> None:
        self.exchange.receive(self.exchange.send(4, 0), 1)
        data = self.exchange.send(4, 0)
        self.assert_wrong(data[20:], "line 5 came", "line 6 of connection 5")

    def test_duplicated(self) -> None:
        data = self.exchange.send(4, 0)
        self.assert_wrong(data[:20] + data, "line 2 came", "line 1 of connection 5")

    def test_anothers(self) -> None:
        self.exchange.send(1, 0)
        other = LineSource(8, 20, 4).take(1)
        self.assert_wrong(other, "line 1 of connection 8")

    def test_surplus(self) -> None:
        data = self.exchange.send(1, 0)
        self.assert_wrong(data + b"more", "4 bytes more", "after line 1", "b'more'")

    def test_shortLinesNameNoOther(self) -> None:
        """
        In a line too short for a whole name, what it is is not guessed.
        """
        exchange = Exchange(LineSource(0, 8, 2), lambda *record: None)
        exchange.send(2, 0)
        error = self.assertRaises(BrokenServer, exchange.receive, b"1" * 7, 1)
        self.assertNotIn("these are", str(error))


class LatencyTests(SynchronousTestCase):
    def setUp(self) -> None:
        need_extra()

    def test_percentiles(self) -> None:
        recorder = Recorder()
        for microsecond in range(1, 1001):
            recorder.record(0, microsecond * 1000, 1)
        found = Latencies.of(recorder).percentiles()
        for name, wanted in (
            ("p50", 500),
            ("p90", 900),
            ("p99", 990),
            ("p99.9", 999),
            ("max", 1000),
        ):
            self.assertApproximates(found[name], wanted, wanted / 1000)

    def test_nothingIsLostByRounding(self) -> None:
        """
        What the recorder rounds, the histogram would have rounded, too.
        """
        from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

        choose = random.Random(2)
        recorder, exact = Recorder(), HdrHistogram(1, LONGEST, 3)
        for _ in range(2000):
            value = int(10 ** choose.uniform(0, 12))
            recorder.record(0, value, 3)
            exact.record_value(value, 3)
        rounded = Latencies.of(recorder)
        for name, at in (("p50", 50), ("p99.9", 99.9), ("max", 100)):
            wanted = exact.get_value_at_percentile(at) / 1e3
            self.assertEqual(rounded.percentiles()[name], wanted)

    def test_warmUpAndNothing(self) -> None:
        recorder = Recorder(since=100)
        recorder.record(99, 200, 5)
        self.assertEqual(Latencies.of(recorder).percentiles(), {})
        recorder.record(100, 300, 5)
        self.assertEqual((Latencies.of(recorder).lines, recorder.last), (5, 300))

    def test_merge(self) -> None:
        """
        Results of several processes, sent as text, add up to what one would have
        seen.
        """
        choose = random.Random(3)
        everything, total = {16: Recorder(), 64: Recorder()}, Result()
        for number in range(3):
            own = {16: Recorder(), 64: Recorder()}
            for _ in range(500):
                size, value = choose.choice((16, 64)), choose.randint(1, 10**8)
                own[size].record(0, value, 1)
                everything[size].record(0, value, 1)
            result = Result(
                began=1000 + number,
                ended=SECOND + number,
                lines=500,
                busy=number / 10,
                latencies={size: Latencies.of(each) for size, each in own.items()},
                unsent={16: number},
                failures=[f"failure {number}"],
            )
            total.add(Result.from_json(result.to_json()))
        self.assertEqual((total.began, total.ended), (1000, SECOND + 2))
        self.assertEqual((total.lines, total.busy), (1500, 0.2))
        self.assertEqual(total.failures, ["failure 0", "failure 1", "failure 2"])
        for size, recorder in everything.items():
            wanted = Latencies.of(recorder)
            self.assertEqual(total.latencies[size].lines, wanted.lines)
            found = total.latencies[size].percentiles()
            self.assertEqual(found, wanted.percentiles())
        summary = total.summary()
        self.assertEqual((summary["lines"], summary["unsent"]), (1497, 3))


class FakeObserver:
    def __init__(self) -> None:
        self.events: list[str] = []

    def settled(self) -> None:
        self.events.append("settled")

    def failed(self, number: int, message: str) -> None:
        self.events.append(f"{number}: {message}")


class LoopCase(SynchronousTestCase):
    """
    A connection on fakes, with a clock that only the test moves.
    """

    def setUp(self) -> None:
        need_extra()
        self.now = 0
        self.recorder = Recorder()
        self.observer = FakeObserver()
        self.transport = FakeTransport()

    def make(self, kind: Callable[..., Connection], *arguments: Any) -> Any:
        exchange = Exchange(LineSource(0, 16, 1), self.recorder.record)
        connection = kind(0, exchange, lambda: self.now, self.observer, *arguments)
        connection.connection_made(self.transport)
        return connection

    def percentiles(self) -> dict[str, float]:
        return Latencies.of(self.recorder).percentiles()


class OpenLoopTests(LoopCase):
    """
    A hundred lines, one due every 10 ms, to a server that does nothing for a
    second: a line that was due at C{t} was late by C{1 s - t}, whatever kept it.
    """

    def run_stalled(self, connection: OpenLoop) -> None:
        schedule = Schedule(range(1), 1, 100.0, 0)
        connection.start(schedule.first_due(0), schedule.step)
        for self.now in range(0, SECOND, 7 * MILLISECOND):
            for lines in schedule.due_by(self.now).values():
                connection.release(lines)
        self.now = SECOND
        connection.release(schedule.due_by(self.now - 1).get(0, 0))

    def answer_all(self, connection: OpenLoop) -> None:
        while self.transport.written:
            connection.data_received(self.transport.written.pop(0))

    def assert_stall_is_seen(self) -> None:
        self.assertEqual(self.observer.events, ["settled"])
        found = self.percentiles()
        self.assertEqual(self.recorder.lines, 100)
        self.assertApproximates(found["p50"], 500e3, 1e3)
        self.assertApproximates(found["p90"], 900e3, 1e3)
        self.assertApproximates(found["max"], 1000e3, 1e3)

    def test_manyInFlight(self) -> None:
        connection = self.make(OpenLoop, 100, 100)
        self.run_stalled(connection)
        self.assertEqual(connection.exchange.outstanding, 100)
        self.answer_all(connection)
        self.assert_stall_is_seen()

    def test_oneInFlight(self) -> None:
        """
        The lines that were held back were late, too, though sent only now.
        """
        connection = self.make(OpenLoop, 1, 100)
        self.run_stalled(connection)
        self.assertEqual(connection.exchange.outstanding, 1)
        self.answer_all(connection)
        self.assert_stall_is_seen()

    def test_stop(self) -> None:
        """
        When time is up nothing more is sent. What is out is waited for; what is not
        is as late as it is.
        """
        connection = self.make(OpenLoop, 1, 100)
        self.run_stalled(connection)
        unsent = Recorder()
        connection.stop(unsent.record)
        self.assertEqual(self.observer.events, [])
        self.answer_all(connection)
        self.assertEqual(self.observer.events, ["settled"])
        self.assertEqual((self.recorder.lines, unsent.lines), (1, 99))
        found = Latencies.of(unsent).percentiles()
        self.assertApproximates(found["p50"], 500e3, 1e3)
        self.assertApproximates(found["max"], 990e3, 1e3)

    def test_stopWithVeryMany(self) -> None:
        """
        They are counted all, and in no time.
        """
        connection = self.make(OpenLoop, 1, 10**10)
        connection.start(0, 1)
        unsent: list[tuple[int, int, int]] = []
        self.now = 10**10
        connection.stop(lambda *some: unsent.append(some))
        self.assertEqual(sum(lines for _, _, lines in unsent), 10**10)
        self.assertEqual(unsent[500], (5 * 10**9, 10**10, 10**7))

    def test_noLines(self) -> None:
        """
        Where there are fewer lines than connections.
        """
        self.make(OpenLoop, 1, 0).start(0, 1)
        self.assertEqual(self.observer.events, ["settled"])


class ClosedLoopTests(LoopCase):
    def test_batches(self) -> None:
        """
        The next batch goes when the one before is back, the last is what is left.
        """
        connection = self.make(ClosedLoop, 2, 5)
        connection.start()
        for size in (32, 32, 16):
            (data,) = self.transport.written
            self.assertEqual(len(data), size)
            self.transport.written.clear()
            connection.data_received(data[:7])
            self.assertEqual(self.transport.written, [])
            self.now += 1000
            connection.data_received(data[7:])
        self.assertEqual(self.transport.written, [])
        self.assertEqual(self.observer.events, ["settled"])
        self.assertEqual(self.recorder.lines, 5)

    def test_stop(self) -> None:
        """
        It is done when what was sent is back.
        """
        connection = self.make(ClosedLoop, 1, None)
        connection.start()
        connection.stop()
        self.assertEqual(self.observer.events, [])
        connection.data_received(self.transport.written[0])
        connection.stop()
        self.assertEqual(self.observer.events, ["settled"])

    def test_closedTooEarly(self) -> None:
        for reason, said in (
            (None, "closed by the server"),
            (ConnectionResetError(104, "reset"), "broken: "),
        ):
            self.setUp()
            connection = self.make(ClosedLoop, 3, None)
            connection.start()
            connection.connection_lost(reason)
            (event,) = self.observer.events
            self.assertTrue(event.startswith(f"0: {said}"), event)
            self.assertIn("0 lines had come back, 3 were still out", event)

    def test_closedInTheEnd(self) -> None:
        """
        After its lines are back a server may close, but not send more.
        """
        connection = self.make(ClosedLoop, 1, 1)
        connection.start()
        connection.data_received(self.transport.written[0])
        connection.finish()
        connection.data_received(b"surplus")
        connection.connection_lost(None)
        settled, failed = self.observer.events
        self.assertEqual(settled, "settled")
        self.assertIn("7 bytes more", failed)
        self.assertEqual(self.transport.calls, ["write_eof", "abort"])

    def test_finishTLS(self) -> None:
        """
        Which has no half of a connection to close.
        """
        self.transport = FakeTransport(eof=False)
        self.make(ClosedLoop, 1, 1).finish()
        self.assertEqual(self.transport.calls, ["close"])


class ScheduleTests(SynchronousTestCase):
    def test_turns(self) -> None:
        """
        Lines come due one after another, and connections take turns.
        """
        schedule = Schedule(range(3), 3, 1000.0, 5 * SECOND)
        self.assertEqual(schedule.due_by(5 * SECOND - 1), {})
        self.assertEqual(schedule.due_by(5 * SECOND), {0: 1})
        self.assertEqual(schedule.due_by(5 * SECOND), {})
        self.assertEqual(schedule.next_due, 5 * SECOND + MILLISECOND)
        self.assertEqual(
            schedule.due_by(5 * SECOND + 6 * MILLISECOND), {0: 2, 1: 2, 2: 2}
        )

    def test_farBehind(self) -> None:
        """
        What has come due is the same, however late it is asked for, and as soon
        told.
        """
        for now in (0, 1, 2, 7, 299, 300, 301):
            often, once = (Schedule(range(1, 4), 5, 1000.0, 0) for _ in range(2))
            counts = dict.fromkeys(range(1, 4), 0)
            for at in range(now + 1):
                for number, lines in often.due_by(at * MILLISECOND).items():
                    counts[number] += lines
            found = once.due_by(now * MILLISECOND)
            self.assertEqual({**dict.fromkeys(counts, 0), **found}, counts)
            self.assertEqual(once.next_due, often.next_due)
        looks = iter(range(10))

        class Impatient(Schedule):
            @property
            def next_due(self) -> int:
                next(looks)
                return super().next_due

        far = Impatient(range(2), 2, 1e9, 0)
        self.assertEqual(far.due_by(10**15 - 1), {0: 5 * 10**14, 1: 5 * 10**14})

    def test_processesTogether(self) -> None:
        """
        The schedules of several processes are together that of one.
        """
        times = []
        for share in Plan(Target("h", 1), connections=7).shares(3):
            schedule = Schedule(share.numbers, 7, 50.0, 0)
            while schedule.next_due < SECOND:
                times.append(schedule.next_due)
                schedule.due_by(schedule.next_due)
        self.assertEqual(sorted(times), [n * 20 * MILLISECOND for n in range(50)])


class PlanTests(SynchronousTestCase):
    def test_shares(self) -> None:
        """
        Processes share out connections and lines completely.
        """
        plan = Plan(Target("h", 1), connections=10, count=1003, sizes=(16, 64))
        shares = plan.shares(3)
        numbers = [number for share in shares for number in share.numbers]
        self.assertEqual(numbers, list(range(10)))
        self.assertEqual(sum(plan.lines_of(number) or 0 for number in numbers), 1003)
        for share in shares:
            self.assertEqual({share.size_of(each) for each in share.numbers}, {16, 64})
            self.assertEqual(Plan.from_json(share.to_json()), share)

    def test_openLoop(self) -> None:
        plan = Plan(Target("h", 1), connections=3, rate=10, duration=1)
        self.assertEqual([plan.lines_of(number) for number in range(3)], [4, 3, 3])

    def test_refused(self) -> None:
        for settings, says in (
            ({"sizes": (7,)}, "8 bytes or more.*got 7"),
            ({"sizes": (8,), "delimiter": "crlf"}, "9 bytes or more"),
            ({"sizes": (8, 9), "connections": 1}, "2 sizes need .* --connections 1"),
            ({"warm_up": 10.0}, "--warm-up must be shorter .* 10 s; got 10"),
            ({"sizes": (1 << 20,), "depth": 999}, "at most 1024 MiB"),
        ):
            error = self.assertRaises(
                BadRequest,
                Plan,
                Target("h", 1),
                **settings,  # type: ignore[arg-type]
            )
            self.assertRegex(str(error), says)

    def test_targets(self) -> None:
        for text, target in (
            ("127.0.0.1:7007", Target("127.0.0.1", 7007)),
            ("localhost:1", Target("localhost", 1)),
            ("[::1]:7007", Target("::1", 7007)),
            ("tcp:localhost:7007", Target("localhost", 7007)),
            ("tcp:host=localhost:port=7007", Target("localhost", 7007)),
            ("tcp:host=\\:\\:1:port=7007", Target("::1", 7007)),
            ("tls:localhost:7007", Target("localhost", 7007, tls=True)),
            ("ssl:localhost:7007", Target("localhost", 7007, tls=True)),
            ("unix:/run/echo.sock", Target(path="/run/echo.sock")),
            ("unix:path=/run/echo.sock", Target(path="/run/echo.sock")),
        ):
            self.assertEqual(parse_target(text), target)
        self.assertEqual(str(Target("::1", 7)), "[::1]:7")
        self.assertEqual(str(Target(path="/a")), "unix:/a")

    def test_noTargets(self) -> None:
        for text in ("", "localhost", ":7007", "localhost:", "h:seven", "unix:", "h:²"):
            error = self.assertRaises(ValueError, parse_target, text)
            self.assertRegex(str(error), "must be HOST:PORT, .*; got ")
        error = self.assertRaises(ValueError, parse_target, "h:65536")
        self.assertIn("from 1 to 65535, got 65536", str(error))
