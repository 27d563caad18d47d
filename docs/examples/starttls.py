"""
An SMTP-like server whose clients begin TLS by STARTTLS.

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 7 \\
        -subj /CN=localhost -addext subjectAltName=DNS:localhost \\
        -keyout key.pem -out cert.pem
    twistd -ny starttls.py

    openssl s_client -crlf -quiet -starttls smtp -CAfile cert.pem \\
        -connect localhost:2525

The answer to STARTTLS is written before `startTLS` is called, so it goes out in the
clear. What is written afterwards waits for the handshake. What a client, or an attacker
in between, has put behind the command is dropped. The session also forgets what it has
learned in the clear.
"""

import ssl

from twisted.application.service import Application

from twisted_echo import FastLineReceiver, Session, SessionFactory, SessionService
from twisted_echo.tls.certificates import Certificates


def load() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain("cert.pem", "key.pem")
    return context


# After `certificates.reload()` new handshakes use the new files.
certificates = Certificates(load)


class Drop(Session, FastLineReceiver):
    MAX_LENGTH = 1000
    isSecure = False
    sender = b""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.sendLine(b"220 localhost")

    def lineReceived(self, line: bytes) -> None:
        command, _, rest = line.partition(b" ")
        answer = getattr(self, "do" + command.decode("latin-1").capitalize(), None)
        if answer is None:
            self.sendLine(b"500 what?")
        else:
            answer(rest)

    def doEhlo(self, name: bytes) -> None:
        offer = b"250 8BITMIME" if self.isSecure else b"250 STARTTLS"
        self.sendLines([b"250-localhost", offer])

    def doStarttls(self, rest: bytes) -> None:
        if self.isSecure:
            self.sendLine(b"503 TLS is on already")
            return
        self.sendLine(b"220 go ahead")
        self.startTLS(certificates)
        self.isSecure, self.sender = True, b""

    def doMail(self, rest: bytes) -> None:
        if not self.isSecure:
            self.sendLine(b"530 STARTTLS first")
            return
        self.sender = rest
        self.sendLine(b"250 hello " + rest)

    def doQuit(self, rest: bytes) -> None:
        self.sendLine(b"221 bye")
        self.transport.loseConnection()


application = Application("drop")
SessionService(
    "tcp:2525:interface=127.0.0.1", SessionFactory.forProtocol(Drop)
).setServiceParent(application)
