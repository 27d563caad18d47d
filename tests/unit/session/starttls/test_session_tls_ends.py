"""
L{twisted_echo.session.starttls.session_tls}: how sessions end that have begun TLS.
"""

import gc
import socket
from collections.abc import Callable
from contextlib import suppress as ignored
from functools import partial
from itertools import product
from typing import Any
from weakref import ref

from twisted.internet.interfaces import ISSLTransport

from tests.support.clients import collect
from tests.support.start_tls import (
    CONTEXT,
    ENDPOINTS,
    PROXY,
    REACTORS,
    READY,
    Lines,
    StartTLSTestCase,
)
from tests.support.tlsclient import TLSClient
from twisted_echo import Deadlines, EndReason


class EndTests(StartTLSTestCase):
    """
    Sessions end as they do over TLS from the beginning.
    """

    def test_loseConnection(self) -> None:
        """
        After it, C{transport.loseConnection} closes.
        """
        for reactor in REACTORS:
            with self.serve(reactor=reactor) as server, server.begun() as client:
                client.send(b"QUIT\r\n")
                self.assertEqual(client.collect(9), b"221 bye\r\n")
                self.assertIsNone(client.read())
                self.assertTrue(client.farewell)
                client.socket.close()
                self.assertIs(server.ended(), EndReason.LOCAL_CLOSED)

    def test_close(self) -> None:
        for reactor in REACTORS:
            with self.serve(reactor=reactor) as server, server.begun() as client:
                self.assertWorks(client)
                server.thread.call(server.session.close)
                self.assertIsNone(client.read())
                self.assertTrue(client.farewell)
                client.socket.close()
                self.assertIs(server.ended(), EndReason.LOCAL_CLOSED)

    def closedMeanwhile(self, close: Callable[[Any], object], answered: bool) -> None:
        """
        It is closed before the hello, or, if C{answered}, in the middle of the
        handshake.
        """
        for reactor in REACTORS:
            with self.serve(reactor=reactor) as server, server.client() as plain:
                plain.sendall(b"STARTTLS\r\n")
                self.assertEqual(collect(plain, len(READY)), READY)
                session = server.session
                client = TLSClient(plain)
                if answered:
                    plain.sendall(client.hello())
                    client._in.write(plain.recv(1 << 16))
                server.thread.call(partial(close, session))
                if answered:
                    client.shake()
                    self.assertIsNone(client.read())
                    self.assertTrue(client.farewell)
                else:
                    # In the clear, and in order: not by a reset.
                    self.assertEqual(plain.recv(100), b"")
                    plain.sendall(client.hello())
                    self.assertEqual(plain.recv(100), b"")
                plain.close()
                self.assertIs(server.ended(), EndReason.LOCAL_CLOSED)

    def test_closeMeanwhile(self) -> None:
        for answered in False, True:
            self.closedMeanwhile(lambda session: session.close(), answered)

    def test_loseConnectionMeanwhile(self) -> None:
        for answered in False, True:
            self.closedMeanwhile(
                lambda session: session.transport.loseConnection(), answered
            )

    def test_farewellWaits(self) -> None:
        """
        What was written goes out before the end, though the handshake has not begun.
        """

        class Brief(Lines):
            def command(self, line: bytes) -> None:
                super().command(line)
                self.transport.write(b"farewell")
                self.transport.loseConnection()

        class Briefer(Brief):
            def command(self, line: bytes) -> None:
                Lines.command(self, line)
                self.transport.write(b"farewell")
                self.close()

        for protocol in Brief, Briefer:
            for reactor in REACTORS:
                with self.serve(protocol, reactor) as server:
                    with server.begun() as client:
                        self.assertEqual(client.read(), b"farewell")
                        self.assertIsNone(client.read())
                        self.assertTrue(client.farewell)
                    self.assertIs(server.ended(), EndReason.LOCAL_CLOSED)

    def test_halfClose(self) -> None:
        """
        A half-close before the end of the handshake takes place after it.
        """

        class Halves(Lines):
            def command(self, line: bytes) -> None:
                super().command(line)
                if line == b"STARTTLS":
                    self.transport.write(b"last")
                    self.transport.loseWriteConnection()

        for reactor in REACTORS:
            with self.serve(Halves, reactor) as server, server.begun() as client:
                self.assertEqual(client.read(), b"last")
                self.assertIsNone(client.read())
                self.assertTrue(client.farewell)
                self.assertFalse(server.session.transport.disconnecting)

    def test_stop(self) -> None:
        """
        A stop before the hello ends it in the clear; one in the middle of the handshake
        waits for its rest.
        """
        for reactor in REACTORS:
            for state in "told", "answered", "open":
                with self.serve(reactor=reactor) as server, server.client() as plain:
                    plain.sendall(b"STARTTLS\r\n")
                    self.assertEqual(collect(plain, len(READY)), READY)
                    client = TLSClient(plain)
                    if state == "answered":
                        plain.sendall(client.hello())
                        client._in.write(plain.recv(1 << 16))
                    elif state == "open":
                        client.shake()
                        # TLS 1.3: the server has finished.
                        self.assertWorks(client)
                        client.send(b"last\r\n")
                    stopped = server.thread.service.stopService
                    server.thread.call(lambda stop=stopped: (stop(), None)[1])  # type: ignore[arg-type, misc]
                    if state == "told":
                        self.assertEqual(plain.recv(100), b"")
                    else:
                        client.shake()
                        last = b"got last\r\n" if state == "open" else b""
                        self.assertEqual(client.collect(100), last)
                        self.assertTrue(client.farewell)
                    plain.close()
                    self.assertIs(server.ended(), EndReason.STOPPED)

    def test_stopWithTheCommandUnread(self) -> None:
        """
        The command has arrived when the service stops: it is answered, and nothing
        more is said.
        """

        class Blocks(Lines):
            def command(self, line: bytes) -> None:
                if line == b"block":
                    peer.sendall(b"STARTTLS\r\n")
                    assert self.factory is not None
                    self.factory.closeSessions(EndReason.STOPPED)
                else:
                    super().command(line)

        for reactor in REACTORS:
            with self.serve(Blocks, reactor) as server, server.client() as peer:
                peer.sendall(b"block\r\n")
                self.assertEqual(peer.recv(100), READY)
                self.assertEqual(peer.recv(100), b"")
                peer.close()
                self.assertIs(server.ended(), EndReason.STOPPED)

    def test_abort(self) -> None:
        """
        It is no failure of the client's.
        """
        for reactor in REACTORS:
            for opened, byTransport in product((False, True), repeat=2):
                with self.serve(reactor=reactor) as server, server.client() as plain:
                    plain.sendall(b"STARTTLS\r\n")
                    self.assertEqual(collect(plain, len(READY)), READY)
                    client = TLSClient(plain)
                    if opened:
                        self.assertWorks(client.shake())
                    session = server.session
                    abort = session.abort
                    if byTransport:
                        abort = session.transport.abortConnection
                    server.thread.call(abort)
                    with self.assertRaises(ConnectionResetError):
                        while plain.recv(100):
                            pass
                    self.assertIs(server.ended(), EndReason.ABORTED)
                    failures = server.factory.tls.failures
                    self.assertEqual(failures, {})

    def test_bareEndOfFile(self) -> None:
        """
        Everything is answered after an end-of-file without close_notify, too.
        """
        for reactor in REACTORS:
            with self.serve(reactor=reactor) as server, server.begun() as client:
                data = b"x" * 998 + b"\r\n"
                answers = client.pump(3000 * data, farewell=False, fin=True)
                self.assertEqual(len(answers), 3000 * 1004)
                self.assertTrue(client.farewell)

    def test_tooLate(self) -> None:
        """
        Nothing is said in the clear if it begins when the session is closed, or its
        client has left.
        """

        class Closed(Lines):
            def command(self, line: bytes) -> None:
                self.transport.write(READY)
                self.close()
                self.begin()

            def begin(self) -> None:
                self.startTLS(CONTEXT)
                self.transport.write(b"secret")
                # The one that it had before.
                self.transport.transport.write(b"secret")

        class Lost(Closed):
            def command(self, line: bytes) -> None:
                self.transport.write(READY)
                self.transport.loseConnection()
                self.begin()

        class Ended(Closed):
            def command(self, line: bytes) -> None:
                self.transport.write(READY)

            def endOfInput(self) -> None:
                self.begin()

        for protocol in Closed, Lost, Ended:
            for reactor in REACTORS:
                with (
                    self.serve(
                        protocol, reactor, deadlines=Deadlines(handshake=0.2)
                    ) as server,
                    server.client() as plain,
                ):
                    plain.sendall(b"STARTTLS\r\n")
                    self.assertEqual(collect(plain, len(READY)), READY)
                    plain.shutdown(socket.SHUT_WR)
                    with ignored(ConnectionResetError):
                        self.assertEqual(plain.recv(100), b"", protocol)
                    server.ended()
                    if protocol is not Closed:
                        # (There something waits for a handshake.)
                        self.assertEqual(server.factory.tls.failures, {}, protocol)

    def test_gone(self) -> None:
        """
        If the connection is lost, nothing happens.
        """
        with self.serve() as server, server.client() as plain:
            plain.sendall(b"x\r\n")
            collect(plain, 7)
            session = server.session
            plain.close()
            server.ended()
            server.thread.call(lambda: session.startTLS(CONTEXT))
            self.assertFalse(ISSLTransport.providedBy(session.transport))

    def test_nothingKept(self) -> None:
        """
        A session and its TLS are gone when they have ended, without the garbage
        collector; however they end.
        """

        def leave(client: socket.socket) -> None:
            pass

        def shake(client: socket.socket) -> None:
            TLSClient(client).shake().sealed(farewell=True)

        def nonsense(client: socket.socket) -> None:
            client.sendall(b"nonsense\r\n" * 10)
            with ignored(OSError):
                client.recv(100)
                client.recv(100)

        for reactor in REACTORS:
            for kind in ENDPOINTS:
                for end in leave, shake, nonsense:
                    with self.serve(reactor=reactor, kind=kind) as server:
                        with server.client() as plain:
                            if kind.startswith("haproxy"):
                                plain.sendall(PROXY)
                            plain.sendall(b"STARTTLS\r\nmore\r\n")
                            collect(plain, len(READY))
                            session = server.session
                            known = [
                                ref(session),
                                ref(session.transport),
                                ref(session.transport.transport),
                            ]
                            gc.disable()
                            self.addCleanup(gc.enable)
                            end(plain)
                            del session
                        server.ended()
                        for each in known:
                            server.until(lambda known=each: not known())  # type: ignore[misc]
                        gc.enable()
