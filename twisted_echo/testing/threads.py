"""
Run any L{SessionService} in a thread, for tests that have no reactor.

What must hold: the thread runs a reactor of its own. Twisted's global one is neither
installed nor run, so that tests which need it, as trial's do, can run in the same
process; and when the thread ends, it has left nothing behind.
"""

import os
import socket
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread, get_ident
from types import TracebackType
from typing import Any, TypeVar, overload

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from zope.interface import provider

from twisted_echo.service import SessionService
from twisted_echo.session.factory import SessionFactory
from twisted_echo.session.session import Session
from twisted_echo.testing.client_socket import Address, dial
from twisted_echo.testing.command_process import DEADLINE
from twisted_echo.testing.leaks import Footprint
from twisted_echo.testing.services import stopAndCheck
from twisted_echo.validation.checks import instance

__all__ = ["ServiceThread"]

_T = TypeVar("_T")


def _newReactor() -> PosixReactorBase:
    try:
        from twisted_echo.eager.epoll_reactor import EagerEPollReactor
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor

        return SelectReactor()
    return EagerEPollReactor()


def _stranded() -> list[object]:
    """
    The timed calls of the global reactor, if it is installed and does not run.
    """
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    return [] if reactor is None or reactor.running else reactor.getDelayedCalls()


