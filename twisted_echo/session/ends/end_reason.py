"""
Why sessions end, and the record of a session that has ended.
"""

from enum import Enum
from typing import NamedTuple

__all__ = ["EXPECTED_ENDS", "REFUSALS", "Detail", "EndReason", "SessionEnd"]


class EndReason(Enum):
    """
    Why a session ended, or a connection never became one. Logs and metrics use
    the values.
    """

    # (An enumeration hashes the names of its members, by a method in Python.)
    __hash__ = object.__hash__

    PEER_CLOSED = "peer-closed"
    """The peer sent its end-of-file, when it had got the answers to all before it."""
    HALF_CLOSED = "half-closed"
    """The peer sent its end-of-file, and then got its remaining answers."""
    LOCAL_CLOSED = "local-closed"
    """The protocol closed the connection."""
    STOPPED = "stopped"
    """The service stopped, and the peer got all its answers."""
    LINE_TOO_LONG = "line-too-long"
    """The peer sent a line over the limit."""
    FRAME_TOO_LONG = "frame-too-long"
    """The peer began a length-prefixed frame over the limit."""
    IDLE = "idle"
    """Nothing was sent either way for longer than allowed."""
    LINE_TIMEOUT = "line-timeout"
    """The peer began a line and did not finish it in time."""
    WRITE_TIMEOUT = "write-timeout"
    """The peer took nothing of what waited for it for longer than allowed."""
    OVER_BUFFERED = "over-buffered"
    """All sessions together held too much, and this session was chosen to end."""
    ABORTED = "aborted"
    """It was cut off, with a reset: a deadline passed, or somebody aborted it."""
    ABORTED_IN_DRAIN = "aborted-in-drain"
    """The service stopped, and could not wait for the peer any longer."""
    CONNECTION_LOST = "connection-lost"
    """The peer reset the connection, or vanished."""
    ERROR = "error"
    """The protocol raised an exception, which is in the log."""

    HANDSHAKE_TIMEOUT = "handshake-timeout"
    """The TLS handshake or the PROXY header was not finished in time. Like the next, it
    may also end a session that has begun TLS in its middle."""
    HANDSHAKE_FAILED = "handshake-failed"
    """The TLS handshake failed, or the peer left before its end."""
    BAD_PROXY_HEADER = "bad-proxy-header"
    """What should have been a PROXY header was none, or was cut off."""
    REFUSED_FULL = "refused-full"
    """There were as many sessions as are allowed."""
    REFUSED_PEER = "refused-peer"
    """There were as many sessions of this peer as are allowed."""
    REFUSED_PROXY = "refused-proxy"
    """The peer may not send a PROXY header."""


EXPECTED_ENDS = frozenset(
    (
        EndReason.PEER_CLOSED,
        EndReason.HALF_CLOSED,
        EndReason.LOCAL_CLOSED,
        EndReason.STOPPED,
        EndReason.ABORTED,
        EndReason.ABORTED_IN_DRAIN,
        EndReason.CONNECTION_LOST,
    )
)
"""
How sessions end without an offence of the peer's or a fault of the protocol's.
"""


REFUSALS = frozenset(
    (
        EndReason.HANDSHAKE_TIMEOUT,
        EndReason.HANDSHAKE_FAILED,
        EndReason.BAD_PROXY_HEADER,
        EndReason.REFUSED_FULL,
        EndReason.REFUSED_PEER,
        EndReason.REFUSED_PROXY,
    )
)
"""
Why a connection never becomes a session, as a rule. (It may also be for an C{ERROR},
or because the service has C{STOPPED} before. And a session may end by the handshake of
the TLS that it has begun.)
"""


class Detail(str):
    """
    The detail of an end: a text, and the numbers in it as numbers.

    @ivar numbers: those in the text, by name.
    """

    numbers: dict[str, float]

    def __new__(cls, text: str, **numbers: float) -> "Detail":
        """
        @param text: has C{{name}} where a number belongs.
        """
        detail = super().__new__(cls, text.format(**numbers))
        detail.numbers = numbers
        return detail


class SessionEnd(NamedTuple):
    """
    The record of a session that has ended: why, and what it has carried.

    @ivar reason: why it ended.
    @ivar detail: more about the end, such as how long the line was; a L{Detail} where
        it has numbers.
    @ivar bytesReceived: how many bytes its receiver was given.
    @ivar bytesSent: how many bytes were sent; None where the transport does not
        count them.
    @ivar lines: how many lines were received, as far as they are counted.
    @ivar seconds: how long it lasted.
    """

    reason: EndReason
    bytesReceived: int
    seconds: float
    detail: str = ""
    bytesSent: int | None = None
    lines: int = 0
