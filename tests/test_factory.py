"""
L{twisted_echo.factory}: the record of the sessions that are open.
"""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import DeferredList
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.clients import FullTransport
from twisted_echo import EndReason, FastLineReceiver, Session, SessionFactory

DONE = Failure(ConnectionDone())


class Lines(Session, FastLineReceiver):
    """
    A session.
    """

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


class Unclosable(Lines):
    """
    A session whose protocol fails when it is to close.
    """

    def close(self, reason: EndReason = EndReason.LOCAL_CLOSED) -> None:
        raise ZeroDivisionError


class Hashless(dict):  # type: ignore[type-arg]
    """
    A record that forbids to be searched.
    """

    def __iter__(self) -> Any:
        raise AssertionError("the record was searched")

    keys = values = items = __iter__


class FactoryTests(SynchronousTestCase):
    """
    L{SessionFactory} with sessions on fake transports.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = SessionFactory.forProtocol(Lines, clock=self.clock)

    def session(self, protocol: Any = Lines, transport: Any = None) -> Any:
        self.factory.protocol = protocol
        session = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        session.makeConnection(transport or FullTransport())
        return session

    def test_interface(self) -> None:
        verifyObject(IProtocolFactory, self.factory)

    def test_defaults(self) -> None:
        """
        Keep-alive is on, the deadline is five seconds, the clock the reactor.
        """
        from twisted.internet import reactor

        factory = SessionFactory.forProtocol(Lines)
        self.assertEqual(factory.keepAlive.idle, 60)
        self.assertEqual(factory.abortAfter, 5)
        self.assertIs(factory.clock, reactor)
        self.assertIs(factory.closing, None)

    def test_record(self) -> None:
        """
        The record holds who is connected, and nobody else.
        """
        self.assertEqual(self.factory.sessions, {})
        sessions = [self.session() for _ in range(3)]
        self.assertEqual(list(self.factory.sessions), sessions)
        sessions[1].connectionLost(DONE)
        self.assertEqual(list(self.factory.sessions), [sessions[0], sessions[2]])
        self.factory.buildProtocol(None)
        self.assertEqual(len(self.factory.sessions), 2)

    def test_notSearched(self) -> None:
        """
        To come and to go costs the same however many others there are.
        """
        self.factory.sessions = Hashless()
        sessions = [self.session() for _ in range(100)]
        for session in reversed(sessions):
            session.connectionLost(DONE)
        self.assertEqual(len(self.factory.sessions), 0)

    def test_whenEnded(self) -> None:
        """
        One Deferred for each open session; to cancel them concerns nobody.
        """
        first, second = self.session(), self.session()
        askers = self.factory.whenEnded()
        self.assertEqual(len(askers), 2)
        ended = DeferredList(self.factory.whenEnded())
        for asker in askers:
            asker.addErrback(lambda failure: None)
            asker.cancel()
        first.connectionLost(DONE)
        self.assertNoResult(ended)
        second.connectionLost(DONE)
        self.assertEqual(
            self.successResultOf(ended), [(True, first.end), (True, second.end)]
        )

    def test_closeSessions(self) -> None:
        """
        Every session is closed, with the reason; one that comes later too, at
        once.
        """
        sessions = [self.session() for _ in range(2)]
        self.factory.closeSessions(EndReason.STOPPED)
        sessions.append(self.session())
        for session in sessions:
            self.assertTrue(session.transport.halfClosed)
            session.readConnectionLost()
            self.assertTrue(session.transport.disconnecting)
            session.connectionLost(DONE)
            self.assertIs(session.end.reason, EndReason.STOPPED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lateDeadline(self) -> None:
        """
        A session that comes later has a deadline too.
        """
        self.factory.closeSessions(EndReason.STOPPED)
        session = self.session(transport=StringTransport())
        self.clock.advance(self.factory.abortAfter)
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.ABORTED)

    def test_closeRaises(self) -> None:
        """
        A session that cannot be closed is aborted and logged, and the others
        are closed.
        """
        first, bad, last = self.session(), self.session(Unclosable), self.session()
        self.factory.closeSessions(EndReason.STOPPED)
        self.assertTrue(first.transport.halfClosed and last.transport.halfClosed)
        self.assertTrue(bad.transport.disconnecting)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        bad.connectionLost(DONE)
        self.assertIs(bad.end.reason, EndReason.ABORTED)

    def test_abortSessions(self) -> None:
        """
        Every session is aborted.
        """
        sessions = [self.session() for _ in range(2)]
        self.factory.abortSessions()
        for session in sessions:
            self.assertTrue(session.transport.disconnecting)
            session.connectionLost(DONE)
            self.assertIs(session.end.reason, EndReason.ABORTED)

    def test_forgetSessions(self) -> None:
        """
        Sessions whose transports report nothing end here, logged; a report that
        comes after all changes nothing.
        """
        session = self.session()
        ended = session.whenEnded()
        self.factory.forgetSessions()
        self.assertEqual(self.factory.sessions, {})
        end = self.successResultOf(ended)
        self.assertIs(end.reason, EndReason.ABORTED)
        session.connectionLost(DONE)
        self.assertIs(session.end, end)

    def test_forgetRaises(self) -> None:
        """
        A session whose C{connectionLost} fails is forgotten too, and does not
        keep the others.
        """

        class Failing(Lines):
            def connectionLost(self, reason: Any = DONE) -> None:
                raise ZeroDivisionError

        self.session(Failing)
        self.session()
        ended = DeferredList(self.factory.whenEnded())
        self.addCleanup(self.flushLoggedErrors, ZeroDivisionError)
        self.factory.forgetSessions()
        self.assertEqual(self.factory.sessions, {})
        self.successResultOf(ended)

    def test_abortRaises(self) -> None:
        """
        A session that cannot be aborted does not save the others.
        """

        class Failing(Lines):
            def abort(self) -> None:
                raise ZeroDivisionError

        self.session(Failing)
        other = self.session()
        self.addCleanup(self.flushLoggedErrors, ZeroDivisionError)
        self.factory.abortSessions()
        self.assertTrue(other.transport.disconnecting)
