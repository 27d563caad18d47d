"""
L{twisted_echo.session.bounds.timeouts}: every deadline strikes, never early and hardly
late.
"""

from itertools import pairwise
from typing import Any

from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure

from tests.support.swept_sessions import (
    DONE,
    OFFSETS,
    FakeHandshake,
    OwnTransport,
    StockUpper,
    SweepTestCase,
    Upper,
    only,
)
from twisted_echo import (
    Deadlines,
    EndReason,
    Limits,
)
from twisted_echo.testing.clocks import elapse
from twisted_echo.validation.units import format_duration


class LatenessTests(SweepTestCase):
    """
    Each deadline alone, begun at any time after a sweep.
    """

    def everyOffset(self, name: str, begin: Any) -> None:
        for deadline in (0.3, 2.0, 30.0, 100.0):
            for offset in OFFSETS:
                self.factory.deadlines = only(**{name: deadline})
                # It keeps the sweep going, and is not looked at.
                other = self.session(StockUpper)
                self.advance(deadline / 8 * 3 + offset)
                session = begin()
                self.assertStruck(self.strikes(session, 2 * deadline + 9), deadline)
                for each in (session, other):
                    if each.end is None:
                        each.connectionLost(DONE)

    def test_idle(self) -> None:
        def begin() -> Any:
            session = self.session()
            self.advance(0.11)
            session.dataReceived(b"a\n")
            return session

        self.everyOffset("idle", begin)
        self.assertEqual(
            set(self.factory.ended), {EndReason.IDLE, EndReason.PEER_CLOSED}
        )

    def test_line(self) -> None:
        def begin() -> Any:
            session = self.session()
            self.advance(0.61)
            session.dataReceived(b"a\nb")
            return session

        self.everyOffset("line", begin)

    def test_write(self) -> None:
        def begin() -> Any:
            session = self.session()
            self.advance(0.61)
            session.transport.dataBuffer = b"abc"
            return session

        self.everyOffset("write", begin)
        self.assertEqual(self.factory.ended[EndReason.WRITE_TIMEOUT], 4 * len(OFFSETS))

    def test_gathered(self) -> None:
        """
        What is still in pieces waits too: Twisted's transports put none together
        while the kernel takes nothing. Also after it was seen to be idle.
        """
        self.factory.deadlines = only(write=2)
        session = self.session()
        self.advance(1)
        session.transport._tempDataBuffer.append(b"abc")
        self.assertStruck(self.strikes(session, 5), 2)

    def test_pausedTransport(self) -> None:
        """
        A transport that shows nothing: what counts is how long it is full.
        """

        def begin() -> Any:
            session = self.session(transport=OwnTransport())
            self.advance(0.61)
            session.dataReceived(b"more than ten bytes\n")
            return session

        self.everyOffset("write", begin)
        self.assertEqual(self.factory.ended[EndReason.WRITE_TIMEOUT], 4 * len(OFFSETS))

    def test_handshake(self) -> None:
        for deadline in (0.3, 2.0, 30.0, 100.0):
            for offset in OFFSETS:
                self.factory.deadlines = only(handshake=deadline)
                other = self.session()
                self.advance(deadline / 8 * 3 + offset)
                began = self.clock.seconds()
                handshake = FakeHandshake(self.factory, began)
                self.factory.handshakeStarted(handshake, None)
                while not handshake.failed:
                    elapse(self.clock, 0.0301)
                    self.assertLess(self.clock.seconds() - began, 2 * deadline + 9)
                self.assertStruck(self.clock.seconds() - began, deadline)
                self.assertEqual(
                    handshake.failed,
                    [
                        (
                            EndReason.HANDSHAKE_TIMEOUT,
                            f"over {format_duration(deadline)}",
                        )
                    ],
                )
                other.connectionLost(DONE)

    def test_shortestCounts(self) -> None:
        """
        A long deadline beside a short one is kept as exactly.
        """
        self.factory.deadlines = Deadlines(idle=100, line=0, write=1, handshake=0)
        session = self.session()
        seconds = self.strikes(session, 200)
        self.assertGreaterEqual(seconds, 100)
        self.assertLessEqual(seconds, 100.3)

    def test_stayed(self) -> None:
        """
        A handshake that follows another layer's is as old as its connection, and
        is not kept by younger ones that were recorded before.
        """
        self.factory.deadlines = only(handshake=10)
        old, young = self.clock.seconds(), self.clock.seconds() + 6
        self.advance(6)
        second = FakeHandshake(self.factory, young)
        self.factory.handshakeStarted(second, None)
        first = FakeHandshake(self.factory, old)
        self.factory.handshakeStarted(first, None)
        self.advance(4 + 2.5)
        self.assertTrue(first.failed)
        self.assertFalse(second.failed)

    def test_none(self) -> None:
        """
        0 is no deadline.
        """
        handshake = FakeHandshake(self.factory, self.clock.seconds())
        self.factory.handshakeStarted(handshake, None)
        session = self.session()
        session.dataReceived(b"abc")
        session.transport.dataBuffer = b"abc"
        for _ in range(10):
            elapse(self.clock, 1000)
        self.assertFalse(session.isClosing or session.isAborted or handshake.failed)


