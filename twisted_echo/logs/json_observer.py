"""
The log as JSON, one object per line: C{twistd -n --logger=twisted_echo.logs.json}.

Every line has these fields, in this order; their names and meanings stay:

  - C{time}: RFC 3339, UTC, with microseconds;
  - C{level}: C{debug}, C{info}, C{warn}, C{error} or C{critical};
  - C{logger}: the dotted name of the logger;
  - C{pid}: of the process;
  - C{event}: what has happened, such as C{session-ended}; null for events of other
    packages;
  - C{message}: the line of a text log;
  - C{traceback}: only where there is one.

Events of this package have fields of their own, too, such as C{peer} and C{reason}.
(Those of other packages do not: their fields have names that can change at any time.)

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
    Writes each event to a text file at once.
    """

    def __init__(self, file: IO[str] | None) -> None:
        """
        @param file: None where there is none, as in a process without standard
            output.
        """
        self._file = file
        # Whether the last line may be incomplete, as on a full disk.
        self._isTorn = False

    def __call__(self, event: LogEvent) -> None:
        if self._file is None:
            return
        # The file may be closed, or its reader be gone; the service goes on.
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
    Refuse options with which the log would be lost silently.

    @param parent: the options of C{twistd} or C{twist}; None without them.
    @raise ValueError: what was given, and what is allowed.
    """
    if parent is None or parent.get("logger") not in (_NAME, json):
        return
    given = f"--logger={_NAME} writes to standard output"
    if not (parent.get("nodaemon") or parent.get("debug")):
        raise ValueError(f"{given}, which a daemon does not have; add --nodaemon")
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
        # The methods of a value can raise anything.
        return dumps(
            _head(event, None, f"an event cannot be formatted: {type(error).__name__}")
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
    Make a value that JSON has: text, if there is no other.
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
