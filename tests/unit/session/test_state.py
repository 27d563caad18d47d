"""
L{twisted_echo.session.state}: what a session is, and what may follow.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import FullTransport
from twisted_echo import FastLineReceiver, Session, SessionFactory
from twisted_echo.session.state import NEXT, SessionState, StatefulSession

DONE = Failure(ConnectionDone())


class Traced(Session, FastLineReceiver):
    """
    Remembers its states.
    """

    def __init__(self) -> None:
        self.states = [SessionState.NEW]

    def _enter(self, state: int) -> None:
        super()._enter(state)
        self.states.append(SessionState(state))


class StateTests(SynchronousTestCase):
    def made(self) -> Any:
        session = SessionFactory.forProtocol(Traced, clock=Clock()).buildProtocol(None)
        assert session is not None
        session.makeConnection(FullTransport())
        return session

    def assertStates(self, session: Any, *names: str) -> None:
        self.assertEqual([each.name for each in session.states], list(names))

    def test_forwards(self) -> None:
        """
        A state is followed by later ones only, and only the last by none.
        """
        self.assertEqual(len(NEXT), len(SessionState))
        for state, following in zip(SessionState, NEXT, strict=True):
            self.assertTrue(all(each > state for each in following), state)
            self.assertEqual(not following, state is SessionState.ENDED)
            if state < SessionState.LOST:
                self.assertIn(SessionState.LOST, following)

    def test_illegal(self) -> None:
        """
        Any other step is an error of this package, and says which.
        """
        state = StatefulSession()
        with self.assertRaisesRegex(AssertionError, r"FINISHED.* cannot follow .*NEW"):
            state._enter(SessionState.FINISHED)
        self.assertEqual(state._sessionState, SessionState.NEW)

    def test_peerLeaves(self) -> None:
        session = self.made()
        session.readConnectionLost()
        session.connectionLost(DONE)
        self.assertStates(
            session, "NEW", "OPEN", "DRAINING", "FINISHED", "LOST", "ENDED"
        )

    def test_closed(self) -> None:
        session = self.made()
        answer: Deferred[None] = session.answerLater(Deferred())
        session.close()
        self.assertStates(session, "NEW", "OPEN", "DRAINING")
        answer.callback(None)
        session.readConnectionLost()
        session.close()
        session.connectionLost(DONE)
        self.assertStates(
            session, "NEW", "OPEN", "DRAINING", "FINISHED", "LOST", "ENDED"
        )

    def test_lost(self) -> None:
        session = self.made()
        session.connectionLost(DONE)
        session.connectionLost(DONE)
        session.unregister()
        self.assertStates(session, "NEW", "OPEN", "LOST", "ENDED")

    def test_aborted(self) -> None:
        """
        What is aborted is not closed any more, and reports its end.
        """
        session = self.made()
        session.abort()
        session.abort()
        session.close()
        session.readConnectionLost()
        session.connectionLost(DONE)
        self.assertStates(session, "NEW", "OPEN", "ABORTED", "LOST", "ENDED")

    def test_closedBefore(self) -> None:
        """
        A hook closes it before it is registered: it is registered all the same.
        """

        class Early(Traced):
            def connectionMade(self) -> None:
                self.close()
                super().connectionMade()

        factory = SessionFactory.forProtocol(Early, clock=Clock())
        session = factory.buildProtocol(None)
        assert session is not None
        session.makeConnection(FullTransport())
        self.assertEqual(list(factory.sessions), [session])
        self.assertStates(session, "NEW", "DRAINING", "FINISHED")
        session.connectionLost(DONE)
        self.assertEqual(factory.sessions, {})
