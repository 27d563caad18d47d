"""
The limits and timeouts of sessions, validated.

A number of 0 means no limit.
"""

from dataclasses import dataclass, fields
from enum import Enum
from ipaddress import IPv6Address as IPv6

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from twisted_echo.validation.checks import InvalidSetting, seconds, whole

__all__ = ["Deadlines", "Limits", "WhenFull", "peerKey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """
    How many seconds a peer may take before its session is ended.

    A deadline never expires early. It expires at most a quarter of the shortest of them
    late, counted as at least 0.1 s and at most 4 s.

    @ivar idle: nothing is sent, either way, and no answer is still to come
        (L{Session.answerLater<twisted_echo.session.session.Session.answerLater>}). The
        session is closed.
    @ivar line: from the first byte of a line to its last; a byte now and then does
        not extend it. The lines before it are answered, the session is closed.
    @ivar write: something waits for the peer, and it takes nothing. The connection is
        aborted.
    @ivar handshake: until a TLS handshake or a PROXY header is finished. The
        connection is aborted.
    """

    idle: float = 300.0
    line: float = 60.0
    write: float = 60.0
    handshake: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = seconds(
                field.name,
                getattr(self, field.name),
                "0 (none) or more",
                label=f"the {field.name} deadline",
            )
            object.__setattr__(self, field.name, value)

    @property
    def sweep(self) -> float:
        """
        Seconds between two sweeps, each of which looks whether a deadline has passed.
        """
        shortest = min((each for each in self._all() if each), default=16.0)
        return min(max(shortest, 0.4), 16.0) / 8

    def _all(self) -> tuple[float, ...]:
        return (self.idle, self.line, self.write, self.handshake)


class WhenFull(Enum):
    """
    What happens to a new connection when there are as many as C{Limits.sessions}.
    """

    WAIT = "wait"
    """It waits in the backlog until one ends."""
    REFUSE = "refuse"
    """It is closed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    How many sessions, and how many bytes, there may be at once.

    @ivar sessions: connections, whether sessions yet or not.
    @ivar sessionsPerPeer: sessions of one address: an IPv4 address, a /64 network of
        IPv6, or the path of a UNIX socket, announced by a PROXY header or the client's
        own. One more is always refused. A client without an address is not counted, and
        most clients of UNIX sockets have none.
    @ivar whenFull: what becomes of a connection over C{sessions}. To wait, it needs
        ports that can be paused, as Twisted's own can; else it is refused.
    @ivar buffered: bytes held for all sessions together
        (L{heldBytes<twisted_echo.session.bounds.buffered_memory.heldBytes>}). When this
        is exceeded, at the latest by a sixteenth, sessions are cut off until it is not:
        first the ones that have been paused longest, then the ones that hold most.
    """

    sessions: int = 0
    sessionsPerPeer: int = 0
    whenFull: WhenFull = WhenFull.WAIT
    buffered: int = 256 << 20

    def __post_init__(self) -> None:
        for name in ("sessions", "sessionsPerPeer", "buffered"):
            value = whole(name, getattr(self, name), ", 0 (no limit) or more")
            object.__setattr__(self, name, value)
        if not isinstance(self.whenFull, WhenFull):
            raise InvalidSetting(
                "whenFull", f"must be a WhenFull, got {self.whenFull!r}"
            )


def peerKey(address: IAddress | None) -> str | None:
    """
    Whom a connection counts for: the host of an IPv4 address, the /64 network of
    an IPv6 one, the path of a UNIX socket; None for any other, and for a UNIX socket
    without a path.
    """
    if isinstance(address, IPv4Address):
        return str(address.host)
    if isinstance(address, IPv6Address):
        host = IPv6(address.host.partition("%")[0])
        if host.ipv4_mapped is not None:
            return str(host.ipv4_mapped)
        return host.exploded[:19]
    if isinstance(address, UNIXAddress) and address.name:
        # No host is written like this.
        return f"unix:{address.name!r}"
    return None
