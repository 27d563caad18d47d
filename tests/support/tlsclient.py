"""
A TLS client that stands on Python's C{ssl} and nothing of Twisted's or pyOpenSSL's,
and decides itself which bytes go out together.

Its methods block: call them in threads.
"""

import socket
import ssl
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from twisted.internet import reactor

from tests.support.certificates import make_certificate
from tests.support.clients import ServedTestCase, connect, in_thread, until
from twisted_echo import EchoConfig, EchoFactory, SessionFactory, SessionService
from twisted_echo.endpoints.strings import ParsedEndpoint, parseEndpoint

__all__ = ["TLSClient", "TLSTestCase", "client_context", "deprecated"]


def client_context(
    version: ssl.TLSVersion | None = None, alpn: list[str] | None = None
) -> ssl.SSLContext:
    """
    A context that trusts everybody.

    @param version: the only one to speak.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    return context


class TLSClient:
    """
    One connection.

    @ivar farewell: whether the server has sent its close_notify.
    @ivar object: the C{ssl.SSLObject}.
    """

    farewell = False

    def __init__(
        self,
        client: socket.socket,
        context: ssl.SSLContext | None = None,
        name: str | None = None,
    ) -> None:
        """
        @param name: whose certificate it asks for.
        """
        self.socket = client
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = (context or client_context()).wrap_bio(
            self._in, self._out, server_hostname=name
        )

    def hello(self) -> bytes:
        """
        The first bytes of a handshake.
        """
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return self._out.read()
        raise AssertionError("a handshake without a server")

    def shake(self, piece: int = 1 << 20) -> "TLSClient":
        """
        Shake hands.

        @param piece: how many bytes to send at once.
        """
        while True:
            try:
                self.object.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            out = self._out.read()
            for start in range(0, len(out), piece):
                self.socket.sendall(out[start : start + piece])
            if done:
                return self
            data = self.socket.recv(1 << 16)
            if data:
                self._in.write(data)
            else:
                self._in.write_eof()

    def sealed(self, *data: bytes, farewell: bool = False) -> bytes:
        """
        What is to be sent for some data, one record or more for each.

        @param farewell: whether close_notify follows.
        """
        for each in data:
            for start in range(0, len(each), 1 << 14):
                self.object.write(each[start : start + (1 << 14)])
        if farewell:
            try:
                self.object.unwrap()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                # The server's has come before.
                if not self.farewell:
                    raise
        return self._out.read()

    def send(self, *data: bytes, farewell: bool = False) -> None:
        """
        Send what is L{sealed}, at once.
        """
        self.socket.sendall(self.sealed(*data, farewell=farewell))

    def read(self) -> bytes | None:
        """
        Read what is there, waiting for it.

        @return: None at end-of-file, or after the server's close_notify.
        """
        while True:
            try:
                data = self.object.read(1 << 16)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self.farewell = True
                return None
            else:
                if data:
                    return data
                self.farewell = True
                return None
            more = self.socket.recv(1 << 16)
            if not more:
                return None
            self._in.write(more)

    def collect(self, size: int) -> bytes:
        """
        Read so many bytes, or up to the end.
        """
        data = b""
        while len(data) < size and (more := self.read()) is not None:
            data += more
        return data

    def read_to_end(self) -> bytes:
        """
        Read all, and then the connection's own end-of-file.
        """
        data = b"".join(iter(self.read, None))
        while self.socket.recv(1 << 16):
            pass
        return data

    def pump(self, data: bytes, *, farewell: bool = True, fin: bool = False) -> bytes:
        """
        Send data and perhaps close_notify in one go, and read at the same time.

        @param fin: whether end-of-file follows.
        """
        sealed = self.sealed(data, farewell=farewell)

        def send() -> None:
            self.socket.sendall(sealed)
            if fin:
                self.socket.shutdown(socket.SHUT_WR)

        sender = Thread(target=send)
        sender.start()
        try:
            return self.read_to_end()
        finally:
            sender.join()


class deprecated(warnings.catch_warnings):
    """
    Python deprecates versions of TLS below 1.2; and pyOpenSSL, what the TLS of
    Twisted's own endpoints uses.
    """

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", DeprecationWarning)


class TLSTestCase(ServedTestCase):
    """
    A test case with C{key.pem} and C{cert.pem} in C{self.folder}.
    """

    def setUp(self) -> None:
        folder = TemporaryDirectory(prefix="echo-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        make_certificate(self.folder)

    @property
    def files(self) -> str:
        return (
            f"privateKey={self.folder / 'key.pem'}:certKey={self.folder / 'cert.pem'}"
        )

    def listen(self, kind: str = "ssl", *rest: Any) -> ParsedEndpoint:
        """
        What listens, of a kind such as C{haproxy:ssl}, on loopback.
        """
        words = [kind, "0", "interface=127.0.0.1"]
        if kind.endswith("ssl"):
            words.append(self.files)
        return parseEndpoint(reactor, ":".join(words), *rest)

    def serve_tls(
        self,
        factory: SessionFactory[Any] | None = None,
        kind: str = "ssl",
        *rest: Any,
        grace: float = 0.0,
    ) -> SessionService:
        """
        Start a service, of the echo by default.
        """
        listening = self.listen(kind, *rest)
        return self.serve(
            factory or EchoFactory(EchoConfig()), listening.endpoint, grace=grace
        )

    async def shaken(
        self,
        service: SessionService,
        context: ssl.SSLContext | None = None,
        before: bytes = b"",
    ) -> TLSClient:
        """
        A client of a service that has shaken hands.

        @param before: what it sends before.
        """
        client = self.raw(service)
        client.sendall(before)
        return await in_thread(TLSClient(client, context).shake)

    async def shaken_session(
        self,
        service: SessionService,
        context: ssl.SSLContext | None = None,
        before: bytes = b"",
    ) -> tuple[Any, TLSClient]:
        """
        The only session of a service, and its client.
        """
        client = await self.shaken(service, context, before)
        # A client of TLS 1.3 has finished before the server has.
        await until(lambda: service.factory.sessions)
        (session,) = service.factory.sessions
        return session, client

    def raw(self, service: SessionService) -> socket.socket:
        """
        A connection to a service, and nothing more.
        """
        client = connect(service.addresses[0])
        self.addCleanup(client.close)
        return client


def certificate_of(path: Path) -> bytes:
    """
    A PEM file as DER, which is how a client sees it.
    """
    return ssl.PEM_cert_to_DER_cert(path.read_text())
