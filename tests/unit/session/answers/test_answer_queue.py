"""
L{twisted_echo.session.answers.answer_queue}: its states, and what may happen while it
sends.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo import AnswerQueue, FastLineReceiver, Session, SessionFactory
from twisted_echo.session.answers.answer_queue import QueueState


class Lines(Session, FastLineReceiver):
    delimiter = b"\n"


class QueueTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        factory: Any = SessionFactory.forProtocol(Lines, clock=Clock())
        self.session: Any = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.session.makeConnection(self.transport)

    def queue(self, **arguments: Any) -> AnswerQueue:
        return AnswerQueue(self.session, self.session.sendLine, **arguments)


class StateTests(QueueTestCase):
    def test_transitions(self) -> None:
        queue = self.queue(atOnce=2)
        self.assertIs(queue.state, QueueState.EMPTY)
        first: Deferred[bytes] = Deferred()
        queue.add(first)
        self.assertIs(queue.state, QueueState.ANSWERING)
        self.assertTrue(self.session.isAnswering)
        self.assertFalse(self.session.paused)
        queue.add(b"2")
        self.assertIs(queue.state, QueueState.FULL)
        self.assertTrue(self.session.paused)
        first.callback(b"1")
        self.assertIs(queue.state, QueueState.EMPTY)
        self.assertFalse(self.session.paused)
        self.assertFalse(self.session.isAnswering)
        self.assertEqual(self.transport.value(), b"1\n2\n")
        queue.end()
        self.assertIs(queue.state, QueueState.OVER)
        self.assertTrue(queue.isOver)

    def test_fullThenAnswering(self) -> None:
        """
        Input starts again when there is room for one question.
        """
        queue = self.queue(atOnce=2)
        asked: list[Deferred[bytes]] = [Deferred(), Deferred()]
        for each in asked:
            queue.add(each)
        asked[0].callback(b"1")
        self.assertIs(queue.state, QueueState.ANSWERING)
        self.assertFalse(self.session.paused)
        self.assertTrue(self.session.isAnswering)

    def test_failed(self) -> None:
        """
        A queue that was full is over when an answer has failed. Input is read and
        discarded then, so that the peer's end-of-file is seen.
        """
        queue = self.queue(atOnce=1)
        asked: Deferred[bytes] = Deferred()
        queue.add(asked)
        self.assertIs(queue.state, QueueState.FULL)
        asked.errback(Failure(KeyError()))
        self.assertIs(queue.state, QueueState.OVER)
        self.assertFalse(self.session.isAnswering)
        self.assertFalse(self.session.paused)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_addedWhenOver(self) -> None:
        """
        Answers that come when the queue is over are cancelled.
        """
        cancelled: list[object] = []
        queue = self.queue()
        queue.end()
        queue.add(Deferred(cancelled.append))
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(len(queue), 0)
        self.assertEqual(self.transport.value(), b"")


class ForgottenTests(QueueTestCase):
    """
    Questions are forgotten while the queue sends.
    """

    def test_byHandler(self) -> None:
        """
        What the failure handler returns is not sent then, and new questions are kept.
        """

        def handler(question: bytes, failure: Failure) -> bytes:
            queue.forgetQuestions()
            queue.add(later, b"new")
            return b"error"

        later: Deferred[bytes] = Deferred()
        queue = self.queue(failureHandler=handler)
        queue.add(Failure(KeyError()), b"old")
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(len(queue), 1)
        later.callback(b"answer")
        self.assertEqual(self.transport.value(), b"answer\n")
        self.assertIs(queue.state, QueueState.EMPTY)

    def test_bySending(self) -> None:
        """
        Questions that are added meanwhile are kept.
        """

        def send(answer: bytes) -> None:
            self.session.sendLine(answer)
            if answer == b"1":
                queue.forgetQuestions()
                queue.add(later)

        later: Deferred[bytes] = Deferred()
        queue = AnswerQueue(self.session, send)
        queue.add(b"1")
        self.assertEqual(len(queue), 1)
        later.callback(b"2")
        self.assertEqual(self.transport.value(), b"1\n2\n")
