"""
Wrappers for overrides of a session's hooks. They call the session's own method if the
override has not.
"""

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from twisted_echo.session.hooks import Hook
from twisted_echo.session.state import ENDED

__all__ = ["AROUND", "AROUND_FACTORY"]


def _aroundMake(hook: Hook, fault: str, base: Any) -> Hook:
    def makeConnection(self: Any, transport: Any) -> Any:
        try:
            return hook(self, transport)
        except BaseException:
            if self.factory is not None and not hasattr(self.factory, "sessionStarted"):
                raise
            self._cannotBegin(transport)
        finally:
            if self._isUnknown:
                self._skipped(fault)
                base.makeConnection(self, transport)

    return makeConnection


def _aroundMade(hook: Hook, fault: str, base: Any) -> Hook:
    def connectionMade(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = hook(self, *args, **kwargs)
        if self._isUnknown:
            self._skipped(fault)
            base.connectionMade(self)
        return result

    return connectionMade


def _aroundReadLost(hook: Hook, fault: str, base: Any) -> Hook:
    def readConnectionLost(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = hook(self, *args, **kwargs)
        if not (self._inputEnded or self.isGone):
            self._skipped(fault)
            base.readConnectionLost(self)
        return result

    return readConnectionLost


def _aroundLost(hook: Hook, fault: str, base: Any) -> Hook:
    def connectionLost(
        self: Any, reason: Failure = connectionDone, *args: Any, **kwargs: Any
    ) -> Any:
        # First, so that nothing that the override asks for meets a closed descriptor.
        self._lose(reason)
        try:
            result = hook(self, reason, *args, **kwargs)
            if self._life is not ENDED:
                self._skipped(fault)
            return result
        except Exception:
            # Logged here: no caller can handle it, and if a timer has called this, the
            # failure would be kept alive, and with it the session.
            self._failed("end")
        finally:
            if self._life is not ENDED:
                base.connectionLost(self, reason)

    return connectionLost


def _aroundPrefix(hook: Hook, fault: str, base: Any) -> Hook:
    def logPrefix(self: Any) -> Any:
        # A transport asks for it when nobody knows of the connection yet.
        try:
            return hook(self)
        except Exception:
            if self.factory is None:
                raise
            self.factory.sessionFailed(self, "tell its prefix in the log")
            return type(self).__name__

    return logPrefix


AROUND = {
    "logPrefix": _aroundPrefix,
    "makeConnection": _aroundMake,
    "connectionMade": _aroundMade,
    "readConnectionLost": _aroundReadLost,
    "connectionLost": _aroundLost,
}
"""
The wrapper of each hook's override, for L{twisted_echo.session.hooks.watch}.
"""


def _aroundStarted(hook: Hook, fault: str, base: Any) -> Hook:
    def sessionStarted(self: Any, session: Any) -> None:
        hook(self, session)
        if session not in self.sessions:
            self.recordFault(fault)
            base.sessionStarted(self, session)

    return sessionStarted


def _aroundEnded(hook: Hook, fault: str, base: Any) -> Hook:
    def sessionEnded(self: Any, session: Any, end: Any) -> None:
        wasOpen = session in self.sessions
        try:
            hook(self, session, end)
            if wasOpen and session in self.sessions:
                self.recordFault(fault)
        finally:
            if wasOpen and session in self.sessions:
                base.sessionEnded(self, session, end)

    return sessionEnded


AROUND_FACTORY = {"sessionStarted": _aroundStarted, "sessionEnded": _aroundEnded}
"""
Likewise for what a session tells its factory.
"""
