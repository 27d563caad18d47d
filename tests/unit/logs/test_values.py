"""
Tests of L{twisted_echo.logs.values}.
"""

import json

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.logs.values import CommaSeparated, Counted, Tally


class CountedTests(SynchronousTestCase):
    def test_words(self) -> None:
        """
        What is counted follows the number, in its singular or plural.
        """
        self.assertEqual(
            [str(Counted(each, "session")) for each in (0, 1, 2)],
            ["no session", "1 session", "2 sessions"],
        )
        self.assertEqual(
            [str(Counted(each, "event was", "events were")) for each in (0, 1, 2)],
            ["no event was", "1 event was", "2 events were"],
        )

    def test_data(self) -> None:
        self.assertEqual(json.dumps(Counted(2, "session")), "2")


class TallyTests(SynchronousTestCase):
    def test_words(self) -> None:
        """
        The most frequent first; nothing is 0.
        """
        self.assertEqual(str(Tally({})), "0")
        tally = Tally({"idle": 1, "error": 0, "peer-closed": 2})
        self.assertEqual(str(tally), "3 (peer-closed 2, idle 1)")
        told = formatEvent({"log_format": "ended {ended}", "ended": tally})
        self.assertEqual(told, "ended 3 (peer-closed 2, idle 1)")

    def test_data(self) -> None:
        self.assertEqual(json.dumps(Tally({"idle": 1})), '{"idle": 1}')


class ListedTests(SynchronousTestCase):
    def test_words(self) -> None:
        self.assertEqual(str(CommaSeparated(["a", 1])), "a, 1")

    def test_data(self) -> None:
        self.assertEqual(json.dumps(CommaSeparated(["a", 1])), '["a", 1]')
