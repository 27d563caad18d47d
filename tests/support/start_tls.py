"""
A service in a thread whose sessions begin TLS when a client asks for it.

A test module that imports this is skipped where no certificate can be made.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.clients import collect
from tests.support.tlsclient import TLSClient
from twisted_echo import (
    EndReason,
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.reactor import EagerEPollReactor
from twisted_echo.testing.command_process import DEADLINE
from twisted_echo.testing.threads import ServiceThread

__all__ = [
    "CLOSED",
    "CONTEXT",
    "ENDPOINTS",
    "FOLDER",
    "PROXY",
    "REACTORS",
    "READY",
    "VERSIONS",
    "Commands",
    "Lines",
    "Server",
    "StartTLSTestCase",
]

REACTORS = (EagerEPollReactor, EPollReactor)
ENDPOINTS = ("tcp", "unix", "haproxy:tcp")
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
CLOSED = (EndReason.LOCAL_CLOSED, EndReason.CONNECTION_LOST)
READY = b"220 ready\r\n"
PROXY = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
FOLDER = TemporaryDirectory(prefix="echo-")
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

make_certificate(Path(FOLDER.name))
CONTEXT.load_cert_chain(f"{FOLDER.name}/cert.pem", f"{FOLDER.name}/key.pem")


class Commands:
    """
    What a protocol does with its commands, whatever its framing.
    """

    context: Any = CONTEXT
    transport: Any

    def ready(self) -> None:
        self.transport.write(READY)

    def command(self, line: bytes) -> Any:
        session: Any = self
        if line == b"STARTTLS":
            self.ready()
            session.startTLS(self.context)
        elif line == b"QUIT":
            self.transport.write(b"221 bye\r\n")
            self.transport.loseConnection()
        else:
            self.transport.write(b"got " + line + b"\r\n")


class Lines(Commands, Session, FastLineReceiver):
    def lineReceived(self, line: bytes) -> Any:
        return self.command(line)


class Server:
    """
    A service in a thread.
    """

    def __init__(self, thread: ServiceThread) -> None:
        self.thread = thread
        self.factory = thread.service.factory

    @property
    def session(self) -> Any:
        (session,) = self.factory.sessions
        return session

    def until(self, condition: Callable[[], Any]) -> None:
        give_up = time.monotonic() + DEADLINE
        while not self.thread.call(lambda: bool(condition())):
            assert time.monotonic() < give_up, "it waits for ever"
            time.sleep(0.005)

    def ended(self) -> EndReason:
        """
        Why its only session has ended.
        """
        self.until(lambda: self.factory.opened and not self.factory.sessions)
        (reason,) = self.factory.ended
        return reason

    @contextmanager
    def client(self) -> Iterator[socket.socket]:
        client = self.thread.connect()
        with client:
            yield client

    @contextmanager
    def begun(
        self, behind: bytes = b"", context: ssl.SSLContext | None = None
    ) -> Iterator[TLSClient]:
        """
        A client that has begun TLS.

        @param behind: what it sends in the clear behind the command.
        """
        with self.client() as client:
            client.sendall(b"STARTTLS\r\n" + behind)
            assert collect(client, len(READY)) == READY
            yield TLSClient(client, context).shake()


class StartTLSTestCase(SynchronousTestCase):
    @contextmanager
    def serve(
        self,
        protocol: Any = Lines,
        reactor: Callable[[], Any] = EagerEPollReactor,
        kind: str = "tcp",
        errors: bool = False,
        **settings: Any,
    ) -> Iterator[Server]:
        """
        @param errors: whether errors may be in the log.
        """
        if kind == "unix":
            endpoint = f"unix:{FOLDER.name}/socket"
        else:
            endpoint = f"{kind}:0:interface=127.0.0.1"
        if kind.endswith("ssl"):
            endpoint += f":privateKey={FOLDER.name}/key.pem"
            endpoint += f":certKey={FOLDER.name}/cert.pem"

        def make(clock: Any) -> SessionService:
            factory: SessionFactory[Any] = SessionFactory.forProtocol(
                protocol, clock=clock, **{"abortAfter": 30.0, **settings}
            )
            return SessionService(endpoint, factory)

        with mock.patch("twisted_echo.testing.threads._newReactor", reactor):
            thread = ServiceThread(make)
        try:
            yield Server(thread)
            if errors:
                thread.call(lambda: None)
                thread.flushLoggedErrors()
        finally:
            thread.stop()

    def assertWorks(self, client: TLSClient) -> None:
        client.send(b"hello\r\n")
        self.assertEqual(client.collect(11), b"got hello\r\n")
