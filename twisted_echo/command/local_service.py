"""
The echo service of one process, as the commands run it.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamServerEndpoint
from twisted.logger import Logger

from twisted_echo.admin.status_view import ServiceView, SessionsPage
from twisted_echo.command.certificate_reload import reload
from twisted_echo.command.file_access import unreadable
from twisted_echo.echo import EchoConfig, EchoService
from twisted_echo.endpoints.strings import ParsedEndpoint
from twisted_echo.metrics import Observation
from twisted_echo.session.bounds.limits import Limits

__all__ = ["LocalService"]

_log = Logger()


class LocalService(EchoService):
    """
    An echo service that loads its certificates again.
    """

    def __init__(
        self,
        config: EchoConfig,
        reactor: IReactorTime,
        listening: Sequence[ParsedEndpoint],
        endpoints: Sequence[IStreamServerEndpoint] | None = None,
    ) -> None:
        """
        @param endpoints: if there are others than those of C{listening}.
        """
        if endpoints is None:
            endpoints = [each.endpoint for each in listening]
        super().__init__(config, reactor=reactor, endpoints=endpoints)
        self._withTLS = [each for each in listening if each.certificates is not None]
        self._view = ServiceView(self)

    def startService(self) -> None:
        super().startService()
        # By now twistd has become the user of --uid.
        for file in unreadable([file for each in self._withTLS for file in each.files]):
            _log.warn(
                "this user cannot read {file}, so SIGHUP will not be able to reload it",
                event="certificate-unreadable",
                file=file,
            )

    def announce(self) -> None:
        """
        Log nothing: the command logs more.
        """

    @property
    def workerCount(self) -> int:
        """
        One, which is this process.
        """
        return 1

    @property
    def limits(self) -> Limits:
        """
        The limits of the service.
        """
        return self.factory.limits

    @property
    def stopsWithin(self) -> float:
        """
        Seconds that a stop takes at the most; what is left of them, once it has begun.
        """
        by, now = self.stopsBy, self.factory.clock.seconds()
        return self.longestStop if by is None else max(0.0, by - now)

    def observe(self) -> "Deferred[Observation]":
        """
        Observe the numbers of the service.
        """
        return self._view.observe()

    def sessionsPage(self, after: str, limit: int) -> "Deferred[SessionsPage]":
        """
        List some of the open sessions.
        """
        return self._view.sessionsPage(after, limit)

    def waitingSessions(self, limit: int) -> "Deferred[list[dict[str, Any]]]":
        """
        List the sessions that wait.
        """
        return self._view.waitingSessions(limit)

    @property
    def isAccepting(self) -> bool:
        """
        Whether new connections are accepted, while it listens.
        """
        return True

    @property
    def canReload(self) -> bool:
        """
        Whether there are certificates.
        """
        return bool(self._withTLS)

    def reload(self) -> None:
        """
        Load keys and certificates again, for connections that are still to come.
        """
        reload(self._withTLS)
