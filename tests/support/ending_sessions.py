"""
Services of every kind, and protocols whose hooks fail, for tests.
"""

import contextlib
import socket
from typing import Any

from twisted.internet import reactor

from tests.support.clients import (
    connect,
    tls,
)
from tests.support.tlsclient import TLSTestCase
from twisted_echo import (
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.endpoints.strings import parseEndpoint

KINDS = ("tcp", "unix", "ssl", "haproxy:tcp", "haproxy:ssl")


PROXY = b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 7\r\n"


class Lines(Session, FastLineReceiver):
    """
    Answers lines.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


class EndsTestCase(TLSTestCase):
    """
    Services of every kind, and clients that come and go.
    """

    timeout = 120

    def served(self, kind: str, protocol: Any, **options: Any) -> SessionService:
        factory = SessionFactory.forProtocol(protocol, **options)
        if kind != "unix":
            return self.serve_tls(factory, kind)
        listening = parseEndpoint(reactor, f"unix:{self.mktemp()}")
        return self.serve(factory, listening.endpoint)

    def come(self, service: SessionService, kind: str) -> socket.socket:
        """
        Connect, and say all that is to be said before a line. To be called in a thread.
        """
        client = connect(service.addresses[0])
        if kind.startswith("haproxy"):
            client.sendall(PROXY)
        return tls(client) if kind.endswith("ssl") else client

    def visit(self, service: SessionService, kind: str) -> bytes:
        """
        Come, send a line, and go when it is answered, or when the service ends it. To
        be called in a thread.

        @return: what was read.
        """
        got = b""
        with contextlib.suppress(OSError, EOFError), self.come(service, kind) as client:
            client.sendall(b"a\n")
            while got != b"a\n" and (more := client.recv(100)):
                got += more
        return got


def failing(hook: str, *, first: bool = True) -> type[Lines]:
    """
    A protocol of which a hook raises an exception before, or after, it has called the
    inherited one.
    """

    def fail(self: Any, *args: Any) -> Any:
        if not first:
            getattr(super(Failing, self), hook)(*args)
        raise ZeroDivisionError(hook)

    Failing = type("Failing", (Lines,), {hook: fail})
    return Failing
