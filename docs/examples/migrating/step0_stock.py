"""
Before: a server of stock Twisted that makes safe file names of lines.

    twistd -ny step0_stock.py

    printf 'to do/Monday\\nquit\\n' | nc 127.0.0.1 7008
"""

# mypy: disable-error-code="union-attr"
import re

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

# Whatever is no letter, digit, dot or dash becomes an underscore.
SAFE = re.sub(rb"[^\w.-]", b"_", bytes(range(256)))


class SafeNames(LineReceiver):
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
