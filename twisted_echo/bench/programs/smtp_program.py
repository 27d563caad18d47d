"""
SMTP: one mail, from C{MAIL FROM} to the reply to its text, in an open connection.
"""

import re
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory
from twisted.mail import smtp
from zope.interface import implementer

from twisted_echo.bench.programs.dialogue import DialogueProgram, DialogueStep

TEXT = (
    b"Subject: a mail",
    b"",
    *(b"line %d of the mail" % number for number in range(10)),
)


def _reply(code: bytes) -> re.Pattern[bytes]:
    return re.compile(code + rb" [^\r\n]*\r\n")


@implementer(smtp.IMessage)
class CheckedMessage:
    """
    Refuses a mail whose text is not L{TEXT}.
    """

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        if tuple(self._lines) == TEXT:
            return succeed(None)
        return fail(smtp.SMTPServerError(550, b"not the text that was sent"))

    def connectionLost(self) -> None:
        pass


@implementer(smtp.IMessageDelivery)
class TakesAllMail:
    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b""

    def validateFrom(self, helo: Any, origin: smtp.Address) -> smtp.Address:
        return origin

    def validateTo(self, user: smtp.User) -> Any:
        return CheckedMessage


class MailServer(smtp.ESMTP):
    def __init__(self) -> None:
        super().__init__()
        self.host = b"localhost"
        self.delivery = TakesAllMail()


class SMTPProgram(DialogueProgram):
    opening = (
        DialogueStep(b"", _reply(b"220")),
        DialogueStep(b"HELO there\r\n", _reply(b"250")),
    )
    operation = (
        DialogueStep(b"MAIL FROM:<some@localhost>\r\n", _reply(b"250")),
        DialogueStep(b"RCPT TO:<other@localhost>\r\n", _reply(b"250")),
        DialogueStep(b"DATA\r\n", _reply(b"354")),
        DialogueStep(b"\r\n".join((*TEXT, b".", b"")), _reply(b"250")),
    )

    def factory(self) -> Factory:
        return Factory.forProtocol(MailServer)


program = SMTPProgram()
