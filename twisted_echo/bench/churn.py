"""
One process's part of a churn: connections that come, send one line, get it back and
go, one after the other in each of some places.

asyncio protocols, on uvloop where it is installed.

What must hold: a connection is done when the server has closed it, too, in order; over
TLS it has had a handshake of its own, and close_notify ends it. The first failure ends
the run; none takes longer than C{timeout} seconds.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.latency import Latencies, Recorder
from twisted_echo.bench.load_connection import Clock, Connection
from twisted_echo.bench.load_lines import Exchange, LineSource
from twisted_echo.bench.plan import DELIMITERS, Plan
from twisted_echo.bench.result import Result
from twisted_echo.bench.schedule import SECOND
from twisted_echo.bench.wire import connect, tls_context

LOOK_EVERY = 0.1
"""
Seconds between two looks at how far the churn has come.
"""


class Visit(Connection):
    """
    One connection of a churn.

    @param began: when it began to connect: its line was due then.
    @ivar fault: what the server has done wrong.
    """

    fault = ""

    def __init__(self, exchange: Exchange, clock: Clock, began: int) -> None:
        super().__init__(0, exchange, clock, self)
        self._began = began

    def settled(self) -> None:
        pass

    def failed(self, number: int, message: str) -> None:
        self.fault = self.fault or message

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self.exchange.send(1, self._began))

    def _received(self, outstanding: int) -> None:
        if not outstanding and not self.is_settled:
            self._settle()
            self.finish()


class Churn:
    """
    One run of a plan whose lines have a connection each.

    @param ready: called at the beginning; the first connections are made when it
        returns.
    @param progress: called now and then, with how many lines have come back.
    @param measured: called with that, when the last connection has ended.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        ready: Callable[[], None] = lambda: None,
        progress: Callable[[int], None] = lambda lines: None,
        measured: Callable[[int], None] = lambda lines: None,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._plan = plan
        self._ready = ready
        self._progress = progress
        self._measured = measured
        self._clock = clock
        self._context = tls_context(plan.target)
        self._recorders = {size: Recorder() for size in plan.sizes}
        self._lines = 0
        self._failures: list[str] = []

    async def run(self) -> Result:
        self._ready()
        result = Result(began=self._clock())
        used = time.process_time()
        since = result.began + round(self._plan.warm_up * SECOND)
        for recorder in self._recorders.values():
            recorder.since = recorder.last = since
        watch = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as places:
                for number in self._plan.numbers:
                    places.create_task(self._place(number, result.began))
        except* BrokenServer:
            pass  # One of them has reported what it was.
        finally:
            watch.cancel()
        result.ended = self._clock()
        took = max(result.ended - result.began, 1) / SECOND
        result.busy = (time.process_time() - used) / took
        if not self._failures:
            self._measured(self._lines)
        result.began = since
        result.lines = self._lines
        result.failures = self._failures
        result.unsent = dict.fromkeys(self._recorders, 0)
        result.latencies = {
            size: Latencies.of(each) for size, each in self._recorders.items()
        }
        return result

    def _turns(self, number: int, began: int) -> Iterator[None]:
        """
        Once for each connection that a place is to have.
        """
        lines = self._plan.lines_of(number)
        end = began + round(self._plan.duration * SECOND)
        while self._clock() < end if lines is None else lines > 0:
            yield
            lines = None if lines is None else lines - 1

    async def _place(self, number: int, began: int) -> None:
        plan = self._plan
        size = plan.size_of(number)
        source = LineSource(number, size, 1, DELIMITERS[plan.delimiter])
        for _ in self._turns(number, began):
            exchange = Exchange(source, self._recorders[size].record)
            visit = Visit(exchange, self._clock, self._clock())
            try:
                await self._visit(visit)
            except BrokenServer as error:
                where = f"connection {number} of {plan.connections}"
                self._failures.append(f"{where} to {plan.target}: {error}")
                raise
            self._lines += 1

    async def _visit(self, visit: Visit) -> None:
        """
        Connect, send one line, and wait until the server has closed.

        @raise BrokenServer: if it cannot connect, or is not served to its end.
        """
        timeout = self._plan.timeout
        await connect(visit, self._plan.target, self._context, timeout)
        try:
            async with asyncio.timeout(timeout):
                await visit.closed.wait()
        except TimeoutError:
            what = "closed" if visit.is_settled else "sent its line back"
            raise BrokenServer(f"not {what} within {timeout:g} s") from None
        finally:
            visit.leave()
        if visit.fault:
            raise BrokenServer(visit.fault)

    async def _watch(self) -> None:
        while True:
            self._progress(self._lines)
            await asyncio.sleep(LOOK_EVERY)
