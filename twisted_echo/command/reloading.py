"""
Loads keys and certificates anew, and tells the log how that went.
"""

from collections.abc import Iterable

from twisted.logger import Logger

from twisted_echo.listen import Listening
from twisted_echo.loggable import Listed

__all__ = ["reload"]

# By the name that this event has had.
_log = Logger("twisted_echo.command.local")


def reload(listening: Iterable[Listening]) -> None:
    """
    Load those of some endpoints anew, for connections that are still to come. One that
    fails keeps what it had.
    """
    for each in listening:
        files = Listed(each.files)
        try:
            each.reload()
        except Exception as error:
            told = isinstance(error, ValueError)
            _log.warn(
                "cannot reload {files}, so what was loaded before stays: {reason}",
                event="reload-failed",
                files=files,
                reason=str(error) if told else f"{type(error).__name__}: {error}",
            )
        else:
            _log.info("reloaded {files}", event="reloaded", files=files)
