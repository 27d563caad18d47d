"""
Sessions for a protocol of Twisted's: its SMTP server.

    twistd -ny smtp.py

`Session` goes before any protocol of Twisted's, and SMTP itself does not change. Its
connections are counted, limited and recorded. A client that does not read is not read
from. At a stop each client gets its answers, and then end-of-file.
"""

from email.message import Message
from email.parser import BytesParser

from twisted.application.service import Application
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.mail.smtp import ESMTP, IMessage, SMTPBadRcpt, User
from zope.interface import implementer

from twisted_echo import Limits, Session, SessionFactory, SessionService

log = Logger()


@implementer(IMessage)
class Arriving:
    """
    A message, line by line.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        message: Message = BytesParser().parsebytes(b"\n".join(self.lines))
        log.info("a message: {subject}", subject=message["subject"])
        return succeed(None)

    def connectionLost(self) -> None:
        self.lines.clear()


class Mail(Session, ESMTP):
    def receivedHeader(self, helo: object, origin: object, to: object) -> bytes:
        return b"Received: by the example"

    def validateFrom(self, helo: object, origin: object) -> object:
        return origin

    def validateTo(self, user: User) -> type[Arriving]:
        if user.dest.domain != b"example.org":
            raise SMTPBadRcpt(user)
        return Arriving


factory = SessionFactory.forProtocol(Mail, limits=Limits(sessionsPerPeer=10))
application = Application("mail")
SessionService("tcp:2525:interface=127.0.0.1", factory).setServiceParent(application)
