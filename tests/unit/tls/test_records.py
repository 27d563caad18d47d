"""
L{twisted_echo.tls.records}: what is written is encrypted, in order and at once.
"""

import ssl
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.support.tls_connection import VERSIONS, ConnectionTestCase
from twisted_echo.tls.records import RECORD
from twisted_echo.tls.stage import Stage


class WriteTests(ConnectionTestCase):
    """
    What is written, in which moments.
    """

    def test_oneRecord(self) -> None:
        """
        Many small writes within C{dataReceived} are one record, and one write.
        """
        for version in VERSIONS:
            self.shake(version)
            self.protocol.then = lambda data: [
                self.server.write(b"%d" % each) for each in range(10)
            ]
            self.send(b"x")
            (write,) = self.transport.writes
            self.assertLess(len(write), 10 + 60)
            self.assertEqual(self.received(), b"0123456789")
            self.assertEqual(self.server.bytesSent, 10)

    def test_severalRecords(self) -> None:
        """
        Many records in one piece are handed on as one, and so answered.
        """
        self.shake()
        self.protocol.then = self.server.write
        self.send(*(b"%d" % each for each in range(10)))
        self.assertEqual(self.protocol.pieces, [b"0123456789"])
        self.assertEqual(len(self.transport.writes), 1)
        self.assertEqual(self.received(), b"0123456789")

    def test_outside(self) -> None:
        """
        Outside of C{dataReceived} each write is sent at once.
        """
        self.shake()
        self.server.write(b"a")
        self.server.writeSequence([b"b", b"c"])
        self.server.write(b"")
        self.assertEqual(len(self.transport.writes), 2)
        self.assertEqual(self.received(), b"abc")

    def test_kinds(self) -> None:
        """
        Other kinds of bytes are taken as they are in that moment. What is none is
        refused.
        """
        self.shake()
        changes = bytearray(b"now")

        def answer(data: bytes) -> None:
            self.server.write(changes)
            changes[:] = b"not"
            self.server.write(memoryview(b"then"))

        self.protocol.then = answer
        self.send(b"x")
        self.server.write(bytearray(b"later"))
        self.assertEqual(self.received(), b"nowthenlater")
        text: Any = "text"
        with self.assertRaisesRegex(TypeError, "must be bytes, got the str 'text'"):
            self.server.write(text)
        for wrong in (5, None, [1]):
            with self.assertRaises(TypeError):
                self.server.write(wrong)  # type: ignore[arg-type]
        self.assertEqual(self.received(), b"")

    def test_large(self) -> None:
        """
        However much is written at once or bit by bit, OpenSSL gets it by records, and
        the transport hears of it before C{dataReceived} returns.
        """
        self.shake()
        data = bytes(range(256)) * 4096
        sizes: list[int] = []

        def answer(_: bytes) -> None:
            for start in range(0, len(data), 1000):
                self.server.write(data[start : start + 1000])
                sizes.append(len(data[: start + 1000]) - sum(map(len, self.writes())))

        self.protocol.then = answer
        self.send(b"x")
        self.assertLess(max(sizes), 66_000)
        self.assertEqual(self.received(), data)
        self.server.write(data)
        self.assertLess(max(map(len, self.transport.writes)), RECORD + 100)
        self.assertEqual(self.received(), data)
        self.assertEqual(self.server.bytesSent, 2 * len(data))

    def writes(self) -> list[bytes]:
        return self.transport.writes

    def test_raises(self) -> None:
        """
        What a protocol has written before it raises an exception is not sent, as over
        TCP; the exception goes on.
        """
        self.shake()

        def broken(data: bytes) -> None:
            self.server.write(b"half an answer")
            raise ZeroDivisionError

        self.protocol.then = broken
        for _ in range(2):
            with self.assertRaises(ZeroDivisionError):
                self.send(b"x")
        self.assertEqual(self.transport.writes, [])

    def test_within(self) -> None:
        """
        Data that comes while the protocol is being given some: the answers are in the
        order in which they were written.
        """
        self.shake()
        self.client.write(b"first")
        first = self.fromClient.read()
        self.client.write(b"second")
        second = self.fromClient.read()

        def answer(data: bytes) -> None:
            self.server.write(b"<" + data)
            if data == b"first":
                self.server.dataReceived(second)
            self.server.write(data + b">")

        self.protocol.then = answer
        self.server.dataReceived(first)
        self.assertEqual(self.received(), b"<first<secondsecond>first>")

    def test_early(self) -> None:
        """
        What is written before the handshake is done waits for it, and is counted.
        """
        self.connect()
        self.server.write(b"early ")
        self.assertEqual(self.server.ownBytes(), 6)
        self.assertEqual(self.transport.writes, [])
        while self.server._records.stage is not Stage.OPEN:
            self.step()
        self.server.write(b"bird")
        self.step()
        self.assertEqual(self.server.ownBytes(), 0)
        self.assertEqual(self.received(), b"early bird")

    def test_wantsToRead(self) -> None:
        """
        What cannot be encrypted before something is read (a handshake within the
        connection) waits for that; so does the end.
        """
        self.shake()
        records = self.server._records
        encrypt = records._sslWrite

        def refuse(data: bytes) -> int:
            raise ssl.SSLWantReadError

        records._sslWrite = refuse
        self.server.write(b"a" * 20_000)
        self.server.write(b"b")
        self.server.loseConnection()
        self.assertEqual(self.server.ownBytes(), 20_001)
        self.assertEqual(self.transport.writes, [])
        records._sslWrite = encrypt
        # Half a record makes it try again.
        self.client.write(b"x")
        self.server.dataReceived(self.fromClient.read()[:10])
        self.assertEqual(self.received(), b"a" * 20_000 + b"b")
        self.assertEqual(records.stage, Stage.FINISHED)

    def test_fails(self) -> None:
        """
        If OpenSSL cannot encrypt, the connection is lost, and nothing is raised.
        """
        self.shake()

        def refuse(data: bytes) -> int:
            raise ssl.SSLError("broken")

        self.server._records._sslWrite = refuse
        self.server.write(b"x")
        self.server.write(b"y")
        self.assertEqual(self.transport.events, ["lose"])
        self.server.connectionLost(Failure(ConnectionDone()))
        assert self.protocol.lost is not None
        self.assertIsInstance(self.protocol.lost.value, ssl.SSLError)
