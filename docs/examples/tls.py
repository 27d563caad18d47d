"""
A line server behind TLS.

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 7 \\
        -subj /CN=localhost -addext subjectAltName=DNS:localhost \\
        -keyout key.pem -out cert.pem
    twistd -ny tls.py

    openssl s_client -quiet -CAfile cert.pem -connect localhost:7008

A session begins when the handshake is done, and its code does not change for TLS. A
client that ends its own direction (`close_notify`) still gets its answers, as it does
without TLS.
"""

from twisted.application.service import Application

from twisted_echo import FastLineReceiver, Session, SessionFactory, SessionService


class Reverse(Session, FastLineReceiver):
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line[::-1])


application = Application("reverse over TLS")
SessionService(
    "ssl:7008:privateKey=key.pem:certKey=cert.pem:interface=127.0.0.1",
    SessionFactory.forProtocol(Reverse),
).setServiceParent(application)