class TimerTests(SweepTestCase):
    """
    The guard's one timer.
    """

    def timers(self) -> int:
        """
        How many there are, without the heartbeat of the clock that they go by.
        """
        timers = len(self.factory.fairClock.getDelayedCalls())
        if not timers:
            self.assertEqual(self.clock.getDelayedCalls(), [])
        return timers

    def test_whileNeeded(self) -> None:
        """
        It runs while there is a session or a handshake, and no longer.
        """
        self.assertEqual(self.timers(), 0)
        first, second = self.session(), self.session()
        self.assertEqual(self.timers(), 1)
        first.connectionLost(DONE)
        self.advance(20)
        self.assertEqual(self.timers(), 1)
        second.connectionLost(DONE)
        self.assertEqual(self.timers(), 0)
        handshake = FakeHandshake(self.factory, 0)
        self.factory.handshakeStarted(handshake, None)
        self.assertEqual(self.timers(), 1)
        self.factory.handshakeEnded(handshake)
        self.assertEqual(self.timers(), 0)

    def test_notPerMessage(self) -> None:
        """
        It is not touched by what is sent and received.
        """
        session = self.session()
        (before,) = self.factory.fairClock.getDelayedCalls()
        time = before.getTime()
        for _ in range(10):
            session.dataReceived(b"a\nb")
        self.assertEqual(self.factory.fairClock.getDelayedCalls(), [before])
        self.assertEqual(before.getTime(), time)

    def test_lastEndsInSweep(self) -> None:
        """
        The last session ends while it is looked at, and another comes at that
        moment: there is one timer, and it is gone with that one.
        """
        self.factory.deadlines = only(write=1)
        session = self.session()
        session.transport.dataBuffer = b"abc"
        others: list[Any] = []
        session.whenEnded().addCallback(lambda _: others.append(self.session()))
        self.strikes(session, 3)
        self.assertEqual(self.timers(), 1)
        (other,) = others
        other.connectionLost(DONE)
        self.assertEqual(self.timers(), 0)

    def test_evenSweeps(self) -> None:
        """
        The sweeps are an eighth of the shortest deadline apart, two seconds at
        most and a twentieth at least.
        """
        for deadlines, apart in (
            (only(), 2.0),
            (only(idle=300), 2.0),
            (Deadlines(), 1.25),
            (only(idle=300, write=4), 0.5),
            (only(line=0.001), 0.05),
        ):
            self.factory.deadlines = deadlines
            session = self.session()
            times = []
            for _ in range(4):
                (timer,) = self.factory.fairClock.getDelayedCalls()
                times.append(timer.getTime())
                elapse(self.clock, timer.getTime() - self.clock.seconds())
            for before, after in pairwise(times):
                self.assertAlmostEqual(after - before, apart)
            session.connectionLost(DONE)


