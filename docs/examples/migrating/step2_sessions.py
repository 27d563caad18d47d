"""
Step 2: sessions, and a service that stops in order.

    twistd -ny step2_sessions.py

At SIGTERM each client gets whole answers to all that was read from it, and then
end-of-file. So does a client that sends end-of-file itself. A client that does not read
is not read from. The number of clients, and the time that one may be silent, are
limited.
"""

import re

from twisted.application.service import Application

from twisted_echo import (
    Deadlines,
    FastLineReceiver,
    Limits,
    Session,
    SessionFactory,
    SessionService,
)

# Whatever is no letter, digit, dot or dash becomes an underscore.
SAFE = re.sub(rb"[^\w.-]", b"_", bytes(range(256)))


class SafeNames(Session, FastLineReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1024

    def lineReceived(self, line: bytes) -> None:
        if line == b"quit":
            self.transport.loseConnection()
        else:
            self.sendLine(line.translate(SAFE))


factory = SessionFactory.forProtocol(
    SafeNames, deadlines=Deadlines(idle=60), limits=Limits(sessions=1000)
)
application = Application("safe-names")
service = SessionService("tcp:7008:interface=127.0.0.1", factory)
service.setServiceParent(application)
