"""
L{twisted_echo.scheduling.time_share}: work that shares its turns.
"""

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.scheduling.time_share import SHARE, TimeShare


class Reactor:
    """
    The turns of a reactor.
    """

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def callLater(self, delay: float, call: Any, *args: Any) -> None:
        assert delay == 0
        self.calls.append(lambda: call(*args))

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = Reactor()
        self.spent = 0.0
        self.done: list[int] = []
        self.turns = TimeShare(lambda: self.spent)

    def piece(self, number: int, seconds: float = 0.3 * SHARE) -> None:
        self.done.append(number)
        self.spent += seconds

    def offer(self, number: int) -> bool:
        """
        Have a piece of work done, now or later.
        """

        def work() -> None:
            self.piece(number)

        isDone = self.turns.now(work)
        if not isDone:
            self.turns.later(self.reactor, work)
        return isDone

    def test_share(self) -> None:
        """
        What fits into the share of a turn is done at once, and the rest in the next
        turns, in order, a share in each.
        """
        self.assertEqual(
            [self.offer(number) for number in range(10)], [True] * 4 + [False] * 6
        )
        self.assertEqual(self.done, [0, 1, 2, 3])
        # However much time passes, nothing overtakes what waits.
        self.spent += 1
        self.assertFalse(self.offer(10))
        self.reactor.turn()
        self.assertEqual(self.done, list(range(8)))
        self.reactor.turn()
        self.assertEqual(self.done, list(range(11)))
        self.assertEqual(self.reactor.calls, [])
        self.assertTrue(self.offer(11))

    def test_nextTurn(self) -> None:
        """
        Without anything that waits, a turn's share comes back with time.
        """
        for number in range(4):
            self.assertTrue(self.offer(number))
        self.spent += 0.01
        self.assertTrue(self.offer(4))
        self.assertEqual(self.reactor.calls, [])

    def test_long(self) -> None:
        """
        A piece that takes longer than a share is alone in its turn.
        """
        self.assertTrue(self.turns.now(lambda: self.piece(0, SHARE)))
        for number in (1, 2):
            self.turns.later(
                self.reactor, lambda number=number: self.piece(number, 5 * SHARE)
            )
        self.reactor.turn()
        self.assertEqual(self.done, [0, 1])
        self.reactor.turn()
        self.assertEqual(self.done, [0, 1, 2])

    def test_fails(self) -> None:
        """
        A piece that fails takes its time, too, and holds up no other.
        """

        def broken() -> None:
            self.piece(0, SHARE)
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            self.turns.now(broken)
        self.assertFalse(self.offer(1))
        self.turns.later(self.reactor, broken)
        self.assertFalse(self.offer(2))
        with self.assertRaises(ZeroDivisionError):
            self.reactor.turn()
        self.reactor.turn()
        self.assertEqual(self.done, [0, 1, 0, 2])

    def test_nested(self) -> None:
        """
        Work may turn the reactor itself, and other work come meanwhile.
        """

        def work() -> None:
            self.turns.later(self.reactor, lambda: self.piece(1))
            self.turns.later(self.reactor, lambda: self.piece(2))
            self.piece(0, SHARE)
            if self.done.count(0) == 1:
                self.reactor.turn()

        for _ in range(2):
            self.turns.later(self.reactor, work)
            while self.reactor.calls:
                self.reactor.turn()
        self.assertEqual(self.done, [0, 1, 2, 0, 1, 2])
