"""
Values of log events that are text in a text log, and data in a JSON log; pure.

Twisted formats a message from the fields of its event, and a JSON log has the same
fields. So C{{ended}} reads C{3 (idle 2, stopped 1)} in a text log, and is
C{{"idle": 2, "stopped": 1}} in a JSON log. (L{twisted_echo.validation.units} has such
numbers.)
"""

from collections import Counter
from collections.abc import Mapping

__all__ = ["CommaSeparated", "Tally"]


class Tally(dict[str, int]):
    """
    Counts by name, the highest first. As text: the sum, and the counts in parentheses.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        super().__init__(Counter(counts).most_common())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count}" for name, count in self.items())
        return f"{sum(self.values())}" + (f" ({parts})" if parts else "")


class CommaSeparated(list[object]):
    """
    A list. As text: its items with commas between them.
    """

    def __str__(self) -> str:
        return ", ".join(map(str, self))
