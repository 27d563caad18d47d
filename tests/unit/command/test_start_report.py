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
            "3 sessions (more wait), 2 for each peer, 256M bytes buffered",
        )
        self.assertEqual(
            str(ReadableLimits(Limits(sessions=1, whenFull=WhenFull.REFUSE))),
            "1 session (more are refused), no limit for each peer, 256M bytes buffered",
        )
        self.assertEqual(
            str(ReadableLimits(Limits(buffered=0))),
            "any number of sessions, no limit for each peer, any number of bytes"
            " buffered",
        )
