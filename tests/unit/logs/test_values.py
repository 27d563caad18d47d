"""
Tests of L{twisted_echo.logs.values}.
"""

import json

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.logs.values import CommaSeparated, Tally


class TallyTests(SynchronousTestCase):
    def test_words(self) -> None:
        """
        The most frequent first; nothing is 0.
        """
        self.assertEqual(str(Tally({})), "0")
        tally = Tally({"idle": 1, "peer-closed": 2})
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
