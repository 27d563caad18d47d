"""
A chat: each client gets what all others say.

    twistd -ny chat.py

    nc 127.0.0.1 7008      # in two terminals

The lines of others are not answers to the client's own lines, so backpressure does not
bound them. If a client does not read, they would wait without limit. `say` therefore
aborts a client for which `MOST_WAITING` bytes wait. The others notice nothing.
"""

from twisted.application.service import Application

from twisted_echo import (
    Deadlines,
    EndReason,
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.net.transport_queries import pendingOutput

MOST_WAITING = 1 << 20


class Talker(Session, FastLineReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1000
    factory: SessionFactory["Talker"]
    name = b""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.sendLine(b"your name?")

    def lineReceived(self, line: bytes) -> None:
        if self.name:
            self.say(self.name + b": " + line)
        elif line.strip():
            self.name = line.strip()
            self.say(self.name + b" is here")
        else:
            self.sendLine(b"your name?")

    def say(self, line: bytes) -> None:
        for other in list(self.factory.sessions):
            if other is self or not isinstance(other, Talker) or not other.name:
                continue
            if pendingOutput(other.transport) > MOST_WAITING:
                other.abort(EndReason.OVER_BUFFERED)
            else:
                other.sendLine(line)


# A peer that only listens may stay as long as it likes.
factory = SessionFactory.forProtocol(Talker, deadlines=Deadlines(idle=0))
application = Application("chat")
SessionService("tcp:7008:interface=127.0.0.1", factory).setServiceParent(application)
