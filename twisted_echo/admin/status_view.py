"""
A read-only view of a service's status, for an exporter, a web page or a status line.
"""

import os
import platform
import re
from functools import cache
from importlib.metadata import version
from typing import Any, Protocol, TypedDict

from twisted.internet.defer import Deferred, succeed

from twisted_echo.compiled.choice import implementation
from twisted_echo.lifecycle import State
from twisted_echo.metrics import Observation
from twisted_echo.process_figures import figuresOf
from twisted_echo.service import SessionService
from twisted_echo.session.statistics import MOST_ROWS, sessionRows, waitingRows

__all__ = ["ServiceView", "SessionsPage", "StatusSource", "buildInfo"]


# More digits than any service has sessions.
_CURSOR = re.compile("[0-9]{0,18}")


class SessionsPage(TypedDict):
    """
    Some of the open sessions.

    @ivar sessions: a row for each, as L{sessionRows} makes them.
    @ivar next: the cursor of the next page; None on the last one.
    @ivar total: how many sessions are open.
    """

    sessions: list[dict[str, Any]]
    next: str | None
    total: int


class StatusSource(Protocol):
    """
    Something that tells the status of a service.
    """

    def observe(self) -> "Deferred[Observation]":
        """
        Return its numbers.
        """

    def readiness(self) -> tuple[bool, str]:
        """
        Return whether new connections are welcome, and the service's state in a word.
        """

    def sessionsPage(self, after: str, limit: int) -> "Deferred[SessionsPage]":
        """
        Return some of its sessions.

        @param after: a cursor, or empty for the first page.
        @param limit: how many sessions; L{MOST_ROWS} at most.
        @raise ValueError: if C{after} is not a cursor.
        """

    def waitingSessions(self, limit: int) -> "Deferred[list[dict[str, Any]]]":
        """
        Return the sessions for which most is held, the longest waiting first: rows
        as L{waitingRows} makes them; under C{--workers} with C{worker} and C{pid}, too.

        @param limit: how many of each process at most.
        """


@cache
def _installed() -> dict[str, str]:
    # Reading it takes a millisecond, and fails after --uid for a user who may not read
    # what is installed.
    return {"version": version("twisted-echo"), "twisted": version("twisted")}


def buildInfo(reactor: object) -> dict[str, str]:
    """
    Return the versions of the software, whether its compiled part is used, and the
    reactor, as they are exported.
    """
    return {
        **_installed(),
        "implementation": implementation(),
        "python": platform.python_version(),
        "reactor": type(reactor).__name__,
    }


class ServiceView:
    """
    The status of a L{SessionService} of this process.
    """

    def __init__(self, service: SessionService) -> None:
        self._service = service

    def observe(self) -> "Deferred[Observation]":
        """
        Return the numbers of this moment.
        """
        service = self._service
        return succeed(
            Observation(
                total=service.snapshot(),
                workers={},
                process=figuresOf(os.getpid()),
                state=service.state.value,
                states=tuple(each.value for each in State),
                build=buildInfo(service.factory.clock),
            )
        )

    def readiness(self) -> tuple[bool, str]:
        """
        Return whether it accepts connections, and its state in a word.
        """
        state = self._service.state
        return state is State.LISTENING, state.value

    def sessionsPage(self, after: str, limit: int) -> "Deferred[SessionsPage]":
        """
        Return some of its sessions, as L{StatusSource.sessionsPage} says.
        """
        if not _CURSOR.fullmatch(after):
            raise ValueError(
                f"after must be a number, the 'next' of another answer, got {after!r}"
            )
        last, limit = int(after or 0), min(limit, MOST_ROWS)
        factory = self._service.factory
        rows = sessionRows(factory, last, limit)
        page = SessionsPage(
            sessions=rows,
            next=str(rows[-1]["id"]) if rows and len(rows) == limit else None,
            total=len(factory.sessions),
        )
        return succeed(page)

    def waitingSessions(self, limit: int) -> "Deferred[list[dict[str, Any]]]":
        """
        List the sessions for which most is held, the longest waiting first.

        @param limit: how many at most.
        """
        return succeed(waitingRows(self._service.factory, limit))
