"""
Counters of a factory's sessions and connections.
"""

from collections import Counter

from twisted_echo.metrics import DURATION_BOUNDS, Histogram
from twisted_echo.session.ends.end_reason import EndReason, SessionEnd
from twisted_echo.tls.counts import TLSCounts

__all__ = ["Counters"]


class Counters:
    """
    The sums over the sessions that have ended, and what has become of connections.

    @ivar opened: sessions that have begun: the sum of C{ended}, plus the open
        ones.
    @ivar ended: sessions that have ended, by their reasons.
    @ivar refused: connections that have not become sessions, by the reasons.
    @ivar lines: lines that ended sessions have received.
    @ivar bytesReceived: bytes that they have received.
    @ivar bytesSent: bytes that they were sent; None if a transport did not count.
    @ivar durations: the seconds that they lasted.
    @ivar tls: what is counted of TLS handshakes; None without TLS.
    """

    __slots__ = (
        "bytesReceived",
        "bytesSent",
        "durations",
        "ended",
        "lines",
        "opened",
        "refused",
        "tls",
    )

    def __init__(self) -> None:
        self.opened = 0
        self.ended: Counter[EndReason] = Counter()
        self.refused: Counter[EndReason] = Counter()
        self.lines = self.bytesReceived = 0
        self.bytesSent: int | None = 0
        self.durations = Histogram(DURATION_BOUNDS)
        self.tls: TLSCounts | None = None

    def sessionEnded(self, end: SessionEnd) -> None:
        """
        Count a session that has ended.
        """
        reason, received, seconds, _, sent, lines = end
        self.ended[reason] += 1
        self.lines += lines
        self.bytesReceived += received
        if sent is None or self.bytesSent is None:
            self.bytesSent = None
        else:
            self.bytesSent += sent
        self.durations.observe(seconds)

    def useTLS(self) -> TLSCounts:
        """
        Count TLS handshakes from now on.

        @return: what they are counted by: L{tls}.
        """
        if self.tls is None:
            self.tls = TLSCounts()
        return self.tls
