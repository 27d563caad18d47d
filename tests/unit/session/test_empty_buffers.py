"""
L{twisted_echo.session.empty_buffers}: the buffers of all receivers are emptied.
"""

from typing import Any
from unittest import TestCase

from twisted.internet.testing import StringTransport
from twisted.protocols.basic import (
    Int16StringReceiver,
    LineOnlyReceiver,
    LineReceiver,
    NetstringReceiver,
)

from twisted_echo import (
    FastInt16StringReceiver,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Session,
)
from twisted_echo.session.empty_buffers import emptyBuffers

# A receiver, an unfinished message, how much of it the receiver holds, and a whole one.
CASES: tuple[tuple[type, bytes, int, bytes], ...] = (
    (LineReceiver, b"a par", 5, b"whole\r\n"),
    (LineOnlyReceiver, b"a par", 5, b"whole\r\n"),
    (FastLineReceiver, b"a par", 5, b"whole\r\n"),
    (FastLineOnlyReceiver, b"a par", 5, b"whole\r\n"),
    (Int16StringReceiver, b"\0\x09abc", 5, b"\0\5whole"),
    (FastInt16StringReceiver, b"\0\x09abc", 5, b"\0\5whole"),
    (NetstringReceiver, b"12", 2, b"5:whole,"),
    # (What it has of a string it has put elsewhere.)
    (NetstringReceiver, b"9:abc", 0, b"5:whole,"),
)


class EmptyTests(TestCase):
    def receiver(self, kind: type) -> Any:
        received: list[bytes] = []

        class Receiver(Session, kind):  # type: ignore[misc]
            def lineReceived(self, line: bytes) -> None:
                received.append(line)

            def stringReceived(self, string: bytes) -> None:
                received.append(string)

        receiver: Any = Receiver()
        receiver.makeConnection(StringTransport())
        receiver.received = received
        return receiver

    def test_partial(self) -> None:
        """
        An unfinished message is forgotten, and what follows is a new one.
        """
        for kind, partial, size, whole in CASES:
            with self.subTest(kind.__name__):
                receiver = self.receiver(kind)
                receiver.dataReceived(partial)
                self.assertEqual(emptyBuffers(receiver), size)
                self.assertEqual(emptyBuffers(receiver), 0)
                # The loop of Twisted's receivers of frames has it in the instance.
                if kind is Int16StringReceiver:
                    del receiver.recvd
                receiver.dataReceived(whole)
                self.assertEqual(receiver.received, [b"whole"])

    def test_ownBuffer(self) -> None:
        """
        A protocol with a buffer of its own empties it, and tells how much it held.
        """

        class Own(Session):
            buffer = b"held"

            def heldInput(self) -> tuple[int, int | None]:
                return len(self.buffer), None

            def forgetInput(self) -> None:
                self.buffer = b""

        own = Own()
        self.assertEqual(emptyBuffers(own), 4)
        self.assertEqual(own.buffer, b"")

    def test_cannotTell(self) -> None:
        self.assertEqual(emptyBuffers(Session()), 0)
