"""
The service of the commands: what is served, and all that an operator has around it.

One thing is served, by this process or by many. Around it: an error in one line when it
cannot start; the L{signals<twisted_echo.command.command_signals>}; the admin port; the
L{reports<twisted_echo.command.status_report>}, to a service manager and the log; and
the L{stop<twisted_echo.command.command_stop>}.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.admin.status_view import SessionsPage, buildInfo
from twisted_echo.command.command_signals import CommandSignals
from twisted_echo.command.command_stop import CommandStop, StopState
from twisted_echo.command.interfaces import (
    AdminPort,
    ICommandReactor,
    Manager,
    Reloadable,
    Served,
)
from twisted_echo.command.start_errors import CannotStart, explain, tellUser
from twisted_echo.command.start_report import logStarted
from twisted_echo.command.status_report import StatusReports, logCannotReport
from twisted_echo.lifecycle import State
from twisted_echo.metrics import Observation, earliest

__all__ = ["CommandService"]

_log = Logger()


class CommandService(Service):
    """
    Serves with the options that the command was given.

    @ivar served: the echo service.
    """

    def __init__(
        self,
        served: Served,
        reactor: ICommandReactor,
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
            when it is no longer ready, so that a balancer can stop sending clients.
        """
        self.served = served
        self._reactor = reactor
        self._admin = admin
        self._manager = manager
        self._report = report
        # Before privileges are shed, after which it may not be readable.
        self._software = buildInfo(reactor)
        self._isBound = False
        self._signals = CommandSignals(reactor, self)
        self._reports = StatusReports(self, reactor, manager)
        self._stop = CommandStop(
            served,
            reactor,
            self._signals,
            self._reports,
            admin=admin,
            manager=manager,
            notice=notice,
        )

    # Start

    def privilegedStartService(self) -> None:
        """
        Bind the sockets.

        @raise CannotStart: if one cannot be bound; standard error says which.
        """
        # First: as soon as it listens, a signal may come.
        self._signals.handleWhileServing()
        option = "--admin"
        try:
            if self._admin is not None:
                _raiseFailure(self._admin.open(self))
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

    def startService(self) -> None:
        """
        Start to serve.

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
        listening.addErrback(logCannotReport)
        # The reactor installs its own handlers before it calls this.
        self._reactor.callWhenRunning(self._signals.handleSecondStop)

    def _startServed(self) -> None:
        try:
            self.served.startService()
        except Exception as error:
            _log.error(
                "cannot start: {reason}", event="cannot-start", reason=str(error)
            )
            self._giveUp("cannot start:", str(error))

    def _giveUp(self, what: str, why: str) -> NoReturn:
        """
        Undo a start that has failed, and end the command.
        """
        if self._admin is not None:
            self._admin.close()
        self._signals.restore()
        # One turn for what did listen to close, and to leave no socket file.
        self._reactor.iterate(0)
        self._report(f"{what} {why}")
        # An ordinary exception: on SystemExit twistd would leave its pid file.
        raise CannotStart(why) from None

    def _listening(self, _: None) -> None:
        if self.isStopping:
            return
        admin = None if self._admin is None else self._admin.address
        logStarted(self.served, admin, self._software)
        if self._manager is not None:
            self._manager.ready(State.LISTENING.value)
            self._reports.start()

    # What the admin port and the reports show

    def readiness(self) -> tuple[bool, str]:
        """
        Whether new connections are welcome, and the state in a word.
        """
        if self.isStopping:
            return False, State.DRAINING.value
        state = self.served.state
        if state is State.LISTENING and not self.served.isAccepting:
            state = State.STARTING
        return state is State.LISTENING, state.value

    def observe(self) -> "Deferred[Observation]":
        """
        Observe the numbers of the service.
        """

        def completed(observation: Observation) -> Observation:
            total = observation.total
            if self._admin is not None:
                certificates = earliest(total.certificates, self._admin.notAfter)
                total = replace(total, certificates=certificates)
            return replace(observation, state=self.readiness()[1], total=total)

        return self.served.observe().addCallback(completed)

    def sessionsPage(self, after: str, limit: int) -> "Deferred[SessionsPage]":
        """
        List some of the open sessions.
        """
        return self.served.sessionsPage(after, limit)

    def waitingSessions(self, limit: int) -> "Deferred[list[dict[str, Any]]]":
        """
        List the sessions that wait.
        """
        return self.served.waitingSessions(limit)

    @property
    def drainsWithin(self) -> float | None:
        """
        Seconds that its sessions have at most to end; None while it does not drain.
        """
        isDraining = self._stop.state is StopState.DRAINING
        return self.served.stopsWithin if isDraining else None

    # What signals ask for

    @property
    def isStopping(self) -> bool:
        """
        Whether a stop has begun.
        """
        return self._stop.hasBegun

    def reload(self) -> None:
        """
        Load keys and certificates again, and keep the service manager informed.
        """
        # While it starts or stops, it is not ready afterwards.
        manager = self._manager if self.readiness()[0] else None
        if manager is not None:
            manager.reloading()
        candidates: list[Reloadable | None] = [self.served, self._admin]
        reloading = [each for each in candidates if each is not None and each.canReload]
        for each in reloading:
            each.reload()
        if not reloading:
            _log.info(
                "SIGHUP: there are no certificates to reload; the service goes on",
                event="nothing-to-reload",
            )
        if manager is not None:
            manager.ready(self.readiness()[1])

    def reportStatus(self) -> "Deferred[None]":
        """
        Write the status to the log.
        """
        return self._reports.logNow()

    def stopNow(self) -> None:
        """
        Cut off what is left of a stop, or of the next one: L{CommandStop.stopNow}.
        """
        self._stop.stopNow()

    # Stop

    def stopService(self) -> "Deferred[None]":
        """
        Stop in order: L{CommandStop}. A second call is legal.

        @return: fires when everything has stopped.
        """
        super().stopService()
        return self._stop.stop()


def _raiseFailure(opening: "Deferred[None]") -> None:
    """
    Raise the failure of a Deferred that has failed already.
    """
    failures: list[Failure] = []
    opening.addErrback(failures.append)
    if failures:
        failures[0].raiseException()
