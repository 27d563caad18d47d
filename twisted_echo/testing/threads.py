"""
Any L{SessionService} in a thread, for tests that know no reactor.

What must hold: the thread runs a reactor of its own. Twisted's global one is neither
installed nor run, so that tests which need it, as trial's do, can run in the same
process; and when the thread ends, it has left nothing behind.
"""

import socket
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread, get_ident
from typing import Any, TypeVar, overload

from twisted.internet.defer import Deferred
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


def _newReactor() -> Any:
    try:
        from twisted_echo.eager.reactor import EagerEPollReactor
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor

        return SelectReactor()
    return EagerEPollReactor()


class ServiceThread:
    """
    A service that listens, in a thread, until L{stop}::

        with ServiceThread(Upper) as server:
            client = server.connect()

    @ivar service: the service. It is not to be touched but by L{call}.
    @ivar address: where it listens: the first of its addresses, as a host and a port,
        or as a path.
    """

    service: SessionService
    address: Address

    def __init__(
        self,
        what: type[Session] | Callable[[Any], SessionService],
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
        told: SimpleQueue[BaseException | None] = SimpleQueue()
        make: Callable[[Any], SessionService]
        if isinstance(what, type) and issubclass(what, Session):
            make = _onAPort(what, factory)
        elif factory:
            raise TypeError(
                f"{', '.join(factory)} can be given for a protocol only, got {what!r}"
            )
        elif isinstance(what, type) or not callable(what):
            raise TypeError(
                "a Session, or a function that makes a service for a reactor, is what"
                f" can be served, got {what!r}"
            )
        else:
            make = what
        self._reactor = _newReactor()
        self._thread = Thread(
            target=self._run, args=(make, told), name="service", daemon=True
        )
        self._thread.start()
        problem = told.get(timeout=DEADLINE)
        if problem is not None:
            self._thread.join(DEADLINE)
            raise problem

    def __enter__(self) -> "ServiceThread":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def connect(self) -> socket.socket:
        """
        A client's connection, the caller's to close.
        """
        return dial(self.address)

    @overload
    def call(self, function: Callable[[], "Deferred[_T]"]) -> _T: ...

    @overload
    def call(self, function: Callable[[], _T]) -> _T: ...

    def call(self, function: Callable[[], Any]) -> Any:
        """
        Call a function in the thread, and wait for what it returns or its Deferred
        fires with.

        @raise Exception: what it raises, or its Deferred fails with.
        """
        told: SimpleQueue[Any] = SimpleQueue()

        def run() -> None:
            try:
                result = function()
            except BaseException:
                told.put(Failure())
            else:
                if isinstance(result, Deferred):
                    result.addBoth(told.put)
                else:
                    told.put(result)

        self._reactor.callFromThread(run)
        result = told.get(timeout=DEADLINE)
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def flushLoggedErrors(self) -> list[str]:
        """
        Take the errors that were logged in the thread, as text: those that a test
        expects.
        """
        errors, self._errors[:] = self._errors[:], []
        return errors

    def stop(self) -> None:
        """
        Stop the service, see that nothing is left of it, and end the thread. A second
        call does nothing.

        @raise AssertionError: names what was left, or tells what errors were logged.
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
        make: Callable[[Any], SessionService],
        told: "SimpleQueue[BaseException | None]",
    ) -> None:
        reactor = self._reactor

        async def start() -> None:
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
            address: Any = service.addresses[0]
            name = getattr(address, "name", None)
            if name is None:
                self.address = (
                    address.host.replace("0.0.0.0", "127.0.0.1"),
                    address.port,
                )
            else:
                self.address = name.decode()

        def failed(failure: Failure) -> None:
            told.put(failure.value)
            reactor.stop()

        def begin() -> None:
            started = Deferred.fromCoroutine(start())
            started.addCallbacks(told.put, failed)

        thread = get_ident()

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            level = event.get("log_level")
            if level is not None and level >= LogLevel.error and get_ident() == thread:
                failure = event.get("log_failure")
                told = formatEvent(event)
                self._errors.append(
                    told if failure is None else f"{told}\n{failure.getTraceback()}"
                )

        reactor.callWhenRunning(begin)
        globalLogPublisher.addObserver(observe)
        try:
            reactor.run(installSignalHandlers=False)
        finally:
            globalLogPublisher.removeObserver(observe)
            _dispose(reactor)


def _onAPort(
    protocol: type[Session], factory: dict[str, Any]
) -> Callable[[Any], SessionService]:
    # A client that the test has left open is not waited for as long.
    factory = {"abortAfter": 1.0, **factory}

    def make(reactor: Any) -> SessionService:
        made = SessionFactory.forProtocol(protocol, clock=reactor, **factory)
        return SessionService("tcp:0:interface=127.0.0.1", made)

    return make


def _dispose(reactor: Any) -> None:
    """
    Close what a reactor keeps open, since as a rule there is one, for ever.
    """
    for reader in list(reactor._internalReaders):
        reactor.removeReader(reader)
        reactor._internalReaders.discard(reader)
        reader.connectionLost(None)
    poller = getattr(reactor, "_poller", None)
    if poller is not None:
        poller.close()
