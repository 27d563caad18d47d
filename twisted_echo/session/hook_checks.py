"""
Wrappers for overrides of a session's hooks, and of a factory's. They call the inherited
method if the override has not.
"""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from twisted_echo.session.ends.end_reason import SessionEnd
from twisted_echo.session.factory_interface import FactoryInterface
from twisted_echo.session.hooks import Hook

__all__ = ["FACTORY_WRAPPERS", "SESSION_WRAPPERS", "CheckedFactory", "CheckedSession"]


class CheckedSession(Protocol):
    """
    What the wrappers ask of a session.
    """

    factory: FactoryInterface[Any] | None

    @property
    def isRegistered(self) -> bool: ...

    @property
    def hasInputEnded(self) -> bool: ...

    @property
    def isGone(self) -> bool: ...

    @property
    def hasLeft(self) -> bool: ...

    def makeConnection(self, transport: ITransport) -> None: ...

    def connectionMade(self) -> None: ...

    def readConnectionLost(self) -> None: ...

    def connectionLost(self, reason: Failure = ...) -> None: ...

    def transportLost(self, reason: Failure) -> None: ...

    def cannotBegin(self, transport: ITransport) -> None: ...

    def hookSkipped(self, fault: str) -> None: ...

    def hookFailed(self, what: str) -> None: ...

    def reportFailure(self, what: str) -> None: ...


class CheckedFactory(Protocol):
    """
    What the wrappers ask of a factory.
    """

    sessions: dict[CheckedSession, object]

    def sessionStarted(self, session: CheckedSession) -> None: ...

    def sessionEnded(self, session: CheckedSession, end: SessionEnd) -> None: ...

    def recordFault(self, fault: str) -> None: ...


def _aroundMake(hook: Hook, fault: str, base: type[CheckedSession]) -> Hook:
    def makeConnection(self: CheckedSession, transport: ITransport) -> object:
        try:
            return hook(self, transport)
        except BaseException:
            if self.factory is not None and not hasattr(self.factory, "sessionStarted"):
                raise
            self.cannotBegin(transport)
            return None
        finally:
            if not self.isRegistered:
                self.hookSkipped(fault)
                base.makeConnection(self, transport)

    return makeConnection


def _aroundMade(hook: Hook, fault: str, base: type[CheckedSession]) -> Hook:
    def connectionMade(self: CheckedSession, *args: object, **kwargs: object) -> object:
        result: object = hook(self, *args, **kwargs)
        if not self.isRegistered:
            self.hookSkipped(fault)
            base.connectionMade(self)
        return result

    return connectionMade


def _aroundReadLost(hook: Hook, fault: str, base: type[CheckedSession]) -> Hook:
    def readConnectionLost(
        self: CheckedSession, *args: object, **kwargs: object
    ) -> object:
        result: object = hook(self, *args, **kwargs)
        if not (self.hasInputEnded or self.isGone):
            self.hookSkipped(fault)
            base.readConnectionLost(self)
        return result

    return readConnectionLost


def _aroundLost(hook: Hook, fault: str, base: type[CheckedSession]) -> Hook:
    def connectionLost(
        self: CheckedSession,
        reason: Failure = connectionDone,
        *args: object,
        **kwargs: object,
    ) -> object:
        # First, so that nothing that the override asks for meets a closed descriptor.
        self.transportLost(reason)
        try:
            result: object = hook(self, reason, *args, **kwargs)
            if not self.hasLeft:
                self.hookSkipped(fault)
            return result
        except Exception:
            # Logged here: no caller can handle it, and if a timer has called this, the
            # failure would be kept alive, and with it the session.
            self.hookFailed("end")
            return None
        finally:
            if not self.hasLeft:
                base.connectionLost(self, reason)

    return connectionLost


def _aroundPrefix(hook: Hook, fault: str, base: type[CheckedSession]) -> Hook:
    def logPrefix(self: CheckedSession) -> object:
        # A transport asks for it when nobody knows of the connection yet.
        try:
            return hook(self)
        except Exception:
            if self.factory is None:
                raise
            self.reportFailure("give its log prefix")
            return type(self).__name__

    return logPrefix


SESSION_WRAPPERS: dict[str, Callable[[Hook, str, type[CheckedSession]], Hook]] = {
    "logPrefix": _aroundPrefix,
    "makeConnection": _aroundMake,
    "connectionMade": _aroundMade,
    "readConnectionLost": _aroundReadLost,
    "connectionLost": _aroundLost,
}
"""
The wrapper of each hook's override, for L{twisted_echo.session.hooks.watch}.
"""


def _aroundStarted(hook: Hook, fault: str, base: type[CheckedFactory]) -> Hook:
    def sessionStarted(self: CheckedFactory, session: CheckedSession) -> None:
        hook(self, session)
        if session not in self.sessions:
            self.recordFault(fault)
            base.sessionStarted(self, session)

    return sessionStarted


def _aroundEnded(hook: Hook, fault: str, base: type[CheckedFactory]) -> Hook:
    def sessionEnded(
        self: CheckedFactory, session: CheckedSession, end: SessionEnd
    ) -> None:
        wasOpen = session in self.sessions
        try:
            hook(self, session, end)
            if wasOpen and session in self.sessions:
                self.recordFault(fault)
        finally:
            if wasOpen and session in self.sessions:
                base.sessionEnded(self, session, end)

    return sessionEnded


FACTORY_WRAPPERS: dict[str, Callable[[Hook, str, type[CheckedFactory]], Hook]] = {
    "sessionStarted": _aroundStarted,
    "sessionEnded": _aroundEnded,
}
"""
Likewise for what a session tells its factory.
"""
