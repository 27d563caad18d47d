"""
What became of the tests of one run, read from its record.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["NOT_ENDED", "Run", "read_record"]

NOT_ENDED = "did not end"


@dataclass
class Run:
    """
    One run of a suite, or of a part of it.

    @ivar outcomes: for each test what became of it, in words.
    @ivar parts: for each test the module or file to run for it alone.
    @ivar texts: for each test what it has printed of its failures.
    @ivar reactors: how many processes made which reactor.
    @ivar ended: whether the whole suite was run.
    @ivar status: the exit status of its process.
    @ivar seconds: how long it took.
    """

    outcomes: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    reactors: dict[str, int] = field(default_factory=dict)
    ended: bool = False
    status: int = 0
    seconds: float = 0.0


def _same_name(test: str) -> str:
    """
    The name of a test without what is another in each run: addresses of objects.
    """
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x", test)


def read_record(lines: Iterable[str]) -> Run:
    """
    Read a record.

    @param lines: each a JSON object, as C{in_suite.record} writes them. The last one
        may be cut off.
    """
    run = Run()
    found: dict[str, list[str]] = {}
    made: dict[str, set[int]] = {}
    for line in lines:
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if "started" in entry:
            test = _same_name(entry["started"])
            run.parts[test] = entry["part"]
            found.setdefault(test, [])
        elif "test" in entry:
            test = _same_name(entry["test"])
            found.setdefault(test, []).append(entry["outcome"])
            if entry["text"]:
                run.texts[test] = run.texts.get(test, "") + entry["text"]
        elif "reactor" in entry:
            made.setdefault(entry["reactor"], set()).add(entry["process"])
        else:
            run.ended = True
    # A test with a failing cleanup has two outcomes, and one name may have many tests.
    run.outcomes = {
        test: ", ".join(sorted(set(several))) or NOT_ENDED
        for test, several in found.items()
    }
    run.reactors = {name: len(processes) for name, processes in made.items()}
    return run
