"""
The stop of the command.

What must hold: readiness goes first and the admin port last, so that both the balancer
and the operator see the whole stop; the stop ends, whatever fails in it.
"""

from enum import Enum

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twisted_echo.command.command_signals import CommandSignals
from twisted_echo.command.interfaces import AdminPort, Manager, Stoppable
from twisted_echo.command.status_report import StatusReports, logCannotReport
from twisted_echo.lifecycle import State
from twisted_echo.logs.values import Counted
from twisted_echo.metrics import Observation
from twisted_echo.scheduling.waiters import Waiters
from twisted_echo.validation.units import Seconds

__all__ = ["CommandStop", "StopState"]

_log = Logger()


class StopState(Enum):
    """
    How far the stop is::

        NOT_BEGUN --------------> NOTICE ---> DRAINING ---> CLOSING ---> STOPPED
            |                                    ^
            +---> STOP_NOW_REQUESTED ------------+
    """

    NOT_BEGUN = "not begun"
    STOP_NOW_REQUESTED = "stop now requested"
    NOTICE = "notice"
    DRAINING = "draining"
    CLOSING = "closing"
    STOPPED = "stopped"


class CommandStop:
    """
    Stops the command in order, once.

    @ivar state: the present L{StopState}.
    """

    def __init__(
        self,
        served: Stoppable,
        clock: IReactorTime,
        signals: CommandSignals,
        reports: StatusReports,
        *,
        admin: AdminPort | None,
        manager: Manager | None,
        notice: float,
    ) -> None:
        """
        @param notice: seconds for which connections are still accepted when the service
            no longer reports ready.
        """
        self.state = StopState.NOT_BEGUN
        self._served = served
        self._clock = clock
        self._signals = signals
        self._reports = reports
        self._admin = admin
        self._manager = manager
        self._notice = notice
        self._noticeOver: Deferred[None] = Deferred()
        self._untilStopped: Waiters[None] = Waiters()

    @property
    def hasBegun(self) -> bool:
        """
        Whether the stop has begun, and the service is no longer ready.
        """
        return self.state not in (StopState.NOT_BEGUN, StopState.STOP_NOW_REQUESTED)

    def stop(self) -> "Deferred[None]":
        """
        Stop, unless that has begun already.

        @return: fires when everything has stopped. It is the caller's own.
        """
        if self.state is StopState.STOPPED:
            return succeed(None)
        stopped = self._untilStopped.wait()
        if not self.hasBegun:
            Deferred.fromCoroutine(self._stop())
        return stopped

    def stopNow(self) -> None:
        """
        Wait no longer: end the notice, and cut off the sessions that are left. Before
        the stop has begun, this is done when it begins.
        """
        if not self.hasBegun:
            self.state = StopState.STOP_NOW_REQUESTED
            return
        if self.state is StopState.NOTICE:
            self._noticeOver.callback(None)
        # (What is counted is what there was before.)
        self._served.observe().addCallbacks(_logCutOff, logCannotReport)
        # (The stop itself logs a failure.)
        self._served.stopNow().addErrback(lambda _: None)

    async def _stop(self) -> None:
        isNow = self.state is StopState.STOP_NOW_REQUESTED
        hasNotice = self._served.state is State.LISTENING and not isNow
        notice = self._notice if hasNotice else 0.0
        # 1. The service is not ready from here on.
        self.state = StopState.NOTICE if notice else StopState.DRAINING
        self._signals.handleWhileStopping()
        if self._manager is not None:
            within = notice + self._served.stopsWithin
            self._manager.stopping(within, State.DRAINING.value)
        self._reports.start()
        # 2. It still accepts, while the balancer looks elsewhere.
        if notice:
            await self._giveNotice(notice)
            self.state = StopState.DRAINING
        # 3. Its sessions end.
        await self._drain(isNow)
        # 4. The admin port has shown the stop until here.
        self.state = StopState.CLOSING
        self._reports.stop()
        await self._closeAdmin()
        # 5. The service manager has been kept informed until here.
        if self._manager is not None:
            self._manager.close()
        # 6. Last the signals: SIGHUP would kill what is still served.
        self._signals.restore()
        self.state = StopState.STOPPED
        self._untilStopped.notify(None)

    async def _giveNotice(self, seconds: float) -> None:
        _log.info(
            "stopping: /readyz reports 503; connections are accepted for {seconds} more"
            " (--notice)",
            event="notice",
            seconds=Seconds(seconds),
        )
        timer = self._clock.callLater(seconds, self._noticeOver.callback, None)
        await self._noticeOver
        if timer.active():
            timer.cancel()

    async def _drain(self, isNow: bool) -> None:
        try:
            stopping = self._served.stopService()
            if isNow:
                self.stopNow()
            else:
                self._reports.drainBegins()
            await stopping
        except Exception:
            _log.failure("cannot stop the service in order", event="stop-failed")

    async def _closeAdmin(self) -> None:
        if self._admin is None:
            return
        try:
            await self._admin.close()
        except Exception:
            _log.failure("cannot close the admin port", event="admin-close-failed")


def _logCutOff(observation: Observation) -> None:
    _log.warn(
        "second stop signal: {sessions} cut off",
        event="stop-now",
        sessions=Counted(observation.total.sessions, "session is", "sessions are"),
    )
