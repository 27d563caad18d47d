"""
L{twisted_echo.session.bounds.timeout_checks}: what counts for a deadline, and what does
not.
"""

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.support.clients import (
    ServedTestCase,
    collect,
    in_thread,
    reset,
    turn,
    until,
)
from tests.support.swept_sessions import (
    DONE,
    FakeHandshake,
    OnlyUpper,
    OwnTransport,
    Silent,
    StockUpper,
    SweepTestCase,
    Upper,
    only,
)
from twisted_echo import (
    EndReason,
    SessionFactory,
)
from twisted_echo.net.tcp_info import outputProgress
from twisted_echo.testing.clocks import elapse


class DeadlineTests(SweepTestCase):
    """
    What counts for a deadline, and what does not.
    """

    def test_closesInOrder(self) -> None:
        """
        An idle session is closed; its peer that does not close too is cut off, and
        the reason stays.
        """
        self.factory.deadlines = only(idle=2)
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
        self.factory.deadlines = only(idle=2)
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
        self.factory.deadlines = only(idle=2)
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
        self.factory.deadlines = only(idle=2)
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
        self.factory.deadlines = only(idle=2)
        session = self.session(StockUpper)
        self.advance(10)
        self.assertOpen(session)

    def test_byteNowAndThen(self) -> None:
        """
        A byte now and then does not extend a line's deadline.
        """
        for protocol in (Upper, OnlyUpper):
            self.factory.deadlines = only(line=2)
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
        again.
        """
        for protocol in (Upper, OnlyUpper):
            self.factory.deadlines = only(line=2)
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
        self.factory.deadlines = only(line=2)
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
                self.factory.deadlines = only(line=2)
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
        self.factory.deadlines = only(line=2)
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
        self.factory.deadlines = only(line=2)
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
        self.factory.deadlines = only(line=2)
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
        self.factory.deadlines = only(write=2)
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
        Output that has all gone, and output that is new: its time begins again.
        """
        self.factory.deadlines = only(write=2)
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
        self.factory.deadlines = only(write=2)
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
        self.factory.deadlines = only(line=2, write=3)
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
        self.factory.deadlines = only(idle=1, line=1, write=2)
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
        self.factory.deadlines = only(idle=1)
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
        self.factory.deadlines = only(idle=40)
        elapse(self.clock, 0)
        self.assertTrue(session.isClosing)
        session = self.session()
        self.advance(1)
        self.factory.deadlines = only(idle=2)
        self.assertLessEqual(self.strikes(session, 5), 1.6)
        session = self.session()
        self.factory.deadlines = only()
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

        self.factory.deadlines = only(idle=1)
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

        self.factory.deadlines = only(idle=1, handshake=1)
        now = self.clock.seconds()
        self.factory.handshakeStarted(Unending(self.factory, now), None)
        session = self.session()
        self.advance(2)
        self.assertTrue(session.isClosing)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))


class KernelTests(ServedTestCase):
    """
    Where the kernel is asked, over real sockets. The time is the test's, but what
    the kernel says of time is not.
    """

    def factory(self, protocol: Any, clock: Any = None, **deadlines: float) -> Any:
        factory: Any = SessionFactory.forProtocol(
            protocol, clock=clock, deadlines=only(**deadlines), abortAfter=1.0
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

    def assertStrikes(self, session: Any, clock: Clock) -> None:
        """
        The deadline strikes when nothing is acknowledged for as long as it allows. (The
        kernels may go on for a moment, which is none of the clock's.)
        """
        for _ in range(50):
            before = outputProgress(session.transport)
            elapse(clock, 9.1)
            if session.isAborted:
                return
            self.assertNotEqual(outputProgress(session.transport), before)
        self.fail("the kernels do not come to rest")

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
        self.assertStrikes(session, clock)
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
            self.assertStrikes(session, clock)
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
        self.assertStrikes(session, clock)

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
