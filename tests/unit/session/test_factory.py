"""
L{twisted_echo.session.factory}: the record of the sessions that are open.
"""

import random
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, DeferredList
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.clients import FullTransport
from tests.support.line_session import DONE, Lines
from twisted_echo import (
    Deadlines,
    EndReason,
    Limits,
    LogSessions,
    Session,
    SessionFactory,
    WhenFull,
)
from twisted_echo.testing.clocks import elapse


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
        waiters = self.factory.whenEnded()
        self.assertEqual(len(waiters), 2)
        ended = DeferredList(self.factory.whenEnded())
        for waiter in waiters:
            waiter.addErrback(lambda failure: None)
            waiter.cancel()
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
        elapse(self.clock, self.factory.abortAfter)
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.ABORTED_IN_DRAIN)

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
            def abort(self, *args: Any) -> None:
                raise ZeroDivisionError

        self.session(Failing)
        other = self.session()
        self.addCleanup(self.flushLoggedErrors, ZeroDivisionError)
        self.factory.abortSessions()
        self.assertTrue(other.transport.disconnecting)


class Handshaking:
    """
    A connection that may become a session.
    """

    began = 0.0
    transport: Any = None

    def __init__(self, factory: Any, address: Any = None) -> None:
        self.factory = factory
        self.address = address
        factory.handshakeStarted(self, address)

    def ownBytes(self) -> int:
        return 0

    def fail(self, reason: EndReason, detail: str = "") -> None:
        self.factory.handshakeEnded(self)
        self.factory.countRefused(self.address, reason, detail)
        self.factory.countChanged()


class FakeGate:
    """
    A gate that can be shut, or cannot.
    """

    def __init__(self, *, works: bool = True) -> None:
        self.works = works
        self.calls: list[str] = []

    def shut(self) -> bool:
        self.calls.append("shut")
        return self.works

    def reopen(self) -> None:
        self.calls.append("reopen")


