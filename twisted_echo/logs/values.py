"""
Values of log events that are text in a text log, and data in a JSON log; pure.

Twisted formats a message from the fields of its event, and a JSON log has the same
fields. So C{{ended}} reads C{3 (idle 2, stopped 1)} in a text log, and is
C{{"idle": 2, "stopped": 1}} in a JSON log. (L{twisted_echo.validation.units} has
durations and sizes of this kind.)
"""

from collections import Counter
from collections.abc import Mapping

__all__ = ["CommaSeparated", "Counted", "Tally"]


class Counted(int):
    """
    A count. As text: with what is counted, such as C{no session}, C{1 session} or C{2
    sessions}.
    """

    def __new__(cls, count: int, one: str, many: str | None = None) -> "Counted":
        """
        @param one: what follows 1, and C{no}.
        @param many: what follows other numbers; C{one} with an C{s}, if None.
        """
        counted = super().__new__(cls, count)
        counted._one, counted._many = one, f"{one}s" if many is None else many
        return counted

    _one: str
    _many: str

    def __str__(self) -> str:
        if self in (0, 1):
            return f"{'1' if self else 'no'} {self._one}"
        return f"{int(self)} {self._many}"


class Tally(dict[str, int]):
    """
    Counts by name, the highest first. As text: the sum, and in parentheses the counts
    that are not 0.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        super().__init__(Counter(counts).most_common())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count}" for name, count in self.items() if count)
        return f"{sum(self.values())}" + (f" ({parts})" if parts else "")


class CommaSeparated(list[object]):
    """
    A list. As text: its items with commas between them.
    """

    def __str__(self) -> str:
        return ", ".join(map(str, self))
