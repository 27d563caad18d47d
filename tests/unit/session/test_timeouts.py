"""
L{twisted_echo.session.timeouts}: every deadline strikes, never early and hardly late.
"""

import socket
from itertools import pairwise
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    FullTransport,
    ServedTestCase,
    collect,
    in_thread,
    reset,
    turn,
    until,
)
from twisted_echo import (
    Deadlines,
    EndReason,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Limits,
    Session,
    SessionFactory,
)
from twisted_echo.testing.clocks import elapse
from twisted_echo.validation.units import format_duration

DONE = Failure(ConnectionDone())
NONE = {"idle": 0.0, "line": 0.0, "write": 0.0, "handshake": 0.0}
OFFSETS = [each * 0.37 for each in range(12)]
"""
When something begins, in seconds after a sweep.
"""


def _only(**deadlines: float) -> Deadlines:
    return Deadlines(**(NONE | deadlines))


class Upper(Session, FastLineReceiver):
    """
    Answers in upper case.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


class OnlyUpper(Session, FastLineOnlyReceiver):
    """
    The same, by the simple receiver.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


class StockUpper(Session, LineReceiver):
    """
    The same, by a receiver that says nothing of what it holds.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


class Silent(Session, Protocol):
    """
    Takes, and answers nothing.
    """


class OwnTransport(FullTransport):
    """
    One that is gone in the moment in which it is aborted, and shows nothing of its
    output, but whether it is full.
    """

    aborted = False
    protocol: Any = None

    def abortConnection(self) -> None:
        self.aborted = True
        if self.protocol is not None:
            self.protocol.connectionLost(Failure(ConnectionAborted()))


class ShowingTransport(OwnTransport):
    """
    One that shows what waits in it, as Twisted's do.
    """

    bufferSize = 1 << 16

    def __init__(self) -> None:
        super().__init__()
        self.dataBuffer = b""
        self.offset = 0
        self._tempDataBuffer: list[bytes] = []


class FakeHandshake:
    """
    A connection that is to become a session.
    """

    def __init__(self, factory: Any, began: float) -> None:
        self.factory = factory
        self.began = began
        self.transport: Any = None
        self.failed: list[Any] = []

    def ownBytes(self) -> int:
        return 0

    def fail(self, reason: EndReason, detail: str = "") -> None:
        self.failed.append((reason, detail))
        self.factory.handshakeEnded(self, None)


class GuardTestCase(SynchronousTestCase):
    """
    Sessions on fake transports, and a clock.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        # It does not begin at 0, and neither does a session.
        elapse(self.clock, 1000.0)
        self.factory: Any = SessionFactory.forProtocol(Upper, clock=self.clock)
        self.factory.deadlines = _only()

    def session(self, protocol: Any = Upper, transport: Any = None) -> Any:
        self.factory.protocol = protocol
        session = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport = ShowingTransport() if transport is None else transport
        session.makeConnection(transport)
        transport.protocol = session
        return session

    def advance(self, seconds: float) -> None:
        """
        Let time pass, in steps that are no multiple of anything.
        """
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            elapse(self.clock, min(0.0301, until - self.clock.seconds()))

    def strikes(self, session: Any, most: float) -> float:
        """
        When a session is closed or aborted, in seconds from now.
        """
        began = self.clock.seconds()
        while not (session.isClosing or session.isAborted):
            elapse(self.clock, 0.0301)
            self.assertLess(self.clock.seconds() - began, most, "nothing strikes")
        return self.clock.seconds() - began

    def assertOpen(self, session: Any) -> None:
        """
        Nothing has struck.
        """
        self.assertIs(session.end, None)
        self.assertFalse(session.isClosing or session.isAborted)

    def assertStruck(self, seconds: float, deadline: float) -> None:
        """
        Neither early nor later than is promised. (A step of the clock is allowed.)
        """
        self.assertGreaterEqual(seconds, deadline)
        self.assertLessEqual(
            seconds, deadline + min(max(deadline / 4, 0.1), 4.0) + 0.031
        )


