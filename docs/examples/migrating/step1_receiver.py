"""
Step 1: another base class, and nothing else.

    twistd -ny step1_receiver.py

The hooks and their semantics stay. The lines of a chunk are split at once, so the cost
of a chunk grows only with its bytes, however it was cut.
"""

# mypy: disable-error-code="union-attr"
import re

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory

from twisted_echo import FastLineReceiver

# Whatever is no letter, digit, dot or dash becomes an underscore.
SAFE = re.sub(rb"[^\w.-]", b"_", bytes(range(256)))


class SafeNames(FastLineReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1024

    def lineReceived(self, line: bytes) -> None:
        if line == b"quit":
            self.transport.loseConnection()
        else:
            self.sendLine(line.translate(SAFE))


application = Application("safe-names")
endpoint = serverFromString(reactor, "tcp:7008:interface=127.0.0.1")
service = StreamServerEndpointService(endpoint, Factory.forProtocol(SafeNames))
service.setServiceParent(application)
