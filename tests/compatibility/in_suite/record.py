"""
The record of a run: one JSON object a line, so that what was written stays when the
suite hangs or its process is killed.
"""

import json
import os
from typing import Any

from .stand_ins import RECORD

__all__ = ["outcome", "record", "started"]

# Read now, as some tests change the environment.
_PATH = os.environ.get(RECORD)


def record(**fields: Any) -> None:
    """
    Add a line, if there is a record.
    """
    if _PATH is None:
        return
    line = json.dumps(fields) + "\n"
    # One write at the end of the file, which other processes write to as well.
    descriptor = os.open(_PATH, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def started(test: str, part: str) -> None:
    """
    A test begins.

    @param part: the module or file to run for this test alone.
    """
    record(started=test, part=part)


def outcome(test: str, kind: str, why: str = "", text: str = "") -> None:
    """
    A test has passed or failed, or a part of it, such as its cleanup.

    @param why: the type of the exception.
    @param text: what there is to read of it.
    """
    record(test=test, outcome=f"{kind}: {why}" if why else kind, text=text[-4000:])
