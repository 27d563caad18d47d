"""
L{twisted_echo.session.answers.answering}: order, bound, time-outs, failures, ends.
"""

import gc
import socket
from typing import Any
from weakref import ref

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    FullTransport,
    ServedTestCase,
    in_thread,
    read_to_end,
    reset,
    until,
)
from twisted_echo import (
    AnsweringLineReceiver,
    AnsweringSession,
    AnswerQueue,
    EndReason,
    FastInt8StringReceiver,
    SessionFactory,
    SessionService,
)
from twisted_echo.testing.clocks import elapse

TURNS = 0.02
"""
Seconds in which the reactor reads what had arrived when an answer was due.
"""


class Asked(AnsweringLineReceiver):
    """
    Keeps a Deferred for each line that begins with C{d}; C{a} is awaited.
    """

    delimiter = b"\n"
    answersAtOnce = 3

    def connectionMade(self) -> None:
        super().connectionMade()
        self.asked: dict[bytes, Deferred[Any]] = {}
        self.cancelled: list[bytes] = []

    def answer(self, question: bytes) -> Any:
        if question.startswith(b"raise"):
            raise ZeroDivisionError
        if question.startswith(b"str"):
            return "text"
        if question.startswith(b"none"):
            return None
        if question.startswith(b"a"):
            return self.later(question)
        if question.startswith(b"d"):
            self.asked[question] = Deferred()
            return self.asked[question]
        return question.upper()

    async def later(self, question: bytes) -> bytes:
        self.asked[question] = Deferred()
        try:
            return bytes(await self.asked[question])
        except CancelledError:
            self.cancelled.append(question)
            raise


class Errors(Asked):
    def answerFailed(self, question: bytes, failure: Failure) -> bytes:
        return b"error " + question


class Answering16(AnsweringSession, Int16StringReceiver):
    answersAtOnce = 2

    def connectionMade(self) -> None:
        super().connectionMade()
        self.asked: list[Deferred[bytes]] = []

    def stringReceived(self, string: bytes) -> None:
        self.questionReceived(string)

    def answer(self, question: bytes) -> "Deferred[bytes]":
        self.asked.append(Deferred())
        return self.asked[-1]

    def sendAnswer(self, answer: bytes) -> None:
        self.sendString(answer)


