"""
A client for programs whose replies are known beforehand: it sends, compares what comes
back, and sends again.

Cost: one call of C{data_received} for a reply, as little as an asyncio program can do.
"""

import asyncio
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.programs.kind import HOST, Program

__all__ = ["Dialogue", "DialogueProgram", "DialogueStep"]

SHOWN = 200
"""
Bytes of a wrong reply that the error shows.
"""


class DialogueStep(NamedTuple):
    """
    One step of a dialogue: what the client sends, and the reply that it expects.

    @ivar send: empty, if the server is to speak first.
    @ivar reply: all that is to come back, or a pattern that matches all of it.
    """

    send: bytes
    reply: bytes | re.Pattern[bytes]

    def is_answered(self, received: bytes) -> bool:
        """
        Whether this is the whole reply.

        @raise BrokenServer: if it cannot become it.
        """
        if isinstance(self.reply, re.Pattern):
            return self.reply.fullmatch(received) is not None
        if received == self.reply:
            return True
        if self.reply.startswith(received):
            return False
        raise BrokenServer(
            f"wrong reply to {self.send[:SHOWN]!r}: expected {self.reply[:SHOWN]!r},"
            f" got {received[:SHOWN]!r}"
        )


class Dialogue(asyncio.Protocol):
    """
    One connection that goes through the opening once, and through the operation for
    each turn.
    """

    _transport: asyncio.Transport

    def __init__(
        self, opening: Sequence[DialogueStep], operation: Sequence[DialogueStep]
    ) -> None:
        self._opening = opening
        self._operation = operation
        self._received = b""
        self._turns: Iterator[None] = iter(())
        self._over: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    async def open(self) -> None:
        """
        Go through the opening.
        """
        await self._go(self._opening, iter(()))

    async def converse(self, turns: Iterator[None]) -> None:
        """
        Go through the operation for each turn.
        """
        await self._go((), turns)

    def leave(self) -> None:
        self._transport.close()

    async def _go(self, steps: Sequence[DialogueStep], turns: Iterator[None]) -> None:
        self._steps = iter(steps)
        self._turns = turns
        self._over = asyncio.get_running_loop().create_future()
        self._next()
        if self._received:
            # A greeting that came before it was waited for.
            self.data_received(b"")
        await self._over

    def _next(self) -> None:
        step = next(self._steps, None)
        if step is None:
            for _ in self._turns:
                self._steps = iter(self._operation)
                step = next(self._steps)
                break
            else:
                self._end(None)
                return
        self._step = step
        if step.send:
            self._transport.write(step.send)

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        if self._over is None or self._over.done():
            # The next reply is compared with this at its beginning.
            return
        try:
            if self._step.is_answered(received):
                self._received = b""
                self._next()
        except BrokenServer as error:
            self._end(error)

    def connection_lost(self, error: Exception | None) -> None:
        said = error or "the server closed it"
        self._end(BrokenServer(f"the connection was lost: {said}"))

    def _end(self, error: BrokenServer | None) -> None:
        if self._over is None or self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)


class DialogueProgram(Program):
    """
    A program whose client is a L{Dialogue}.
    """

    opening: Sequence[DialogueStep] = ()

    @property
    @abstractmethod
    def operation(self) -> Sequence[DialogueStep]:
        """
        The steps of one operation, one or more.
        """

    async def connect(self, port: int) -> Dialogue:
        loop = asyncio.get_running_loop()
        dialogue = Dialogue(self.opening, self.operation)
        await loop.create_connection(lambda: dialogue, HOST, port)
        await dialogue.open()
        return dialogue
