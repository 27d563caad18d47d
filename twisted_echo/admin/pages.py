"""
The pages that show a service over HTTP: its status, metrics, health, readiness, and
sessions.

  - C{/}: for people (L{twisted_echo.admin.status_page}); C{/status}: its figures;
  - C{/metrics}: for Prometheus, as text or OpenMetrics, by C{Accept};
  - C{/healthz}: 200 while the reactor turns;
  - C{/readyz}: 200 while new connections are welcome, else 503 and the state;
  - C{/sessions}: JSON, a page at a time: C{?after=CURSOR&limit=NUMBER}.

What must hold: the pages change nothing, and an answer is bounded. (So are connections
and times: L{twisted_echo.admin.http_server}.)

Needs prometheus-client (extra C{metrics}).
"""

import json
import re
from collections.abc import Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.web.resource import Resource
from twisted.web.server import Request

from twisted_echo.admin.base_page import DeferredPage, Page, answerText
from twisted_echo.admin.http_server import BoundedSite
from twisted_echo.admin.prometheus import SnapshotCollector
from twisted_echo.admin.status_page.page import StatusJSON, StatusPage
from twisted_echo.admin.status_view import SessionsPage, StatusSource
from twisted_echo.metrics import Observation
from twisted_echo.net.listening import closePort
from twisted_echo.session.statistics import MOST_ROWS

__all__ = ["AdminServer", "adminSite"]

_ROWS = 100


def adminSite(source: StatusSource, reactor: IReactorTime) -> BoundedSite:
    """
    Make a factory that serves the pages of a service. Listen with it only where
    everybody who can connect may see them.
    """
    root = _Root()
    root.putChild(b"", StatusPage(source, reactor))
    root.putChild(b"status", StatusJSON(source, reactor))
    root.putChild(b"metrics", _Metrics(source))
    root.putChild(b"healthz", _Health())
    root.putChild(b"readyz", _Readiness(source))
    root.putChild(b"sessions", _Sessions(source))
    return BoundedSite(root, reactor)


class _Root(Resource):
    def getChild(self, path: bytes, request: Request) -> Resource:
        return _Nothing()


class _Nothing(Page):
    def render(self, request: Request) -> bytes:
        return answerText(request, 404, "there is no such page")


class _Health(Page):
    def render_GET(self, request: Request) -> bytes:
        return answerText(request, 200, "ok")


class _Readiness(Page):
    def __init__(self, source: StatusSource) -> None:
        super().__init__()
        self._source = source

    def render_GET(self, request: Request) -> bytes:
        isReady, why = self._source.readiness()
        return answerText(request, 200 if isReady else 503, "ready" if isReady else why)


class _Metrics(DeferredPage):
    def render_GET(self, request: Request) -> int:
        accepted = (request.getHeader(b"accept") or b"").decode("latin-1")
        try:
            encode, kind = choose_encoder(accepted)
        except (TypeError, ValueError):
            # A version that is not a number.
            encode, kind = choose_encoder("")

        def show(observation: Observation) -> bytes:
            # Not the global one: that belongs to the program that embeds the service.
            registry = CollectorRegistry()
            registry.register(SnapshotCollector(observation))
            request.setHeader(b"content-type", kind.encode("ascii"))
            return encode(registry)

        return self.answer(request, maybeDeferred(self._source.observe), show)


class _Sessions(DeferredPage):
    def render_GET(self, request: Request) -> bytes | int:
        try:
            after, limit = _readQuery(request.args)
            page = self._source.sessionsPage(after, limit)
        except ValueError as error:
            return answerText(request, 400, str(error))

        def show(value: SessionsPage) -> bytes:
            request.setHeader(b"content-type", b"application/json")
            return json.dumps(value).encode() + b"\n"

        return self.answer(request, page, show)


def _readQuery(arguments: Mapping[bytes, list[bytes]]) -> tuple[str, int]:
    """
    Read C{after} and C{limit} from the query.

    @raise ValueError: what was given, and what is allowed.
    """
    for name in arguments:
        if name not in (b"after", b"limit"):
            raise ValueError(f"there is no {name!r}, only 'after' and 'limit'")
    after = arguments.get(b"after", [b""])[-1].decode("ascii", "replace")
    count = arguments.get(b"limit", [b"%d" % _ROWS])[-1]
    if not re.fullmatch(b"[0-9]{1,9}", count) or not 1 <= int(count) <= MOST_ROWS:
        raise ValueError(
            f"limit must be a whole number from 1 to {MOST_ROWS},"
            f" got {count.decode('ascii', 'replace')!r}"
        )
    return after, int(count)


class AdminServer:
    """
    Serves the pages on an endpoint.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, reactor: IReactorTime) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        self._site: BoundedSite | None = None
        self._port: IListeningPort | None = None

    @property
    def address(self) -> IAddress | None:
        """
        Where it listens; None while it does not.
        """
        return None if self._port is None else self._port.getHost()

    def open(self, source: StatusSource) -> "Deferred[None]":
        """
        Listen.
        """
        site = self._site = adminSite(source, self._reactor)

        def listening(port: IListeningPort) -> "Deferred[None]":
            if self._site is not site:
                # It was closed before.
                return closePort(port)
            self._port = port
            site.guard(port)
            return succeed(None)

        return self._endpoint.listen(site).addCallback(listening)

    def close(self) -> "Deferred[None]":
        """
        Close the port, and end the connections after the answers that have begun.

        @return: fires when all of them have ended: within a second.
        """
        site, self._site = self._site, None
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        return closePort(port).addCallback(
            lambda _: None if site is None else site.close()
        )
