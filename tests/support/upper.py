"""
A service of upper case, for tests of services.
"""

from typing import Any

from twisted_echo import (
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)

__all__ = ["LOOPBACK", "Upper", "upper"]

LOOPBACK = "tcp:0:interface=127.0.0.1"


class Upper(Session, FastLineReceiver):
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


def upper(**factory: Any) -> SessionService:
    return SessionService(LOOPBACK, SessionFactory.forProtocol(Upper, **factory))
