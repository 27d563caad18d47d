"""
One process's part of a load: connect, send, check, count.

asyncio protocols, on uvloop where it is installed.

What must hold: a run ends, C{timeout} seconds after the last line came back at the
latest, whatever the server does; the first failure ends it at once.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

from twisted_echo.bench.churn import Churn
from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.latency import Latencies, Recorder
from twisted_echo.bench.load_connection import ClosedLoop, Connection, OpenLoop
from twisted_echo.bench.load_lines import Exchange, LineSource
from twisted_echo.bench.plan import DELIMITERS, IN_FLIGHT, Plan
from twisted_echo.bench.result import Result
from twisted_echo.bench.schedule import SECOND, Schedule
from twisted_echo.bench.wire import allow_files, connect, new_loop, tls_context

MOST_CONNECTING = 100
"""
Connections that are made at the same time: below the usual backlogs.
"""

LOOK_EVERY = 0.1
"""
Seconds between two looks at how far the load has come.
"""

FAREWELL = 1.0
"""
Seconds for a server to close after all its lines are back, before it is left.
"""

SPIN = 2 * 10**6
"""
Nanoseconds before a line is due from which on the loop does not sleep: its timers
are no better than a millisecond.
"""


class Load:
    """
    One run of a plan.

    @param ready: called when every connection is made; sending begins when it
        returns.
    @param progress: called now and then, with how many lines have come back.
    @param measured: called with that, when all are back and the connections open.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        ready: Callable[[], None] = lambda: None,
        progress: Callable[[int], None] = lambda lines: None,
        measured: Callable[[int], None] = lambda lines: None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._plan = plan
        self._ready = ready
        self._progress = progress
        self._measured = measured
        self._clock = clock
        self._recorders = {size: Recorder() for size in plan.sizes}
        self._unsent = {size: Recorder() for size in plan.sizes}
        self._connections = {each: self._make(each) for each in plan.numbers}
        self._unsettled = len(self._connections)
        self._failures: list[str] = []
        self._over = asyncio.Event()

    def _make(self, number: int) -> ClosedLoop | OpenLoop:
        plan = self._plan
        size = plan.size_of(number)
        source = LineSource(number, size, plan.batch, DELIMITERS[plan.delimiter])
        exchange = Exchange(source, self._recorders[size].record)
        lines = plan.lines_of(number)
        if plan.rate is None:
            return ClosedLoop(number, exchange, self._clock, self, plan.batch, lines)
        limit = plan.depth or max(1, IN_FLIGHT // size)
        return OpenLoop(number, exchange, self._clock, self, limit, lines or 0)

    def settled(self) -> None:
        self._unsettled -= 1
        if not self._unsettled:
            self._over.set()

    def failed(self, number: int, message: str) -> None:
        where = f"connection {number} of {self._plan.connections}"
        self._failures.append(f"{where} to {self._plan.target}: {message}")
        self._over.set()

    @property
    def lines(self) -> int:
        return sum(each.exchange.received for each in self._connections.values())

    async def run(self) -> Result:
        await self._connect()
        result = Result()
        if not self._failures:
            self._ready()
            began, used = self._clock(), time.process_time()
            await self._send(began)
            took = max(self._clock() - began, 1) / SECOND
            result.busy = (time.process_time() - used) / took
            self._measured(self.lines)
        await self._disconnect()
        recorders = self._recorders.values()
        result.began = min(each.since for each in recorders)
        result.ended = max(each.last for each in recorders)
        result.lines = self.lines
        result.failures = self._failures
        result.unsent = {size: each.lines for size, each in self._unsent.items()}
        result.latencies = {
            size: Latencies.of(each) for size, each in self._recorders.items()
        }
        for size, each in self._unsent.items():
            result.latencies[size].add(Latencies.of(each))
        return result

    async def _connect(self) -> None:
        gate = asyncio.Semaphore(MOST_CONNECTING)
        context = tls_context(self._plan.target)

        async def one(connection: Connection) -> None:
            async with gate:
                if self._failures:
                    return
                plan = self._plan
                try:
                    await connect(connection, plan.target, context, plan.timeout)
                except BrokenServer as error:
                    self.failed(connection.number, str(error))

        await asyncio.gather(*map(one, self._connections.values()))

    async def _send(self, start: int) -> None:
        plan = self._plan
        since = start + round(plan.warm_up * SECOND)
        for recorder in (*self._recorders.values(), *self._unsent.values()):
            recorder.since = recorder.last = since
        schedule = None
        if plan.rate is not None:
            schedule = Schedule(plan.numbers, plan.connections, plan.rate, start)
        for number, connection in self._connections.items():
            if isinstance(connection, ClosedLoop):
                connection.start()
            elif schedule is not None:
                connection.start(schedule.first_due(number), schedule.step)
        tasks = [
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._drive(start, schedule)),
        ]
        await self._over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drive(self, start: int, schedule: Schedule | None) -> None:
        if schedule is not None:
            await self._pace(schedule)
        if self._plan.count is not None:
            return
        await asyncio.sleep(self._plan.duration - (self._clock() - start) / SECOND)
        for number, connection in self._connections.items():
            if isinstance(connection, ClosedLoop):
                connection.stop()
            else:
                connection.stop(self._unsent[self._plan.size_of(number)].record)

    async def _pace(self, schedule: Schedule) -> None:
        """
        Release every line when it is due.
        """
        left = sum(self._plan.lines_of(each) or 0 for each in self._plan.numbers)
        while left > 0:
            for number, lines in schedule.due_by(self._clock()).items():
                left -= lines
                connection = self._connections[number]
                if isinstance(connection, OpenLoop):
                    connection.release(lines)
            wait = schedule.next_due - self._clock() - SPIN
            await asyncio.sleep(max(wait, 0) / SECOND)

    async def _watch(self) -> None:
        """
        Tell how far it has come, and give up a server that is silent.
        """
        before, heard = -1, self._clock()
        while True:
            lines = self.lines
            self._progress(lines)
            late = [
                each for each in self._connections.values() if each.exchange.outstanding
            ]
            if lines != before or not late:
                before, heard = lines, self._clock()
            elif self._clock() - heard > self._plan.timeout * SECOND:
                exchange = late[0].exchange
                self.failed(
                    late[0].number,
                    f"line {exchange.received + 1} did not come back: nothing did for"
                    f" {self._plan.timeout:g} s, on any connection; out are"
                    f" {exchange.outstanding} lines of this one, and lines of"
                    f" {len(late) - 1} other connections",
                )
            await asyncio.sleep(LOOK_EVERY)

    async def _disconnect(self) -> None:
        """
        Close, and look whether something comes that should not.
        """
        opened = [
            each for each in self._connections.values() if hasattr(each, "transport")
        ]
        if not self._failures:
            for connection in opened:
                connection.finish()
            await self._closed(opened)
        for connection in opened:
            connection.leave()
        await self._closed(opened)

    async def _closed(self, connections: list[ClosedLoop | OpenLoop]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                for connection in connections:
                    await connection.closed.wait()


def run_load(plan: Plan, **callbacks: Callable[..., None]) -> Result:
    """
    Run a plan in this process, on an event loop of its own.

    @param callbacks: see L{Load}, or L{Churn} for a plan that is one.
    """
    allow_files(len(plan.numbers))

    async def main() -> Result:
        kind = Churn if plan.churn else Load
        return await kind(plan, **callbacks).run()  # type: ignore[arg-type]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main())
