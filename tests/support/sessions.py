"""
Sessions over every kind of receiver, for tests.
"""

import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.protocols.basic import (
    Int16StringReceiver,
    LineOnlyReceiver,
    LineReceiver,
)
from twisted.python.failure import Failure

from tests.support.clients import (
    FullTransport,
)
from twisted_echo import (
    FastLineOnlyReceiver,
    FastLineReceiver,
    Session,
    SessionFactory,
)

DONE = Failure(ConnectionDone())


class Lines:
    """
    Answers each line by itself, in upper case; some lines are orders.
    """

    delimiter = b"\n"

    def connectionMade(self) -> None:
        self.lines: list[bytes] = []
        super().connectionMade()

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)
        if line == b"lose":
            self.transport.loseConnection()
        elif line == b"close":
            self.close()
        elif line == b"pause":
            self.pauseProducing()
        elif line == b"fail":
            raise ZeroDivisionError
        elif line == b"later":
            self.later: Deferred[None] = Deferred()
            self.answerLater(self.later.addCallback(lambda _: self.sendLine(b"LATE")))  # type: ignore[call-overload]
        elif line == b"big":
            self.sendLine(b"x" * 30_000_000)
        else:
            self.sendLine(line.upper())


class Upper(Lines, Session, FastLineReceiver):
    """
    The package's receiver.
    """


class StockUpper(Lines, Session, LineReceiver):
    """
    Twisted's receiver.
    """


class OnlyUpper(Lines, Session, LineOnlyReceiver):
    """
    Twisted's simple receiver.
    """


class FastOnlyUpper(Lines, Session, FastLineOnlyReceiver):
    """
    The package's simple receiver.
    """


class Strings(Session, Int16StringReceiver):
    """
    Length-prefixed.
    """

    def stringReceived(self, string: bytes) -> None:
        self.sendString(string.upper())


class Plain(Session, Protocol):
    """
    Bytes as they come.
    """

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data.upper())


def made(protocol: type[Any], transport: Any = None, **options: Any) -> Any:
    """
    A session of a factory with a L{Clock}, on a fake transport.
    """
    options.setdefault("clock", Clock())
    factory = SessionFactory.forProtocol(protocol, **options)
    session = factory.buildProtocol(None)
    session.makeConnection(FullTransport() if transport is None else transport)
    return session


def frame(string: bytes) -> bytes:
    return struct.pack("!H", len(string)) + string
