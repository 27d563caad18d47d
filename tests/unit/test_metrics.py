"""
L{twisted_echo.metrics}: numbers that can be added up, and sent as JSON.
"""

import json
from dataclasses import fields
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.snapshots import filled, full
from twisted_echo.metrics import (
    DURATION_BOUNDS,
    LATENESS_BOUNDS,
    Histogram,
    Snapshot,
)
from twisted_echo.tls.counts import HANDSHAKE_BOUNDS


class HistogramTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        """
        A value equal to a bound is within it; those above all are in the last place.
        """
        histogram = filled((1.0, 2.0), 0, 1, 1.5, 2, 2.0001, 1e9)
        self.assertEqual(histogram.counts, [2, 2, 2])
        self.assertEqual(histogram.count, 6)
        self.assertEqual(histogram.sum, 0 + 1 + 1.5 + 2 + 2.0001 + 1e9)

    def test_empty(self) -> None:
        self.assertEqual(Histogram((1.0,)).counts, [0, 0])
        self.assertEqual(Histogram((1.0,)).count, 0)
        self.assertEqual(Histogram((1.0,)).sum, 0)

    def test_ascending(self) -> None:
        """
        Those of this module are as they have to be for a search.
        """
        for bounds in (*(DURATION_BOUNDS, LATENESS_BOUNDS, HANDSHAKE_BOUNDS),):
            self.assertEqual(sorted(set(bounds)), list(bounds))

    def test_wrongCounts(self) -> None:
        """
        As many counts as bounds are one too few, and it says so.
        """
        for counts in ([], [1, 2], [1, 2, 3, 4]):
            error = self.assertRaises(ValueError, Histogram, (1.0, 2.0), counts)
            self.assertEqual(str(error), f"2 bounds need 3 counts, got {len(counts)}")

    def test_add(self) -> None:
        """
        The sum is a new one, and what it is made of stays.
        """
        one, other = filled((1.0, 2.0), 0.5, 5), filled((1.0, 2.0), 0.5, 1.5)
        both = one + other
        self.assertEqual(both.counts, [2, 1, 1])
        self.assertEqual(both.sum, 7.5)
        both.observe(0.1)
        self.assertEqual(one.counts, [1, 0, 1])
        self.assertEqual(other.counts, [1, 1, 0])

    def test_addOthers(self) -> None:
        """
        Of other bounds there is no sum.
        """
        one, other = Histogram((1.0,)), Histogram((2.0,))
        error = self.assertRaises(ValueError, lambda: one + other)
        self.assertIn("(1.0,) and (2.0,)", str(error))

    def test_copy(self) -> None:
        """
        A copy does not change with its original.
        """
        one = filled((1.0,), 0.5)
        copy = one.copy()
        self.assertEqual(copy, one)
        one.observe(7)
        self.assertEqual(copy.counts, [1, 0])
        self.assertEqual(copy.sum, 0.5)
        self.assertNotEqual(copy, one)
        self.assertNotEqual(copy, [[1.0], [1, 0], 0.5])

    def test_json(self) -> None:
        histogram = filled((0.001, 2.5), 0.0001, 7)
        read = Histogram.fromJSON(json.loads(json.dumps(histogram.toJSON())))
        self.assertEqual(read, histogram)
        # Bounds as they were, so that they can be added up.
        self.assertEqual((read + histogram).counts, [2, 0, 2])

    def test_repr(self) -> None:
        self.assertEqual(repr(filled((1.0,), 3)), "Histogram((1.0,), [0, 1], 3.0)")


