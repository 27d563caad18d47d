"""
L{twisted_echo.command.command_service}: the start, and what is seen of the service.
"""

from twisted.application.service import IService
from twisted.internet.error import CannotListenError
from twisted.logger import capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from tests.support.command_service import CommandServiceTestCase
from twisted_echo.admin import status_view as view
from twisted_echo.admin.status_view import _installed
from twisted_echo.command.start_errors import CannotStart
from twisted_echo.command.start_report import ReadableLimits
from twisted_echo.compiled import choice
from twisted_echo.lifecycle import State


class CommandServiceTests(CommandServiceTestCase):
    def test_start(self) -> None:
        """
        The admin port listens first, so that it shows the start; ready is who
        listens; one line says all.
        """
        service = self.service()
        verifyObject(IService, service)
        service.privilegedStartService()
        self.assertEqual(service.readiness(), (False, "starting"))
        service.startService()
        self.assertEqual(self.told, ["admin open", "bind", "start"])
        with capturedLogs() as events:
            self.served.listen()
        self.assertEqual(self.told[3:], [("ready", "listening")])
        self.assertEqual(service.readiness(), (True, "listening"))
        (event,) = events
        self.assertEqual(event["event"], "started")
        for field, value in (
            ("addresses", ["127.0.0.1:7"]),
            ("workers", 1),
            ("limits", ReadableLimits(self.served.limits)),
            ("admin", "127.0.0.1:9"),
            ("reactor", "FakeReactor"),
            ("implementation", choice.implementation()),
        ):
            self.assertEqual(event[field], value)
        for field in ("version", "twisted", "python"):
            self.assertTrue(event[field])
        self.assertIn(
            f"; twisted-echo {event['version']} ({choice.implementation()}), Twisted ",
            formatEvent(event),
        )

    def test_unprivileged(self) -> None:
        """
        Where there is no privileged start (under twist), the start binds.
        """
        service = self.service(admin=None, manager=None)
        service.startService()
        self.assertEqual(self.told, ["bind", "start"])
        with capturedLogs() as events:
            self.served.listen()
        self.assertIsNone(events[0]["admin"])
        # Nobody is to be told how it gets on.
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cannotListen(self) -> None:
        """
        What cannot be bound ends the start, and leaves no admin port.
        """
        self.served.error = CannotListenError("", 7, OSError(98, "in use"))
        service = self.service()
        with capturedLogs() as events:
            error = self.assertRaises(CannotStart, service.privilegedStartService)
        self.assertIn("*:7: ", str(error))
        self.assertEqual(
            [(each["event"], each["option"], each["reason"]) for each in events],
            [("cannot-listen", "--listen", str(error))],
        )
        self.assertEqual(self.told, ["admin open", "bind", "admin close"])
        self.assertEqual(self.reactor.turned, 1)
        self.assertAllGivenBack()

    def test_adminCannotListen(self) -> None:
        """
        Neither does anything start without its admin port.
        """
        self.admin.error = CannotListenError("", 9, OSError(98, "in use"))
        error = self.assertRaises(CannotStart, self.service().privilegedStartService)
        self.assertIn("*:9: ", str(error))
        self.assertIn("--admin elsewhere", str(error))
        self.assertNotIn("--listen", str(error))
        self.assertNotIn("bind", self.told)
        self.assertAllGivenBack()

    def test_unreadable(self) -> None:
        """
        What is installed is looked at before privileges are shed, after which it may
        not be possible.
        """
        _installed.cache_clear()
        self.addCleanup(_installed.cache_clear)
        service = self.service()
        self.patch(view, "version", None)
        service.privilegedStartService()
        service.startService()
        with capturedLogs() as events:
            self.served.listen()
        self.assertEqual([each["event"] for each in events], ["started"])

    def test_certificates(self) -> None:
        """
        Those of the admin port are among them.
        """
        self.admin.notAfter = {"admin.pem": 9}
        observation = self.successResultOf(self.service().observe())
        self.assertEqual(observation.total.certificates, {"admin.pem": 9})

    def test_observe(self) -> None:
        """
        What is served is shown, with the state that the command is in.
        """
        service = self.running(notice=9)
        observation = self.successResultOf(service.observe())
        self.assertEqual(
            (observation.state, observation.total.sessions), ("listening", 2)
        )
        self.assertEqual(
            self.successResultOf(service.sessionsPage("x", 3)),
            {"sessions": [], "next": "x", "total": 3},
        )
        waiting = self.successResultOf(service.waitingSessions(2))
        self.assertEqual(waiting, [{"id": 1}, {"id": 1}])
        service.stopService()
        self.assertIs(self.served.state, State.LISTENING)
        observation = self.successResultOf(service.observe())
        self.assertEqual(observation.state, "draining")

    def test_nobodyAccepts(self) -> None:
        """
        It is not ready while nobody accepts what comes.
        """
        service = self.running()
        self.served.isAccepting = False
        self.assertEqual(service.readiness(), (False, "starting"))

    def test_suspended(self) -> None:
        service = self.running()
        self.served.state = State.SUSPENDED
        self.assertEqual(service.readiness(), (False, "suspended"))
