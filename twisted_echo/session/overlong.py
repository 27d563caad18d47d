"""
A line or a frame over the limit, refused in order.

What must hold: what came before it is answered, also by answers that take time; nothing
after it is; and the record of the end has the kind, the length and the limit.
"""

from typing import TYPE_CHECKING

from twisted_echo.session.ends.end_reason import Detail, EndReason
from twisted_echo.session.session import Session
from twisted_echo.validation.units import Size

__all__ = ["RefusesOverlong"]


class RefusesOverlong(Session):
    """
    A session that closes in order where Twisted's receivers would close at once. Put it
    before a receiver that has no way of its own to do so.
    """

    if TYPE_CHECKING:
        delimiter: bytes
        MAX_LENGTH: int

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        Close the connection after the lines before this one are answered.
        """
        length = line.find(self.delimiter)
        more = " or more" if length < 0 else ""
        self._refuse(
            EndReason.LINE_TOO_LONG,
            f"a line of {{length}} bytes{more}",
            len(line) if length < 0 else length,
        )

    def lengthLimitExceeded(self, length: int) -> None:
        """
        Close the connection after the frames before this one are answered.
        """
        self._refuse(EndReason.FRAME_TOO_LONG, "a frame of {length} bytes", length)

    def _refuse(self, reason: EndReason, what: str, length: int) -> None:
        # (The limit is a whole number, or infinite.)
        limit = Size(self.MAX_LENGTH)
        text = f"{what} is over the limit of {{limit}}"
        self.close(reason, Detail(text, length=length, limit=limit))
        self.discardInput()
