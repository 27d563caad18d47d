"""
What a page shows of a terminal: commands, and what they print.

A line that begins with C{$ } is a command; it goes on where it ends with a backslash.
C{^C} is Ctrl-C. All other lines were printed. C{...} stands for any text within a line,
and by itself for any number of lines.
"""

import re
from dataclasses import dataclass

__all__ = ["INTERRUPT", "Typed", "has_printed", "typed"]

INTERRUPT = "^C"


@dataclass(frozen=True)
class Typed:
    """
    What was typed, and what the terminal showed then.

    @ivar text: a command, or L{INTERRUPT}.
    @ivar shown: lines, each with its end; empty if the page shows none.
    """

    text: str
    shown: str


def typed(source: str) -> list[Typed]:
    """
    Read a block.

    @raise ValueError: if it begins with what was printed.
    """
    begins = rf"^(?:\$ |(?={re.escape(INTERRUPT)}$))"
    head, *parts = re.split(begins, source, flags=re.M)
    if head:
        raise ValueError(f"something was printed before anything was typed: {head!r}")
    found = []
    for part in parts:
        command, _, shown = re.sub(r"\\\n\s*", "", part).partition("\n")
        found.append(Typed(command, shown))
    return found


def has_printed(shown: str) -> str:
    """
    Make the regular expression of what a page shows.
    """
    lines = []
    for line in shown.splitlines():
        if line == "...":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(".*?".join(map(re.escape, line.split("..."))) + r"\n")
    return "".join(lines)
