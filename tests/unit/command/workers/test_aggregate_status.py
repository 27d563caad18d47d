"""
L{twisted_echo.command.workers.aggregate_status}.
"""

import gc
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.command.workers.aggregate_status import sessionsPage


class PagesTests(SynchronousTestCase):
    def test_noGarbage(self) -> None:
        """
        A page of sessions is gone when it has been shown, without the garbage
        collector: it may be a megabyte.
        """

        class Answering:
            number, pid, channel = 0, 1, property(lambda self: self)

            def ask(self, command: Any, after: int, limit: int) -> Any:
                return succeed({"rows": [{"id": each} for each in range(limit)]})

        workers: Any = [Answering()]
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        page = self.successResultOf(sessionsPage(workers, Clock(), "", 3))
        self.assertEqual((len(page["sessions"]), page["next"]), (3, "0:1:2"))
        self.assertEqual(gc.collect(), 0)
