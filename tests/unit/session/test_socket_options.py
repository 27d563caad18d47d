"""
The options of sessions' sockets: inherited where that is known, and set where not.
"""

import contextlib
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any
from unittest import skipUnless

from tests.support.certificates import make_certificate
from tests.support.loop import Loop, LoopTestCase
from tests.support.processes import new_folder
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EchoService,
    KeepAlive,
)
from twisted_echo.eager.tcp_transports import EagerServer
from twisted_echo.net.transport_queries import bottomTransport

KEEP_ALIVE = KeepAlive(idle=11, interval=12, count=13)

NO_KEEP_ALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)

TCP = "tcp:0:interface=127.0.0.1"
TUNED = {"no delay": 1, "keep-alive": 1, "idle": 11, "interval": 12, "count": 13}


def options(handle: socket.socket) -> dict[str, int]:
    """
    What the kernel says of a socket.
    """
    numbers = {
        "no delay": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        "keep-alive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        "idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        "interval": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        "count": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    }
    return {name: handle.getsockopt(*each) for name, each in numbers.items()}


@skipUnless(sys.platform == "linux", "what is inherited differs elsewhere")
class OptionTests(LoopTestCase):
    """
    With real sockets, on the eager reactor.
    """

    def serve(
        self, endpoint: str = TCP, kind: type[EchoProtocol] = EchoProtocol
    ) -> tuple[Loop, EchoService]:
        loop = self.eager()
        service = EchoService(
            EchoConfig(listen=[endpoint], keepAlive=KEEP_ALIVE), reactor=loop.reactor
        )
        service.factory.protocol = kind
        loop.serve(service)
        return loop, service

    def session(
        self,
        loop: Loop,
        service: EchoService,
        begin: Callable[[socket.socket], Any] = lambda peer: None,
    ) -> Any:
        """
        The transport of a new session.
        """
        (address,) = service.addresses
        peer = socket.create_connection((address.host, address.port))
        self.addCleanup(peer.close)
        begin(peer)
        sessions = service.factory.sessions
        count = len(sessions)
        loop.until(lambda: len(sessions) > count)
        return bottomTransport(next(reversed(sessions)).transport)

    def assertTuned(self, transport: Any, **others: int) -> None:
        self.assertEqual(options(transport.getHandle()), {**TUNED, **others})

    def test_inherited(self) -> None:
        """
        All five are inherited: the transport says so.
        """
        transport = self.session(*self.serve())
        self.assertEqual(transport.handedDown, KEEP_ALIVE.options)
        self.assertTuned(transport)
        # As with Twisted's transports, unless the program turns it on.
        self.assertFalse(transport.getTcpNoDelay())

    def test_proxy(self) -> None:
        """
        Likewise behind a proxy.
        """
        header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
        transport = self.session(
            *self.serve(f"haproxy:{TCP}"), lambda peer: peer.sendall(header)
        )
        self.assertEqual(transport.handedDown, KEEP_ALIVE.options)
        self.assertTuned(transport)

    def test_changed(self) -> None:
        """
        A factory whose keep-alive is changed while it listens has the new one set on
        each connection, or none.
        """
        loop, service = self.serve()
        service.factory.keepAlive = KeepAlive(idle=21)
        transport = self.session(loop, service)
        self.assertTuned(transport, idle=21, interval=10, count=6)
        service.factory.keepAlive = None
        transport = self.session(loop, service)
        self.assertTuned(transport, **{"keep-alive": 0})

    def test_otherFactory(self) -> None:
        """
        A session of another factory than the one for which the port listens has its
        own.
        """
        loop, service = self.serve()
        other = EchoFactory(EchoConfig(keepAlive=KeepAlive(count=3)))
        service.factory.buildProtocol = lambda addr: other.buildProtocol(addr)
        (address,) = service.addresses
        peer = socket.create_connection((address.host, address.port))
        self.addCleanup(peer.close)
        loop.until(lambda: other.sessions)
        (session,) = other.sessions
        handle = session.transport.getHandle()
        self.assertEqual(
            options(handle), {**TUNED, "idle": 60, "interval": 10, "count": 3}
        )

    def test_adopted(self) -> None:
        """
        What waits in the backlog of an adopted socket has inherited nothing, and gets
        all of it.
        """
        loop = self.eager()
        factory = EchoFactory(EchoConfig(keepAlive=KEEP_ALIVE), clock=loop.reactor)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            peer = socket.create_connection(listening.getsockname())
            self.addCleanup(peer.close)
            listening.setblocking(False)
            port = loop.reactor.adoptStreamPort(
                listening.fileno(), listening.family, factory
            )
        loop.until(lambda: factory.sessions)
        (session,) = factory.sessions
        self.assertIsInstance(session.transport, EagerServer)
        self.assertEqual(session.transport.handedDown, ())
        self.assertTuned(session.transport)
        session.abort()
        loop.until(lambda: not factory.sessions)
        port.stopListening()
        loop.turn()

    def test_adoptedConnection(self) -> None:
        """
        So does a connection that is adopted, which has no port.
        """
        loop = self.eager()
        factory = EchoFactory(EchoConfig(keepAlive=KEEP_ALIVE), clock=loop.reactor)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            peer = socket.create_connection(listening.getsockname())
            self.addCleanup(peer.close)
            accepted = listening.accept()[0]
        with accepted:
            accepted.setblocking(False)
            loop.reactor.adoptStreamConnection(
                accepted.fileno(), accepted.family, factory
            )
        (session,) = factory.sessions
        self.assertTuned(session.transport)
        session.abort()
        loop.until(lambda: not factory.sessions)

    def test_changedByProtocol(self) -> None:
        """
        A protocol that has set one before its session begins, or has asked for the
        handle, has them set, as with every other transport: keep-alive, or none.
        """
        changes: tuple[Callable[[Any], object], ...] = (
            lambda transport: transport.setTcpNoDelay(False),
            lambda transport: transport.setTcpNoDelay(True),
            lambda transport: transport.setTcpKeepAlive(False),
            lambda transport: transport.setTcpKeepAlive(True),
            lambda transport: transport.getHandle().setsockopt(*NO_KEEP_ALIVE),
        )
        for change in changes:

            class Changes(EchoProtocol):
                def makeConnection(self, transport: Any, change: Any = change) -> None:
                    change(transport)
                    super().makeConnection(transport)

            loop, service = self.serve(kind=Changes)
            transport = self.session(loop, service)
            self.assertEqual(transport.handedDown, ())
            self.assertTuned(transport)
            service.factory.keepAlive = None
            transport = self.session(loop, service)
            self.assertTuned(transport, **{"keep-alive": 0})

    def test_adoptedWithKeepAlive(self) -> None:
        """
        A session that wants no keep-alive has none, though it was adopted from a port
        that hands it down.
        """
        loop = self.eager()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setsockopt(*KEEP_ALIVE.options[1])
            listening.setblocking(False)
            factory = EchoFactory(EchoConfig(keepAlive=None), clock=loop.reactor)
            port = loop.reactor.adoptStreamPort(
                listening.fileno(), listening.family, factory
            )
        address = port.getHost()
        peer = socket.create_connection((address.host, address.port))
        self.addCleanup(peer.close)
        loop.until(lambda: factory.sessions)
        (session,) = factory.sessions
        handle = session.transport.getHandle()
        self.assertEqual(options(handle)["keep-alive"], 0)
        session.abort()
        loop.until(lambda: not factory.sessions)
        port.stopListening()
        loop.until(lambda: not port.connected)

    def test_otherProgram(self) -> None:
        """
        A port of another program's factory hands down C{TCP_NODELAY} alone.
        """
        loop = self.eager()
        protocol, _ = loop.link("accepted TCP")
        handle = protocol.transport.getHandle()
        self.assertEqual(options(handle)["no delay"], 1)
        self.assertEqual(options(handle)["keep-alive"], 0)

    def test_listener(self) -> None:
        """
        The listening socket has them before it listens.
        """
        found: list[dict[str, int]] = []
        listen = socket.socket.listen

        def note(listening: socket.socket, *backlog: int) -> None:
            found.append(options(listening))
            listen(listening, *backlog)

        self.patch(socket.socket, "listen", note)
        self.serve()
        self.assertEqual(found[0], TUNED)

    def test_tls(self) -> None:
        """
        Under TLS they are inherited too.
        """
        folder = new_folder(self)
        make_certificate(folder)
        key, cert = folder / "key.pem", folder / "cert.pem"
        loop, service = self.serve(
            f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={cert}"
        )
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        (address,) = service.addresses
        peer = socket.create_connection((address.host, address.port))
        self.addCleanup(peer.close)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing)

        def shake() -> bool:
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
            peer.sendall(outgoing.read())
            with contextlib.suppress(BlockingIOError):
                incoming.write(peer.recv(1 << 16, socket.MSG_DONTWAIT))
            return bool(service.factory.sessions)

        loop.until(shake)
        (session,) = service.factory.sessions
        transport = bottomTransport(session.transport)
        self.assertEqual(transport.handedDown, KEEP_ALIVE.options)
        self.assertTuned(transport)
