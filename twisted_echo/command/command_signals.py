"""
The signals that the command handles, from its start to the end of its stop.

What must hold: a signal is handled as soon as anybody can know that the service
listens; the previous handlers are there again when the service has stopped.
"""

import signal
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from twisted_echo.command.signal_handlers import (
    RELOAD_SIGNAL,
    ROTATE_SIGNAL,
    STATUS_SIGNAL,
    STOP_SIGNALS,
    OnSecondSignal,
    OnSignal,
)
from twisted_echo.command.terminal import Terminal

__all__ = ["CommandSignals", "SignalTarget"]

_log = Logger()


class SignalTarget(Protocol):
    """
    What signals ask of the command.
    """

    @property
    def isStopping(self) -> bool: ...

    def reload(self) -> None:
        """
        Load keys and certificates again.
        """

    def reportStatus(self) -> object:
        """
        Write the status of the service to the log.
        """

    def stopNow(self) -> None:
        """
        End a stop at once.
        """


class CommandSignals:
    """
    Handles the signals of the command.
    """

    def __init__(self, reactor: IReactorFromThreads, target: SignalTarget) -> None:
        self._reactor = reactor
        self._target = target
        self._terminal: Terminal | None = None
        self._handlers: list[OnSignal | OnSecondSignal] = []

    def handleWhileServing(self) -> None:
        """
        Handle the signals that do not stop the service.
        """
        # One that was ignored from the beginning, as by nohup, stays so.
        if RELOAD_SIGNAL and signal.getsignal(RELOAD_SIGNAL) != signal.SIG_IGN:
            self._terminal = Terminal()
            self._handle(RELOAD_SIGNAL, self._hangUp)
        # It is twistd's, where there is a log file; else it would end the process.
        if ROTATE_SIGNAL and signal.getsignal(ROTATE_SIGNAL) == signal.SIG_DFL:
            self._handle(ROTATE_SIGNAL, _logNothingToRotate)
        if STATUS_SIGNAL:
            self._handle(STATUS_SIGNAL, self._target.reportStatus)

    def handleSecondStop(self) -> None:
        """
        Handle the second of two signals that stop the service, even if both come in one
        turn of the reactor, before the stop begins. (Twisted would take the second for
        a wish to stop once more, and fail.)
        """
        if not self._target.isStopping:
            self._handlers.append(
                OnSecondSignal(STOP_SIGNALS, self._reactor, self._target.stopNow)
            )

    def handleWhileStopping(self) -> None:
        """
        Handle another signal to stop. (Not only a signal may have begun the stop.)
        """
        for each in STOP_SIGNALS:
            self._handle(each, self._target.stopNow)

    def restore(self) -> None:
        """
        Restore the previous handlers.
        """
        handlers, self._handlers = self._handlers, []
        for each in reversed(handlers):
            each.restore()

    def _handle(self, number: int, act: Callable[[], object]) -> None:
        self._handlers.append(OnSignal(number, self._reactor, act))

    def _hangUp(self) -> None:
        """
        Stop if the terminal has sent SIGHUP, as it does when it goes; else reload.
        """
        if self._terminal is None or not self._terminal.isGone:
            self._target.reload()
        elif not self._target.isStopping:
            _log.info(
                "SIGHUP: the terminal is gone; the service stops", event="terminal-gone"
            )
            # Every stop begins this way.
            signal.raise_signal(signal.SIGTERM)


def _logNothingToRotate() -> None:
    _log.info(
        "SIGUSR1: there is no log file to rotate; the service goes on",
        event="nothing-to-rotate",
    )
