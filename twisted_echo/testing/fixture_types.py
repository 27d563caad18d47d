"""
The types of the pytest fixtures that are called, to annotate tests with.

Each has the arguments of the class whose instance it returns. At the end of the test,
everything that was started is stopped and checked for leaks.
"""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.posixbase import PosixReactorBase

    from twisted_echo.service import SessionService
    from twisted_echo.session.session import Session
    from twisted_echo.testing.client_socket import Address
    from twisted_echo.testing.fault_proxy import FaultProxy
    from twisted_echo.testing.server import EchoServer
    from twisted_echo.testing.threads import ServiceThread

__all__ = ["StartEchoServer", "StartFaultProxy", "StartServiceThread"]


class StartEchoServer(Protocol):
    """
    The type of the fixture C{start_echo_server}, which starts an L{EchoServer}.
    """

    def __call__(
        self,
        *options: str,
        unix: bool = False,
        tls: bool = False,
        metrics: bool = False,
    ) -> "EchoServer": ...


class StartServiceThread(Protocol):
    """
    The type of the fixture C{echo_service_thread}, which starts a L{ServiceThread}.
    """

    def __call__(
        self,
        what: "type[Session] | Callable[[PosixReactorBase], SessionService]",
        /,
        **factory: Any,
    ) -> "ServiceThread": ...


class StartFaultProxy(Protocol):
    """
    The type of the fixture C{echo_fault_proxy}, which starts a L{FaultProxy}.
    """

    def __call__(
        self,
        target: "Address | EchoServer | ServiceThread | FaultProxy",
        *,
        most: int = 1000,
    ) -> "FaultProxy": ...
