"""
L{twisted_echo.session.ends.ending}: why a session has ended, and who waits for that.
"""

import gc
import socket
from typing import Any
from weakref import ref

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    ServedTestCase,
    in_thread,
    read_to_end,
    reset,
    tls_endpoint,
    until,
)
from tests.support.sessions import (
    DONE,
    Upper,
    made,
)
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EndReason,
    Session,
    SessionFactory,
)
from twisted_echo.testing.clocks import elapse


class EndTests(ServedTestCase):
    """
    What a session tells of its end, and to whom.
    """

    async def opened(self, protocol=Upper, *endpoints):
        self.service = self.serve(SessionFactory.forProtocol(protocol), *endpoints)
        return await self.session(self.service)

    async def ends(self, session, reason):
        end = await session.whenEnded()
        self.assertIs(end.reason, reason)
        self.assertIs(session.end, end)
        self.assertEqual(session.factory.sessions, {})
        return end

    async def test_peerClosed(self) -> None:
        session, client = await self.opened()
        client.close()
        await self.ends(session, EndReason.PEER_CLOSED)

    async def test_peerClosedUNIX(self) -> None:
        """
        A peer at a UNIX socket closes both directions at once, which is no loss:
        neither by itself, nor when it was sent its end-of-file.
        """
        session, client = await self.opened(Upper, f"unix:{self.mktemp()}")
        client.close()
        await self.ends(session, EndReason.PEER_CLOSED)
        session, client = await self.opened(Upper, f"unix:{self.mktemp()}")
        session.close(EndReason.STOPPED)
        self.assertEqual(await in_thread(read_to_end, client), b"")
        client.close()
        await self.ends(session, EndReason.STOPPED)

    async def test_localClosed(self) -> None:
        session, client = await self.opened()
        client.sendall(b"lose\n")
        await self.ends(session, EndReason.LOCAL_CLOSED)

    async def test_stopped(self) -> None:
        session, client = await self.opened()
        stopped = self.service.stopService()
        self.assertEqual(await in_thread(read_to_end, client), b"")
        await stopped
        await self.ends(session, EndReason.STOPPED)

    async def test_lineTooLong(self) -> None:
        factory = EchoFactory(EchoConfig(maxLength=3))
        session, client = await self.session(self.serve(factory))
        client.sendall(b"over\n")
        self.assertEqual(await in_thread(read_to_end, client), b"")
        await self.ends(session, EndReason.LINE_TOO_LONG)

    async def test_aborted(self) -> None:
        session, client = await self.opened()
        session.abort()
        await self.ends(session, EndReason.ABORTED)
        with self.assertRaises(ConnectionResetError):
            await in_thread(client.recv, 1)

    async def test_abortedByTransport(self) -> None:
        session, _ = await self.opened()
        session.transport.abortConnection()
        await self.ends(session, EndReason.ABORTED)

    async def test_connectionLost(self) -> None:
        session, client = await self.opened()
        reset(client)
        await self.ends(session, EndReason.CONNECTION_LOST)

    async def test_tlsError(self) -> None:
        """
        What is no TLS ends as a connection lost, not as an error of ours.
        """
        service = self.serve(SessionFactory.forProtocol(Upper), tls_endpoint())
        session, client = await self.session(service)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        await self.ends(session, EndReason.CONNECTION_LOST)

    async def test_error(self) -> None:
        session, client = await self.opened()
        client.sendall(b"fail\n")
        await self.ends(session, EndReason.ERROR)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_errorAtEndOfFile(self) -> None:
        class Failing(Upper):
            def endOfInput(self) -> None:
                raise ZeroDivisionError

        session, client = await self.opened(Failing)
        client.shutdown(socket.SHUT_WR)
        await self.ends(session, EndReason.ERROR)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_connectionLostRaises(self) -> None:
        """
        A session whose protocol fails in C{connectionLost} has ended all the
        same.
        """

        class Base(Protocol):
            def connectionLost(self, reason: Any = None) -> None:
                raise ZeroDivisionError

        class Failing(Session, Base):
            pass

        session, client = await self.opened(Failing)
        client.close()
        await until(lambda: session.transport.disconnected)
        self.addCleanup(session.factory.sessions.clear)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(session.factory.sessions, {})
        self.assertIs(session.end.reason, EndReason.PEER_CLOSED)

    def test_counts(self) -> None:
        """
        The record tells how much was received, and how long it took.
        """
        session = made(Upper)
        session.dataReceived(b"a\nb")
        session.dataReceived(b"c\n")
        elapse(session.factory.clock, 2.5)
        session.connectionLost(DONE)
        self.assertEqual(session.end.bytesReceived, 5)
        self.assertEqual(session.end.seconds, 2.5)
        self.assertIs(session.end.reason, EndReason.PEER_CLOSED)

    def test_reasonsAreDistinct(self) -> None:
        """
        What logs and metrics show is one word for each reason.
        """
        self.assertEqual(len(EndReason.__members__), len(EndReason))


