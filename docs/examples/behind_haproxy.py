"""
A line server behind HAProxy that knows the clients' addresses.

    twistd -ny behind_haproxy.py
    haproxy -db -f behind_haproxy.cfg

    printf '\\n' | nc -N 127.0.0.1 7000

HAProxy sends a PROXY header (`send-proxy`), version 1 or 2. `haproxy:` before an
endpoint reads it, and `peer` is then the client, not HAProxy. A host that can reach the
port can claim any address, so let only HAProxy reach it. For production there is
`docs/deploy/haproxy.cfg`: many servers, health checks, rolling restarts.
"""

from twisted.application.service import Application

from twisted_echo import FastLineReceiver, Session, SessionFactory, SessionService
from twisted_echo.net.addresses import readable


class WhoAmI(Session, FastLineReceiver):
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(readable(self.peer).encode())


application = Application("who am I")
SessionService(
    "haproxy:tcp:7008:interface=127.0.0.1", SessionFactory.forProtocol(WhoAmI)
).setServiceParent(application)