class LatenessTests(GuardTestCase):
    """
    Each deadline alone, begun at any time after a sweep.
    """

    def everyOffset(self, name: str, begin: Any) -> None:
        for deadline in (0.3, 2.0, 30.0, 100.0):
            for offset in OFFSETS:
                self.factory.deadlines = _only(**{name: deadline})
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
        self.factory.deadlines = _only(write=2)
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
                self.factory.deadlines = _only(handshake=deadline)
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
        self.factory.deadlines = _only(handshake=10)
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


class DeadlineTests(GuardTestCase):
    """
    What counts for a deadline, and what does not.
    """

    def test_closesInOrder(self) -> None:
        """
        An idle session is closed; its peer that does not close too is cut off, and
        the reason stays.
        """
        self.factory.deadlines = _only(idle=2)
        session = self.session()
        self.strikes(session, 5)
        self.assertTrue(session.transport.halfClosed)
        self.assertFalse(session.transport.aborted)
        self.advance(self.factory.abortAfter)
        self.assertTrue(session.transport.aborted)
        self.assertIs(session.end.reason, EndReason.IDLE)

    def test_input(self) -> None:
        """
        What the peer sends, whole lines or not, keeps it from being idle.
        """
        self.factory.deadlines = _only(idle=2)
        session = self.session()
        for _ in range(20):
            self.advance(1.9)
            session.dataReceived(b"a")
        self.assertOpen(session)
        self.assertStruck(self.strikes(session, 5), 2)

    def test_output(self) -> None:
        """
        What it takes does too.
        """
        self.factory.deadlines = _only(idle=2)
        session = self.session()
        session.transport.dataBuffer = bytes(100)
        for _ in range(20):
            self.advance(1.6)
            session.transport.offset += 1
        self.assertOpen(session)
        self.assertLessEqual(self.strikes(session, 5), 2.55)

    def test_answering(self) -> None:
        """
        A peer is not idle while an answer to it is still to come, whatever it is
        and however long it takes; from then on it may be.
        """
        self.factory.deadlines = _only(idle=2)
        session = self.session()
        answer: Deferred[None] = Deferred()
        session.answerLater(answer)
        self.advance(10.0)
        self.assertOpen(session)
        answer.callback(None)
        self.assertGreater(self.strikes(session, 3.0), 1.5)

    def test_uncounted(self) -> None:
        """
        A protocol that does not count what it receives is not idle where nobody
        else counts.
        """
        self.factory.deadlines = _only(idle=2)
        session = self.session(StockUpper)
        self.advance(10)
        self.assertOpen(session)

    def test_byteNowAndThen(self) -> None:
        """
        A byte now and then does not extend a line's deadline.
        """
        for protocol in (Upper, OnlyUpper):
            self.factory.deadlines = _only(line=2)
            session = self.session(protocol)
            session.dataReceived(b"a\nb")
            began = self.clock.seconds()
            while not session.isClosing:
                self.assertLess(self.clock.seconds() - began, 5)
                self.advance(0.1)
                session.dataReceived(b"c")
            self.assertGreaterEqual(self.clock.seconds() - began, 2)
            self.advance(self.factory.abortAfter)
            self.assertIs(session.end.reason, EndReason.LINE_TIMEOUT)
            self.assertEqual(session.transport.value()[:1], b"A")

    def test_nextLine(self) -> None:
        """
        A line that is finished, and another one begun at once: its time begins
        anew.
        """
        for protocol in (Upper, OnlyUpper):
            self.factory.deadlines = _only(line=2)
            session = self.session(protocol)
            session.dataReceived(b"a")
            for _ in range(20):
                self.advance(1.9)
                session.dataReceived(b"b\nc")
            self.assertOpen(session)
            self.assertStruck(self.strikes(session, 5), 2)

    def test_wholeLines(self) -> None:
        """
        Who has begun no line has no deadline for it.
        """
        self.factory.deadlines = _only(line=2)
        session = self.session()
        session.dataReceived(b"a\n")
        self.advance(10)
        self.assertOpen(session)

    def test_pausedLine(self) -> None:
        """
        A line that is not read on, for the session is paused, is not the peer's
        fault; its time begins when the pause ends.
        """
        for protocol in (Upper, OnlyUpper):
            for pauser in ("protocol", "transport"):
                self.factory.deadlines = _only(line=2)
                session = self.session(protocol)
                session.dataReceived(b"a")
                pausing: Any = session
                if pauser == "transport":
                    pausing = session.transport.producer
                self.advance(1)
                pausing.pauseProducing()
                self.advance(10)
                self.assertOpen(session)
                pausing.resumeProducing()
                self.assertStruck(self.strikes(session, 5), 2)

    def test_lineAfterEndOfFile(self) -> None:
        """
        A line that the peer has ended its input in is not waited for: whoever
        reads slowly, gets everything.
        """
        self.factory.deadlines = _only(line=2)
        session = self.session()
        session.answerLater(Deferred())
        session.dataReceived(b"a\nb")
        session.readConnectionLost()
        self.advance(20)
        self.assertOpen(session)

    def test_lineAfterLoseConnection(self) -> None:
        """
        So too where the protocol has closed the transport itself, while its answers
        go out.
        """
        self.factory.deadlines = _only(line=2)
        session = self.session()
        session.dataReceived(b"a\nb")
        session.transport.dataBuffer = b"answer"
        session.transport.loseConnection()
        self.advance(20)
        self.assertOpen(session)

    def test_closedByProtocol(self) -> None:
        """
        A transport that the protocol has closed and that stays, as TLS does while
        the peer does not answer the farewell, is cut off.
        """
        self.factory.deadlines = _only(line=2)
        session = self.session()
        session.transport.loseConnection()
        self.advance(2)
        self.assertTrue(session.isClosing)
        self.advance(self.factory.abortAfter)
        self.assertTrue(session.isAborted)

    def test_progress(self) -> None:
        """
        Whoever takes a byte now and then is not stuck.
        """
        self.factory.deadlines = _only(write=2)
        session = self.session()
        session.transport.dataBuffer = bytes(100)
        for _ in range(20):
            self.advance(1.6)
            session.transport.offset += 1
        self.assertFalse(session.isAborted)
        # What is written meanwhile is no progress.
        began = self.clock.seconds()
        while not session.isAborted:
            session.transport._tempDataBuffer.append(b"more")
            self.advance(0.1)
            self.assertLess(self.clock.seconds() - began, 3)
        self.assertIs(session.end.reason, EndReason.WRITE_TIMEOUT)

    def test_emptied(self) -> None:
        """
        Output that has all gone, and output that is new: its time begins anew.
        """
        self.factory.deadlines = _only(write=2)
        session = self.session()
        session.transport.dataBuffer = data = b"abc"
        self.advance(1.5)
        session.transport.dataBuffer = b""
        self.advance(0.6)
        session.transport.dataBuffer = data
        self.assertStruck(self.strikes(session, 5), 2)

    def test_pausedAnew(self) -> None:
        """
        A transport that shows nothing, and was empty in between.
        """
        self.factory.deadlines = _only(write=2)
        session = self.session(transport=OwnTransport())
        for _ in range(10):
            session.dataReceived(b"more than ten bytes\n")
            self.advance(1.9)
            session.transport.drain()
        session.dataReceived(b"more than ten bytes\n")
        self.assertStruck(self.strikes(session, 5), 2)

    def test_firstReason(self) -> None:
        """
        A session that is being closed for an offence, and does not take what waits
        for it either, ended for the offence.
        """
        self.factory.deadlines = _only(line=2, write=3)
        session = self.session()
        session.transport.dataBuffer = b"abc"
        session.dataReceived(b"a")
        self.strikes(session, 5)
        self.advance(2)
        self.assertTrue(session.transport.aborted)
        self.assertIs(session.end.reason, EndReason.LINE_TIMEOUT)

    def test_closedAlready(self) -> None:
        """
        A session that is being closed is not closed for something else; that it
        takes nothing is why it ended.
        """
        self.factory.deadlines = _only(idle=1, line=1, write=2)
        session = self.session()
        session.dataReceived(b"a")
        session.transport.dataBuffer = b"abc"
        session.close(EndReason.STOPPED)
        self.advance(3)
        self.assertIs(session.end.reason, EndReason.WRITE_TIMEOUT)

    def test_notIdleTwice(self) -> None:
        """
        Nothing is added to the reason of a session that closes.
        """
        self.factory.deadlines = _only(idle=1)
        session = self.session()
        session.close(EndReason.STOPPED)
        self.advance(3)
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.STOPPED)

    def test_replaced(self) -> None:
        """
        New deadlines hold at once, for sessions that were there before.
        """
        session = self.session()
        session.dataReceived(b"a\n")
        self.advance(50)
        self.factory.deadlines = _only(idle=40)
        elapse(self.clock, 0)
        self.assertTrue(session.isClosing)
        session = self.session()
        self.advance(1)
        self.factory.deadlines = _only(idle=2)
        self.assertLessEqual(self.strikes(session, 5), 1.6)
        session = self.session()
        self.factory.deadlines = _only()
        self.advance(100)
        self.assertOpen(session)

    def test_raises(self) -> None:
        """
        A session that cannot be closed is cut off, told of once, and does not
        keep the others.
        """

        class Unclosable(Upper):
            def close(self, *args: Any) -> None:
                raise ZeroDivisionError

            def abort(self, *args: Any) -> None:
                raise ZeroDivisionError

        self.factory.deadlines = _only(idle=1)
        bad, good = self.session(Unclosable), self.session()
        bad.transport.protocol = None
        self.advance(10)
        self.assertTrue(bad.transport.aborted)
        self.assertIs(good.end.reason, EndReason.IDLE)
        bad.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_handshakeRaises(self) -> None:
        """
        Nor does a handshake that cannot be ended.
        """

        class Unending(FakeHandshake):
            def fail(self, reason: EndReason, detail: str = "") -> None:
                raise ZeroDivisionError

        self.factory.deadlines = _only(idle=1, handshake=1)
        now = self.clock.seconds()
        self.factory.handshakeStarted(Unending(self.factory, now), None)
        session = self.session()
        self.advance(2)
        self.assertTrue(session.isClosing)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))


