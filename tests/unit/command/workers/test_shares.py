"""
Which worker accepts from which sockets.
"""

from itertools import chain, combinations

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.command.workers.shares import divide


class DivideTests(SynchronousTestCase):
    def test_all(self) -> None:
        """
        Of every choice of workers that listen, each serves its own share, and each
        share is served by one.
        """
        for workers in range(1, 6):
            for count in range(1, workers + 1):
                for serving in combinations(range(workers), count):
                    divided = divide(workers, dict.fromkeys(serving, ()))
                    self.assertEqual(set(divided), set(serving))
                    for number, shares in divided.items():
                        self.assertIn(number, shares)
                    self.assertEqual(
                        sorted(chain(*divided.values())), list(range(workers))
                    )

    def test_spread(self) -> None:
        """
        What dead workers leave is spread over the others.
        """
        self.assertEqual(
            divide(6, dict.fromkeys(range(3), ())), {0: [0, 3], 1: [1, 4], 2: [2, 5]}
        )

    def test_handedOver(self) -> None:
        """
        Who serves a share in another worker's place goes on until that one serves it.
        """
        self.assertEqual(divide(2, {0: [], 1: [0, 1]}), {0: [0], 1: [0, 1]})
        self.assertEqual(divide(2, {0: [0], 1: [0, 1]}), {0: [0], 1: [1]})
        self.assertEqual(divide(3, {0: [0, 2], 2: [1]}), {0: [0, 2], 2: [1, 2]})

    def test_none(self) -> None:
        self.assertEqual(divide(3, {}), {})
