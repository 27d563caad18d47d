"""
A list of what was received that is handed on one by one, and can be interrupted.

What must hold: the loop over the list has nothing to ask for each item, and an
interruption costs the same however many items are left.
"""

from operator import length_hint
from typing import TYPE_CHECKING, Any

from twisted_echo.framing.held_input import HeldInput
from twisted_echo.validation.plain_hooks import PlainHooks

__all__ = ["WORTH_COUNTING", "Delivery", "Holding"]

WORTH_COUNTING = 1024
"""
Bytes of unfinished input from which on they are counted at once: less than a connection
costs, and more than most lines have.
"""


class Holding(HeldInput):
    """
    A mix-in for a receiver that keeps unfinished or undelivered input.
    """

    def heldMore(self) -> None:
        """
        Called when a chunk leaves C{WORTH_COUNTING} bytes or more, or anything while
        the receiver is paused. By default nothing happens.
        """


if TYPE_CHECKING:

    class _Pausable:
        def pauseProducing(self) -> None: ...
        def stopProducing(self) -> None: ...

else:
    _Pausable = object


class Delivery(PlainHooks, Holding, _Pausable):
    """
    A mix-in for a receiver that can be paused, to be put before Twisted's own.
    """

    # What is being delivered, and what is left of it.
    _lines: list[bytes] = []  # noqa: RUF012 - never changed in place
    _undelivered: Any = iter(_lines)

    def _deliverLater(self, lines: list[bytes]) -> None:
        """
        Put what comes from a hook that was interrupted behind what it handed on before.
        """
        self._lines = [*self._undelivered, *lines]
        self._undelivered = iter(self._lines)

    def _interrupt(self) -> None:
        """
        End the loop over C{_undelivered} after the current item.

        Its iterator is put to its end, and another one goes on where it stood.
        """
        lines, undelivered = self._lines, self._undelivered
        left = length_hint(undelivered)
        if left:
            self._undelivered = iter(lines)
            self._undelivered.__setstate__(len(lines) - left)
            undelivered.__setstate__(len(lines))

    def _left(self) -> list[bytes]:
        """
        Copy what is not delivered yet.
        """
        left = length_hint(self._undelivered)
        return self._lines[-left:] if left else []

    def _takeBack(self) -> list[bytes]:
        """
        Take what is not delivered yet, which ends the loop over it.
        """
        undelivered = list(self._undelivered)
        self._lines = []
        return undelivered

    def pauseProducing(self) -> None:
        self._interrupt()
        super().pauseProducing()

    def stopProducing(self) -> None:
        self._interrupt()
        super().stopProducing()

    def undeliveredLines(self) -> int:
        """
        Tell how many lines, or frames, have been found, and wait for whoever has
        paused.
        """
        return length_hint(self._undelivered)
