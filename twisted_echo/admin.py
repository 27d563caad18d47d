"""
What an operator looks at over HTTP: metrics, health, readiness, sessions.

  - C{/metrics}: for Prometheus, as text or OpenMetrics, by C{Accept};
  - C{/healthz}: 200 while the reactor turns;
  - C{/readyz}: 200 while new connections are welcome, else 503 and why not;
  - C{/sessions}: JSON, a page at a time: C{?after=CURSOR&limit=NUMBER}.

What must hold: nothing can be changed from here; whoever comes here gets no more
than a bounded number of connections, and a bounded answer.

Needs prometheus-client (extra C{metrics}).
"""

# mypy: disable-error-code="no-untyped-call,misc"
# (Twisted's web server is not annotated.)

import json
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from twisted_echo.metrics import Observation
from twisted_echo.monitor import MOST_ROWS
from twisted_echo.prometheus import SnapshotCollector
from twisted_echo.view import Observed

__all__ = ["Admin", "adminSite"]

_MOST_CONNECTIONS = 64
"""
More than any monitoring needs, and far fewer than the descriptors that are kept for
what is no session.
"""
_TIMEOUT = 30.0
_ROWS = 100
_NO_STORE = b"no-store"

_log = Logger()


def adminSite(observed: Observed, reactor: Any) -> IProtocolFactory:
    """
    A factory to listen with, for whoever should see it.
    """
    root = Resource()
    root.putChild(b"metrics", _Metrics(observed))
    root.putChild(b"healthz", _Health())
    root.putChild(b"readyz", _Readiness(observed))
    root.putChild(b"sessions", _Sessions(observed))
    site = _Site(root, requestFactory=_Request, timeout=_TIMEOUT, reactor=reactor)
    return _Bounded(site)


class _Site(Site):
    noisy = False

    def log(self, request: Any) -> None:
        """
        Nothing: it is the same every few seconds.
        """


class _Bounded(WrappingFactory[Any]):
    """
    Takes no more than some connections.
    """

    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        if len(self.protocols) >= _MOST_CONNECTIONS:
            return None
        return super().buildProtocol(addr)


class _Request(Request):
    """
    Has no use for a body, however long it is.
    """

    def handleContentChunk(self, data: bytes) -> None:
        """
        Forget it.
        """


class _Page(Resource):
    """
    What answers C{GET} and C{HEAD} alone.
    """

    isLeaf = True

    def render(self, request: Any) -> Any:
        request.setHeader(b"cache-control", _NO_STORE)
        if request.postpath:
            return _text(request, 404, "there is nothing below this")
        return super().render(request)


def _text(request: Any, code: int, text: str) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return f"{text}\n".encode()


class _Health(_Page):
    def render_GET(self, request: Any) -> bytes:
        return _text(request, 200, "ok")


class _Readiness(_Page):
    def __init__(self, observed: Observed) -> None:
        super().__init__()
        self._observed = observed

    def render_GET(self, request: Any) -> bytes:
        isReady, why = self._observed.readiness()
        return _text(request, 200 if isReady else 503, "ready" if isReady else why)


class _Later(_Page):
    """
    A page that may take its time.
    """

    def __init__(self, observed: Observed) -> None:
        super().__init__()
        self._observed = observed

    def answer(
        self, request: Any, found: "Deferred[Any]", show: Callable[[Any], bytes]
    ) -> int:
        gone: list[object] = []
        request.notifyFinish().addBoth(gone.append)

        def failed(failure: Failure) -> bytes:
            _log.failure(
                "{path} cannot be shown",
                failure,
                event="admin-failed",
                path=request.path.decode("ascii", "replace"),
            )
            return _text(request, 500, "it cannot be shown; the log says why")

        def finish(body: bytes) -> None:
            if not gone:
                request.setHeader(b"content-length", b"%d" % len(body))
                request.write(body)
                request.finish()

        found.addCallback(show).addErrback(failed).addCallback(finish)
        return int(NOT_DONE_YET)


class _Metrics(_Later):
    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        # Of its own, for the global one is the embedder's.
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def render_GET(self, request: Any) -> int:
        accepted = (request.getHeader(b"accept") or b"").decode("latin-1")
        encode, kind = choose_encoder(accepted)

        def show(observation: Observation) -> bytes:
            registry = CollectorRegistry()
            registry.register(SnapshotCollector(observation))
            registry.register(self._process)
            request.setHeader(b"content-type", kind.encode("ascii"))
            return encode(registry)

        return self.answer(request, self._observed.observe(), show)


class _Sessions(_Later):
    def render_GET(self, request: Any) -> Any:
        try:
            after, limit = _asked(request.args)
            page = self._observed.sessionsPage(after, limit)
        except ValueError as error:
            return _text(request, 400, str(error))

        def show(value: Mapping[str, Any]) -> bytes:
            request.setHeader(b"content-type", b"application/json")
            return json.dumps(value).encode() + b"\n"

        return self.answer(request, page, show)


def _asked(arguments: Mapping[bytes, list[bytes]]) -> tuple[str, int]:
    """
    Read C{after} and C{limit}.

    @raise ValueError: if they are not of their form.
    """
    for name in arguments:
        if name not in (b"after", b"limit"):
            raise ValueError(f"there is no {name!r}, only 'after' and 'limit'")
    after = arguments.get(b"after", [b""])[-1].decode("ascii", "replace")
    asked = arguments.get(b"limit", [b"%d" % _ROWS])[-1]
    if not asked.isdigit() or not 1 <= int(asked) <= MOST_ROWS:
        raise ValueError(
            f"limit must be a whole number from 1 to {MOST_ROWS},"
            f" got {asked.decode('ascii', 'replace')!r}"
        )
    return after, int(asked)


class Admin:
    """
    The pages on an endpoint.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, reactor: Any) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        self._site: Any = None
        self._port: IListeningPort | None = None

    @property
    def address(self) -> IAddress | None:
        """
        Where it listens; None while it does not.
        """
        return None if self._port is None else self._port.getHost()

    def open(self, observed: Observed) -> "Deferred[None]":
        """
        Listen.
        """

        def listening(port: IListeningPort) -> None:
            self._port = port

        self._site = adminSite(observed, self._reactor)
        return self._endpoint.listen(self._site).addCallback(listening)

    def close(self) -> "Deferred[Any]":
        """
        Listen no more, and end the connections after what they have been answered.
        """
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        for connection in list(self._site.protocols):
            connection.loseConnection()
        return maybeDeferred(port.stopListening)
