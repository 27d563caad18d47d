"""
L{twisted_echo.command.command_service}: what the command has around what it serves.
"""

import os
import signal
from collections.abc import Mapping
from typing import Any

from twisted.application.service import IService
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_echo.admin import status_view as view
from twisted_echo.admin.status_view import _installed
from twisted_echo.command import command_service
from twisted_echo.command.command_service import CommandService
from twisted_echo.command.start_errors import CannotStart
from twisted_echo.command.status_report import SaidLimits
from twisted_echo.lifecycle import State
from twisted_echo.metrics import Observation, Snapshot
from twisted_echo.session.limits import Limits


class FakeReactor(Clock):
    """
    A clock that calls what it is told to from a signal handler.
    """

    turned = 0

    def callFromThread(self, function: Any) -> None:
        function()

    def callWhenRunning(self, function: Any) -> None:
        function()

    def iterate(self) -> None:
        self.turned += 1


class FakeServed:
    """
    What does as told, and notes what it was told.
    """

    workerCount = 1
    limits = Limits(sessions=3)
    canReload = True
    stopsWithin = 6.0

    def __init__(self, told: list[Any]) -> None:
        self.told = told
        self.state = State.IDLE
        self.addresses = [IPv4Address("TCP", "127.0.0.1", 7)]
        self.listening: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()
        self.error: Exception | None = None
        self.observed: Exception | None = None
        self.sessions = 2
        self.workers: dict[str, Snapshot] = {}

    def privilegedStartService(self) -> None:
        self.told.append("bind")
        if self.error is not None:
            raise self.error
        self.state = State.STARTING

    def startService(self) -> None:
        self.told.append("start")

    def listen(self) -> None:
        self.state = State.LISTENING
        self.listening.callback(None)

    def whenListening(self) -> "Deferred[None]":
        return self.listening

    def stopService(self) -> "Deferred[None]":
        self.told.append("stop")
        self.state = State.DRAINING
        return self.stopped

    isAccepting = True

    def hurry(self) -> "Deferred[int]":
        self.told.append("hurry")
        return succeed(self.sessions)

    def reload(self) -> None:
        self.told.append("reload")

    def observe(self) -> "Deferred[Observation]":
        if self.observed is not None:
            return fail(self.observed)
        snapshot = Snapshot(sessions=self.sessions, ended={"idle": 1, "peer-closed": 2})
        return succeed(
            Observation(
                total=snapshot,
                workers=self.workers,
                state=self.state.value,
                states=tuple(each.value for each in State),
                build={},
            )
        )

    def sessionsPage(self, after: str, limit: int) -> "Deferred[dict[str, Any]]":
        return succeed({"after": after, "limit": limit})


class FakeAdmin:
    address: Any = None
    canReload = False
    notAfter: Mapping[str, int] = {}

    def __init__(self, told: list[Any]) -> None:
        self.told = told
        self.error: Exception | None = None
        self.closing: Deferred[None] = succeed(None)

    def open(self, observed: Any) -> "Deferred[None]":
        self.told.append("admin open")
        if self.error is not None:
            return fail(self.error)
        self.address = IPv4Address("TCP", "127.0.0.1", 9)
        return succeed(None)

    def reload(self) -> None:
        self.told.append("admin reload")

    def close(self) -> "Deferred[None]":
        self.told.append("admin close")
        return self.closing


class FakeManager:
    def __init__(self, told: list[Any]) -> None:
        self.told = told

    def ready(self, status: str) -> None:
        self.told.append(("ready", status))

    def status(self, status: str) -> None:
        self.told.append(("status", status))

    def reloading(self) -> None:
        self.told.append("reloading")

    def stopping(self, within: float, status: str) -> None:
        self.told.append(("stopping", within, status))

    def close(self) -> None:
        self.told.append("manager close")


def noHangUp(*arguments: object) -> None:
    raise AssertionError("nobody minds SIGHUP")


class FakeTerminal:
    isGone = True


class CommandServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[Any] = []
        self.reactor = FakeReactor()
        self.served = FakeServed(self.told)
        self.admin = FakeAdmin(self.told)
        self.handlers = {
            number: signal.signal(number, signal.SIG_IGN)
            for number in (
                *(signal.SIGHUP, signal.SIGUSR2),
                *(signal.SIGTERM, signal.SIGINT),
            )
        }
        for number, handler in self.handlers.items():
            self.addCleanup(signal.signal, number, handler)
        # One that is ignored would stay so.
        signal.signal(signal.SIGHUP, noHangUp)

    def service(self, **options: Any) -> CommandService:
        return CommandService(
            self.served,
            self.reactor,
            **{
                "admin": self.admin,
                "manager": FakeManager(self.told),
                **options,
            },
        )

    def running(self, **options: Any) -> CommandService:
        """
        A service that listens, with nothing noted.
        """
        service = self.service(**options)
        service.privilegedStartService()
        service.startService()
        self.served.listen()
        self.told.clear()
        return service

    def assertAllGivenBack(self) -> None:
        """
        Nothing is left of the service.
        """
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        for number in self.handlers:
            self.assertIs(
                signal.getsignal(number),
                noHangUp if number == signal.SIGHUP else signal.SIG_IGN,
            )

    # Start

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
            ("limits", SaidLimits(self.served.limits)),
            ("admin", "127.0.0.1:9"),
            ("reactor", "FakeReactor"),
        ):
            self.assertEqual(event[field], value)
        for field in ("version", "twisted", "python"):
            self.assertTrue(event[field])

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

    # Signals

    def test_reload(self) -> None:
        """
        SIGHUP reloads, and the manager is told before and after.
        """
        self.running()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.told, ["reloading", "reload", ("ready", "listening")])

    def test_reloadAdmin(self) -> None:
        """
        The admin port reloads, too, whether or not there is something else to reload.
        """
        self.admin.canReload = True
        self.running()
        for self.served.canReload, told in (
            (True, ["reload", "admin reload"]),
            (False, ["admin reload"]),
        ):
            self.told.clear()
            os.kill(os.getpid(), signal.SIGHUP)
            self.assertEqual(self.told, ["reloading", *told, ("ready", "listening")])

    def test_reloadWhileNotReady(self) -> None:
        """
        While it starts or stops it reloads, and does not say that it is ready.
        """
        service = self.service()
        service.privilegedStartService()
        service.startService()
        self.told.clear()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.told, ["reload"])
        self.served.listen()
        service.stopService()
        self.told.clear()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.told, ["reload"])

    def test_nothingToReload(self) -> None:
        """
        Where there is nothing to reload the log says so, and the manager what it waits
        for.
        """
        self.served.canReload = False
        self.running()
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.told, ["reloading", ("ready", "listening")])
        self.assertEqual([each["event"] for each in events], ["nothing-to-reload"])

    def test_nothingToRotate(self) -> None:
        """
        SIGUSR1 is twistd's, where there is a log file. Else it ends nothing.
        """
        before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        service = self.running()
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGUSR1)
        self.assertEqual([each["event"] for each in events], ["nothing-to-rotate"])
        self.served.stopped.callback(None)
        self.successResultOf(service.stopService())
        self.assertEqual(signal.getsignal(signal.SIGUSR1), signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, noHangUp)
        self.served = FakeServed(self.told)
        self.running()
        self.assertIs(signal.getsignal(signal.SIGUSR1), noHangUp)

    def test_ignored(self) -> None:
        """
        SIGHUP that was ignored stays so.
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.running()
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_terminalGone(self) -> None:
        """
        When the terminal is gone, it stops as by SIGTERM; a stop that has begun goes on
        as it would.
        """
        stops: list[object] = []
        signal.signal(signal.SIGTERM, lambda *_: stops.append(1))
        self.patch(command_service, "Terminal", FakeTerminal)
        service = self.running()
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(stops, [1])
        self.assertEqual([each["event"] for each in events], ["terminal-gone"])
        self.assertEqual(self.told, [])
        service.stopService()
        self.told.clear()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual((stops, self.told), ([1], []))

    def test_status(self) -> None:
        """
        SIGUSR2 has the log told of the whole, and of each worker.
        """
        self.served.workers = {"0": Snapshot(sessions=1), "1": Snapshot(bytesSent=None)}
        self.running()
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGUSR2)
        self.assertEqual([each["event"] for each in events], ["status"] * 3)
        self.assertEqual([each.get("worker") for each in events], [None, 0, 1])
        whole, first, second = events
        self.assertEqual((whole["sessions"], whole["state"]), (2, "listening"))
        self.assertEqual(whole["ended"], {"peer-closed": 2, "idle": 1})
        self.assertEqual((first["sessions"], second["sent"]), (1, None))

    def test_cannotTell(self) -> None:
        """
        What cannot be told is logged, and told the next time.
        """
        self.running()
        self.served.observed = ZeroDivisionError("no")
        os.kill(os.getpid(), signal.SIGUSR2)
        self.reactor.advance(5)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.served.observed = None
        self.reactor.advance(5)
        self.assertEqual(self.told, [("status", "listening, 2 sessions")])

    # What is seen

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
            {"after": "x", "limit": 3},
        )
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

    # Stop

    def test_stop(self) -> None:
        """
        Readiness goes first, the admin port last; meanwhile the log is told every
        five seconds.
        """
        service = self.running()
        stopped = service.stopService()
        self.assertEqual(service.readiness(), (False, "draining"))
        self.assertEqual(self.told, [("stopping", 6.0, "draining"), "stop"])
        self.served.sessions, self.served.stopsWithin = 1, 1.4
        with capturedLogs() as events:
            self.reactor.advance(5)
        (event,) = events
        self.assertEqual(
            (event["event"], event["sessions"], event["seconds"]), ("draining", 1, 1.4)
        )
        self.assertEqual(self.told[2:], [("status", "draining, 1 sessions")])
        self.told.clear()
        self.admin.closing = Deferred()
        self.served.stopped.callback(None)
        self.assertEqual(self.told, ["admin close"])
        self.assertNoResult(stopped)
        self.admin.closing.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.told[1:], ["manager close"])
        self.assertAllGivenBack()
        self.successResultOf(service.stopService())
        self.assertEqual(len(self.told), 2)

    def test_stopTwice(self) -> None:
        """
        Everybody who stops it gets a Deferred of his own.
        """
        service = self.running()
        one, other = service.stopService(), service.stopService()
        one.addCallback(lambda _: Deferred())
        self.assertEqual(self.told.count("stop"), 1)
        self.served.stopped.callback(None)
        self.successResultOf(other)

    def test_stopFails(self) -> None:
        """
        Whatever fails at the stop, it ends.
        """
        service = self.running()
        self.admin.closing = fail(ZeroDivisionError("admin"))
        stopped = service.stopService()
        self.served.stopped.errback(ValueError("served"))
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertAllGivenBack()

    def test_stopBeforeListening(self) -> None:
        """
        A stop while it is starting has no notice to give, and it never says that it
        is ready.
        """
        service = self.service(notice=9)
        service.privilegedStartService()
        service.startService()
        service.stopService()
        self.assertIn("stop", self.told)
        self.served.listening.callback(None)
        self.assertNotIn(("ready", "listening"), self.told)

    def test_notice(self) -> None:
        """
        It goes on for the time of notice, and is not ready.
        """
        service = self.running(notice=9)
        with capturedLogs() as events:
            service.stopService()
            self.reactor.advance(8)
        self.assertEqual(self.told[0], ("stopping", 15.0, "draining"))
        self.assertEqual([each["event"] for each in events], ["notice"])
        self.assertNotIn("stop", self.told)
        self.assertEqual(service.readiness(), (False, "draining"))
        self.reactor.advance(1)
        self.assertIn("stop", self.told)

    def test_hurry(self) -> None:
        """
        Another signal cuts off what is left, and says how many that is.
        """
        service = self.running()
        stopped = service.stopService()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.told.clear()
            with capturedLogs() as events:
                os.kill(os.getpid(), number)
            self.assertEqual(self.told, ["hurry"])
            (event,) = events
            self.assertEqual(
                (event["event"], event["sessions"], event["log_level"]),
                ("stop-hurried", 2, LogLevel.warn),
            )
        self.served.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertAllGivenBack()

    def test_twoSignalsAtOnce(self) -> None:
        """
        The reactor hears of the first alone; the second counts when the stop begins.
        """
        heard: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
        # One that is ignored stays so.
        before = signal.getsignal(signal.SIGTERM), signal.SIG_IGN
        service = self.running(notice=9)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual((heard, self.told), ([signal.SIGTERM], []))
        with capturedLogs() as events:
            stopped = service.stopService()
        self.assertEqual(self.told[1:], ["stop", "hurry"])
        self.assertEqual([each["event"] for each in events], ["notice", "stop-hurried"])
        self.served.stopped.callback(None)
        self.successResultOf(stopped)
        after = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        self.assertEqual(after, before)

    def test_hurryInNotice(self) -> None:
        """
        In the time of notice that ends it, too.
        """
        service = self.running(notice=9)
        service.stopService()
        self.told.clear()
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual(self.told, ["stop", "hurry"])
        self.reactor.advance(9)
        self.assertEqual(self.told.count("stop"), 1)


class InWordsTests(SynchronousTestCase):
    def test_limits(self) -> None:
        self.assertEqual(
            str(SaidLimits(Limits(sessions=3, sessionsPerPeer=2, buffered=1 << 28))),
            "3 sessions, 2 by one peer, 256M bytes held",
        )
        self.assertEqual(
            str(SaidLimits(Limits(buffered=0))),
            "any number of sessions, any number by one peer, any number of bytes held",
        )
