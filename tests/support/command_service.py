"""
A L{CommandService} on fakes, with a clock, in this process.
"""

import signal
from collections.abc import Mapping
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.admin.status_view import SessionsPage
from twisted_echo.command.command_service import CommandService
from twisted_echo.lifecycle import State
from twisted_echo.metrics import Observation, Snapshot, WorkerObservation
from twisted_echo.session.bounds.limits import Limits


class FakeReactor(Clock):
    """
    A clock that calls what it is told to from a signal handler.
    """

    turned = 0

    def callFromThread(self, function: Any) -> None:
        function()

    def callWhenRunning(self, function: Any) -> None:
        function()

    def iterate(self, delay: float) -> None:
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
        self.sessions, self.handshakes = 2, 0
        self.workers: dict[str, WorkerObservation] = {}

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

    def stopNow(self) -> "Deferred[None]":
        self.told.append("stop now")
        return succeed(None)

    def reload(self) -> None:
        self.told.append("reload")

    def observe(self) -> "Deferred[Observation]":
        if self.observed is not None:
            return fail(self.observed)
        snapshot = Snapshot(
            sessions=self.sessions,
            handshakes=self.handshakes,
            ended={"idle": 1, "peer-closed": 2},
        )
        return succeed(
            Observation(
                total=snapshot,
                workers=self.workers,
                process=None,
                state=self.state.value,
                states=tuple(each.value for each in State),
                build={},
            )
        )

    def sessionsPage(self, after: str, limit: int) -> "Deferred[SessionsPage]":
        return succeed(SessionsPage(sessions=[], next=after, total=limit))

    def waitingSessions(self, limit: int) -> "Deferred[list[dict[str, Any]]]":
        return succeed([{"id": 1}] * limit)


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


class CommandServiceTestCase(SynchronousTestCase):
    """
    Has the fakes, and restores the handlers of signals.
    """

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
        reactor: Any = self.reactor
        return CommandService(
            self.served,
            reactor,
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