class WhenEndedTests(SynchronousTestCase):
    """
    L{Session.whenEnded}: everybody who asks gets a Deferred of his own.
    """

    def test_own(self) -> None:
        """
        Each fires with the same record, after the session left the factory.
        """
        session = made(Upper)
        seen = []
        waiters = [session.whenEnded() for _ in range(3)]
        for waiter in waiters:
            waiter.addCallback(lambda end: seen.append((end, len(sessions))))  # type: ignore[has-type]
        sessions = session.factory.sessions
        self.assertEqual(len(set(map(id, waiters))), 3)
        session.connectionLost(DONE)
        self.assertEqual(seen, [(session.end, 0)] * 3)

    def test_afterTheEnd(self) -> None:
        """
        It is told at once when it is asked for later.
        """
        session = made(Upper)
        session.connectionLost(DONE)
        first, second = session.whenEnded(), session.whenEnded()
        self.assertIsNot(first, second)
        for waiter in (first, second):
            self.assertIs(self.successResultOf(waiter), session.end)

    def test_cancel(self) -> None:
        """
        To cancel one is no business of the session, the factory or the others.
        """
        session = made(Upper)
        first, second, third = (session.whenEnded() for _ in range(3))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertIn(session, session.factory.sessions)
        session.connectionLost(DONE)
        for waiter in (first, third):
            self.assertIs(self.successResultOf(waiter), session.end)

    def test_cancelAnother(self) -> None:
        """
        One who is told may cancel another who is not told yet.
        """
        session = made(Upper)
        first, second, third = (session.whenEnded() for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        session.connectionLost(DONE)
        self.failureResultOf(second, CancelledError)
        self.assertIs(self.successResultOf(third), session.end)

    def test_disturb(self) -> None:
        """
        A callback that returns a Deferred, fails or changes the result is its
        waiter's alone.
        """
        session = made(Upper)
        waiters = [session.whenEnded() for _ in range(4)]
        waiters[0].addCallback(lambda _: Deferred())
        waiters[1].addCallback(lambda _: 1 // 0)
        waiters[2].addCallback(lambda _: None)
        session.connectionLost(DONE)
        self.assertNoResult(waiters[0])
        self.failureResultOf(waiters[1], ZeroDivisionError)
        self.assertIs(self.successResultOf(waiters[2]), None)
        self.assertIs(self.successResultOf(waiters[3]), session.end)
        self.assertIs(self.successResultOf(session.whenEnded()), session.end)

    def test_twice(self) -> None:
        """
        A transport that reports its end twice ends the session once.
        """
        session = made(Upper)
        waiter = session.whenEnded()
        session.connectionLost(DONE)
        end = self.successResultOf(waiter)
        session.connectionLost(DONE)
        self.assertIs(session.end, end)

    def test_raises(self) -> None:
        """
        The exception of a waiter refers to its caller, and does not keep the session.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        # (This transport would keep the producer that pauses it.)
        session = made(type("Free", (Upper,), {"backpressure": False}))
        waiter: Deferred[Any] = session.whenEnded().addCallback(lambda _: 1 // 0)
        gone = ref(session)
        session.connectionLost(DONE)
        del session
        self.assertIs(gone(), None)
        self.failureResultOf(waiter, ZeroDivisionError)

    def test_cancelledIsForgotten(self) -> None:
        """
        Somebody who asks again and again, and gives up each time, leaves
        nothing behind.
        """
        session = made(Upper)
        cancelled = session.whenEnded()
        cancelled.addErrback(lambda failure: failure.trap(CancelledError))
        cancelled.cancel()
        gone = ref(cancelled)
        del cancelled
        self.assertIs(gone(), None)


class ReasonTests(SynchronousTestCase):
    """
    What is told of a session's end, and what can be asked before.
    """

    def test_detail(self) -> None:
        """
        What its closer had to say is kept; what a second one says is not.
        """
        session = made(Upper)
        session.close(EndReason.LINE_TOO_LONG, "by 7 bytes")
        session.close(EndReason.IDLE, "since Monday")
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.LINE_TOO_LONG)
        self.assertEqual(session.end.detail, "by 7 bytes")

    def test_noDetail(self) -> None:
        session = made(Upper)
        session.connectionLost(DONE)
        self.assertEqual(session.end.detail, "")

    def test_abortReason(self) -> None:
        """
        The first who cuts it off says why.
        """
        session = made(Upper)
        session.abort(EndReason.WRITE_TIMEOUT)
        session.abort(EndReason.OVER_BUFFERED)
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.WRITE_TIMEOUT)

    def test_abortAfterClose(self) -> None:
        """
        Who closed it for an offence has said why; other closings say less than the
        abort.
        """
        for closing, told in (
            (EndReason.IDLE, EndReason.IDLE),
            (EndReason.LINE_TIMEOUT, EndReason.LINE_TIMEOUT),
            (EndReason.LINE_TOO_LONG, EndReason.LINE_TOO_LONG),
            (EndReason.STOPPED, EndReason.WRITE_TIMEOUT),
            (EndReason.LOCAL_CLOSED, EndReason.WRITE_TIMEOUT),
        ):
            session = made(Upper)
            session.close(closing)
            session.abort(EndReason.WRITE_TIMEOUT)
            session.connectionLost(DONE)
            self.assertIs(session.end.reason, told)

    def test_closedWhileClosing(self) -> None:
        """
        A connection that the protocol closed itself, and that does not end: what
        found it so is told. (Such as under TLS, when the peer says no farewell.)
        """
        for reason, told in (
            (EndReason.IDLE, EndReason.IDLE),
            (EndReason.STOPPED, EndReason.ABORTED_IN_DRAIN),
        ):
            session = made(Upper)
            session.transport.loseConnection()
            session.close(reason)
            elapse(session.factory.clock, session.factory.abortAfter)
            session.connectionLost(DONE)
            self.assertIs(session.end.reason, told)

    def test_states(self) -> None:
        """
        Whether more is expected of the peer, and whether it is being closed or was
        cut off.
        """

        def states(session: Any) -> tuple[bool, bool, bool]:
            return session.expectsInput, session.isClosing, session.isAborted

        session = made(Upper)
        self.assertEqual(states(session), (True, False, False))
        session.close()
        self.assertEqual(states(session), (False, True, False))
        session = made(Upper)
        session.abort()
        self.assertEqual(states(session), (False, False, True))
        session = made(Upper)
        session.answerLater(Deferred())
        session.readConnectionLost()
        self.assertEqual(states(session), (False, False, False))
        session = made(Upper)
        session.transport.loseConnection()
        self.assertEqual(states(session), (False, False, False))

    def test_peer(self) -> None:
        """
        The peer is the transport's; who has no transport, or one that cannot tell,
        has none.
        """
        session = made(Upper)
        self.assertEqual(session.peer, session.transport.getPeer())
        session.transport = object()
        self.assertIs(session.peer, None)

    def test_began(self) -> None:
        clock = Clock()
        elapse(clock, 7)
        self.assertEqual(made(Upper, clock=clock).began, 7)

    def test_mark(self) -> None:
        """
        What is remembered of a session is its own, and none before it is looked
        at.
        """
        first, second = made(Upper), made(Upper)
        self.assertIs(first.lastSeen, None)
        elapse(first.factory.clock, 10)
        self.assertIsNot(first.lastSeen, None)
        self.assertIs(second.lastSeen, None)

    def test_factoryIsTold(self) -> None:
        """
        The factory hears when its input stops and goes on because of the
        transport, not because of the protocol.
        """
        session = made(Upper)
        told = []
        session.factory.inputStopped = lambda who: told.append(("stopped", who))
        session.factory.inputStarted = lambda who: told.append(("started", who))
        session.pauseProducing()
        session.resumeProducing()
        self.assertEqual(told, [])
        session.transport.producer.pauseProducing()
        session.transport.producer.resumeProducing()
        self.assertEqual(told, [("stopped", session), ("started", session)])
