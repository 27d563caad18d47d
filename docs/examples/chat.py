"""
A chat: what one says, all others hear. Who does not read is cut off.

    python docs/examples/chat.py          # needs twisted-echo alone
    nc -C 127.0.0.1 7008                  # in several terminals

A session stops taking a peer's own lines while that peer does not read. But what others
say is written to it all the same, so a chat has to bound that itself: a reader for whom
more than C{MOST_UNREAD} bytes wait is aborted, and the others never wait for him.
"""

import sys

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorCore

from twisted_echo import (
    Deadlines,
    EndReason,
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.progress import pendingOutput

MOST_UNREAD = 1 << 20


class Chatter(Session, FastLineReceiver):
    def lineReceived(self, line: bytes) -> None:
        block = b"%d: %s\r\n" % (self.serial, line)
        for other in list(factory.sessions):
            if other is self or other.isAborted:
                continue
            if pendingOutput(other.transport) > MOST_UNREAD:
                other.abort(EndReason.OVER_BUFFERED)
            else:
                other.transport.write(block)


# Who listens only is silent for long.
factory = SessionFactory.forProtocol(Chatter, deadlines=Deadlines(idle=0))


def main(listen: str = "tcp:7008:interface=127.0.0.1") -> None:
    service = SessionService(listen, factory)
    service.startService()
    print("listening on", service.addresses[0], flush=True)
    core = IReactorCore(reactor)
    core.addSystemEventTrigger("before", "shutdown", service.stopService)
    core.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
