"""
One connection of a load: an L{Exchange<twisted_echo.bench.load_lines.Exchange>} on an
asyncio transport.

Cost: in a closed loop one call of C{data_received} for each chunk, and in it one
comparison, one dict update and one C{write}.

What must hold: if a connection ends before it has its lines back, the observer is
called once, with the reason.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.load_lines import Exchange, Record

Clock = Callable[[], int]


class Observer(Protocol):
    """
    Is told what connections have done.
    """

    def settled(self) -> None:
        """
        A connection has sent its lines, and all of them are back.
        """

    def failed(self, number: int, message: str) -> None: ...


class Connection(asyncio.Protocol):
    """
    The common part of closed and open loops.

    @ivar is_settled: its work is done.
    @ivar closed: set when the connection is gone.
    """

    transport: asyncio.Transport

    def __init__(
        self, number: int, exchange: Exchange, clock: Clock, observer: Observer
    ) -> None:
        self.number = number
        self.exchange = exchange
        self.is_settled = False
        self.closed = asyncio.Event()
        self._clock = clock
        self._observer = observer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            outstanding = self.exchange.receive(data, self._clock())
        except BrokenServer as error:
            self._fail(str(error))
            return
        self._received(outstanding)

    def _received(self, outstanding: int) -> None:
        raise NotImplementedError

    def _settle(self) -> None:
        if not self.is_settled:
            self.is_settled = True
            self._observer.settled()

    def _fail(self, message: str) -> None:
        self._observer.failed(self.number, message)
        self.leave()

    def finish(self) -> None:
        """
        Say that no more lines come. What the server still sends is one too many.
        """
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def leave(self) -> None:
        """
        Close at once, and ignore what still comes.
        """
        self.is_settled = True
        self.transport.abort()

    def connection_lost(self, reason: Exception | None) -> None:
        self.closed.set()
        if not self.is_settled:
            self.is_settled = True
            how = "closed by the server" if reason is None else f"broken: {reason}"
            self._observer.failed(
                self.number,
                f"{how}; {self.exchange.received} lines had come back,"
                f" {self.exchange.outstanding} were still out",
            )


class ClosedLoop(Connection):
    """
    Sends a batch when the one before has come back.

    @param lines: how many to send in all, or C{None}: until L{stop}.
    """

    def __init__(
        self,
        number: int,
        exchange: Exchange,
        clock: Clock,
        observer: Observer,
        batch: int,
        lines: int | None,
    ) -> None:
        super().__init__(number, exchange, clock, observer)
        self._batch = batch
        self._left = lines
        self._stopped = False

    def start(self) -> None:
        self._received(0)

    def stop(self) -> None:
        """
        Send nothing more.
        """
        self._stopped = True
        if not self.exchange.outstanding:
            self._settle()

    def _received(self, outstanding: int) -> None:
        if outstanding or self.is_settled:
            return
        batch = self._batch
        if self._left is not None:
            batch = min(batch, self._left)
            self._left -= batch
        if self._stopped or not batch:
            self._settle()
        else:
            self.transport.write(self.exchange.send(batch, self._clock()))


class OpenLoop(Connection):
    """
    Sends its lines when they are due.

    @param limit: the most lines in flight; those above it wait, overdue.
    @param lines: how many come due in all.
    """

    def __init__(
        self,
        number: int,
        exchange: Exchange,
        clock: Clock,
        observer: Observer,
        limit: int,
        lines: int,
    ) -> None:
        super().__init__(number, exchange, clock, observer)
        self._limit = limit
        self._left = lines
        self._next_due = self._step = self._overdue = 0

    def start(self, first_due: int, step: int) -> None:
        """
        Begin to send lines that are due at a fixed rate.

        @param first_due: when the first line is due, each of the others C{step}
            nanoseconds after the one before.
        """
        self._next_due = first_due
        self._step = step
        self._received(0)

    def release(self, lines: int) -> None:
        """
        Make a number of lines due.
        """
        self._overdue += min(lines, self._left - self._overdue)
        self._send()

    def stop(self, unsent: Record) -> None:
        """
        Send nothing more.

        @param unsent: takes the lines that are left, as if they were back now. They
            may be very many, so it takes a thousandth of them at once.
        """
        now, left = self._clock(), self._left
        group = max(1, left // 1000)
        for at in range(0, left, group):
            unsent(self._next_due + at * self._step, now, min(group, left - at))
        self._left = self._overdue = 0
        self._received(self.exchange.outstanding)

    def _send(self) -> None:
        ready = min(self._overdue, self._limit - self.exchange.outstanding)
        if ready <= 0 or self.is_settled:
            return
        data = self.exchange.send(ready, self._next_due, self._step)
        self._next_due += ready * self._step
        self._overdue -= ready
        self._left -= ready
        self.transport.write(data)

    def _received(self, outstanding: int) -> None:
        if self._overdue:
            self._send()
        if not self._left and not self.exchange.outstanding:
            self._settle()
