"""
The service of the command: it says in a line why it cannot start, loads its
certificates anew on SIGHUP, and is told to hurry by a second signal.
"""

import errno
import os
import sys
from socket import gaierror
from typing import Any, TypeVar

from twisted.internet.error import AlreadyListened, CannotListenError
from twisted.logger import Logger

from twisted_echo.command.process import (
    RELOAD_SIGNAL,
    STOP_SIGNALS,
    OnSignal,
    unreadable,
)
from twisted_echo.echo import EchoConfig, EchoService
from twisted_echo.listen import Listening
from twisted_echo.service import State

__all__ = ["CannotStart", "CommandService", "explain"]

_T = TypeVar("_T")

_log = Logger()


class CannotStart(Exception):
    """
    The service cannot listen; the message says where, why, and what to do.
    """


_ADVICE = {
    errno.EADDRINUSE: "stop the process that uses it, or --listen elsewhere",
    errno.EADDRNOTAVAIL: "this machine has no such address; --listen on one it has",
    errno.ENOENT: "the folder must exist",
    errno.EACCES: "a port below 1024 needs root, which --uid sheds afterwards",
}
_NO_ACCESS_TO_PATH = "the folder must be writable for this user"


def explain(error: Exception) -> str:
    """
    Say in one line where, why, and what to do about it.
    """
    reason: object = error
    where, isPath = "", False
    if isinstance(error, CannotListenError):
        reason, isPath = error.socketError, isinstance(error.port, bytes)
        if isinstance(error.port, bytes):
            where = f"unix:{os.fsdecode(error.port)}: "
        else:
            where = f"{error.interface or '*'}:{error.port}: "
    elif isinstance(error, AlreadyListened):
        return "a socket of systemd can be listened on once; start a new process"
    elif isinstance(error, OSError) and error.filename2:
        # A UNIX port's lock file cannot be made.
        path = os.fsdecode(error.filename2)
        where, isPath = f"unix:{path.removesuffix('.lock')}: ", True
    number = getattr(reason, "errno", None)
    if str(reason) == "Cannot acquire lock":
        number = errno.EADDRINUSE
    if number is None or isinstance(reason, gaierror):
        text = getattr(reason, "strerror", None) or str(reason)
        return f"{where}{text or type(reason).__name__}"
    advice = _ADVICE.get(number)
    if isPath and number == errno.EACCES:
        advice = _NO_ACCESS_TO_PATH
    return where + os.strerror(number) + (f"; {advice}" if advice else "")


class CommandService(EchoService):
    """
    An echo service that tells the user of the command why it cannot start, and
    reloads its certificates on SIGHUP.
    """

    def __init__(self, config: EchoConfig, reactor: Any, listening: list[Listening]):
        super().__init__(
            config, reactor=reactor, endpoints=[each.endpoint for each in listening]
        )
        self._withTLS = [each for each in listening if each.certificates is not None]
        self._onSignals: list[OnSignal] = []

    def privilegedStartService(self) -> None:
        if self._withTLS and RELOAD_SIGNAL is not None and not self._onSignals:
            # First, for whoever sees that it listens may send the signal, which
            # would end the process.
            self._onSignals = [OnSignal(RELOAD_SIGNAL, self.factory.clock, self.reload)]
        try:
            super().privilegedStartService()
        except Exception as error:
            self._giveSignalsBack()
            # One turn for what did listen to close, and to leave no socket file.
            self.factory.clock.iterate()  # type: ignore[attr-defined]
            line = explain(error)
            if sys.__stderr__ is not None:
                # Not `sys.stderr`, which twistd turns into the log.
                print(f"echo: cannot listen on {line}", file=sys.__stderr__)
                sys.__stderr__.flush()
            # An ordinary exception: on SystemExit twistd would leave its pid file,
            # and a daemon's parent would hang.
            raise CannotStart(line) from None

    def startService(self) -> None:
        try:
            super().startService()
        except CannotStart:
            # Under twist, which has no pid file and would print a traceback.
            raise SystemExit(1) from None
        limits = self.factory.limits
        _log.info(
            "limits: {sessions} sessions, {perPeer} by one peer, {buffered} bytes held",
            sessions=limits.sessions or "any number of",
            perPeer=limits.sessionsPerPeer or "any number",
            buffered=limits.buffered or "any number of",
        )
        # By now twistd has become the user of --uid.
        for file in unreadable([file for each in self._withTLS for file in each.files]):
            _log.warn(
                "{file} cannot be read any more by this user, so SIGHUP will not be"
                " able to reload it",
                file=file,
            )

    def stopService(self) -> Any:
        isDraining = self.state is State.DRAINING
        stopped = super().stopService()
        if stopped.called:
            self._giveSignalsBack()
        elif not isDraining:
            # (SIGHUP is minded to the end: it would kill what is still served.)
            # Twisted would take another one for a wish to stop once more, and fail.
            self._onSignals += [
                OnSignal(each, self.factory.clock, self.hurry) for each in STOP_SIGNALS
            ]
            stopped.addCallback(self._giveSignalsBack)
        return stopped

    def _giveSignalsBack(self, result: _T = None) -> _T:  # type: ignore[assignment]
        signals, self._onSignals = self._onSignals, []
        for each in signals:
            each.end()
        return result

    def hurry(self) -> None:
        """
        Wait no longer for the sessions that are left.
        """
        _log.warn(
            "told to stop again: {sessions} sessions are cut off",
            sessions=len(self.factory.sessions),
        )
        self.factory.abortSessions()

    def reload(self) -> None:
        """
        Load keys and certificates anew, for connections that are still to come.
        """
        for each in self._withTLS:
            files = ", ".join(each.files)
            try:
                each.certificates.reload()
            except Exception as error:
                # Every kind of broken file has errors of its own.
                _log.warn(
                    "cannot reload {files}, so what was loaded before stays: {reason}",
                    files=files,
                    reason=f"{type(error).__name__}: {error}",
                )
            else:
                _log.info("reloaded {files}", files=files)
