"""
TLS of Twisted over the connections of the eager reactor.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any

import twisted.internet
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
)
from zope.interface import implementer

from tests.support.clients import _Connections as Certificate
from tests.support.loop import (
    ASYNCIO,
    TCP,
    TURNS,
    HalfCloseable,
    Loop,
    LoopTestCase,
    OneProtocol,
    Producer,
    Recorder,
)


@implementer(IOpenSSLClientConnectionCreator)
class Trusting:
    """
    A TLS client that believes everything.
    """

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)


class TLSPeer:
    """
    The other end of a TLS connection, that keeps what was on the wire.
    """

    def __init__(self, loop: Loop, peer: socket.socket) -> None:
        self.loop = loop
        self.peer = peer
        self.wire = b""
        peer.setblocking(False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """
        Do something with C{tls}, turning the reactor while it waits.
        """
        for _ in range(TURNS):
            try:
                return function(*args)
            except ssl.SSLWantReadError:
                pass
            finally:
                self._flush()
            try:
                data = self.peer.recv(1 << 16)
            except BlockingIOError:
                self.loop.turn(0.001)
                continue
            self.wire += data
            if data:
                self._in.write(data)
            else:
                self._in.write_eof()
        raise AssertionError("it waits for ever")

    def _flush(self) -> None:
        data = self._out.read()
        while data:
            try:
                data = data[self.peer.send(data) :]
            except BlockingIOError:
                self.loop.turn()

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.run(self.tls.read, size - len(data))
            if not more:
                break
            data += more
        return data


class TLSTests(LoopTestCase):
    """
    TLS over these connections.
    """

    def loop(self, kind: Any) -> Loop:
        loop = Loop(self, kind)
        # Of which TLS takes its clock.
        self.patch(twisted.internet, "reactor", loop.reactor)
        return loop

    def secured(self, kind: str, size: int, inside: bool, producer: Any = None) -> Any:
        """
        Start TLS after so many bytes without.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(kind, sendBuffer=4096)
            transport = protocol.transport
            plain = b"p" * size

            def answer(data: bytes = b"") -> None:
                protocol.onReceived = transport.write
                transport.write(plain)
                transport.writeSequence([b"plain", b"!"])
                if producer is not None:
                    told = Producer(protocol.events)
                    transport.registerProducer(told, producer == "push")
                # Who has the certificate is the server.
                transport.startTLS(Certificate(), kind != "connected TCP")
                transport.write(b"secret ")
                transport.writeSequence([b"secret"])
                if producer is not None:
                    transport.unregisterProducer()

            if inside:
                protocol.onReceived = answer
                peer.sendall(b"STARTTLS")
            else:
                answer()
            self.assertTrue(loop.take(peer, size + 6) == plain + b"plain!")
            client = TLSPeer(loop, peer)
            client.run(client.tls.do_handshake)
            got = client.read(13)
            big = b"e" * 100_000
            client.run(client.tls.write, big)
            echoed = client.read(len(big)) == big
            for each in (b"secret", b"eeeeeeee"):
                self.assertNotIn(each, client.wire)
            transport.loseConnection()
            rest = client.read(1)
            peer.close()
            loop.until(lambda: protocol.reason)
            events = [each for each in protocol.events if each[0] != "received"]
            return got, echoed, rest, events

        theirs = scenario(self.loop(self.reactors.stock))
        ours = scenario(self.loop(self.reactors.eager))
        self.assertEqual(ours, theirs)
        self.assertEqual(ours[:3], (b"secret secret", True, b""))

    def test_startTLSInDataReceived(self) -> None:
        """
        What was written before is sent plainly and first, and what is written
        after it never is.
        """
        for kind in TCP:
            for size in (10, 300_000):
                self.secured(kind, size, inside=True)

    def test_startTLSOutside(self) -> None:
        for kind in TCP:
            for size in (10, 300_000):
                self.secured(kind, size, inside=False)

    def test_startTLSWithProducer(self) -> None:
        """
        A producer moves to the TLS layer; its end lets nothing out beside that.
        """
        for producer in ("push", "pull"):
            for inside in (False, True):
                self.secured("accepted TCP", 10, inside, producer)

    def test_listenAndConnect(self) -> None:
        """
        C{listenSSL} and C{connectSSL}, over and over the same connection.
        """
        sent = bytes(range(256)) * 4000

        def scenario(loop: Loop) -> Any:
            server, client = HalfCloseable(), Recorder()
            loop._protocols += [server, client]
            server.onReceived = lambda data: server.transport.write(data)
            port = loop.reactor.listenSSL(
                0, OneProtocol(server), Certificate(), interface="127.0.0.1"
            )
            loop.reactor.connectSSL(
                "127.0.0.1", port.getHost().port, OneProtocol(client), Trusting()
            )
            loop.until(lambda: client.transport is not None)
            client.transport.write(sent)
            client.transport.writeSequence([b"e", b"nd"])
            loop.until(lambda: len(client.received) == len(sent) + 3)
            client.transport.loseConnection()
            loop.until(lambda: client.reason and server.reason)
            return client.received == sent + b"end", client.reason, server.reason

        theirs = scenario(self.loop(self.reactors.stock))
        ours = scenario(self.loop(self.reactors.eager))
        self.assertEqual(ours, theirs)
        self.assertTrue(ours[0])


class AsyncioTLSTests(TLSTests):
    reactors = ASYNCIO
