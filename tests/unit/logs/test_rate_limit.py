"""
L{twisted_echo.logs.rate_limit}: a few a minute, and the number of the rest.
"""

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.logs.rate_limit import RateLimit


class RateLimitTests(SynchronousTestCase):
    """
    L{RateLimit}.
    """

    def setUp(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.rate: RateLimit[str] = RateLimit(lambda *rest: self.told.append(rest))

    def let_through(self, kind: str, count: int, now: float) -> int:
        return sum(self.rate.allows(kind, now) for _ in range(count))

    def test_aFewAMinute(self) -> None:
        """
        Five of each kind, until a minute is over; then the number of the rest is told.
        """
        self.assertEqual(self.let_through("a", 5, 0.0), 5)
        self.assertEqual(self.let_through("a", 1000, 59.9), 0)
        self.assertEqual(self.let_through("b", 6, 59.9), 5)
        self.assertEqual(self.told, [])
        self.assertEqual(self.let_through("a", 6, 60.0), 5)
        self.assertEqual(self.told, [("a", 1000)])

    def test_flush(self) -> None:
        """
        What was not told is told, once.
        """
        self.let_through("a", 7, 0.0)
        self.let_through("b", 5, 0.0)
        self.rate.flush()
        self.rate.flush()
        self.assertEqual(self.told, [("a", 2)])
