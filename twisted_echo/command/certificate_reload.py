"""
Loads keys and certificates anew, and tells the log how that went.
"""

from collections.abc import Iterable

from twisted.logger import Logger

from twisted_echo.endpoints.strings import ParsedEndpoint
from twisted_echo.logs.values import CommaSeparated

__all__ = ["reload"]

_log = Logger()

_MOST_FILES = 10
"""
How many files an event names: a folder may have thousands.
"""


def reload(listening: Iterable[ParsedEndpoint]) -> None:
    """
    Load those of some endpoints anew, for connections that are still to come. One that
    fails keeps what it had.
    """
    for each in listening:
        try:
            each.reload()
        except Exception as error:
            told = isinstance(error, ValueError)
            _log.warn(
                "cannot reload {files}, so what was loaded before stays: {reason}",
                event="reload-failed",
                files=_some(each.files),
                reason=str(error) if told else f"{type(error).__name__}: {error}",
            )
        else:
            files = _some(each.files)
            _log.info("reloaded {files}", event="reloaded", files=files)


def _some(files: list[str]) -> CommaSeparated:
    more = len(files) - _MOST_FILES
    return CommaSeparated([*files[:_MOST_FILES], f"{more} more"] if more > 0 else files)
