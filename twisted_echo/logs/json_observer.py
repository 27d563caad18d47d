"""
The log as JSON, one object per line: C{twistd -n --logger=twisted_echo.logs.json}.

Every line has these fields, in this order; their names and meanings stay:

  - C{time}: RFC 3339, UTC, with microseconds;
  - C{level}: C{debug}, C{info}, C{warn}, C{error} or C{critical};
  - C{logger}: who says it, a dotted name;
  - C{pid}: of the process;
  - C{event}: what has happened, such as C{session-ended}; null for what is none of
    this package's events;
  - C{message}: the text that the log would have otherwise;
  - C{traceback}: only where there is one.

An event of this package's has its own fields besides, such as C{peer} and C{reason}.
(Others have not: their message says it all, and what they name their fields is
theirs to change.)

What must hold: whatever an event holds, it becomes one line of ASCII that a JSON
parser reads; nothing is raised, not even when standard output is gone.

(C{twist --log-format=json} is Twisted's own format. An event of this package's has
the same C{event} and fields there.)
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from json import dumps
from math import isfinite
from typing import IO, Any

from twisted.logger import ILogObserver, LogEvent, formatEvent
from zope.interface import implementer

__all__ = ["JSONObserver", "checkLogging", "json"]

_NAME = "twisted_echo.logs.json"


@implementer(ILogObserver)
class JSONObserver:
    """
    Writes each event to a text file, as it comes.
    """

    def __init__(self, file: IO[str] | None) -> None:
        """
        @param file: None where there is none, as in a process without standard
            output.
        """
        self._file = file
        # Whether a line may have been written in part, as on a full disk.
        self._isTorn = False

    def __call__(self, event: LogEvent) -> None:
        if self._file is None:
            return
        # The file may be closed, or whoever read it be gone; the service goes on.
        with suppress(Exception):
            line = _line(event) + "\n"
            line, self._isTorn = "\n" * self._isTorn + line, True
            self._file.write(line)
            self._file.flush()
            self._isTorn = False


def json() -> JSONObserver:
    """
    Make an observer that writes to standard output as it is now, before C{twistd}
    makes it a part of the log.
    """
    return JSONObserver(sys.stdout)


def checkLogging(parent: Mapping[str, Any] | None) -> None:
    """
    Refuse what would lose the log without a word.

    @param parent: the options of C{twistd} or C{twist}; None for those of neither.
    @raise ValueError: what was given, and what is allowed.
    """
    if parent is None or parent.get("logger") not in (_NAME, json):
        return
    given = f"--logger={_NAME} writes to standard output"
    if not (parent.get("nodaemon") or parent.get("debug")):
        raise ValueError(f"{given}, which a daemon has not; add --nodaemon")
    if parent.get("logfile") not in (None, "-"):
        raise ValueError(
            f"{given}, and --logfile={parent['logfile']} would stay empty; leave it"
            " out, and send standard output to a file"
        )
    if parent.get("syslog"):
        raise ValueError(f"{given}, and --syslog would get nothing; leave it out")


def _line(event: LogEvent) -> str:
    try:
        return dumps(_fields(event))
    except Exception as error:
        # A value of an event can raise whatever it likes.
        return dumps(
            _head(event, None, f"an event cannot be told: {type(error).__name__}")
        )


def _fields(event: LogEvent) -> dict[str, Any]:
    name = event.get("event")
    if not isinstance(name, str):
        name = None
    fields = _head(event, name, formatEvent(event))
    failure = event.get("log_failure")
    if failure is not None:
        fields["traceback"] = failure.getTraceback()
    if name is not None:
        for key, value in event.items():
            if key not in fields and not key.startswith("log_"):
                fields[key] = _plain(value)
    return fields


def _head(event: LogEvent, name: str | None, message: str) -> dict[str, Any]:
    time = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return {
        "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": getattr(event.get("log_level"), "name", "info"),
        "logger": str(event.get("log_namespace", "")),
        "pid": os.getpid(),
        "event": name,
        "message": message,
    }


def _plain(value: object) -> Any:
    """
    A value as JSON has it; as text, if it has none such.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"
