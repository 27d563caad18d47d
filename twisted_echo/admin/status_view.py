"""
A read-only view of a service's status, for an exporter, a web page or a status line.
"""

import platform
import re
from functools import cache
from importlib.metadata import version
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from twisted_echo.lifecycle import State
from twisted_echo.metrics import Observation
from twisted_echo.service import SessionService
from twisted_echo.session.statistics import MOST_ROWS, sessionRows

__all__ = ["ServiceView", "StatusSource", "buildInfo"]


# (A number of sessions that no service gets to.)
_CURSOR = re.compile("[0-9]{0,18}")


class StatusSource(Protocol):
    """
    What is looked at.
    """

    def observe(self) -> "Deferred[Observation]":
        """
        Its numbers.
        """

    def readiness(self) -> tuple[bool, str]:
        """
        Whether new connections are welcome, and what it is doing, in a word.
        """

    def sessionsPage(self, after: str, limit: int) -> "Deferred[dict[str, Any]]":
        """
        Some of its sessions: C{sessions}, the rows; C{next}, the cursor of the next
        page, or None; C{total}, how many sessions there are.

        @param after: a cursor, or empty for the first page.
        @param limit: how many; L{MOST_ROWS} at most.
        @raise ValueError: if the cursor is none.
        """


@cache
def _installed() -> dict[str, str]:
    # It takes a millisecond to find out, and is not possible for whoever may no longer
    # read what is installed, as after --uid.
    return {"version": version("twisted-echo"), "twisted": version("twisted")}


def buildInfo(reactor: object) -> dict[str, str]:
    """
    Which software this is, by what is exported of it.
    """
    return {
        **_installed(),
        "python": platform.python_version(),
        "reactor": type(reactor).__name__,
    }


class ServiceView:
    """
    A L{SessionService} of this process, to be looked at.
    """

    def __init__(self, service: SessionService) -> None:
        self._service = service

    def observe(self) -> "Deferred[Observation]":
        service = self._service
        return succeed(
            Observation(
                total=service.snapshot(),
                workers={},
                state=service.state.value,
                states=tuple(each.value for each in State),
                build=buildInfo(service.factory.clock),
            )
        )

    def readiness(self) -> tuple[bool, str]:
        state = self._service.state
        return state is State.LISTENING, state.value

    def sessionsPage(self, after: str, limit: int) -> "Deferred[dict[str, Any]]":
        if not _CURSOR.fullmatch(after):
            raise ValueError(f"after must be what next was, a number, got {after!r}")
        last, limit = int(after or 0), min(limit, MOST_ROWS)
        factory = self._service.factory
        rows = sessionRows(factory, last, limit)
        return succeed(
            {
                "sessions": rows,
                "next": str(rows[-1]["id"]) if rows and len(rows) == limit else None,
                "total": len(factory.sessions),
            }
        )
