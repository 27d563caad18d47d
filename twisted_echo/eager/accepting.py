"""
Ports that accept at less cost than Twisted's, and fairly.

What must hold:

  - protocols and transports are made as Twisted's C{Port.doRead} makes them;
  - however many connections wait, one turn of the reactor spends no more than one
    L{SHARE} on them, and then one connection;
  - a port that is being closed accepts in its last turn what Twisted's would accept:
    there is no next turn, and what is left in the backlog is reset;
  - an error of C{accept} is left to Twisted's C{doRead}, which meets it again.
"""

from collections.abc import Callable
from errno import EBADF
from socket import NI_NUMERICHOST, NI_NUMERICSERV, getnameinfo, socket
from time import perf_counter
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp
from twisted.python import log

from twisted_echo.eager.log_context import OwnLogContext

__all__ = ["SHARE", "AcceptingMixin", "acceptor"]

SHARE = 0.001
"""
Seconds that a port may take of one turn: some twenty connections. Their first bytes and
their ends take the next turns as long again. The rest stay in the backlog, and open
connections are served before them. (Of 500 connections that come at once, the longest
turn takes 11 to 16 ms of processor time without this, and 3 to 4 with it.)
"""
_MORE = 20
"""
By how much the number of connections for one turn grows when it was reached, as with
Twisted's ports.
"""

if TYPE_CHECKING:
    _Base = tcp.Port
else:
    _Base = object


def acceptor(listening: socket) -> Callable[[], tuple[socket, Any]]:
    """
    Make C{listening.accept}, for a socket that does not block. It makes no members of
    enumerations, which cost 15,000 instructions (counted by C{valgrind
    --tool=cachegrind}).
    """
    take, proto = listening._accept, listening.proto  # type: ignore[attr-defined]
    family, kind = super(socket, listening).family, super(socket, listening).type

    def accept() -> tuple[socket, Any]:
        descriptor, address = take()
        return socket(family, kind, proto, descriptor), address

    return accept


class AcceptingMixin(OwnLogContext, _Base):
    """
    The accepting half of a port. Put it before a subclass of C{tcp.Port}.

    @ivar refuse: called with the socket of a connection for which its factory makes no
        protocol; closes it.
    """

    refuse: Callable[[socket], object] = staticmethod(socket.close)

    def doRead(self) -> None:
        """
        Accept what waits in the backlog, as far as it is this port's turn.
        """
        try:
            self._acceptBatch()
        except BaseException:
            # As Twisted's ports do.
            log.err()

    def _acceptBatch(self) -> None:
        most, accepted = self.numberAccepts, 0
        ends = perf_counter() + SHARE
        listening = self.socket
        # (It may have been replaced by something that holds connections back.)
        accept = acceptor(listening) if type(listening) is socket else listening.accept
        while accepted < most:
            # (A port that is being closed has no turn after this one.)
            if accepted and perf_counter() >= ends and not self.disconnecting:
                return
            try:
                made = accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == EBADF:
                    # A nested turn has closed this port. C{doRead} needs its socket.
                    raise
                super().doRead()
                return
            accepted += 1
            self._begin(*made)
        self.numberAccepts = most + _MORE if accepted == most else max(1, accepted)

    def _begin(self, accepted: socket, address: Any) -> None:
        if type(address) is tuple and len(address) == 4:
            # The scope of an IPv6 address is shown in the host's name alone.
            host, _ = getnameinfo(address, NI_NUMERICHOST | NI_NUMERICSERV)
            address = (host, *address[1:])
        assert self.factory is not None
        protocol = self.factory.buildProtocol(self._buildAddr(address))
        if protocol is None:
            self.refuse(accepted)
            return
        number = self.sessionno
        self.sessionno = number + 1
        transport = self.transport(
            accepted, protocol, address, self, number, self.reactor
        )
        protocol.makeConnection(transport)
