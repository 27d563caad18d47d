"""
L{twisted_echo.session.awaited_answers}: a session waits for its answers.
"""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.sessions import DONE, Upper, made
from twisted_echo import (
    EndReason,
)
from twisted_echo.testing.clocks import elapse


class AnswerLaterTests(SynchronousTestCase):
    """
    L{Session.answerLater} holds the end back until the answer is written.
    """

    def made(self):
        session = made(Upper)
        session.dataReceived(b"later\n")
        return session, session.transport

    def test_endOfFile(self) -> None:
        """
        The peer's end-of-file waits for the answer.
        """
        session, transport = self.made()
        session.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        session.later.callback(None)
        self.assertEqual(transport.value(), b"LATE\n")
        self.assertTrue(transport.disconnecting)

    def test_close(self) -> None:
        """
        C{close} waits for the answer, and takes nothing more meanwhile.
        """
        session, transport = self.made()
        session.close()
        self.assertFalse(transport.halfClosed)
        self.assertEqual(transport.producerState, "paused")
        session.later.callback(None)
        self.assertEqual(transport.value(), b"LATE\n")
        self.assertTrue(transport.halfClosed)
        self.assertEqual(transport.producerState, "producing")

    def test_failure(self) -> None:
        """
        A failure is an answer, and stays its owner's to handle.
        """
        session, transport = self.made()
        session.close()
        answer = session.answerLater(Deferred())
        session.later.callback(None)
        self.assertFalse(transport.halfClosed)
        answer.errback(ZeroDivisionError())
        self.assertTrue(transport.halfClosed)
        self.failureResultOf(answer, ZeroDivisionError)

    def test_several(self) -> None:
        """
        The last of several answers counts, in whatever order they come; the
        results are the caller's.
        """
        session = made(Upper)
        answers = [session.answerLater(Deferred()) for _ in range(3)]
        session.readConnectionLost()
        for answer in (answers[2], answers[0]):
            answer.callback("result")
            self.assertEqual(self.successResultOf(answer), "result")
        self.assertFalse(session.transport.disconnecting)
        answers[1].callback(None)
        self.assertTrue(session.transport.disconnecting)

    def test_notClosing(self) -> None:
        """
        An answer alone closes nothing.
        """
        session, transport = self.made()
        session.later.callback(None)
        self.assertFalse(transport.disconnecting or transport.halfClosed)

    def test_afterTheEnd(self) -> None:
        """
        An answer that comes when the connection is gone does no harm.
        """
        session, transport = self.made()
        session.connectionLost(DONE)
        session.later.callback(None)
        self.assertFalse(transport.disconnecting or transport.halfClosed)

    def test_deadline(self) -> None:
        """
        An answer that never comes is waited for until the deadline.
        """
        session, transport = self.made()
        session.close()
        clock = session.factory.clock
        elapse(clock, session.factory.abortAfter - 0.1)
        self.assertFalse(transport.disconnecting)
        elapse(clock, 0.1)
        self.assertTrue(transport.disconnecting)
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.ABORTED)
