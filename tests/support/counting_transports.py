"""
Transports that count what they send, as those of the eager reactor do.
"""

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

DONE = Failure(ConnectionDone())
PEER = IPv4Address("TCP", "192.0.2.1", 7)


class Counting(StringTransport):
    """
    A transport that counts what it sends, as those of the eager reactor do.
    """

    bytesSent = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        self.bytesSent += len(data)


class Waiting(Counting):
    """
    One of which all that is written waits to be sent, as in Twisted's buffers.
    """

    offset = 0

    def __init__(self) -> None:
        super().__init__(peerAddress=PEER)
        self.dataBuffer = b""
        self._tempDataBuffer: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._tempDataBuffer.append(data)
