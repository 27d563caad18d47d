"""
Sessions on fake transports whose deadlines a test watches.
"""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    FullTransport,
)
from twisted_echo import (
    Deadlines,
    EndReason,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Session,
    SessionFactory,
)
from twisted_echo.testing.clocks import elapse

DONE = Failure(ConnectionDone())


NONE = {"idle": 0.0, "line": 0.0, "write": 0.0, "handshake": 0.0}


OFFSETS = [each * 0.37 for each in range(12)]


"""
When something begins, in seconds after a sweep.
"""


def only(**deadlines: float) -> Deadlines:
    return Deadlines(**(NONE | deadlines))


class Upper(Session, FastLineReceiver):
    """
    Answers in upper case.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


class OnlyUpper(Session, FastLineOnlyReceiver):
    """
    The same, by the simple receiver.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


class StockUpper(Session, LineReceiver):
    """
    The same, by a receiver that says nothing of what it holds.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


class Silent(Session, Protocol):
    """
    Takes, and answers nothing.
    """


class OwnTransport(FullTransport):
    """
    One that is gone in the moment in which it is aborted, and shows nothing of its
    output, but whether it is full.
    """

    aborted = False
    protocol: Any = None

    def abortConnection(self) -> None:
        self.aborted = True
        if self.protocol is not None:
            self.protocol.connectionLost(Failure(ConnectionAborted()))


class ShowingTransport(OwnTransport):
    """
    One that shows what waits in it, as Twisted's do.
    """

    bufferSize = 1 << 16

    def __init__(self) -> None:
        super().__init__()
        self.dataBuffer = b""
        self.offset = 0
        self._tempDataBuffer: list[bytes] = []


class FakeHandshake:
    """
    A connection that is to become a session.
    """

    def __init__(self, factory: Any, began: float) -> None:
        self.factory = factory
        self.began = began
        self.transport: Any = None
        self.failed: list[Any] = []

    def ownBytes(self) -> int:
        return 0

    def fail(self, reason: EndReason, detail: str = "") -> None:
        self.failed.append((reason, detail))
        self.factory.handshakeEnded(self)


class SweepTestCase(SynchronousTestCase):
    """
    Sessions on fake transports, and a clock.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        # It does not begin at 0, and neither does a session.
        elapse(self.clock, 1000.0)
        self.factory: Any = SessionFactory.forProtocol(Upper, clock=self.clock)
        self.factory.deadlines = only()

    def session(self, protocol: Any = Upper, transport: Any = None) -> Any:
        self.factory.protocol = protocol
        session = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport = ShowingTransport() if transport is None else transport
        session.makeConnection(transport)
        transport.protocol = session
        return session

    def advance(self, seconds: float) -> None:
        """
        Let time pass, in steps that are no multiple of anything.
        """
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            elapse(self.clock, min(0.0301, until - self.clock.seconds()))

    def strikes(self, session: Any, most: float) -> float:
        """
        When a session is closed or aborted, in seconds from now.
        """
        began = self.clock.seconds()
        while not (session.isClosing or session.isAborted):
            elapse(self.clock, 0.0301)
            self.assertLess(self.clock.seconds() - began, most, "nothing strikes")
        return self.clock.seconds() - began

    def assertOpen(self, session: Any) -> None:
        """
        Nothing has struck.
        """
        self.assertIs(session.end, None)
        self.assertFalse(session.isClosing or session.isAborted)

    def assertStruck(self, seconds: float, deadline: float) -> None:
        """
        Neither early nor later than is promised. (A step of the clock is allowed.)
        """
        self.assertGreaterEqual(seconds, deadline)
        self.assertLessEqual(
            seconds, deadline + min(max(deadline / 4, 0.1), 4.0) + 0.031
        )
