"""
The hooks and settings that both line receivers have.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted.protocols.basic import LineReceiver

from twisted_echo.framing.lines import LineSplitter, line_splitter
from twisted_echo.framing.message_receiver import BufferedReceiver

__all__ = ["LineHooks"]


class LineHooks(BufferedReceiver[LineSplitter]):
    """
    The hooks and settings of both line receivers.

    A subclass that overrides C{blockReceived} counts in C{lineCount} itself, if
    somebody wants to know.
    """

    if TYPE_CHECKING:
        delimiter: bytes
        MAX_LENGTH: int

        def linesReceived(self, lines: list[bytes]) -> object: ...
        def lineReceived(self, line: bytes) -> object: ...
        def lineLengthExceeded(self, line: bytes) -> object: ...
        def sendLine(self, line: bytes) -> object: ...

    _foundBy = line_splitter(LineReceiver.delimiter, LineReceiver.MAX_LENGTH)

    def _splitter(self) -> LineSplitter:
        splitter, delimiter, limit = self._foundBy, self.delimiter, self.MAX_LENGTH
        if splitter.delimiter != delimiter or splitter.limit != limit:
            return line_splitter(delimiter, limit)
        return splitter

    def blockReceived(self, block: bytes) -> object:
        """
        Override this to take many lines at once, as they came.

        @param block: one or more whole lines, each with its delimiter and none
            longer than C{MAX_LENGTH}.
        @return: something true to stop, as with C{linesReceived}.
        """
        lines = block.split(self.delimiter)
        del lines[-1]
        self.lineCount += len(lines)
        return self.linesReceived(lines)

    def sendLines(self, lines: Iterable[bytes]) -> None:
        """
        Send many lines by one write.

        @param lines: the lines, without their delimiters. No line, no write.
        """
        block = bytes(self.delimiter).join([*lines, b""])
        if block:
            self.transport.write(block)
