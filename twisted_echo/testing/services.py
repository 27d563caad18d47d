"""
Run any L{SessionService} in a test that has a reactor, such as a test of trial or
pytest-twisted.

What must hold: when the test has ended the service has stopped, and left nothing that
makes a reactor dirty; else the test fails, and says what it was.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from twisted_echo.service import SessionService
from twisted_echo.testing.leaks import Footprint, assertNothingLeft
from twisted_echo.validation.checks import instance

__all__ = ["running", "startForTest", "stopAndCheck"]

_Service = TypeVar("_Service", bound=SessionService)


class _Test(Protocol):
    def addCleanup(self, f: Callable[[], object], /) -> object: ...


@asynccontextmanager
async def running(service: _Service) -> AsyncIterator[_Service]:
    """
    Start a service, and stop it when the block is left. Then nothing may
    be left of it (L{assertNothingLeft})::

        async def test_upper(self):
            async with running(SessionService("tcp:0", factory)) as service:
                port = service.addresses[0].port

    Close the test's own clients before that: a client that is still open is cut
    off after the factory's C{abortAfter}.

    @raise AssertionError: names what was left.
    @raise Exception: why it cannot listen.
    """
    instance("service", service, SessionService)
    before = Footprint(service.factory.clock)
    service.startService()
    await service.whenListening()
    try:
        yield service
    except BaseException:
        await service.stopService()
        raise
    await stopAndCheck(service, before)


def startForTest(test: _Test, service: _Service) -> "Deferred[_Service]":
    """
    Start a service that listens, as L{running} does, in a test that returns a Deferred.
    It is stopped and checked as a clean-up of C{test}.

    @return: fires with the service when it listens, or fails if it cannot.
    """
    instance("service", service, SessionService)
    before = Footprint(service.factory.clock)

    def stop() -> "Deferred[None]":
        return Deferred.fromCoroutine(stopAndCheck(service, before))

    service.startService()
    test.addCleanup(stop)
    return service.whenListening().addCallback(lambda _: service)


async def stopAndCheck(service: SessionService, before: Footprint) -> None:
    """
    Stop a service, and see that nothing is left of it.

    @param before: taken before it was started.
    @raise AssertionError: names what was left.
    """
    await service.stopService()
    # What ends in this turn of the reactor has ended in the next.
    await deferLater(service.factory.clock, 0)
    assertNothingLeft(service, before)
