"""
An open session beside a storm of connections: how long do its lines take?

What must hold: a line's latency belongs to the time in which it was sent, whenever it
is back; the storm comes from processes of its own, which yield to the session's, so
that what is measured is the server and not the load.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from twisted_echo.bench.errors import BenchError, BrokenServer
from twisted_echo.bench.latency import Latencies, Recorder
from twisted_echo.bench.load_connection import Connection
from twisted_echo.bench.load_lines import Exchange, LineSource
from twisted_echo.bench.load_processes import run_processes
from twisted_echo.bench.plan import Plan, Target
from twisted_echo.bench.schedule import SECOND
from twisted_echo.bench.wire import connect, new_loop, tls_context

ALONE, AT_ONCE, STORM = "none", "all at once", "one after the other"
NICENESS = 19
SIZE = 64
TIMEOUT = 60.0
"""
Seconds for a connection or a line: at once, many connections are before it.
"""

LOOK_EVERY = 0.01
PAUSE = 0.001
"""
Seconds from a line that is back to the next. Without it, the session would take its
processor whole, and the storm would get nothing of it.
"""


@dataclass(frozen=True)
class Phase:
    """
    The latencies that the session has seen in one phase.

    @ivar lines: those sent in it.
    @ivar connections: how many the storm made in it.
    """

    name: str
    seconds: float
    lines: int
    latency_us: dict[str, float]
    connections: int = 0


class PingPong(Connection):
    """
    Sends a line a moment after the one before is back.
    """

    def start(self) -> None:
        self._received(0)

    def _received(self, outstanding: int) -> None:
        if not outstanding:
            asyncio.get_running_loop().call_later(PAUSE, self._ping)

    def _ping(self) -> None:
        if not self.is_settled:
            self.transport.write(self.exchange.send(1, self._clock()))


class OpenSession:
    """
    A connection that is open for the time of a C{with} block, in a thread of its own,
    and the latencies that it sees.

    @raise BrokenServer: at the beginning of the block, if there is no connection.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._context = tls_context(target)
        self._recorders = [Recorder()]
        self._failure: BenchError | None = None
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self._began.wait()
        if self._failure:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The loop is closed if the server has ended the session.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._connection.leave)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            try:
                runner.run(self._session())
            except BrokenServer as error:
                self._failure = error
            finally:
                self._began.set()

    async def _session(self) -> None:
        self._loop = asyncio.get_running_loop()
        exchange = Exchange(LineSource(0, SIZE, 1), self._record)
        self._connection = PingPong(0, exchange, time.monotonic_ns, self)
        await connect(self._connection, self._target, self._context, TIMEOUT)
        self._connection.start()
        self._began.set()
        await self._connection.closed.wait()

    def settled(self) -> None:
        pass

    def failed(self, number: int, message: str) -> None:
        self._failure = BrokenServer(f"the session with {self._target}: {message}")

    def _record(self, due: int, now: int, lines: int) -> None:
        for recorder in reversed(self._recorders):
            if due >= recorder.since:
                recorder.record(due, now, lines)
                return

    def turn(self) -> Recorder:
        """
        Begin a new phase.

        @return: of the lines that are sent from now on.
        """
        self._recorders.append(Recorder(time.monotonic_ns()))
        return self._recorders[-1]

    def wait_for_line(self, lines: Recorder) -> None:
        """
        Wait until a line of a phase is back.

        @raise BrokenServer: if it does not come back as it was sent.
        """
        deadline = time.monotonic() + TIMEOUT
        while not lines.lines:
            if self._failure:
                raise self._failure
            if time.monotonic() > deadline:
                raise BrokenServer(
                    f"the session with {self._target}: a line did not come back within"
                    f" {TIMEOUT:g} s"
                )
            time.sleep(LOOK_EVERY)

    def phase(self, name: str, lines: Recorder, later: Recorder) -> Phase:
        """
        Wait until all lines of a phase are back.

        @param later: of the time that began when this one ended.
        @raise BrokenServer: if one does not come back as it was sent.
        """
        self.wait_for_line(later)
        return Phase(
            name,
            (later.since - lines.since) / SECOND,
            lines.lines,
            Latencies.of(lines).percentiles(),
        )


def storm_plan(target: Target, connections: int, seconds: float) -> Plan:
    """
    What the storm is to do for some seconds.
    """
    return Plan(
        target, connections, (SIZE,), duration=seconds, churn=True, timeout=TIMEOUT
    )


def run_storm(
    plan: Plan, beside: Target, processes: int, tell: Callable[[Phase], None]
) -> None:
    """
    Measure a session with C{beside}: alone, while all connections of a L{storm_plan}
    are made at once, and while others follow them.

    @param processes: that share the connections of the storm.
    @raise BrokenServer: if the server breaks a line or a connection.
    """
    with OpenSession(beside) as session:
        alone = session.turn()
        time.sleep(plan.duration)
        tell(session.phase(ALONE, alone, session.turn()))
        once = replace(plan, count=plan.connections)
        for name, each in ((AT_ONCE, once), (STORM, plan)):
            times: list[Recorder] = []

            def turn(_: int = 0, times: list[Recorder] = times) -> None:
                times.append(session.turn())

            result = run_processes(
                each, processes, niceness=NICENESS, ready=turn, measured=turn
            )
            if result.failures:
                raise BrokenServer(result.failures[0])
            phase = session.phase(name, *times)
            tell(replace(phase, connections=result.lines))
