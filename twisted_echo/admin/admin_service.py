"""
The admin port of a service that is embedded in an application of Twisted's. Needs
prometheus-client (extra C{metrics}).

What must hold: while the service drains, its pages are still there, and say so.
"""

from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.admin.status_view import ServiceView
from twisted_echo.lifecycle import State
from twisted_echo.net.addresses import readable
from twisted_echo.service import SessionService
from twisted_echo.validation.extras import MissingPackage, install_extra

try:
    from twisted_echo.admin.pages import AdminServer
except ModuleNotFoundError as error:
    raise MissingPackage(str(error.name), install_extra("metrics")) from None

__all__ = ["AdminService"]

_log = Logger()


class AdminService(Service):
    """
    The pages of a L{SessionService}, such as C{/metrics}, on a port of their own::

        AdminService("tcp:9100:interface=127.0.0.1", service).setServiceParent(parent)

    They can be seen by everybody who can connect. The lateness of the reactor is
    measured for them: L{SessionService.measure}.
    """

    if TYPE_CHECKING:
        # Twisted does not annotate it.
        def setServiceParent(self, parent: object) -> None: ...

    def __init__(
        self, endpoint: IStreamServerEndpoint | str, service: SessionService
    ) -> None:
        """
        @param endpoint: where to listen: an endpoint of Twisted's, or its string.
        @raise ValueError: if a string is not an endpoint string.
        """
        super().__init__()
        clock = service.factory.clock
        self._service = service
        self._server = AdminServer(
            serverFromString(clock, endpoint)
            if isinstance(endpoint, str)
            else endpoint,
            clock,
        )
        self._isOpen = False
        service.measure()

    @property
    def address(self) -> IAddress | None:
        """
        Where it listens; None while it does not.
        """
        return self._server.address

    def privilegedStartService(self) -> None:
        """
        Listen.

        @raise Exception: what the endpoint fails with, a C{CannotListenError} as a
            rule. What it fails with later is logged.
        """
        failures: list[Failure] = []

        def logFailures(_: None) -> None:
            for failure in failures:
                _log.failure(
                    "cannot open the admin port",
                    failure=failure,
                    event="admin-listen-failed",
                )

        opening = self._server.open(ServiceView(self._service))
        opening.addCallbacks(self._opened, failures.append)
        if failures:
            failures[0].raiseException()
        self._isOpen = True
        opening.addCallback(logFailures)

    def _opened(self, _: None) -> None:
        if self.address is not None:
            _log.info(
                "admin pages on {address}",
                event="admin-listening",
                address=readable(self.address),
            )

    def startService(self) -> None:
        """
        Listen, unless C{privilegedStartService} does.
        """
        if not self._isOpen:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> "Deferred[None]":
        """
        Close the port: at once, or when a stop of the service has ended that has begun,
        or begins in the same turn of the reactor.

        @return: fires when the port and its connections are closed.
        """
        super().stopService()
        self._isOpen = False
        # A parent stops the service that it was given first after this one.
        stopping = deferLater(self._service.factory.clock, 0, self._drained)
        return stopping.addCallback(lambda _: self._server.close())

    def _drained(self) -> object:
        isDraining = self._service.state is State.DRAINING
        return self._service.stopService() if isDraining else None