class BufferedTests(SweepTestCase):
    """
    The bytes held for all sessions together.
    """

    def choked(self, size: int) -> Any:
        """
        A session that is paused, with so much to send.
        """
        session = self.session()
        session.transport.dataBuffer = bytes(size)
        session.transport.producer.pauseProducing()
        return session

    def ended(self, sessions: Any) -> list[bool]:
        elapse(self.clock, 0)
        return [each.transport.aborted for each in sessions]

    def test_longestFirst(self) -> None:
        """
        Over the limit, those that are paused longest are cut off, as many as must
        be.
        """
        self.factory.limits = Limits(buffered=1000)
        sessions = [self.choked(300) for _ in range(3)]
        self.assertEqual(self.ended(sessions), [False] * 3)
        # Paused again, the first is the last.
        sessions[0].transport.producer.resumeProducing()
        sessions[0].transport.producer.pauseProducing()
        sessions.append(self.choked(600))
        self.assertEqual(self.ended(sessions), [False, True, True, False])
        self.assertEqual(self.factory.ended[EndReason.OVER_BUFFERED], 2)
        self.advance(10)
        self.assertEqual(self.ended(sessions), [False, True, True, False])

    def test_pausedTwice(self) -> None:
        """
        Who says twice that it is paused, is paused since the first time.
        """
        self.factory.limits = Limits(buffered=1000)
        sessions = [self.choked(400), self.choked(400)]
        sessions[0].transport.producer.pauseProducing()
        sessions.append(self.choked(400))
        self.assertEqual(self.ended(sessions), [True, False, False])

    def test_under(self) -> None:
        """
        At the limit nobody is.
        """
        self.factory.limits = Limits(buffered=900)
        sessions = [self.choked(300) for _ in range(3)]
        self.advance(10)
        self.assertEqual(self.ended(sessions), [False] * 3)

    def test_none(self) -> None:
        self.factory.limits = Limits(buffered=0)
        sessions = [self.choked(1 << 20) for _ in range(3)]
        self.advance(10)
        self.assertEqual(self.ended(sessions), [False] * 3)

    def test_atOnce(self) -> None:
        """
        It is looked at in the turn in which one is paused, not when time has
        passed; also where one alone holds too much.
        """
        self.factory.limits = Limits(buffered=1 << 20)
        self.assertEqual(self.ended([self.choked((1 << 20) + 1)]), [True])

    def test_input(self) -> None:
        """
        What has been received counts: of those that are not paused, the one that
        holds most goes first.
        """
        self.factory.limits = Limits(buffered=1000)
        sessions = [self.session() for _ in range(3)]
        for session, size in zip(sessions, (100, 600, 500), strict=True):
            session.dataReceived(bytes(size))
        self.advance(3)
        self.assertEqual(self.ended(sessions), [False, True, False])

    def test_changed(self) -> None:
        """
        A lower limit holds at once.
        """
        sessions = [self.choked(300) for _ in range(3)]
        self.assertEqual(self.ended(sessions), [False] * 3)
        self.factory.limits = Limits(buffered=500)
        self.assertEqual(self.ended(sessions), [True, True, False])

    def test_nothingHeld(self) -> None:
        """
        To cut off a session for which nothing is held would help nobody.
        """
        self.factory.limits = Limits(buffered=1000)
        empty = self.choked(0)
        self.assertEqual(self.ended([empty, self.choked(1001)]), [False, True])

    def test_goneAlready(self) -> None:
        """
        What was cut off a moment ago does not count any more, and no other goes in
        its place.
        """
        late = self.choked(900)
        first = self.choked(700)
        late.transport.protocol = first.transport.protocol = None
        self.factory.abortSessions()
        others = [self.choked(300) for _ in range(3)]
        self.factory.limits = Limits(buffered=1000)
        self.assertEqual(self.ended(others), [False] * 3)
        others.append(self.choked(300))
        self.assertEqual(self.ended(others), [True, False, False, False])
        for each in (late, first):
            each.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(
            self.factory.ended, {EndReason.ABORTED: 2, EndReason.OVER_BUFFERED: 1}
        )

    def test_forgotten(self) -> None:
        """
        Nobody is remembered who has ended.
        """
        sessions = [self.choked(300) for _ in range(3)]
        producer = sessions[0].transport.producer
        for session in sessions:
            session.connectionLost(DONE)
        producer.pauseProducing()
        self.assertEqual(self.factory.timeouts._paused, {})

    def test_cannotAbort(self) -> None:
        """
        One that cannot be cut off in its own way is, all the same.
        """

        class Unabortable(Upper):
            def abort(self, *args: Any) -> None:
                raise ZeroDivisionError

        self.factory.limits = Limits(buffered=1000)
        bad = self.session(Unabortable)
        bad.transport.dataBuffer = bytes(600)
        bad.transport.producer.pauseProducing()
        good = self.choked(600)
        self.assertEqual(self.ended([bad, good]), [True, False])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