class LimitsTestCase(SynchronousTestCase):
    """
    A factory with a clock, whose log is silent.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.factory: Any = SessionFactory.forProtocol(
            Lines, clock=self.clock, logSessions=LogSessions.NONE
        )

    def connect(self, address: Any = None) -> Any:
        """
        A session, or None if it is refused.
        """
        address = address or IPv4Address("TCP", "192.0.2.1", 1)
        session = self.factory.buildProtocol(address)
        if session is not None:
            session.makeConnection(FullTransport(peerAddress=address))
        return session

    def gated(self, *, works: bool = True) -> FakeGate:
        """
        Have connections come in by a gate.
        """
        gate = FakeGate(works=works)
        self.factory.belongTo(gate)
        return gate

    def limit(self, **limits: Any) -> None:
        self.factory.limits = Limits(**limits)


class StopTests(LimitsTestCase):
    """
    Who may come while a service stops.
    """

    def test_leaving(self) -> None:
        """
        A session that has been sent its end-of-file leaves its place to another, but
        only at a stop.
        """
        gate = self.gated()
        self.limit(sessions=1)
        self.connect().close()
        self.assertEqual(gate.calls, ["shut"])
        (first,) = self.factory.sessions
        first.connectionLost(DONE)
        self.connect()
        self.factory.beginStop()
        self.factory.closeSessions(EndReason.STOPPED)
        self.assertEqual(gate.calls, ["shut", "reopen"] * 2)
        second = self.connect()
        self.assertEqual(gate.calls, ["shut", "reopen"] * 3)
        self.assertEqual(len(self.factory.sessions), 2)
        for session in list(self.factory.sessions):
            session.connectionLost(DONE)
        self.assertIs(second.end.reason, EndReason.STOPPED)
        self.assertEqual(self.factory.admission._leaving, set())

    def test_refuseAll(self) -> None:
        """
        Nobody is served at the last, and everybody after the next start.
        """
        self.factory.beginStop()
        self.factory.closeSessions(EndReason.STOPPED)
        self.factory.refuseAll()
        self.assertIsNone(self.connect())
        self.assertEqual(self.factory.refused, {EndReason.STOPPED: 1})
        self.factory.welcome()
        self.assertTrue(self.connect().expectsInput)


class FullTests(LimitsTestCase):
    """
    As many connections as are allowed.
    """

    def test_unlimited(self) -> None:
        gate = self.gated()
        for _ in range(50):
            self.assertTrue(self.connect())
        self.assertEqual(gate.calls, [])

    def test_refuse(self) -> None:
        """
        One more is refused and counted; when one has ended, the next is welcome.
        """
        gate = self.gated()
        self.limit(sessions=2, whenFull=WhenFull.REFUSE)
        first, _ = self.connect(), self.connect()
        self.assertFalse(self.connect() or self.connect())
        self.assertEqual(self.factory.refused, {EndReason.REFUSED_FULL: 2})
        self.assertEqual(self.factory.opened, 2)
        first.connectionLost(DONE)
        self.assertTrue(self.connect())
        self.assertFalse(self.connect())
        self.assertEqual(gate.calls, [])

    def test_wait(self) -> None:
        """
        The gate is shut when there are enough, and opened when one has ended; what
        was being accepted is welcome.
        """
        gate = self.gated()
        self.limit(sessions=2)
        first = self.connect()
        self.assertEqual(gate.calls, [])
        second, overshoot = self.connect(), self.connect()
        self.assertTrue(overshoot)
        self.assertEqual(gate.calls, ["shut"])
        first.connectionLost(DONE)
        self.assertEqual(gate.calls, ["shut"])
        second.connectionLost(DONE)
        self.assertEqual(gate.calls, ["shut", "reopen"])
        self.assertEqual(self.factory.refused, {})

    def test_cannotWait(self) -> None:
        """
        Where not every port can wait, one more is refused; those that were shut all
        the same are opened again.
        """
        gate = self.gated(works=False)
        self.limit(sessions=1)
        session = self.connect()
        self.assertFalse(self.connect())
        self.assertEqual(self.factory.refused, {EndReason.REFUSED_FULL: 1})
        session.connectionLost(DONE)
        self.assertEqual(gate.calls, ["shut", "reopen"])
        self.assertTrue(self.connect())

    def test_noGate(self) -> None:
        """
        A factory without a service of ours cannot make anybody wait.
        """
        self.limit(sessions=1)
        self.connect()
        self.assertFalse(self.connect())

    def test_changed(self) -> None:
        """
        The limit, and what becomes of one more, can be changed at any time; nobody
        is ended.
        """
        gate = self.gated()
        sessions = [self.connect() for _ in range(3)]
        self.limit(sessions=2)
        self.assertEqual(gate.calls.pop(), "shut")
        self.limit(sessions=2, whenFull=WhenFull.REFUSE)
        self.assertEqual(gate.calls.pop(), "reopen")
        self.assertFalse(self.connect())
        self.limit(sessions=3)
        self.assertEqual(gate.calls.pop(), "shut")
        self.limit(sessions=4)
        self.assertEqual(gate.calls.pop(), "reopen")
        self.assertTrue(self.connect())
        self.assertEqual(gate.calls.pop(), "shut")
        self.limit()
        self.assertEqual(gate.calls, ["reopen"])
        self.assertEqual(list(self.factory.sessions)[:3], sessions)

    def test_handshakes(self) -> None:
        """
        A connection counts before it is a session, once.
        """
        gate = self.gated()
        self.limit(sessions=2)
        first, second = Handshaking(self.factory), Handshaking(self.factory)
        self.assertEqual(gate.calls, ["shut"])
        self.factory.handshakeEnded(first)
        self.assertTrue(self.connect())
        self.assertEqual(gate.calls, ["shut"])
        second.fail(EndReason.HANDSHAKE_FAILED)
        self.assertEqual(gate.calls, ["shut", "reopen"])
        self.assertEqual(self.factory.refused, {EndReason.HANDSHAKE_FAILED: 1})


class PerPeerTests(LimitsTestCase):
    """
    As many connections of one peer as are allowed.
    """

    def assertTogether(self, *addresses: Any) -> None:
        """
        They count as one.
        """
        self.limit(sessionsPerPeer=len(addresses))
        before = self.factory.refused[EndReason.REFUSED_PEER]
        sessions = [self.connect(address) for address in addresses]
        for address in addresses:
            self.assertFalse(self.connect(address))
        after = self.factory.refused[EndReason.REFUSED_PEER]
        self.assertEqual(after - before, len(addresses))
        sessions.pop().connectionLost(DONE)
        sessions.append(self.connect(addresses[0]))
        for session in sessions:
            session.connectionLost(DONE)
        self.assertFalse(self.factory.admission.peers, "somebody is remembered")

    def test_setLater(self) -> None:
        """
        Nothing is counted without the limit. When it is set, it counts what is open by
        then, and ends none of it; when it is removed, nothing is kept.
        """
        address = IPv4Address("TCP", "192.0.2.1", 1)
        sessions = [self.connect(address) for _ in range(3)]
        handshake = Handshaking(self.factory, address)
        self.assertEqual(self.factory.admission.peers, {})
        self.limit(sessionsPerPeer=3)
        self.assertEqual(self.factory.admission.peers, {"192.0.2.1": 4})
        self.limit(sessionsPerPeer=4)
        self.assertEqual(self.factory.admission.peers, {"192.0.2.1": 4})
        self.assertFalse(self.connect(address))
        self.factory.handshakeEnded(handshake)
        session = self.connect(address)
        self.assertTrue(session)
        self.limit(sessionsPerPeer=0)
        self.assertEqual(self.factory.admission.peers, {})
        for each in (*sessions, session):
            each.connectionLost(DONE)
        self.assertEqual(self.factory.admission.peers, {})

    def test_ipv4(self) -> None:
        first, other = (IPv4Address("TCP", f"192.0.2.{n}", 1) for n in (1, 2))
        self.assertTogether(first, IPv4Address("TCP", "192.0.2.1", 2))
        self.limit(sessionsPerPeer=1)
        self.assertTrue(self.connect(first) and self.connect(other))

    def test_ipv6(self) -> None:
        first, second, other = (
            IPv6Address("TCP", f"2001:db8:0:{n}", 1) for n in ("1::1", "1::2", "2::1")
        )
        self.assertTogether(first, second)
        self.limit(sessionsPerPeer=1)
        self.assertTrue(self.connect(first) and self.connect(other))

    def test_mapped(self) -> None:
        self.assertTogether(
            IPv4Address("TCP", "192.0.2.1", 1),
            IPv6Address("TCP", "::ffff:192.0.2.1", 1),
        )

    def test_unix(self) -> None:
        """
        A client of a UNIX socket counts by its path. Most have none, and are not told
        from each other.
        """
        self.assertTogether(UNIXAddress("/run/client"), UNIXAddress(b"/run/client"))
        self.limit(sessionsPerPeer=1)
        first, other = (UNIXAddress(f"/run/{each}") for each in "ab")
        self.assertTrue(self.connect(first) and self.connect(other))
        for _ in range(5):
            self.assertTrue(self.connect(UNIXAddress(None)))
            self.assertTrue(self.connect(UNIXAddress(b"")))

    def test_transportForgotten(self) -> None:
        """
        Some protocols forget their transport when it is lost, as FTP's does.
        """

        class Forgetful(Protocol):
            def connectionLost(self, reason: Any = DONE) -> None:
                self.transport = None

        class Both(Session, Forgetful):
            pass

        self.factory.protocol = Both
        self.limit(sessionsPerPeer=1)
        for _ in range(2):
            session = self.connect(IPv4Address("TCP", "192.0.2.1", 1))
            self.assertIsNotNone(session)
            session.connectionLost(DONE)
        self.assertEqual(self.factory.ended, {EndReason.PEER_CLOSED: 2})
        self.assertFalse(self.factory.admission.peers)

    def test_alwaysRefuses(self) -> None:
        """
        Nobody waits because one peer has enough.
        """
        gate = self.gated()
        self.limit(sessionsPerPeer=1, whenFull=WhenFull.WAIT)
        self.connect()
        self.assertFalse(self.connect())
        self.assertEqual(gate.calls, [])

    def test_handshakes(self) -> None:
        """
        Handshakes count for their peer.
        """
        self.limit(sessionsPerPeer=1)
        address = IPv4Address("TCP", "192.0.2.1", 1)
        handshake = Handshaking(self.factory, address)
        self.assertTrue(self.factory.refuses(address))
        self.factory.handshakeEnded(handshake)
        self.assertFalse(self.factory.refuses(address))

    def test_changed(self) -> None:
        for _ in range(3):
            self.assertTrue(self.connect())
        self.limit(sessionsPerPeer=3)
        self.assertFalse(self.connect())
        self.limit(sessionsPerPeer=4)
        self.assertTrue(self.connect())


class BooksTests(LimitsTestCase):
    """
    What is counted, after many have come and gone in every way.
    """

    def test_balance(self) -> None:
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        dice = random.Random(seed)
        factory = self.factory
        factory.deadlines = Deadlines(idle=30, line=7, write=9, handshake=5)
        self.gated()
        sessions: list[Any] = []
        tried = 0

        def come() -> None:
            nonlocal tried
            tried += 1
            host = f"192.0.2.{dice.randrange(5)}"
            session = self.connect(IPv4Address("TCP", host, tried))
            if session is not None:
                sessions.append(session)

        def shake() -> None:
            nonlocal tried
            tried += 1
            address = IPv4Address("TCP", f"192.0.2.{dice.randrange(5)}", tried)
            if not factory.refuses(address):
                Handshaking(factory, address)

        def shaken() -> None:
            if factory.handshakes:
                handshake = dice.choice(list(factory.handshakes))
                factory.handshakeEnded(handshake)
                session = self.connect(handshake.address)
                if session is None:
                    factory.countChanged()
                else:
                    sessions.append(session)

        def talk() -> None:
            if sessions:
                dice.choice(sessions).dataReceived(dice.choice([b"a\r\n", b"a"]))

        def leave() -> None:
            if sessions:
                session = sessions.pop(dice.randrange(len(sessions)))
                dice.choice([session.close, session.abort, lambda: None])()
                session.connectionLost(DONE)

        def change() -> None:
            self.limit(
                sessions=dice.choice([0, 10, 20]),
                sessionsPerPeer=dice.choice([0, 3, 5]),
                whenFull=dice.choice(list(WhenFull)),
            )

        acts = [come] * 5 + [shake] * 2 + [shaken, talk, talk, leave, leave, change]
        for _ in range(3000):
            dice.choice(acts)()
            elapse(self.clock, dice.random() / 4)
            for session in [each for each in sessions if each.transport.disconnecting]:
                sessions.remove(session)
                session.connectionLost(DONE)
            self.assertEqual(
                factory.opened,
                factory.ended.total() + len(factory.sessions),
                f"seed {seed}",
            )
            self.assertEqual(
                tried,
                factory.opened + factory.refused.total() + len(factory.handshakes),
                f"seed {seed}",
            )
        self.assertGreater(len(factory.ended), 3, f"seed {seed}")
        self.assertGreater(len(factory.refused), 2, f"seed {seed}")
        factory.closeHandshakes()
        factory.abortSessions()
        for session in sessions:
            session.connectionLost(DONE)
        self.assertEqual(factory.opened, factory.ended.total(), f"seed {seed}")
        self.assertEqual(tried, factory.opened + factory.refused.total())
        self.assertFalse(
            factory.admission.peers or factory.timeouts._paused, f"seed {seed}"
        )
        self.assertEqual(self.clock.getDelayedCalls(), [], f"seed {seed}")


class HandshakesTests(LimitsTestCase):
    """
    The record of the connections that are not yet sessions.
    """

    def test_forgotten(self) -> None:
        """
        One that never says that it has ended keeps nobody waiting; if it does in
        the end, it still counted for its peer until then.
        """
        self.factory.limits = Limits(sessionsPerPeer=2)
        address = IPv4Address("TCP", "127.0.0.1", 1)
        handshake = Handshaking(self.factory, address)
        ended = self.factory.whenHandshakesEnded()
        with capturedLogs() as events:
            self.factory.forgetSessions()
        self.successResultOf(ended)
        self.assertEqual(self.factory.handshakes, {})
        self.assertEqual(events[0]["log_level"], LogLevel.error)
        self.assertEqual(self.factory.admission.peers, {"127.0.0.1": 1})
        self.factory.handshakeEnded(handshake)
        self.assertEqual(self.factory.admission.peers, {})

    def test_whenHandshakesEnded(self) -> None:
        """
        It fires when the last has ended, or at once; to cancel it concerns nobody.
        """
        self.successResultOf(self.factory.whenHandshakesEnded())
        first, second = Handshaking(self.factory), Handshaking(self.factory)
        cancelled, ended = (self.factory.whenHandshakesEnded() for _ in range(2))
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.factory.handshakeEnded(first)
        self.assertNoResult(ended)
        second.fail(EndReason.HANDSHAKE_FAILED)
        self.successResultOf(ended)

    def test_closeHandshakes(self) -> None:
        for _ in range(3):
            Handshaking(self.factory)
        self.factory.closeHandshakes()
        self.assertEqual(self.factory.handshakes, {})
        self.assertEqual(self.factory.refused, {EndReason.STOPPED: 3})
