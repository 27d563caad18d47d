"""
A protocol that is not ours: Twisted's ESMTP, tracked, throttled, stopped in order.

    python docs/examples/smtp.py          # needs twisted-echo alone

It takes mail for anybody, counts its lines, and forgets it.
"""

# mypy: disable-error-code="no-untyped-call,misc,no-any-return"
# (twisted.mail is not annotated.)

import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorCore
from twisted.mail.smtp import ESMTP, IMessage
from zope.interface import implementer

from twisted_echo import Session, SessionFactory, SessionService


@implementer(IMessage)
class Counted:
    def __init__(self) -> None:
        self.lines = 0

    def lineReceived(self, line: bytes) -> None:
        self.lines += 1

    def eomReceived(self) -> Deferred[bytes]:
        return succeed(b"%d lines" % self.lines)

    def connectionLost(self) -> None:
        self.lines = 0


class Mail(Session, ESMTP):
    host = b"localhost"

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: by example"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        return Counted


if __name__ == "__main__":
    listen = sys.argv[1] if len(sys.argv) > 1 else "tcp:7025:interface=127.0.0.1"
    service = SessionService(listen, SessionFactory.forProtocol(Mail))
    service.startService()
    print("listening on", service.addresses[0], flush=True)
    core = IReactorCore(reactor)
    core.addSystemEventTrigger("before", "shutdown", service.stopService)
    core.run()
