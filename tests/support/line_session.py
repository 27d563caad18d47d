"""
The session of many tests, and the end of most.
"""

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from twisted_echo import FastLineReceiver, Session

__all__ = ["DONE", "Lines"]

DONE = Failure(ConnectionDone())


class Lines(Session, FastLineReceiver):
    """
    Sends every line back.
    """

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)
