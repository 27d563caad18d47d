"""
Load keys and certificates again, and log how that went.
"""

from collections.abc import Iterable
from contextlib import suppress

from twisted.logger import Logger

from twisted_echo.endpoints.strings import ParsedEndpoint
from twisted_echo.logs.values import CommaSeparated
from twisted_echo.tls.certificates import Certificates

__all__ = ["certificatesOf", "reload", "reloadSilently"]

_log = Logger()

_MOST_FILES = 10
"""
How many files an event names: a folder may have thousands.
"""


def certificatesOf(listening: Iterable[ParsedEndpoint]) -> list[Certificates]:
    """
    List the certificates of the endpoints that use TLS.
    """
    return [each.certificates for each in listening if each.certificates is not None]


def reload(listening: Iterable[ParsedEndpoint]) -> None:
    """
    Load the certificates of some endpoints again, for new connections. An endpoint
    whose certificates cannot be loaded keeps its old ones.
    """
    for each in listening:
        try:
            each.reload()
        except Exception as error:
            explains = isinstance(error, ValueError)
            _log.warn(
                "cannot reload {files}: {reason}; what was loaded before stays in use",
                event="reload-failed",
                files=_some(each.files),
                reason=str(error) if explains else f"{type(error).__name__}: {error}",
            )
        else:
            files = _some(each.files)
            _log.info("reloaded {files}", event="reloaded", files=files)


def reloadSilently(listening: Iterable[ParsedEndpoint]) -> None:
    """
    Do the same without logging: another process logs how it went.
    """
    for each in listening:
        with suppress(Exception):
            each.reload()


def _some(files: list[str]) -> CommaSeparated:
    more = len(files) - _MOST_FILES
    return CommaSeparated([*files[:_MOST_FILES], f"{more} more"] if more > 0 else files)
