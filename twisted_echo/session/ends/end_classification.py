"""
Why a session has ended: from what the transport reports, and from what was done to the
session before.

What must hold: L{endReason} is a pure function of plain values.
"""

from enum import Enum
from ssl import SSLError

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from twisted_echo.session.ends.end_reason import EndReason

__all__ = [
    "ABORT_REASONS",
    "BROKEN",
    "DONE",
    "HANGUP",
    "OFFENCES",
    "Loss",
    "endReason",
    "lossOf",
]


OFFENCES = (
    EndReason.LINE_TOO_LONG,
    EndReason.FRAME_TOO_LONG,
    EndReason.IDLE,
    EndReason.LINE_TIMEOUT,
    EndReason.HANDSHAKE_FAILED,
)
"""
Reasons that say more of the peer than that the session was aborted later.
"""

ABORT_REASONS = {
    **{reason: reason for reason in OFFENCES},
    EndReason.STOPPED: EndReason.ABORTED_IN_DRAIN,
}
"""
What a session that was closed for a reason is aborted for at its deadline; C{ABORTED},
if the reason is not in here.
"""


class Loss(Enum):
    """
    How a transport reports that its connection is gone.
    """

    DONE = "done"
    """In order: both sides have sent their end-of-file, or it was closed here."""
    HANGUP = "hangup"
    """The other end of a UNIX socket has closed it, and nothing waited to be sent."""
    BROKEN = "broken"
    """Reset by the peer, or the peer has vanished; or TLS was broken."""
    RESET = "reset"
    """Aborted by this side."""
    FAILED = "failed"
    """By an exception in the code of the protocol."""


# (To ask an enumeration for one of its members costs more than a whole call.)
DONE, HANGUP, BROKEN, RESET, FAILED = Loss


def lossOf(failure: Failure) -> Loss:
    """
    Classify the failure with which a transport reports its end. (Whether a connection
    that was lost is a L{Loss.HANGUP}, the failure does not tell.)
    """
    error = failure.value
    if isinstance(error, ConnectionDone):
        return DONE
    if isinstance(error, ConnectionAborted):
        return RESET
    if isinstance(error, (ConnectionLost, SSLError)):
        return BROKEN
    # By name for Twisted's own TLS, since pyOpenSSL need not be there.
    return BROKEN if type(error).__module__ == "OpenSSL.SSL" else FAILED


def endReason(
    loss: Loss,
    abortReason: EndReason | None,
    closeReason: EndReason | None,
    isFinished: bool,
    hasInputEnded: bool,
    isOwed: bool,
    isTLS: bool,
    isDisconnecting: bool,
) -> EndReason:
    """
    Find why a session has ended.

    @param abortReason: what it was aborted for; None if it was not.
    @param closeReason: what it was closed for; None if it was not.
    @param isFinished: whether its end-of-file was sent.
    @param hasInputEnded: whether the peer's end-of-file was received.
    @param isOwed: whether the peer was still to get something by then.
    @param isTLS: whether the connection was encrypted.
    @param isDisconnecting: whether the connection was closed here.
    """
    if abortReason is not None:
        return abortReason
    if loss is RESET:
        return EndReason.ABORTED
    isDone = loss is DONE or (
        # A UNIX socket whose peer has closed hangs up before it is closed here.
        loss is HANGUP and isFinished and hasInputEnded and not isOwed
    )
    if closeReason is not None and (
        # Most TLS clients close without a farewell when they got theirs.
        isDone or (isFinished and isTLS)
    ):
        return closeReason
    if not isDone:
        return EndReason.ERROR if loss is FAILED else EndReason.CONNECTION_LOST
    if isOwed:
        return EndReason.HALF_CLOSED
    if hasInputEnded or not isDisconnecting:
        return EndReason.PEER_CLOSED
    return EndReason.LOCAL_CLOSED