class ServiceThread:
    """
    A service that listens, in a thread, until L{stop}::

        with ServiceThread(Upper) as server:
            client = server.connect()

    @ivar service: the service. Use it in its thread only, by L{call}.
    @ivar address: the first of the addresses where it listens: a host and a port, or a
        path.
    """

    service: SessionService
    address: Address

    def __init__(
        self,
        what: type[Session] | Callable[[PosixReactorBase], SessionService],
        /,
        **factory: Any,
    ) -> None:
        """
        @param what: a protocol, which is served on a free port of loopback; or what
            makes a service for a reactor, whose factory is to have that for its
            C{clock}.
        @param factory: for a protocol: more arguments of L{SessionFactory}.
        @raise Exception: why it cannot be made, or cannot listen.
        """
        self._stopped = False
        self._errors: list[str] = []
        started: SimpleQueue[BaseException | None] = SimpleQueue()
        make: Callable[[PosixReactorBase], SessionService]
        if isinstance(what, type) and issubclass(what, Session):
            make = _onAPort(what, factory)
        elif factory:
            raise TypeError(
                f"{', '.join(factory)} can be given for a protocol only, got {what!r}"
            )
        elif isinstance(what, type) or not callable(what):
            raise TypeError(
                "what is served must be a Session, or a function that makes a service"
                f" for a reactor, got {what!r}"
            )
        else:
            make = what
        self._strandedBefore = _stranded()
        self._reactor = _newReactor()
        self._thread = Thread(
            target=self._run, args=(make, started), name="service", daemon=True
        )
        self._thread.start()
        problem = started.get(timeout=DEADLINE)
        if problem is not None:
            self._thread.join(DEADLINE)
            raise problem

    def __enter__(self) -> "ServiceThread":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stranded = [each for each in _stranded() if each not in self._strandedBefore]
        if error is not None and stranded:
            error.add_note(
                "twisted.internet.reactor does not run here, so these calls never come:"
                f" {', '.join(map(str, stranded))}. Use the factory's clock, as in"
                " deferLater(self.factory.clock, seconds)"
            )
        self.stop()

    def connect(self) -> socket.socket:
        """
        Connect a client. The caller closes the connection.
        """
        return dial(self.address)

    @overload
    def call(self, function: Callable[[], "Deferred[_T]"]) -> _T: ...

    @overload
    def call(self, function: Callable[[], _T]) -> _T: ...

    def call(self, function: Callable[[], object]) -> object:
        """
        Call a function in the thread, and wait for what it returns or its Deferred
        fires with.

        @raise Exception: what it raises, or its Deferred fails with.
        """
        results: SimpleQueue[object] = SimpleQueue()

        def run() -> None:
            try:
                result = function()
            except BaseException:
                results.put(Failure())
            else:
                if isinstance(result, Deferred):
                    result.addBoth(results.put)
                else:
                    results.put(result)

        self._reactor.callFromThread(run)
        result = results.get(timeout=DEADLINE)
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def flushLoggedErrors(self) -> list[str]:
        """
        Take the errors that were logged in the thread, as text: the errors that a
        test expects.
        """
        errors, self._errors[:] = self._errors[:], []
        return errors

    def stop(self) -> None:
        """
        Stop the service, check that nothing is left of it, and end the thread. A second
        call does nothing.

        @raise AssertionError: names what was left, or has the errors that were logged.
        """
        if self._stopped:
            return
        self._stopped = True
        try:
            self.call(
                lambda: Deferred.fromCoroutine(stopAndCheck(self.service, self._before))
            )
        finally:
            self._reactor.callFromThread(self._reactor.stop)
            self._thread.join(DEADLINE)
            if self._thread.is_alive():
                raise AssertionError("the thread of the service does not end")
        errors = self.flushLoggedErrors()
        if errors:
            raise AssertionError("logged in the service:\n" + "\n".join(errors))

    # In the thread

    def _run(
        self,
        make: Callable[[PosixReactorBase], SessionService],
        started: "SimpleQueue[BaseException | None]",
    ) -> None:
        """
        Run the reactor until L{stop}.

        @param started: gets None when the service listens, or why it cannot.
        """
        reactor = self._reactor
        thread = get_ident()

        def failed(failure: Failure) -> None:
            started.put(failure.value)
            reactor.stop()

        def begin() -> None:
            listening = Deferred.fromCoroutine(self._listen(make))
            listening.addCallbacks(started.put, failed)

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            level = event.get("log_level")
            if level is not None and level >= LogLevel.error and get_ident() == thread:
                self._errors.append(_described(event))

        reactor.callWhenRunning(begin)
        globalLogPublisher.addObserver(observe)
        try:
            reactor.run(installSignalHandlers=False)
        finally:
            globalLogPublisher.removeObserver(observe)
            _dispose(reactor)

    async def _listen(self, make: Callable[[PosixReactorBase], SessionService]) -> None:
        """
        Make the service, start it, and keep where it listens.
        """
        reactor = self._reactor
        self._before = Footprint(reactor, exclusive=True)
        made = make(reactor)
        self.service = service = instance("what is served", made, SessionService)
        if service.factory.clock is not reactor:
            raise ValueError(
                "the service's factory must be made with clock=reactor, got"
                f" {service.factory.clock!r}"
            )
        service.startService()
        await service.whenListening()
        if not service.addresses:
            raise ValueError("the service has no endpoint to listen on")
        address = service.addresses[0]
        if isinstance(address, UNIXAddress):
            self.address = os.fsdecode(address.name or b"")
        elif isinstance(address, (IPv4Address, IPv6Address)):
            self.address = address.host.replace("0.0.0.0", "127.0.0.1"), address.port


def _described(event: LogEvent) -> str:
    """
    A logged error as text, with its traceback if there is one.
    """
    text = formatEvent(event)
    failure = event.get("log_failure")
    return text if failure is None else f"{text}\n{failure.getTraceback()}"


def _onAPort(
    protocol: type[Session], factory: dict[str, Any]
) -> Callable[[PosixReactorBase], SessionService]:
    # A client that the test has left open is not waited for as long.
    factory = {"abortAfter": 1.0, **factory}

    def make(reactor: PosixReactorBase) -> SessionService:
        made = SessionFactory.forProtocol(protocol, clock=reactor, **factory)
        return SessionService("tcp:0:interface=127.0.0.1", made)

    return make


def _dispose(reactor: PosixReactorBase) -> None:
    """
    Close what a reactor keeps open. (Twisted's global one is never closed.)
    """
    for reader in list(reactor._internalReaders):
        reactor.removeReader(reader)
        reactor._internalReaders.discard(reader)
        reader.connectionLost(None)
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        return
    if isinstance(reactor, EPollReactor):
        reactor._poller.close()
