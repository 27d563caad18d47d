"""
The end of an eager connection that has nothing left to send.

Twisted's transports end by way of C{doWrite}: the poller watches the connection until
it can be written to, and then no byte is sent. Here the write queue ends it, when the
turn ends: before the next poll, after the timers that are due.

What must hold:

  - C{connectionLost} is never called within a call of the protocol;
  - the reason is Twisted's. The empty send also tells whether the peer has reset the
    connection, or has hung up. So a connection ends without it only where the poll has
    told in the same turn: by an event after which the connection was read;
  - what waits by then, in whatever way, ends as inherited.
"""

from typing import Protocol, cast

from twisted_echo.eager.sending import EagerMixin, Sending

__all__ = ["EndingMixin"]

_QUEUED, _GATHERING = Sending.QUEUED, Sending.GATHERING


class _Reactor(Protocol):
    """
    The methods of a reactor that a connection uses.
    """

    def closedWhileReading(self, connection: "EndingMixin") -> None: ...


class EndingMixin(EagerMixin):
    """
    The orderly end of a connection. Put it before a subclass of C{tcp.Connection}.
    """

    def canEnd(self) -> bool:
        """
        Whether it was closed and nothing is left to send. (A producer that is paused
        still has something; in other states than C{QUEUED} the inherited C{doWrite}
        knows.)
        """
        return bool(
            self.disconnecting
            and self.connected
            and self._sending is _QUEUED
            and not self.dataBuffer
            and not self._tempDataBuffer
            and not self.producerPaused
        )

    def loseConnection(self) -> None:
        if self._sending is not _QUEUED:
            super().loseConnection()
        elif self.connected and not self.disconnecting:
            # The same, of a connection that neither has TLS nor has been half-closed.
            self.stopReading()
            self.startWriting()
            self.disconnecting = 1
        if self._sending is _GATHERING:
            cast(_Reactor, self.reactor).closedWhileReading(self)
