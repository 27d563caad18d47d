"""
L{twisted_echo.admin.status_view}: a service as those see it who look at it.
"""

import json
import platform
from importlib.metadata import version
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import FakeEndpoint, PausablePort
from tests.support.counting_transports import DONE, Counting
from twisted_echo import EchoConfig, EchoFactory, SessionService
from twisted_echo.admin.status_view import ServiceView, buildInfo
from twisted_echo.compiled import choice
from twisted_echo.lifecycle import State
from twisted_echo.session.statistics import MOST_ROWS


class ViewTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        factory = EchoFactory(EchoConfig(abortAfter=1), clock=self.clock)
        self.endpoint = FakeEndpoint(PausablePort, later=True)
        self.service = SessionService(self.endpoint, factory)
        self.view = ServiceView(self.service)

    def made(self) -> Any:
        session = self.service.factory.buildProtocol(None)
        session.makeConnection(Counting())
        return session

    def observed(self) -> Any:
        return self.successResultOf(self.view.observe())


class StateTests(ViewTestCase):
    def assert_state(self, state: State) -> None:
        ready = state is State.LISTENING
        self.assertEqual(self.view.readiness(), (ready, state.value))
        seen = self.observed()
        self.assertEqual(seen.state, state.value)
        self.assertIn(seen.state, seen.states)

    def test_states(self) -> None:
        """
        It is ready while it listens, and not a moment before or after.
        """
        service = self.service
        self.assert_state(State.IDLE)
        service.startService()
        self.assert_state(State.STARTING)
        self.endpoint.settle()
        self.assert_state(State.LISTENING)
        service.suspend()
        self.assert_state(State.SUSPENDED)
        service.resume()
        self.assert_state(State.LISTENING)
        session = self.made()
        service.stopService()
        self.assert_state(State.DRAINING)
        session.connectionLost(DONE)
        self.assert_state(State.STOPPED)

    def test_observation(self) -> None:
        self.made().dataReceived(b"a\n")
        seen = self.observed()
        self.assertEqual(seen.total, self.service.snapshot())
        self.assertEqual((seen.total.sessions, seen.total.bytesReceived), (1, 2))
        self.assertEqual(seen.workers, {})
        self.assertEqual(seen.build["reactor"], "Clock")

    def test_build(self) -> None:
        self.assertEqual(
            buildInfo(self),
            {
                "version": version("twisted-echo"),
                "implementation": choice.implementation(),
                "twisted": version("twisted"),
                "python": platform.python_version(),
                "reactor": "StateTests",
            },
        )


class PageTests(ViewTestCase):
    def page(self, after: str = "", limit: int = 3) -> Any:
        page = self.successResultOf(self.view.sessionsPage(after, limit))
        return json.loads(json.dumps(page))

    def ids(self, limit: int) -> list[int]:
        """
        All, a page after the other.
        """
        ids: list[int] = []
        after = ""
        while after is not None:
            page = self.page(after, limit)
            self.assertLessEqual(len(page["sessions"]), limit)
            ids += [row["id"] for row in page["sessions"]]
            after = page["next"]
        return ids

    def test_none(self) -> None:
        self.assertEqual(self.page(), {"sessions": [], "next": None, "total": 0})

    def test_all(self) -> None:
        """
        Each session once, whatever the size of a page, those among it that end with
        the last row.
        """
        for _ in range(12):
            self.made()
        for limit in (1, 2, 3, 5, 6, 11, 12, 13, MOST_ROWS, 10**9):
            self.assertEqual(self.ids(limit), list(range(1, 13)), limit)
        self.assertEqual(self.page()["total"], 12)

    def test_most(self) -> None:
        """
        Who asks for more than are told of at a time is given a cursor for the rest.
        """
        for _ in range(MOST_ROWS + 5):
            self.made()
        page = self.page(limit=MOST_ROWS + 100)
        self.assertEqual(len(page["sessions"]), MOST_ROWS)
        self.assertEqual(len(self.page(page["next"], 100)["sessions"]), 5)
        self.assertEqual(self.page(limit=0)["sessions"], [])

    def test_cursors(self) -> None:
        """
        What no page has given is refused, whatever C{int} makes of it.
        """
        for after in ("x", "-1", "1_0", " 1", "+1", "1.0", "\u0663", "9" * 5000, "\n"):
            error = self.assertRaises(ValueError, self.view.sessionsPage, after, 1)
            self.assertEqual(
                str(error),
                f"after must be a number, the 'next' of another answer, got {after!r}",
            )
        self.assertEqual(self.page("9" * 18), self.page())
