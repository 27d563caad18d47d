"""
Tests of L{twisted_echo.framing.held_input}.
"""

from typing import Any

from twisted.internet.testing import StringTransport
from twisted.protocols.basic import (
    Int16StringReceiver,
    LineOnlyReceiver,
    LineReceiver,
    NetstringReceiver,
)
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo import (
    FastInt16StringReceiver,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Session,
)
from twisted_echo.framing.held_input import HeldInput

NAMES = (
    *("heldInput", "hasUndeliveredLines", "undeliveredLines"),
    *("forgetInput", "isReceiving"),
)


class HeldInputTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """
        A session over a protocol that cannot tell answers with the defaults.
        """
        for protocol in (LineReceiver, LineOnlyReceiver, NetstringReceiver, object):

            class Over(Session, protocol):  # type: ignore[misc, valid-type]
                pass

            session = Over()
            self.assertIs(session.heldInput(), None)
            self.assertIs(session.hasUndeliveredLines(), True)
            self.assertEqual(session.undeliveredLines(), 0)
            self.assertIs(session.isReceiving, False)
            session.forgetInput()

    def test_receivers(self) -> None:
        """
        This package's receivers answer themselves, under a session or alone.
        """
        for receiver in (
            FastLineReceiver,
            FastLineOnlyReceiver,
            FastInt16StringReceiver,
        ):

            class Under(Session, receiver):  # type: ignore[misc, valid-type]
                pass

            for kind in (receiver, Under):
                self.assertEqual(kind().heldInput(), (0, None))
            for name in NAMES:
                self.assertIs(getattr(Under, name), getattr(receiver, name))

    def test_hidesNothing(self) -> None:
        """
        What Twisted's receivers have under a name is still theirs.
        """
        for protocol in (
            LineReceiver,
            LineOnlyReceiver,
            NetstringReceiver,
            Int16StringReceiver,
        ):
            for name in vars(HeldInput):
                if not name.startswith("_"):
                    self.assertFalse(hasattr(protocol, name), name)

    def test_isReceiving(self) -> None:
        """
        A protocol is receiving while it hands on a chunk, Twisted's LineReceiver too.
        """
        for receiver in (LineReceiver, FastLineReceiver):
            seen: list[Any] = []

            class Asked(Session, receiver):  # type: ignore[misc, valid-type]
                def lineReceived(self, line: bytes) -> None:
                    seen.append(self.isReceiving)  # noqa: B023

            session = Asked()
            session.makeConnection(StringTransport())
            session.dataReceived(b"a\r\nb\r\n")
            self.assertEqual((seen, session.isReceiving), ([True, True], False))
