"""
What the tests of the admin port share: an admin server on a real port, and its clients.
"""

import contextlib
import http.client
import json
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint

from tests.support.clients import (
    ServedTestCase,
    in_thread,
)
from tests.support.clients import connect as connect_to
from twisted_echo import EchoConfig, EchoFactory, SessionService
from twisted_echo.admin.pages import AdminServer
from twisted_echo.admin.status_view import ServiceView

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Answer:
    """
    What a client gets.
    """

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.code = answer.status
        self.headers = answer.headers
        self.body = answer.read()

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def read_all(client: socket.socket) -> bytes:
    """
    Read until the connection ends, however it does.
    """
    data = b""
    try:
        while chunk := client.recv(1 << 16):
            data += chunk
    except ConnectionError:
        pass
    return data


class SlowView(ServiceView):
    """
    A view that answers when it is told to.
    """

    def __init__(self, service: SessionService) -> None:
        super().__init__(service)
        self.asked: list[Deferred[Any]] = []

    def observe(self) -> Any:
        self.asked.append(Deferred())
        return self.asked[-1]

    def answer(self) -> None:
        super().observe().chainDeferred(self.asked.pop(0))


class AdminTestCase(ServedTestCase):
    async def opened(self, view: Any = ServiceView, **config: Any) -> None:
        config.setdefault("measure", True)
        self.service = self.serve(EchoFactory(EchoConfig(**config)))
        self.view = view(self.service)
        self.admin = AdminServer(
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), reactor
        )
        self.addCleanup(self.admin.close)
        await self.admin.open(self.view)
        self.address: Any = self.admin.address

    def _ask(self, method: str, path: str, body: Any, headers: Any) -> Answer:
        connection = http.client.HTTPConnection(
            self.address.host, self.address.port, timeout=20
        )
        try:
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def ask(
        self, path: str, method: str = "GET", body: Any = None, **headers: str
    ) -> Any:
        return in_thread(self._ask, method, path, body, headers)

    def raw(self, data: bytes = b"", receive_buffer: int = 0) -> socket.socket:
        client = connect_to(self.address, receive_buffer)
        self.addCleanup(client.close)
        if data:
            client.sendall(data)
        return client

    @property
    def connections(self) -> int:
        assert self.admin._site is not None
        return len(self.admin._site.protocols)


def send(client: socket.socket, data: bytes) -> None:
    """
    Send what the server takes.
    """
    with contextlib.suppress(ConnectionError):
        client.sendall(data)


def succeeded(value: Any) -> Any:
    deferred: Deferred[Any] = Deferred()
    deferred.callback(value)
    return deferred
