"""
A load process: C{python -m twisted_echo.bench.programs.program_load}.

Reads what to do, a line of JSON, from standard input; connects, lets each connection
do some operations, and says C{warm}; waits for a line; says C{measured OPERATIONS} when
all are done; and keeps the connections until its standard input ends. C{broken MESSAGE}
is for a server that does not do its part.

What must hold: every reply is verified; it ends, C{TIMEOUT} seconds after an operation
was begun at the latest, whatever the server does.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from twisted.internet import asyncioreactor

from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.programs.kind import Client
from twisted_echo.bench.programs.kinds import KINDS
from twisted_echo.bench.wire import new_loop

__all__ = ["LoadOrder", "ProgramLoad"]

TIMEOUT = 20.0
"""
Seconds for connecting, and for an operation.
"""

WARM_UP = 5
"""
Operations of each connection before anything is measured.
"""

CONNECTING = 20
"""
Connections that are made at the same time.
"""


@dataclass(frozen=True)
class LoadOrder:
    """
    What a load process is to do.

    @ivar seconds: how long operations are begun.
    @ivar most: how many are begun, at most.
    """

    kind: str
    port: int
    connections: int
    seconds: float
    most: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class ProgramLoad:
    """
    The connections of one load.
    """

    def __init__(self, order: LoadOrder) -> None:
        self._order = order
        self._program = KINDS[order.kind].program()
        self._clients: list[Client] = []
        self.operations = 0

    async def connect(self) -> None:
        """
        Make all connections, and warm them up.

        @raise BrokenServer: if one is not served.
        """
        gate = asyncio.Semaphore(CONNECTING)

        async def one() -> None:
            async with gate:
                self._clients.append(await self._program.connect(self._order.port))

        await self._all([one() for _ in range(self._order.connections)], TIMEOUT)
        await self._converse(lambda: iter([None] * WARM_UP), TIMEOUT)

    async def run(self) -> None:
        """
        Do the operations; C{operations} is how many.

        @raise BrokenServer: if a reply is wrong or does not come.
        """
        turns = self._turns()
        await self._converse(lambda: turns, self._order.seconds + TIMEOUT)

    def leave(self) -> None:
        for client in self._clients:
            client.leave()

    def _turns(self) -> Iterator[None]:
        """
        One turn for each operation, of all connections together.
        """
        end = time.monotonic() + self._order.seconds
        while self.operations < self._order.most and time.monotonic() < end:
            self.operations += 1
            yield

    async def _converse(
        self, turns: Callable[[], Iterator[None]], timeout: float
    ) -> None:
        await self._all([each.converse(turns()) for each in self._clients], timeout)

    async def _all(
        self, coroutines: Sequence[Coroutine[Any, Any, None]], timeout: float
    ) -> None:
        tasks = [asyncio.ensure_future(each) for each in coroutines]
        done, pending = await asyncio.wait(
            tasks, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION
        )
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            error = task.exception()
            if isinstance(error, BrokenServer):
                raise error
            if error:
                raise BrokenServer(f"{type(error).__name__}: {error}") from error
        if pending:
            raise BrokenServer(
                f"{len(pending)} of {len(tasks)} connections were not served to the"
                f" end within {timeout:g} s"
            )


async def carry_out(order: LoadOrder, commands: TextIO, answers: TextIO) -> None:
    def say(*words: object) -> None:
        print(*words, file=answers, flush=True)

    load = ProgramLoad(order)
    try:
        await load.connect()
        say("warm")
        commands.readline()
        await load.run()
    except BrokenServer as error:
        say("broken", error)
    else:
        say("measured", load.operations)
        commands.readline()
    load.leave()


def main(commands: TextIO, answers: TextIO) -> None:
    loop = new_loop()
    # Some clients are Twisted's.
    asyncioreactor.install(loop)
    asyncio.set_event_loop(loop)
    order = LoadOrder(**json.loads(commands.readline()))
    loop.run_until_complete(carry_out(order, commands, answers))


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
