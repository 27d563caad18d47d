"""
Line servers: an echo by each line receiver, one that answers in pieces, later, and one
whose answers are large.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineReceiver

from twisted_echo.bench.programs.dialogue import DialogueProgram, DialogueStep
from twisted_echo.framing.line_receiver import FastLineReceiver

LINE = b"line of 64 bytes ".ljust(62, b".")
PIECES = 10
LARGE = bytes(range(256)) * 4096


class ProgramLineEcho(LineReceiver):
    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


class ProgramFastLineEcho(FastLineReceiver):
    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


class AnswersInPieces(Protocol):
    """
    Writes ten times for what is received, in a later turn of the reactor.
    """

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        from twisted.internet import reactor

        clock: Any = reactor
        clock.callLater(0, self._answer, data)

    def _answer(self, data: bytes) -> None:
        for _ in range(PIECES):
            self.transport.write(data)


class AnswersAtLength(LineReceiver):
    transport: Any

    def lineReceived(self, line: bytes) -> None:
        self.transport.write(LARGE)


class LineProgram(DialogueProgram):
    """
    A line there, and its answer back.
    """

    def __init__(self, protocol: type[Protocol], line: bytes, reply: bytes) -> None:
        self._protocol = protocol
        self._step = DialogueStep(line, reply)

    @property
    def operation(self) -> Sequence[DialogueStep]:
        return (self._step,)

    def factory(self) -> Factory:
        return Factory.forProtocol(self._protocol)


line_receiver = LineProgram(ProgramLineEcho, LINE + b"\r\n", LINE + b"\r\n")
fast_lines = LineProgram(ProgramFastLineEcho, LINE + b"\r\n", LINE + b"\r\n")
large_answers = LineProgram(AnswersAtLength, b"all\r\n", LARGE)
timer_writes = LineProgram(AnswersInPieces, b"ten", b"ten" * PIECES)
