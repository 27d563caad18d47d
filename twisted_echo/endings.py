"""
Why sessions end, and what is left of one that has.
"""

from dataclasses import dataclass
from enum import Enum

__all__ = ["EndReason", "SessionEnd"]


class EndReason(Enum):
    """
    Why a session ended. Logs and metrics use the values.
    """

    PEER_CLOSED = "peer-closed"
    """The peer sent its end-of-file, and got the answers to all before it."""
    LOCAL_CLOSED = "local-closed"
    """The protocol closed the connection."""
    STOPPED = "stopped"
    """The service stopped, and the peer got all its answers."""
    LINE_TOO_LONG = "line-too-long"
    """The peer sent a line over the limit."""
    ABORTED = "aborted"
    """It was cut off, with a reset: a deadline passed, or somebody aborted it."""
    CONNECTION_LOST = "connection-lost"
    """The peer reset the connection, or vanished."""
    ERROR = "error"
    """The protocol raised an exception, which is in the log."""


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """
    What is left of a session that has ended.

    @ivar reason: why it ended.
    @ivar bytesReceived: how many bytes its receiver was given.
    @ivar seconds: how long it lasted.
    """

    reason: EndReason
    bytesReceived: int
    seconds: float
