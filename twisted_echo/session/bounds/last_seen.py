"""
The values of a session that the last sweep of the timeouts has seen.
"""

__all__ = ["LastSeen"]


class LastSeen:
    """
    What one sweep compares with the sweep before. Only the sweep changes it:
    L{twisted_echo.session.bounds.timeout_checks}, and
    L{twisted_echo.session.bounds.timeouts} when the deadlines are replaced.

    @ivar active: when the session sent or received last, by the fair clock.
    @ivar received: how many bytes it had received by then.
    @ivar lost: how many seconds the process had lost by then, or when the kernel was
        asked.
    @ivar lookAgain: the time before which the sweep passes the session over, unless it
        has received more, or something waits for its peer.
    @ivar line: where in the stream an unfinished line begins; None without one.
    @ivar lineSince: since when that line is unfinished.
    @ivar output: what showed how far the output had got; None if no output waits.
    @ivar moved: when the output got that far.
    """

    __slots__ = (
        *("active", "lost", "received", "lookAgain"),
        *("line", "lineSince", "moved", "output"),
    )

    def __init__(self, began: float, lost: float) -> None:
        self.active = began
        self.received = 0
        self.lost = lost
        self.lookAgain = 0.0
        self.line: int | None = None
        self.lineSince = 0.0
        self.output: object = None
        self.moved = 0.0
