"""
L{twisted_echo.command.start_report}.
"""

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.command.start_report import ReadableLimits
from twisted_echo.session.bounds.limits import Limits, WhenFull


class ReadableLimitsTests(SynchronousTestCase):
    def test_limits(self) -> None:
        self.assertEqual(
            str(
                ReadableLimits(Limits(sessions=3, sessionsPerPeer=2, buffered=1 << 28))
            ),
            "3 sessions (one more waits), 2 by one peer, 256M bytes buffered",
        )
        self.assertEqual(
            str(ReadableLimits(Limits(sessions=1, whenFull=WhenFull.REFUSE))),
            "1 session (one more is refused), any number by one peer, 256M bytes"
            " buffered",
        )
        self.assertEqual(
            str(ReadableLimits(Limits(buffered=0))),
            "any number of sessions, any number by one peer, any number of bytes"
            " buffered",
        )
