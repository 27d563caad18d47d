"""
L{twisted_echo.admin.status_page.limit_usage}: how near the limits are.
"""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.snapshots import figures, observed, seen_worker
from twisted_echo.admin.status_page.limit_usage import nearest, usages, workerUsages
from twisted_echo.metrics import Snapshot

FULL = Snapshot(
    sessions=8, handshakes=1, maxSessions=10, pendingBytes=50, maxPendingBytes=200
)


def shares(found: Any) -> list[tuple[str, str, float]]:
    return [(each.name, each.owner, each.share) for each in found]


class UsageTests(SynchronousTestCase):
    def test_one(self) -> None:
        """
        Of one process: handshakes are counted with the sessions.
        """
        found = usages(observed(FULL, process=figures()._replace(openFiles=5_000)))
        self.assertEqual(
            shares(found),
            [
                ("sessions and handshakes", "", 0.9),
                ("memory held for clients", "", 0.25),
                ("open files", "", 0.25),
            ],
        )
        most = nearest(found)
        assert most is not None
        self.assertEqual(most.name, "sessions and handshakes")

    def test_workers(self) -> None:
        """
        Of several, the sums; but of descriptors the process that is nearest.
        """
        worker = seen_worker(FULL, figures()._replace(openFiles=10_000))
        seen = observed(
            FULL + FULL,
            process=figures(),
            workers={"0": worker, "1": seen_worker(None)},
        )
        self.assertEqual(
            shares(usages(seen)),
            [
                ("sessions and handshakes", "", 0.9),
                ("memory held for clients", "", 0.25),
                ("open files", "worker 0", 0.5),
            ],
        )
        each = workerUsages(seen)
        self.assertEqual([owner for _, owner, _ in shares(each["0"])], ["worker 0"] * 3)
        self.assertEqual(each["1"], [])

    def test_noLimit(self) -> None:
        """
        What has no limit is never the nearest.
        """
        found = usages(observed(Snapshot(sessions=9, maxSessions=0, maxPendingBytes=0)))
        self.assertEqual([each.share for each in found], [0.0, 0.0])
        self.assertIsNone(nearest(found))
