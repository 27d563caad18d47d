"""
L{twisted_echo.tls.connection}: the two ends of a connection.
"""

import gc
import ssl
from typing import Any
from weakref import ref

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from tests.support.tls_connection import VERSIONS, ConnectionTestCase


class EndTests(ConnectionTestCase):
    """
    Either end of a connection.
    """

    def test_answersAfterFarewell(self) -> None:
        """
        The client's close_notify ends the input, and nothing else; after the server's
        own the connection is closed.
        """
        for version in VERSIONS:
            self.shake(version)
            with self.assertRaises(ssl.SSLWantReadError):
                self.client.unwrap()
            self.give()
            self.assertEqual(self.protocol.inputEnded, 1)
            self.assertEqual(self.transport.events, [])
            self.server.write(b"answer")
            self.server.loseConnection()
            self.assertEqual(self.received(), b"answer")
            self.assertIsNone(self.received())
            self.assertEqual(self.transport.events, ["lose"])

    def test_bareEndOfFile(self) -> None:
        """
        So does an end-of-file without it.
        """
        self.shake()
        self.server.readConnectionLost()
        self.server.readConnectionLost()
        self.assertEqual(self.protocol.inputEnded, 1)
        self.server.write(b"answer")
        self.server.loseConnection()
        self.assertEqual(self.received(), b"answer")
        self.assertEqual(self.transport.events, ["lose"])

    def test_notHalfCloseable(self) -> None:
        """
        A protocol that knows no half-close is closed.
        """
        self.shake()
        self.server.wrappedProtocol = self.server._records.protocol = Protocol()
        with self.assertRaises(ssl.SSLWantReadError):
            self.client.unwrap()
        self.give()
        self.assertIsNone(self.received())
        self.assertEqual(self.transport.events, ["lose"])

    def test_farewellIsWaitedFor(self) -> None:
        """
        A server that closes says farewell, waits for the client's, and hands nothing
        on.
        """
        self.shake()
        self.server.loseConnection()
        self.server.loseConnection()
        self.server.write(b"too late")
        self.assertIsNone(self.received())
        self.send(b"ignored" * 10_000)
        self.assertEqual(self.protocol.pieces, [])
        self.assertEqual(self.transport.events, [])
        self.client.unwrap()
        self.give()
        self.assertEqual(self.transport.events, ["lose"])
        self.assertEqual(self.protocol.inputEnded, 0)

    def test_closesWithin(self) -> None:
        """
        A protocol that closes in the middle of what it is given: what it wrote before
        is sent, and what had come is read.
        """
        self.shake()

        def quit(data: bytes) -> None:
            self.server.write(b"bye")
            self.server.loseConnection()
            self.server.write(b"too late")

        self.protocol.then = quit
        self.send(b"x" * 100_000, b"y")
        self.assertEqual(len(self.protocol.pieces), 1)
        self.assertEqual(self.received(), b"bye")
        self.assertIsNone(self.received())

    def test_closesAsItBegins(self) -> None:
        """
        With input behind the handshake, which must not fail the farewell.
        """
        self.connect()
        self.protocol.connectionMade = self.close  # type: ignore[method-assign]
        with self.assertRaises(ssl.SSLWantReadError):
            self.client.do_handshake()
        self.give()
        self.take()
        self.client.do_handshake()
        self.client.write(b"ignored")
        self.give()
        self.assertEqual(self.received(), b"bye")
        self.assertIsNone(self.received())
        self.assertEqual(self.protocol.pieces, [])
        self.client.unwrap()
        self.give()
        self.assertEqual(self.transport.events, ["lose"])

    def close(self) -> None:
        self.server.write(b"bye")
        self.server.loseConnection()

    def test_ownHalf(self) -> None:
        """
        A protocol may end its own half alone, and goes on being given what comes.
        """
        self.shake()
        self.server.write(b"last")
        self.server.loseWriteConnection()
        self.server.loseWriteConnection()
        self.assertEqual(self.received(), b"last")
        self.assertIsNone(self.received())
        self.send(b"more")
        self.assertEqual(self.protocol.pieces, [b"more"])
        self.client.unwrap()
        self.give()
        self.assertEqual(self.protocol.inputEnded, 1)
        self.server.loseConnection()
        self.assertEqual(self.transport.events, ["lose"])

    def test_ownHalfAsItBegins(self) -> None:
        """
        The same, with input behind the handshake: none of it is lost.
        """
        self.connect()
        self.protocol.connectionMade = (  # type: ignore[method-assign]
            lambda: self.server.loseWriteConnection()
        )
        with self.assertRaises(ssl.SSLWantReadError):
            self.client.do_handshake()
        self.give()
        self.take()
        self.client.do_handshake()
        self.send(b"first", b"second")
        self.assertIsNone(self.received())
        self.send(b"third")
        self.assertEqual(self.protocol.pieces, [b"firstsecond", b"third"])
        self.assertEqual(self.transport.events, [])

    def test_ownHalfWaits(self) -> None:
        """
        What cannot be encrypted yet goes before the end of the protocol's own half.
        """
        self.shake()
        records = self.server._records
        records._waiting = (b"last",)
        self.server.loseWriteConnection()
        self.assertEqual(self.received(), b"")
        self.send(b"x")
        records.encryptWaiting()
        self.send(b"x")
        self.assertEqual(self.received(), b"last")
        self.assertIsNone(self.received())

    def test_closedWhilePaused(self) -> None:
        """
        A connection that is closed while it is paused, or paused later, reads on, up to
        the client's farewell.
        """
        for steps in ["pause", "lose"], ["lose", "pause"]:
            self.shake()
            for step in steps:
                if step == "pause":
                    self.server.pauseProducing()
                else:
                    self.server.loseConnection()
            self.assertEqual(self.transport.producerState, "producing")

    def test_behindFarewell(self) -> None:
        """
        What comes behind close_notify, in the same piece or later, is not kept.
        """
        self.shake()
        with self.assertRaises(ssl.SSLWantReadError):
            self.client.unwrap()
        self.server.dataReceived(self.fromClient.read() + b"z" * 1000)
        self.server.dataReceived(b"z" * 1000)
        self.assertEqual(self.protocol.inputEnded, 1)
        self.server.loseConnection()
        self.assertIsNone(self.received())
        self.assertEqual(self.transport.events, ["lose"])

    def test_broken(self) -> None:
        """
        Bytes that are no record: the client is told by an alert, and the protocol by
        OpenSSL's error.
        """
        self.shake()
        self.send(b"whole")
        self.server.dataReceived(b"no record" * 10)
        self.assertEqual(self.protocol.pieces, [b"whole"])
        with self.assertRaises(ssl.SSLError):
            self.received()
        self.assertEqual(self.transport.events, ["lose"])
        self.server.dataReceived(b"more")
        self.server.connectionLost(Failure(ConnectionDone()))
        assert self.protocol.lost is not None
        self.assertIsInstance(self.protocol.lost.value, ssl.SSLError)

    def test_notShaken(self) -> None:
        self.connect()
        self.server.dataReceived(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(self.server.refused, "http request")
        self.assertEqual(self.transport.events, ["lose"])
        self.server.dataReceived(b"more")

    def test_abort(self) -> None:
        self.shake()
        self.server.abortConnection()
        self.server.write(b"x")
        self.send(b"x")
        self.assertEqual(self.transport.events, ["abort"])
        self.assertEqual((self.transport.writes, self.protocol.pieces), ([], []))

    def test_nothingIsLeft(self) -> None:
        """
        Nothing of it lives on when it has ended, without the garbage collector; and
        nothing that is still done with it fails.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.shake()
        self.send(b"x")
        self.server.dataReceived(b"no record" * 10)
        server, protocol = self.server, self.protocol
        server.connectionLost(Failure(ConnectionDone()))
        server.write(b"x")
        server.dataReceived(b"x")
        server.loseConnection()
        alive = ref(server), ref(protocol), ref(server._records.tls)
        del server, protocol, self.server, self.protocol
        self.assertEqual([each() for each in alive], [None] * 3)

    def test_lastHookRaises(self) -> None:
        """
        Nor if the protocol raises an exception as it is told of the end.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.shake()

        def broken(reason: Any = None) -> None:
            raise ZeroDivisionError

        self.protocol.connectionLost = broken  # type: ignore[method-assign]
        with self.assertRaises(ZeroDivisionError):
            self.server.connectionLost(Failure(ConnectionDone()))
        alive = ref(self.server), ref(self.protocol)
        del self.server, self.protocol
        self.assertEqual([each() for each in alive], [None] * 2)