class AnsweringTests(SynchronousTestCase):
    def make(self, kind: Any = Asked, **attributes: Any) -> tuple[Any, Any]:
        self.clock = Clock()
        self.factory: SessionFactory[Any] = SessionFactory(clock=self.clock)
        self.factory.protocol = type(kind.__name__, (kind,), attributes)
        session: Any = self.factory.buildProtocol(None)
        transport = FullTransport()
        transport.bufferSize = 1 << 16
        session.makeConnection(transport)
        return session, transport

    def test_atOnce(self) -> None:
        """
        Bytes are sent at once, None is nothing, and no queue is made.
        """
        session, transport = self.make()
        session.dataReceived(b"x\nnone\ny\n")
        self.assertEqual(transport.value(), b"X\nY\n")
        self.assertIsNone(session._answers)

    def test_order(self) -> None:
        """
        What is ready waits for its turn, and then goes by one write.
        """
        session, transport = self.make()
        writes: list[bytes] = []
        transport.write = writes.append
        session.dataReceived(b"d\na\nx\n")
        session.asked[b"a"].callback(b"2")
        self.assertEqual(writes, [])
        session.asked[b"d"].callback(b"1")
        self.assertEqual(writes, [b"1\n2\nX\n"])

    def test_bound(self) -> None:
        """
        No more than so many are asked, though whole lines wait; one goes, one comes.
        """
        session, transport = self.make()
        session.dataReceived(b"".join(b"d%d\n" % n for n in range(50)))
        for n in range(50):
            self.assertEqual(len(session.asked), min(50, n + 3))
            self.assertEqual(session.paused, n < 48)
            session.asked[b"d%d" % n].callback(b"%d" % n)
        self.assertEqual(transport.value(), b"".join(b"%d\n" % n for n in range(50)))

    def test_backpressure(self) -> None:
        """
        A peer that does not read and answers in flight stop the input each for its
        own reason.
        """
        session, transport = self.make()
        session.dataReceived(b"d1\nd2\nd3\nd4\n")
        transport.producer.pauseProducing()
        session.asked[b"d1"].callback(b"1")
        self.assertNotIn(b"d4", session.asked)
        transport.producer.resumeProducing()
        self.assertIn(b"d4", session.asked)

    def test_timeout(self) -> None:
        """
        Each has its own time, by one timer; the coroutine is cancelled.
        """
        session, transport = self.make(Errors, answerTimeout=5.0)
        session.dataReceived(b"a1\n")
        elapse(self.clock, 3)
        session.dataReceived(b"d2\n")
        timers = len(self.clock.getDelayedCalls())
        session.dataReceived(b"d3\n")
        self.assertEqual(len(self.clock.getDelayedCalls()), timers)
        elapse(self.clock, 2 + TURNS)
        self.assertEqual(transport.value(), b"error a1\n")
        self.assertEqual(session.cancelled, [b"a1"])
        session.asked[b"d2"].callback(b"2")
        elapse(self.clock, 3)
        self.assertEqual(transport.value(), b"error a1\n2\nerror d3\n")

    def test_arrived(self) -> None:
        """
        An answer that had arrived when it was due, and that the reactor reads only
        after the timed calls, is no late one.
        """
        session, transport = self.make(Errors, answerTimeout=5.0)
        session.dataReceived(b"d1\nd2\n")
        elapse(self.clock, 5)
        session.asked[b"d1"].callback(b"1")
        elapse(self.clock, TURNS)
        self.assertEqual(transport.value(), b"1\nerror d2\n")

    def test_stalled(self) -> None:
        """
        Time that the process did not have is the answer's.
        """
        session, transport = self.make(Errors, answerTimeout=5.0)
        session.dataReceived(b"d1\n")
        elapse(self.clock, 1)
        self.clock.advance(60)
        elapse(self.clock, 3)
        session.asked[b"d1"].callback(b"1")
        self.assertEqual(transport.value(), b"1\n")

    def test_timeoutEnds(self) -> None:
        """
        By default a late answer closes the session, and what was later is cancelled.
        """
        session, transport = self.make(answerTimeout=5.0)
        session.dataReceived(b"x\na1\na2\nd3\nx\nx\n")
        session.asked[b"a2"].callback(b"2")
        elapse(self.clock, 5 + TURNS)
        self.assertEqual(transport.value(), b"X\n")
        self.assertTrue(transport.halfClosed)
        session.connectionLost(Failure(ConnectionDone()))
        self.assertIs(session.end.reason, EndReason.ERROR)
        self.assertEqual(session.end.detail, "no answer within 5s")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ignoredCancel(self) -> None:
        """
        Code that goes on when it was cancelled keeps nobody waiting.
        """
        going: Deferred[bytes] = Deferred()

        async def stubborn() -> bytes:
            try:
                return await Deferred()
            except CancelledError:
                return await going

        session, transport = self.make(
            Errors, answerTimeout=1.0, answer=lambda self, line: stubborn()
        )
        session.dataReceived(b"x\n")
        elapse(self.clock, 1 + TURNS)
        self.assertEqual(transport.value(), b"error x\n")
        session.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        going.callback(b"late")
        self.assertEqual(transport.value(), b"error x\n")

    def test_failures(self) -> None:
        """
        What raises, fails, or is no answer closes the session after what was before.
        """
        for line, error in ((b"raise", "ZeroDivisionError"), (b"str", "TypeError")):
            session, transport = self.make()
            session.dataReceived(b"d\n" + line + b"\nx\nx\n")
            self.assertEqual(transport.value(), b"")
            session.asked[b"d"].callback(b"1")
            self.assertEqual(transport.value(), b"1\n")
            self.assertTrue(transport.halfClosed)
            session.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(session.end.detail, f"an answer failed: {error}")
            self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_halfClose(self) -> None:
        """
        After the peer's end-of-file, and a close, all that was read is answered.
        """
        for end in ("readConnectionLost", "close"):
            session, transport = self.make()
            session.dataReceived(b"d1\nd2\nd3\nd4\nx\n")
            getattr(session, end)()
            for n in range(1, 5):
                self.assertFalse(transport.disconnecting or transport.halfClosed)
                session.asked[b"d%d" % n].callback(b"%d" % n)
            self.assertEqual(transport.value(), b"1\n2\n3\n4\nX\n")
            self.assertTrue(transport.disconnecting or transport.halfClosed)

    def test_lost(self) -> None:
        """
        A session that is lost cancels what is in flight, and no timer is left.
        """
        session, _ = self.make(answerTimeout=5.0)
        session.dataReceived(b"a1\na2\n")
        session.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(session.cancelled, [b"a1", b"a2"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_prefixed(self) -> None:
        """
        The same for frames of a stock receiver; one too long to send has failed.
        """
        session, transport = self.make(Answering16)
        session.dataReceived(b"".join(b"\0\1%d" % n for n in range(4)))
        self.assertEqual(len(session.asked), 2)
        session.asked[1].callback(b"b")
        session.asked[0].callback(b"a")
        self.assertEqual(transport.value(), b"\0\1a\0\1b")
        self.assertEqual(len(session.asked), 4)
        session.asked[2].callback(b"x" * 70000)
        self.assertTrue(transport.halfClosed)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_ownSendAnswer(self) -> None:
        """
        A subclass's own way to frame an answer is used, however many are ready.
        """

        class Own(Asked):
            def sendAnswer(self, answer: bytes) -> None:
                self.transport.write(b"OK " + answer + b"\n")

        session, transport = self.make(Own)
        session.dataReceived(b"d1\nd2\n")
        session.asked[b"d2"].callback(b"2")
        session.asked[b"d1"].callback(b"1")
        self.assertEqual(transport.value(), b"OK 1\nOK 2\n")

    def test_cannotBeFramed(self) -> None:
        """
        An answer that is too long for its prefix fails, with others before it or
        without, and those before it are sent.
        """

        class Short(AnsweringSession, FastInt8StringReceiver):
            stringReceived = AnsweringSession.questionReceived
            sendAnswer = FastInt8StringReceiver.sendString
            sendAnswers = FastInt8StringReceiver.sendStrings

            def connectionMade(self) -> None:
                super().connectionMade()
                self.asked: dict[bytes, Deferred[bytes]] = {}

            def answer(self, question: bytes) -> Any:
                if question == b"now":
                    return b"x" * 300
                self.asked[question] = Deferred()
                return self.asked[question]

            def answerFailed(self, question: bytes, failure: Failure) -> bytes:
                return b"ERR " + question

        session, transport = self.make(Short)
        session.dataReceived(b"\3now")
        self.assertEqual(transport.value(), b"\x07ERR now")
        transport.clear()
        session.dataReceived(b"\1a\1b\1c\1d")
        for each, answer in ((b"b", b"2"), (b"c", b"x" * 300), (b"d", b"4")):
            session.asked[each].callback(answer)
        session.asked[b"a"].callback(b"1")
        self.assertEqual(transport.value(), b"\x011\x012\x05ERR c\x014")

    def test_overlong(self) -> None:
        """
        An overlong line, or frame, closes the session after the answers before it.
        """
        session, transport = self.make(Asked)
        session.MAX_LENGTH = 10
        session.dataReceived(b"d1\n" + b"x" * 20 + b"\nd2\n")
        self.assertFalse(transport.disconnecting)
        session.asked[b"d1"].callback(b"1")
        self.assertEqual(transport.value(), b"1\n")
        self.assertEqual(list(session.asked), [b"d1"])
        session.connectionLost(Failure(ConnectionDone()))
        self.assertIs(session.end.reason, EndReason.LINE_TOO_LONG)
        self.assertIn("a line of 20 bytes", session.end.detail)

    def test_wrongAnswerFailed(self) -> None:
        """
        Whatever goes wrong in C{answerFailed} is logged, and what it was called for.
        """

        async def later() -> bytes:
            return b""

        for wrong, names in (
            ("text", "answerFailed must return bytes, None or a Failure, got str"),
            (later(), "answerFailed must return .* got coroutine"),
            (KeyError("mine"), "mine"),
        ):

            class Wrong(Asked):
                def answerFailed(self, question: bytes, failure: Failure) -> Any:
                    if isinstance(wrong, Exception):  # noqa: B023
                        raise wrong  # noqa: B023
                    return wrong  # noqa: B023

            session, _ = self.make(Wrong)
            session.dataReceived(b"raise\n")
            logged = self.flushLoggedErrors()
            self.assertEqual(len(logged), 2)
            self.assertIsInstance(logged[0].value, ZeroDivisionError)
            self.assertRegex(str(logged[1].value), names)

    def test_timeoutOfItsOwn(self) -> None:
        """
        A time-out of the answer's own is a failure as any other.
        """

        class Impatient(Asked):
            def answer(self, question: bytes) -> Any:
                clock = self.factory.clock  # type: ignore[union-attr]
                return super().answer(question).addTimeout(3, clock)

        session, _ = self.make(Impatient)
        session.dataReceived(b"d1\n")
        elapse(self.clock, 4)
        self.assertEqual(len(self.flushLoggedErrors(TimeoutError)), 1)

    def test_timeoutError(self) -> None:
        """
        An answer that is late fails with the class that the documentation names, not
        with one that only this package knows. Handed back it is the time-out still,
        which is in nobody's log; another one in its place is a failure as any other.
        """
        given: list[Failure] = []

        class Late(Asked):
            answerTimeout = 5.0

            def answerFailed(self, question: bytes, failure: Failure) -> Any:
                given.append(failure)
                if question.endswith(b"1"):
                    return failure
                if question.endswith(b"2"):
                    return Failure(failure.value)
                raise TimeoutError("of my own")

        for question, isLogged in ((b"d1", False), (b"d2", False), (b"d3", True)):
            session, _ = self.make(Late)
            session.dataReceived(question + b"\n")
            elapse(self.clock, 6)
            self.assertIs(type(given.pop().value), TimeoutError)
            session.connectionLost(Failure(ConnectionDone()))
            detail = (
                "an answer failed: TimeoutError" if isLogged else "no answer within 5s"
            )
            self.assertEqual(session.end.detail, detail)
            logged = self.flushLoggedErrors(TimeoutError)
            self.assertEqual(bool(logged), isLogged)

    def test_illegal(self) -> None:
        session, _ = self.make()
        for wrong in ({"atOnce": 0}, {"timeout": -1}, {"timeout": float("inf")}):
            with self.assertRaises(ValueError):
                AnswerQueue(session, print, **wrong)  # type: ignore[arg-type]


class ServedTests(ServedTestCase):
    async def test_stop(self) -> None:
        """
        A stop waits for answers in flight, and for lines that wait for their turn.
        """
        factory = SessionFactory.forProtocol(Asked)
        service = self.serve(factory)
        session, client = await self.session(service)
        client.sendall(b"d1\nd2\nd3\nd4\nx\n")
        await until(lambda: len(session.asked) == 3)
        stopped = service.stopService()
        reading = in_thread(read_to_end, client)
        for n in (3, 2, 1, 4):
            session.asked[b"d%d" % n].callback(b"%d" % n)
        self.assertEqual(await reading, b"1\n2\n3\n4\nX\n")
        await stopped

    async def test_reset(self) -> None:
        """
        A peer that resets leaves nothing alive, without the garbage collector.
        """
        factory = SessionFactory.forProtocol(Asked)
        service = self.serve(factory)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        session, client = await self.session(service)
        client.sendall(b"a1\nd2\n")
        asked, cancelled = session.asked, session.cancelled
        await until(lambda: len(asked) == 2)
        weak, queue = ref(session), ref(session._answers)
        del session
        await self.gone(client, service)
        self.assertEqual(cancelled, [b"a1"])
        self.assertEqual([weak(), queue()], [None, None])

    async def gone(self, client: socket.socket, service: Any) -> None:
        reset(client)
        await until(lambda: not service.factory.sessions)
        for _ in range(3):
            await until(lambda: True)

    async def test_strings(self) -> None:
        """
        A service takes strings and endpoints, one or many.
        """
        factory = SessionFactory.forProtocol(Asked)
        service = SessionService("tcp:0:interface=127.0.0.1", factory)
        service.startService()
        self.addCleanup(self.end, service)
        client = self.client(service)
        client.sendall(b"x\n")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(await in_thread(read_to_end, client), b"X\n")
