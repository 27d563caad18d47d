"""
L{twisted_echo.session.ends.end_classification}: why a session has ended, as a table.
"""

from itertools import product
from ssl import SSLEOFError

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from twisted_echo import EndReason
from twisted_echo.session.ends.end_classification import Loss, endReason, lossOf

FLAGS = ("isFinished", "hasInputEnded", "isOwed", "isTLS", "isDisconnecting")
NONE = dict.fromkeys(FLAGS, False)


def classified(
    loss: Loss,
    *flags: str,
    abort: EndReason | None = None,
    close: EndReason | None = None,
) -> EndReason:
    return endReason(
        loss,
        abortReason=abort,
        closeReason=close,
        **(NONE | dict.fromkeys(flags, True)),
    )


# What was done to the session, how its transport reports the end, and why it has ended.
TABLE = (
    # The peer leaves by itself.
    (Loss.DONE, (), EndReason.PEER_CLOSED),
    (Loss.DONE, ("hasInputEnded",), EndReason.PEER_CLOSED),
    (Loss.DONE, ("hasInputEnded", "isFinished"), EndReason.PEER_CLOSED),
    (
        Loss.DONE,
        ("hasInputEnded", "isFinished", "isDisconnecting"),
        EndReason.PEER_CLOSED,
    ),
    (Loss.DONE, ("hasInputEnded", "isFinished", "isOwed"), EndReason.HALF_CLOSED),
    (
        Loss.DONE,
        ("hasInputEnded", "isFinished", "isOwed", "isDisconnecting"),
        EndReason.HALF_CLOSED,
    ),
    # The protocol has closed the connection by its transport.
    (Loss.DONE, ("isDisconnecting",), EndReason.LOCAL_CLOSED),
    # The peer resets it, or TLS breaks.
    (Loss.BROKEN, (), EndReason.CONNECTION_LOST),
    (Loss.BROKEN, ("hasInputEnded", "isFinished"), EndReason.CONNECTION_LOST),
    (Loss.BROKEN, ("hasInputEnded", "isOwed"), EndReason.CONNECTION_LOST),
    (Loss.BROKEN, ("isTLS",), EndReason.CONNECTION_LOST),
    # A UNIX socket's other end closes it: in order only after its end-of-file.
    (Loss.HANGUP, ("hasInputEnded", "isFinished"), EndReason.PEER_CLOSED),
    (Loss.HANGUP, ("hasInputEnded", "isFinished", "isOwed"), EndReason.CONNECTION_LOST),
    (Loss.HANGUP, ("hasInputEnded",), EndReason.CONNECTION_LOST),
    (Loss.HANGUP, ("isFinished",), EndReason.CONNECTION_LOST),
    (Loss.HANGUP, (), EndReason.CONNECTION_LOST),
    # The rest.
    (Loss.RESET, (), EndReason.ABORTED),
    (Loss.FAILED, (), EndReason.ERROR),
    (Loss.FAILED, ("hasInputEnded", "isFinished"), EndReason.ERROR),
)
CLOSED = (
    # Closed for a reason: the reason is told where the peer has done its part.
    (Loss.DONE, (), True),
    (Loss.DONE, ("isFinished",), True),
    (Loss.DONE, ("isFinished", "hasInputEnded"), True),
    (Loss.DONE, ("isFinished", "hasInputEnded", "isOwed"), True),
    (Loss.HANGUP, ("isFinished", "hasInputEnded"), True),
    (Loss.BROKEN, ("isFinished",), False),
    (Loss.BROKEN, ("isFinished", "hasInputEnded"), False),
    # Over TLS many a peer closes without a farewell.
    (Loss.BROKEN, ("isFinished", "isTLS"), True),
    (Loss.FAILED, ("isFinished", "isTLS"), True),
    # But not before it has got its answers.
    (Loss.BROKEN, ("isTLS",), False),
    (Loss.HANGUP, ("hasInputEnded",), False),
)


@pytest.mark.parametrize(("loss", "flags", "reason"), TABLE)
def test_by_itself(loss: Loss, flags: tuple[str, ...], reason: EndReason) -> None:
    """
    A session that was neither closed nor aborted.
    """
    assert classified(loss, *flags) is reason


@pytest.mark.parametrize(("loss", "flags", "is_told"), CLOSED)
@pytest.mark.parametrize(
    "close", [EndReason.STOPPED, EndReason.IDLE, EndReason.LOCAL_CLOSED]
)
def test_closed(
    loss: Loss, flags: tuple[str, ...], is_told: bool, close: EndReason
) -> None:
    """
    A session that was closed.
    """
    expected = close if is_told else EndReason.CONNECTION_LOST
    assert classified(loss, *flags, close=close) is expected


def test_closed_and_failed() -> None:
    assert classified(Loss.FAILED, close=EndReason.IDLE) is EndReason.ERROR


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("close", [None, EndReason.STOPPED])
@pytest.mark.parametrize("values", list(product((False, True), repeat=len(FLAGS))))
def test_all(loss: Loss, close: EndReason | None, values: tuple[bool, ...]) -> None:
    """
    Of all combinations: the reason for an abort comes first, then a reset by this side;
    and nothing is said that was not so.
    """
    flags = [name for name, value in zip(FLAGS, values, strict=True) if value]
    abort = EndReason.WRITE_TIMEOUT
    assert classified(loss, *flags, abort=abort, close=close) is abort
    reason = classified(loss, *flags, close=close)
    if loss is Loss.RESET:
        assert reason is EndReason.ABORTED
        return
    assert reason is not EndReason.ABORTED
    assert (reason is EndReason.ERROR) <= (loss is Loss.FAILED)
    assert (reason is EndReason.STOPPED) <= (close is EndReason.STOPPED)
    assert (reason is EndReason.HALF_CLOSED) <= ("isOwed" in flags)
    assert (reason is EndReason.LOCAL_CLOSED) <= ("isDisconnecting" in flags)
    if loss is Loss.DONE:
        assert reason is not EndReason.CONNECTION_LOST


@pytest.mark.parametrize(
    ("error", "loss"),
    [
        (ConnectionDone(), Loss.DONE),
        (ConnectionAborted(), Loss.RESET),
        (ConnectionLost(), Loss.BROKEN),
        (SSLEOFError(), Loss.BROKEN),
        (type("Error", (Exception,), {"__module__": "OpenSSL.SSL"})(), Loss.BROKEN),
        (ZeroDivisionError(), Loss.FAILED),
        (SystemExit(), Loss.FAILED),
    ],
)
def test_losses(error: BaseException, loss: Loss) -> None:
    """
    What the exceptions of transports mean.
    """
    assert lossOf(Failure(error)) is loss
