"""
L{twisted_echo.command.workers.partitions}: which worker accepts from which sockets.
"""

from itertools import chain, combinations

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.command.workers.partitions import assignPartitions


class AssignPartitionsTests(SynchronousTestCase):
    def test_all(self) -> None:
        """
        Of every choice of workers that listen, each has its own partition, and each
        partition is assigned to one.
        """
        for workers in range(1, 6):
            for count in range(1, workers + 1):
                for listening in combinations(range(workers), count):
                    assigned = assignPartitions(workers, dict.fromkeys(listening, ()))
                    self.assertEqual(set(assigned), set(listening))
                    for number, partitions in assigned.items():
                        self.assertIn(number, partitions)
                    self.assertEqual(
                        sorted(chain(*assigned.values())), list(range(workers))
                    )

    def test_spread(self) -> None:
        """
        What dead workers leave is spread over the others.
        """
        self.assertEqual(
            assignPartitions(6, dict.fromkeys(range(3), ())),
            {0: [0, 3], 1: [1, 4], 2: [2, 5]},
        )

    def test_handedOver(self) -> None:
        """
        A worker keeps a partition of another's until the other accepts from it.
        """
        for count, accepting, assigned in (
            (2, {0: [], 1: [0, 1]}, {0: [0], 1: [0, 1]}),
            (2, {0: [0], 1: [0, 1]}, {0: [0], 1: [1]}),
            (3, {0: [0, 2], 2: [1]}, {0: [0, 2], 2: [1, 2]}),
        ):
            self.assertEqual(assignPartitions(count, accepting), assigned)

    def test_none(self) -> None:
        self.assertEqual(assignPartitions(3, {}), {})
