"""
Step 3: one answer for all lines of a chunk, under the eager reactor.

    twistd --reactor=eager -ny step3_batches.py

The hook gets all lines that have arrived, as a list, and answers with one write. The
eager reactor sends an answer at once. Twisted's reactors first look at all sockets
again.
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

    def linesReceived(self, lines: list[bytes]) -> None:
        leaves = b"quit" in lines
        if leaves:
            lines = lines[: lines.index(b"quit")]
        self.sendLines([line.translate(SAFE) for line in lines])
        if leaves:
            self.transport.loseConnection()


factory = SessionFactory.forProtocol(
    SafeNames, deadlines=Deadlines(idle=60), limits=Limits(sessions=1000)
)
application = Application("safe-names")
service = SessionService("tcp:7008:interface=127.0.0.1", factory)
service.setServiceParent(application)
