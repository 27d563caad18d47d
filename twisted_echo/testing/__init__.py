"""
Helpers for tests: a real echo server, any service without a dirty reactor, a network
that fails, and a check for leaks.

  - L{EchoServer}: C{twistd echo} in a process of its own.
  - L{FaultProxy}: what networks do to connections.
  - L{running}, L{startForTest}: a service in a trial test; L{ServiceThread}: in a test
    that knows no reactor.
  - L{assertNothingLeft}: that a service has left nothing behind.
  - L{StartServiceThread}, L{StartEchoServer}, L{StartFaultProxy}: the types of those
    fixtures of pytest that start something.
  - L{elapse}: time that passes on a C{Clock}, so that deadlines do.

Only tests may import this package, and L{twisted_echo.bench}. Importing it imports
neither Twisted nor pytest; the first use of a name imports what that name needs. Begin
with L{twisted_echo.testing.server} or L{twisted_echo.testing.services}.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_echo.testing.clocks import elapse
    from twisted_echo.testing.fault_proxy import FaultProxy, Flow
    from twisted_echo.testing.fixture_types import (
        StartEchoServer,
        StartFaultProxy,
        StartServiceThread,
    )
    from twisted_echo.testing.leaks import Footprint, assertNothingLeft, leftBehind
    from twisted_echo.testing.server import EchoServer
    from twisted_echo.testing.services import running, startForTest
    from twisted_echo.testing.threads import ServiceThread

__all__ = [
    "EchoServer",
    "FaultProxy",
    "Flow",
    "Footprint",
    "ServiceThread",
    "StartEchoServer",
    "StartFaultProxy",
    "StartServiceThread",
    "assertNothingLeft",
    "elapse",
    "leftBehind",
    "running",
    "startForTest",
]

_HOMES = {
    "EchoServer": "server",
    "FaultProxy": "fault_proxy",
    "Flow": "fault_proxy",
    "Footprint": "leaks",
    "ServiceThread": "threads",
    "StartEchoServer": "fixture_types",
    "StartFaultProxy": "fixture_types",
    "StartServiceThread": "fixture_types",
    "assertNothingLeft": "leaks",
    "elapse": "clocks",
    "leftBehind": "leaks",
    "running": "services",
    "startForTest": "services",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
