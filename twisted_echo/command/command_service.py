"""
The service of the commands: what is served, and all that an operator has around it.

One thing is served, by this process or by many. Around it: an error that is told in a
line when it cannot start; signals; the admin port; what a service manager is told; and
the order of a stop, in which readiness goes first, and the admin port last.
"""

import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.admin.status_view import build
from twisted_echo.command.interfaces import AdminPort, Manager, Served
from twisted_echo.command.signals import (
    RELOAD_SIGNAL,
    ROTATE_SIGNAL,
    STATUS_SIGNAL,
    STOP_SIGNALS,
    OnSecondSignal,
    OnSignal,
)
from twisted_echo.command.start_errors import CannotStart, explain, tellUser
from twisted_echo.command.status_report import SaidLimits, tellStatus
from twisted_echo.command.terminal import Terminal
from twisted_echo.lifecycle import State
from twisted_echo.logs.values import Listed
from twisted_echo.metrics import Observation, earliest
from twisted_echo.net.addresses import readable
from twisted_echo.validation.units import Seconds

__all__ = ["CommandService"]

_log = Logger()

_TELL_EVERY = 5.0
"""
Seconds between two lines about how a stop gets on, and two words to the manager.
"""


class CommandService(Service):
    """
    Serves, as the command's user asked for.

    @ivar served: what is.
    """

    def __init__(
        self,
        served: Served,
        reactor: Any,
        *,
        admin: AdminPort | None = None,
        manager: Manager | None = None,
        notice: float = 0.0,
        report: Callable[[str | None], object] = tellUser,
    ) -> None:
        """
        @param report: called with None when everything listens, or with a line for the
            user that says why it cannot.
        @param notice: seconds for which, at a stop, connections are still accepted
            when it is no longer ready, so that a balancer sends no more.
        """
        self.served = served
        self._reactor = reactor
        self._admin = admin
        self._manager = manager
        self._notice = notice
        self._report = report
        self._terminal: Terminal | None = None
        # Now: see there.
        self._software = build(reactor)
        self._isBound = False
        self._onSignals: list[OnSignal | OnSecondSignal] = []
        self._teller = LoopingCall(self._tell)
        self._teller.clock = reactor
        self._isStopping = self._isHurried = False
        self._noticeEnds: IDelayedCall | None = None
        # Whoever waits for the end of the stop; None when it has ended.
        self._stopAskers: list[Deferred[None]] | None = []

    # Start

    def privilegedStartService(self) -> None:
        """
        Bind what there is to bind.

        @raise CannotStart: if something cannot be; standard error says what.
        """
        # First, for whoever sees that it listens may send a signal, which would end
        # the process.
        # One that was ignored from the beginning, as by nohup, stays so.
        if RELOAD_SIGNAL and signal.getsignal(RELOAD_SIGNAL) != signal.SIG_IGN:
            self._terminal = Terminal()
            self._mind(RELOAD_SIGNAL, self._hungUp)
        # It is twistd's, where there is a log file; else it would end the process.
        if ROTATE_SIGNAL and signal.getsignal(ROTATE_SIGNAL) == signal.SIG_DFL:
            self._mind(ROTATE_SIGNAL, _tellNothingToRotate)
        self._mind(STATUS_SIGNAL, self._tellStatus)
        option = "--admin"
        try:
            if self._admin is not None:
                _orRaise(self._admin.open(self))
            option = "--listen"
            self.served.privilegedStartService()
        except Exception as error:
            line = explain(error, option)
            _log.error(
                "cannot listen on {reason}",
                event="cannot-listen",
                option=option,
                reason=line,
            )
            self._giveUp("cannot listen on", line)
        self._isBound = True

    def _giveUp(self, what: str, why: str) -> NoReturn:
        """
        Leave nothing of a start that has failed.
        """
        if self._admin is not None:
            self._admin.close()
        self._giveSignalsBack()
        # One turn for what did listen to close, and to leave no socket file.
        self._reactor.iterate()
        self._report(f"{what} {why}")
        # An ordinary exception: on SystemExit twistd would leave its pid file.
        raise CannotStart(why) from None

    def startService(self) -> None:
        """
        Serve.

        @raise CannotStart: as C{privilegedStartService}, and for what this user has no
            right to.
        """
        isUnderTwist = not self._isBound
        try:
            if not self._isBound:
                self.privilegedStartService()
            self._startServed()
        except CannotStart:
            if isUnderTwist:
                # It has no pid file, and would print a traceback.
                raise SystemExit(1) from None
            raise
        self._report(None)
        super().startService()
        listening = self.served.whenListening()
        listening.addCallbacks(self._listening, lambda _: None)
        listening.addErrback(_cannotTell)
        # From there on the signals are the reactor's.
        self._reactor.callWhenRunning(self._mindSecondStop)

    def _startServed(self) -> None:
        try:
            self.served.startService()
        except Exception as error:
            _log.error(
                "cannot start: {reason}", event="cannot-start", reason=str(error)
            )
            self._giveUp("cannot start:", str(error))

    def _listening(self, _: None) -> None:
        if self._isStopping:
            return
        admin = None if self._admin is None else self._admin.address
        software, workers = self._software, self.served.workerCount
        _log.info(
            "listening on {addresses}, by "
            + ("" if workers == 1 else "{workers} workers with ")
            + "{reactor}; limits: {limits}; "
            + ("no admin port" if admin is None else "admin on {admin}")
            + "; twisted-echo {version}, Twisted {twisted}, Python {python}",
            event="started",
            addresses=Listed(readable(each) for each in self.served.addresses),
            workers=workers,
            limits=SaidLimits(self.served.limits),
            admin=None if admin is None else readable(admin),
            version=software["version"],
            twisted=software["twisted"],
            python=software["python"],
            reactor=software["reactor"],
        )
        if self._manager is not None:
            self._manager.ready(State.LISTENING.value)
            self._teller.start(_TELL_EVERY, now=False)

    # What there is to see

    def readiness(self) -> tuple[bool, str]:
        """
        Whether new connections are welcome, and what it does, in a word.
        """
        if self._isStopping:
            return False, State.DRAINING.value
        state = self.served.state
        if state is State.LISTENING and not self.served.isAccepting:
            state = State.STARTING
        return state is State.LISTENING, state.value

    def observe(self) -> "Deferred[Observation]":
        """
        Its numbers.
        """

        def told(observation: Observation) -> Observation:
            total = observation.total
            if self._admin is not None:
                certificates = earliest(total.certificates, self._admin.notAfter)
                total = replace(total, certificates=certificates)
            return replace(observation, state=self.readiness()[1], total=total)

        return self.served.observe().addCallback(told)

    def sessionsPage(self, after: str, limit: int) -> "Deferred[dict[str, Any]]":
        """
        Some of its sessions.
        """
        return self.served.sessionsPage(after, limit)

    # Signals

    def _mind(self, number: int | None, act: Callable[[], object]) -> None:
        if number is not None:
            self._onSignals.append(OnSignal(number, self._reactor, act))

    def _giveSignalsBack(self) -> None:
        signals, self._onSignals = self._onSignals, []
        for each in reversed(signals):
            each.end()

    def _hungUp(self) -> None:
        """
        Stop if it was the terminal that sent SIGHUP, as it does when it goes; else
        reload.
        """
        if self._terminal is None or not self._terminal.isGone:
            self._reload()
        elif not self._isStopping:
            _log.info("the terminal is gone, so it stops", event="terminal-gone")
            # The way of every stop.
            signal.raise_signal(signal.SIGTERM)

    def _reload(self) -> None:
        # While it starts or stops, it is not ready afterwards.
        manager = self._manager if self.readiness()[0] else None
        if manager is not None:
            manager.reloading()
        reloading = [
            each
            for each in (self.served, self._admin)
            if each is not None and each.canReload
        ]
        for each in reloading:
            each.reload()
        if not reloading:
            _log.info(
                "SIGHUP: there are no certificates to load anew, so it goes on",
                event="nothing-to-reload",
            )
        if manager is not None:
            manager.ready(self.readiness()[1])

    def _tellStatus(self) -> None:
        self.observe().addCallbacks(tellStatus, _cannotTell)

    def _mindSecondStop(self) -> None:
        # Two may come in one turn of the reactor, before the stop begins; and Twisted
        # would take the second for a wish to stop once more, and fail.
        if not self._isStopping:
            self._onSignals.append(
                OnSecondSignal(STOP_SIGNALS, self._reactor, self._hurry)
            )

    def _hurry(self) -> None:
        """
        Wait for nothing any more.
        """
        if not self._isStopping:
            self._isHurried = True
            return

        def told(sessions: int) -> None:
            _log.warn(
                "told to stop again: {sessions} sessions are cut off",
                event="stop-hurried",
                sessions=sessions,
            )

        if self._noticeEnds is not None:
            self._noticeEnds.cancel()
            self._drain()
        self.served.hurry().addCallbacks(told, _cannotTell)

    # What is told while it runs

    def _tell(self) -> "Deferred[None]":
        """
        Tell how it gets on: the manager, and of a stop the log.
        """

        def told(observation: Observation) -> None:
            sessions = observation.total.sessions
            if self._manager is not None:
                self._manager.status(f"{observation.state}, {sessions} sessions")
            if self._isStopping and self._noticeEnds is None:
                _log.info(
                    "draining: {sessions} sessions are left, for {seconds} at most",
                    event="draining",
                    sessions=sessions,
                    seconds=Seconds(round(self.served.stopsWithin, 1)),
                )

        return self.observe().addCallbacks(told, _cannotTell)

    # Stop

    def stopService(self) -> "Deferred[None]":
        """
        Say that it is not ready, wait for the time of notice, end what is served, and
        last the admin port. A second call is legal.

        @return: fires when all of that is done.
        """
        super().stopService()
        if self._stopAskers is None:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stopAskers.append(stopped)
        if not self._isStopping:
            self._isStopping = True
            self._beginStop()
        return stopped

    def _beginStop(self) -> None:
        for each in STOP_SIGNALS:
            # Not only a signal may have begun it.
            self._mind(each, self._hurry)
        notice = self._notice if self.served.state is State.LISTENING else 0.0
        if self._manager is not None:
            self._manager.stopping(
                notice + self.served.stopsWithin, State.DRAINING.value
            )
        if not self._teller.running:
            self._teller.start(_TELL_EVERY, now=False)
        if notice:
            _log.info(
                "stopping: not ready any more, and still accepting for {seconds}",
                event="notice",
                seconds=Seconds(notice),
            )
            self._noticeEnds = self._reactor.callLater(notice, self._drain)
        else:
            self._drain()
        if self._isHurried:
            self._hurry()

    def _drain(self) -> None:
        self._noticeEnds = None
        self.served.stopService().addErrback(_cannotStop).addCallback(self._stopped)

    def _stopped(self, _: object) -> None:
        # (Signals are minded to the end: SIGHUP would kill what is still served.)
        self._teller.stop()
        closed = succeed(None) if self._admin is None else self._admin.close()
        closed.addErrback(_cannotClose).addCallback(self._ended)

    def _ended(self, _: None) -> None:
        if self._manager is not None:
            self._manager.close()
        self._giveSignalsBack()
        askers, self._stopAskers = self._stopAskers, None
        for asker in askers or ():
            asker.callback(None)


def _orRaise(opening: "Deferred[None]") -> None:
    """
    Have what has failed already raised here.
    """
    failures: list[Failure] = []
    opening.addErrback(failures.append)
    if failures:
        failures[0].raiseException()


def _tellNothingToRotate() -> None:
    _log.info(
        "SIGUSR1: there is no log file to rotate, so it goes on",
        event="nothing-to-rotate",
    )


def _cannotTell(failure: Failure) -> None:
    _log.failure("cannot tell how the service is", failure, event="status-failed")


def _cannotStop(failure: Failure) -> None:
    _log.failure("what is served cannot be stopped", failure, event="stop-failed")


def _cannotClose(failure: Failure) -> None:
    _log.failure("the admin port cannot be closed", failure, event="admin-close-failed")