class TimerTests(GuardTestCase):
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
        self.factory.handshakeEnded(handshake, None)
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
        self.factory.deadlines = _only(write=1)
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
            (_only(), 2.0),
            (_only(idle=300), 2.0),
            (Deadlines(), 1.25),
            (_only(idle=300, write=4), 0.5),
            (_only(line=0.001), 0.05),
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


class BufferedTests(GuardTestCase):
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
        self.assertEqual(self.factory._timeouts._paused, {})

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


class KernelTests(ServedTestCase):
    """
    Where the kernel is asked, over real sockets. The time is the test's, but what
    the kernel says of time is not.
    """

    def factory(self, protocol: Any, clock: Any = None, **deadlines: float) -> Any:
        factory: Any = SessionFactory.forProtocol(
            protocol, clock=clock, deadlines=_only(**deadlines), abortAfter=1.0
        )
        return factory

    async def choked(self, clock: Clock, *endpoints: str) -> tuple[Any, socket.socket]:
        """
        A session with 30 MB to send.
        """
        service = self.serve(self.factory(Silent, clock, write=8), *endpoints)
        session, client = await self.session(service)
        session.transport.write(bytes(30_000_000))
        await self.settled(session)
        return session, client

    async def settled(self, session: Any) -> None:
        """
        The kernel takes no more for now.
        """
        before = None
        while before != session.transport.offset:
            before = session.transport.offset
            for _ in range(10):
                await turn()

    async def writeProgress(self, *endpoints: str) -> None:
        clock = Clock()
        session, client = await self.choked(clock, *endpoints)
        elapse(clock, 1)
        for _ in range(5):
            elapse(clock, 7)
            await in_thread(collect, client, 4_000_000)
            await self.settled(session)
            self.assertFalse(session.isAborted)
            elapse(clock, 1)
            self.assertFalse(session.isAborted)
        elapse(clock, 6.9)
        self.assertFalse(session.isAborted)
        # (The last of it may have been acknowledged only now.)
        elapse(clock, 9.1)
        self.assertTrue(session.isAborted)
        await until(lambda: session.end)
        self.assertIs(session.end.reason, EndReason.WRITE_TIMEOUT)

    async def test_writeProgress(self) -> None:
        """
        What the peer's kernel acknowledges defers the deadline; when nothing is,
        it strikes.
        """
        await self.writeProgress()

    async def test_queued(self) -> None:
        """
        What waits in the kernel waits too: a client that does not read so little
        that none of it is left here.
        """
        for endpoints in ((), ("unix:" + self.mktemp(),)):
            clock = Clock()
            factory = self.factory(Upper, clock, write=8)
            session, client = await self.session(self.serve(factory, *endpoints))
            lines = b"x" * 999 + b"\n"
            # More than the client's kernel acknowledges; a UNIX socket takes less.
            lines *= 100 if endpoints else 1000
            await in_thread(client.sendall, lines)
            await until(lambda: session.bytesReceived == len(lines))  # noqa: B023
            for _ in range(10):
                await turn()
            self.assertEqual(session.transport.dataBuffer, b"")
            elapse(clock, 1)
            elapse(clock, 7.9)
            self.assertFalse(session.isAborted)
            elapse(clock, 2.1)
            self.assertTrue(session.isAborted)
            await until(lambda: session.end)  # noqa: B023
            self.assertIs(session.end.reason, EndReason.WRITE_TIMEOUT)

    async def test_writeProgressUNIX(self) -> None:
        await self.writeProgress("unix:" + self.mktemp())

    async def test_onlyTheQueueMoves(self) -> None:
        """
        On a UNIX socket: bytes that are read, though too few that the server could
        send more, are progress.
        """
        clock = Clock()
        session, client = await self.choked(clock, "unix:" + self.mktemp())
        elapse(clock, 1)
        transport = session.transport
        # The server does not notice that there is room.
        transport.stopWriting()
        before = transport.offset
        elapse(clock, 7)
        await in_thread(client.recv, 1 << 16)
        elapse(clock, 1.1)
        self.assertEqual(transport.offset, before)
        self.assertFalse(session.isAborted)
        elapse(clock, 8)
        self.assertTrue(session.isAborted)

    async def test_inputIsNoProgress(self) -> None:
        """
        On a UNIX socket, too: a peer that sends, and does not read.
        """
        clock = Clock()
        service = self.serve(
            self.factory(Upper, clock, write=8), "unix:" + self.mktemp()
        )
        session, client = await self.session(service)
        session.transport.stopWriting()
        session.transport.startWriting = lambda: None
        session.sendLine(b"x")
        for _ in range(9):
            self.assertFalse(session.isAborted)
            client.sendall(b"a\n")
            before = session.bytesReceived
            await until(lambda before=before: session.bytesReceived > before)
            elapse(clock, 1.1)
        self.assertTrue(session.isAborted)

    async def test_idle(self) -> None:
        """
        Nothing either way: the peer is sent an end-of-file.
        """
        service = self.serve(self.factory(Silent, idle=0.4))
        began = service.factory.clock.seconds()
        session, client = await self.session(service)
        self.assertEqual(await in_thread(client.recv, 1), b"")
        # (The kernel's clock is coarser.)
        self.assertGreaterEqual(service.factory.clock.seconds() - began, 0.38)
        client.close()
        await until(lambda: session.end)
        self.assertIs(session.end.reason, EndReason.IDLE)

    async def test_push(self) -> None:
        """
        A session that only sends, all of which the kernel takes at once, is not
        idle; nor is one that receives, though its protocol counts nothing.
        """
        factory = self.factory(Silent, idle=0.4)
        service = self.serve(factory)
        sending, _ = await self.session(service)
        receiving, client = await self.session(service)
        clock = factory.clock
        began, sent = clock.seconds(), 0.0
        while clock.seconds() - began < 1.0:
            if clock.seconds() - sent >= 0.1:
                sent = clock.seconds()
                sending.transport.write(b"tick\n")
                client.send(b"tick\n")
            moment = clock.seconds() + 0.02
            await until(lambda moment=moment: clock.seconds() >= moment)
            self.assertFalse(sending.isClosing or receiving.isClosing)
        await until(lambda: sending.isClosing and receiving.isClosing)

    async def test_pausedPeerGone(self) -> None:
        """
        A session that its protocol has paused is not told that its peer is gone;
        the deadline finds it.
        """
        for gone in (reset, socket.socket.close):
            service = self.serve(self.factory(Silent, idle=0.4))
            session, client = await self.session(service)
            session.pauseProducing()
            gone(client)
            await until(lambda session=session: session.end)
            self.assertIs(session.end.reason, EndReason.IDLE)