class SnapshotTests(SynchronousTestCase):
    def test_full(self) -> None:
        """
        These tests forget no field.
        """
        for field in fields(Snapshot):
            name = field.name
            self.assertNotEqual(getattr(full(), name), getattr(Snapshot(), name), name)

    def test_add(self) -> None:
        self.assertEqual(
            full() + full(1),
            Snapshot(
                opened=21,
                ended={"peer-closed": 7, "idle": 2},
                refused={"refused-full": 5},
                linesReceived=201,
                bytesReceived=2001,
                bytesSent=1801,
                acceptErrors=9,
                tlsHandshakes={"TLSv1.3": 15},
                tlsFailures={"alert": 11},
                tlsResumptions=7,
                tlsPlainDropped=5,
                tlsSeconds=filled(HANDSHAKE_BOUNDS, 0.004, 0.004),
                durations=filled(DURATION_BOUNDS, 0.5, 1.5),
                lateness=filled(LATENESS_BOUNDS, 0.002, 0.002),
                sessions=13,
                handshakes=3,
                paused=5,
                pendingBytes=101,
                certificates={"cert.pem": 3_999_999_999},
                maxSessions=2001,
                maxPendingBytes=8193,
            ),
        )

    def test_addNothing(self) -> None:
        """
        An empty one adds nothing, on either side; so a sum can begin with it.
        """
        self.assertEqual(full() + Snapshot(), full())
        self.assertEqual(Snapshot() + full(), full())
        self.assertEqual(sum([full(1)], Snapshot()), full(1))

    def test_most(self) -> None:
        """
        One without a limit has the sum be without one.
        """
        for one, other, both in (
            (5, 7, 12),
            (0, 7, 0),
            (7, 0, 0),
            (None, 7, 7),
            (None, 0, 0),
            (None, None, None),
        ):
            for limit in "maxSessions", "maxPendingBytes":
                first: Any = {limit: one}
                second: Any = {limit: other}
                total = Snapshot(**first) + Snapshot(**second)
                self.assertEqual(getattr(total, limit), both, (one, other))

    def test_certificates(self) -> None:
        """
        Each file is there, with the first of its certificates to expire.
        """
        one = Snapshot(certificates={"a.pem": 5, "b.pem": 7})
        other = Snapshot(certificates={"b.pem": 6, "c.pem": 1})
        both = {"a.pem": 5, "b.pem": 6, "c.pem": 1}
        self.assertEqual((one + other).certificates, both)
        self.assertEqual((other + one).certificates, both)

    def test_bytesSent(self) -> None:
        """
        If one does not count them, they are not known of both.
        """
        counted, not_counted = Snapshot(bytesSent=5), Snapshot(bytesSent=None)
        for both in counted + not_counted, not_counted + counted:
            self.assertIsNone(both.bytesSent)

    def test_notMeasured(self) -> None:
        """
        Who does not measure adds nothing to what another one measures.
        """
        measured = Snapshot(lateness=filled(LATENESS_BOUNDS, 0.3))
        for both in measured + Snapshot(), Snapshot() + measured:
            self.assertEqual(both.lateness, measured.lateness)

    def test_settled(self) -> None:
        """
        What only grows stays; what comes and goes has gone, so that the sum of all
        that have been and all that are never decreases, and has the limits of those
        that are.
        """
        stays = full().cumulative()
        for name in (
            *("opened", "ended", "refused", "linesReceived", "bytesReceived"),
            *("bytesSent", "acceptErrors", "durations", "lateness"),
            *("tlsHandshakes", "tlsFailures", "tlsResumptions", "tlsSeconds"),
            "tlsPlainDropped",
        ):
            self.assertEqual(getattr(stays, name), getattr(full(), name), name)
        for name in ("sessions", "handshakes", "paused", "pendingBytes"):
            self.assertEqual(getattr(stays, name), getattr(Snapshot(), name), name)
        self.assertEqual((stays.maxSessions, stays.certificates), (None, {}))
        self.assertIsNone(stays.maxPendingBytes)
        self.assertEqual((stays + full(1)).maxSessions, full(1).maxSessions)

    def test_json(self) -> None:
        """
        It can go by C{json} to another process.
        """
        for snapshot in (
            full(),
            Snapshot(),
            Snapshot(bytesSent=None),
            full().cumulative() + full(3),
        ):
            sent = json.dumps(snapshot.toJSON())
            self.assertEqual(Snapshot.fromJSON(json.loads(sent)), snapshot)

    def test_jsonIsItsOwn(self) -> None:
        """
        What was made of it does not change it.
        """
        snapshot = full()
        snapshot.toJSON()["ended"]["idle"] = 99
        self.assertEqual(snapshot, full())
