"""
The instances of a receiver share the keys of their dictionaries.
"""

from typing import Any

from tests.support.loop import LoopTestCase
from twisted_echo.framing.line_receiver import FastLineOnlyReceiver, FastLineReceiver
from twisted_echo.framing.string_receiver import (
    FastInt8StringReceiver,
    FastInt16StringReceiver,
    FastInt32StringReceiver,
)


class _Each:
    def lineReceived(self: Any, line: bytes) -> None:
        self.sendLine(line)

    def stringReceived(self: Any, string: bytes) -> None:
        self.sendString(string)


class _Lines:
    def linesReceived(self: Any, lines: list[bytes]) -> None:
        self.sendLines(lines)

    def stringsReceived(self: Any, strings: list[bytes]) -> None:
        self.sendStrings(strings)


class _Blocks:
    def blockReceived(self: Any, block: bytes) -> None:
        self.transport.write(block)


RECEIVERS = {
    FastLineReceiver: b"a\r\n",
    FastLineOnlyReceiver: b"a\r\n",
    FastInt8StringReceiver: b"\x01a",
    FastInt16StringReceiver: b"\x00\x01a",
    FastInt32StringReceiver: b"\x00\x00\x00\x01a",
}


class SharedKeysTests(LoopTestCase):
    """
    What chunks set is there when the connection is made: what an instance sets after
    many others were made, it cannot share with them.
    """

    def test_firstLines(self) -> None:
        """
        Whole messages, one, several, and one in two pieces, bring no new key.
        """
        for kind, message in RECEIVERS.items():
            for hooks in (_Each, _Lines, _Blocks):
                receiver: Any = type(kind.__name__, (hooks, kind), {})()
                loop = self.eager()
                _, peer = loop.link("accepted TCP", receiver)
                keys = list(vars(receiver))
                for chunk in (message, 3 * message, message[:-1], message[-1:]):
                    peer.sendall(chunk)
                    loop.read(receiver.transport.getHandle())
                self.assertEqual(loop.take(peer, 5 * len(message)), 5 * message)
                self.assertEqual(list(vars(receiver)), keys, (kind, hooks))
