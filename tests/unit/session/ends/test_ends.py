"""
A session ends once, whatever its hooks do: over TCP, UNIX, TLS, and behind PROXY.
"""

import contextlib
import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    FullTransport,
    in_thread,
    read_to_end,
    reset,
    turn,
    until,
)
from tests.support.ending_sessions import KINDS, EndsTestCase, Lines, failing
from tests.support.marks import slow
from tests.support.processes import finished, new_folder, script
from twisted_echo import (
    AnswerQueue,
    Deadlines,
    EndReason,
    Limits,
    Session,
    SessionFactory,
)
from twisted_echo.testing import assertNothingLeft


class RaisingTests(EndsTestCase):
    """
    A hook that raises.
    """

    async def ended(self, kind: str, protocol: Any) -> Any:
        """
        Have a client come and go; nothing may be left of it.

        @return: the factory, whose service has stopped.
        """
        service = self.served(kind, protocol)
        factory = service.factory
        await in_thread(self.visit, service, kind)
        await until(lambda: factory.ended or factory.refused)
        self.assertEqual((factory.sessions, factory.handshakes), ({}, {}))
        await service.stopService()
        await turn()
        assertNothingLeft(service)
        return factory

    async def test_connectionMade(self) -> None:
        """
        It is cut off, told of once, and counted: as a session if it was one.
        """
        for kind in KINDS:
            for hook in ("connectionMade", "makeConnection"):
                for first in (True, False):
                    factory = await self.ended(kind, failing(hook, first=first))
                    counted = factory.refused if first else factory.ended
                    self.assertEqual(counted, {EndReason.ERROR: 1}, (kind, hook))
                    logged = self.flushLoggedErrors(ZeroDivisionError)
                    self.assertEqual(len(logged), 1, (kind, hook))

    async def test_kinds(self) -> None:
        """
        Also by what is no ordinary exception.
        """

        class Leaving(Lines):
            def connectionMade(self) -> None:
                super().connectionMade()
                raise SystemExit

        for kind in KINDS:
            factory = await self.ended(kind, Leaving)
            self.assertEqual(factory.ended, {EndReason.ERROR: 1})
            self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    async def test_whileItLasts(self) -> None:
        for kind in KINDS:
            for hook in ("lineReceived", "dataReceived", "blockReceived"):
                factory = await self.ended(kind, failing(hook))
                self.assertEqual(factory.ended, {EndReason.ERROR: 1}, (kind, hook))
                self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_atTheEnd(self) -> None:
        """
        The reason is that of the connection, if the session had ended by then.
        """
        for kind in KINDS:
            for hook in ("connectionLost", "readConnectionLost", "endOfInput"):
                for first in (True, False) if hook != "endOfInput" else (True,):
                    factory = await self.ended(kind, failing(hook, first=first))
                    self.assertEqual(factory.ended.total(), 1, (kind, hook))
                    logged = self.flushLoggedErrors(ZeroDivisionError)
                    # (A TLS client that says no farewell may reset.)
                    self.assertLessEqual(len(logged), 1, (kind, hook))

    async def test_asked(self) -> None:
        """
        What is asked of a session when it ends, and functions that were to be called.
        """

        def atEnd(session: Any) -> None:
            raise ZeroDivisionError

        class Telling(Lines):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.callAtEnd(lambda: atEnd(self))
                self.callAtEnd(lambda: atEnd(self))

        for kind in KINDS:
            for protocol, count in (failing("undeliveredLines"), 1), (Telling, 2):
                factory = await self.ended(kind, protocol)
                self.assertEqual(factory.ended.total(), 1, kind)
                logged = self.flushLoggedErrors(ZeroDivisionError)
                self.assertEqual(len(logged), count)

    async def test_readOnTheWay(self) -> None:
        """
        What is no C{Exception}, when what has arrived is read outside of the poll.
        """

        class Leaving(Lines):
            def dataReceived(self, data: bytes) -> None:
                raise SystemExit

        for kind in KINDS[:2]:
            service = self.served(kind, Leaving)
            factory = service.factory
            with self.come(service, kind) as client:
                await until(lambda: factory.sessions)  # noqa: B023
                client.sendall(b"a\n")
                (session,) = factory.sessions
                session.readArrived()
                self.assertEqual(factory.ended, {EndReason.ERROR: 1})
            self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)
            await service.stopService()

    async def test_repeated(self) -> None:
        """
        Of an error that repeats a few are logged, and how many more there were.
        """
        for kind in ("tcp", "ssl"):
            service = self.served(kind, failing("connectionMade"))
            with capturedLogs() as events:
                for _ in range(30):
                    await in_thread(self.visit, service, kind)
                refused = service.factory.refused
                await until(lambda: refused == {EndReason.ERROR: 30})  # noqa: B023
                await service.stopService()
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)
            names = [each.get("event") for each in events]
            self.assertEqual(names.count("session-failed"), 5)
            self.assertIn(
                (25, "session-failed (ZeroDivisionError)"),
                [
                    (each["count"], each["reason"])
                    for each in events
                    if each.get("event") == "more-not-logged"
                ],
            )

    async def test_timedCalls(self) -> None:
        """
        An exception in a hook that a timed call leads to is none of the reactor's: it
        would keep the failure, and the session. So would a garbage collector have to
        come.
        """
        weak: list[Any] = []

        class Failing(Lines):
            def connectionMade(self) -> None:
                super().connectionMade()
                weak.append(ref(self))
                weak.append(ref(self.transport))

            def connectionLost(self, reason: Any = None) -> None:
                raise ZeroDivisionError

            def hasUndeliveredLines(self) -> bool:
                raise ZeroDivisionError

            def heldInput(self) -> Any:
                raise ZeroDivisionError

            def abort(self, *args: Any) -> None:
                raise ZeroDivisionError

            def lineReceived(self, line: bytes) -> None:
                if line == b"close":
                    self.stopInput(1)
                    self.close()
                else:
                    self.stopInput(4)
                    reactor.callLater(0, self.close)

        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        service = self.served(
            "tcp",
            Failing,
            abortAfter=0.01,
            deadlines=Deadlines(idle=0, line=0, write=0, handshake=0.1),
        )
        with capturedLogs():
            for line in (b"a\n", b"close\n", b""):
                client = await in_thread(self.come, service, "tcp")
                client.sendall(line)
                with contextlib.suppress(OSError):
                    await in_thread(read_to_end, client)
            await until(lambda: service.factory.ended.total() == 3)
            await service.stopService()
        for _ in range(3):
            await turn()
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(len(weak), 6)
        self.assertEqual([each() for each in weak], [None] * 6)


METHODS: tuple[Callable[[Any], object], ...] = (
    lambda session: session.close(),
    lambda session: session.close(EndReason.IDLE, "why"),
    lambda session: session.abort(),
    lambda session: session.answersBegin(),
    lambda session: session.answersDone(),
    lambda session: session.answersDone(),
    lambda session: session.answerLater(Deferred()).callback(None),
    lambda session: session.callAtEnd(lambda: None),
    lambda session: session.pauseProducing(),
    lambda session: session.resumeProducing(),
    lambda session: session.stopInput(2),
    lambda session: session.startInput(2),
    lambda session: session.stopProducing(),
    lambda session: session.readConnectionLost(),
    lambda session: session.writeConnectionLost(),
    lambda session: session.endOfInput(),
    lambda session: session.discardInput(),
    lambda session: session.whenEnded(),
    lambda session: session.endIfGone(),
    Session.connectionMade,
    lambda session: AnswerQueue(session, session.sendLine).add(b"a"),
    lambda session: AnswerQueue(session, session.sendLine).add(Deferred()),
    lambda session: session.sendLine(b"a"),
    lambda session: session.transport.loseConnection(),
    lambda session: (session.peer, session.began, session.bytesSent, session.end),
    lambda session: (session.linesDelivered, session.isPaused, session.isAnswering),
    lambda session: (session.isClosing, session.isAborted, session.expectsInput),
    lambda session: session.unregister(),
)


class AfterTheEndTests(EndsTestCase):
    """
    Nothing raises when the transport is gone.
    """

    async def test_methods(self) -> None:
        """
        Each method, when the protocol hears of the end, before and after it has told
        the session, and later; alone, and after all the others.
        """
        for kind in KINDS:
            self.sessions: list[Any] = []
            todo = [(each,) for each in METHODS] + [METHODS, METHODS[::-1]]
            tasks = iter(
                [(when, each) for each in todo for when in ("before", "after")]
            )

            class Busy(Lines):
                def connectionMade(self) -> None:
                    self.when, self.methods = next(tasks)  # noqa: B023
                    super().connectionMade()

                def ask(self) -> None:
                    for each in self.methods:
                        each(self)

                def connectionLost(self, reason: Any = None) -> None:
                    if self.when == "before":
                        self.ask()
                    super().connectionLost(reason)
                    if self.when == "after":
                        self.ask()
                    sessions.append(self)  # noqa: B023
                    super().connectionLost(reason)

            sessions = self.sessions
            service = self.served(kind, Busy, limits=Limits(sessions=20))
            count = 2 * len(todo)

            def visitors(
                service: Any = service, kind: str = kind, n: int = count
            ) -> None:
                for _ in range(n):
                    self.visit(service, kind)

            await in_thread(visitors)
            await until(lambda: len(sessions) == count)  # noqa: B023
            for session in sessions:
                for each in METHODS:
                    each(session)
                self.successResultOf(session.whenEnded())
            self.assertEqual(service.factory.sessions, {})
            self.assertEqual(service.factory.ended.total(), count)
            self.assertEqual(service.factory.faults, {})
            await service.stopService()
            await turn()
            assertNothingLeft(service)

    async def test_roomAgain(self) -> None:
        """
        Sessions that close, or say that an answer is done, when they hear of their end
        leave their places to others, and nothing to log.
        """

        class Closing(Lines):
            def connectionLost(self, reason: Any = None) -> None:
                self.close()
                super().connectionLost(reason)

        class Answered(Lines):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.answersBegin()

            def lineReceived(self, line: bytes) -> None:
                self.sendLine(line)
                self.close()

            def connectionLost(self, reason: Any = None) -> None:
                self.answersDone()
                super().connectionLost(reason)

        cases = [(kind, each) for kind in KINDS for each in (Closing, Answered)]
        # (A UNIX socket knows no reset, and its end-of-file waits for the answer.)
        cases.remove(("unix", Answered))
        for kind, protocol in cases:
            limits = Limits(sessions=20, sessionsPerPeer=20)
            # (While it is closed and waits for its answers, nothing is read.)
            service = self.served(kind, protocol, limits=limits, abortAfter=0.1)

            def crowd(service: Any = service, kind: str = kind) -> list[bytes]:
                clients = [self.come(service, kind) for _ in range(20)]
                for client in clients:
                    # An end without an end-of-file before it.
                    reset(client)
                return [self.visit(service, kind) for _ in range(25)]

            self.assertEqual(await in_thread(crowd), [b"a\n"] * 25)
            await until(lambda: not service.factory.sessions)  # noqa: B023
            self.assertEqual(service.factory.admission.peers, {})
            # (Which the test case's own log would tell.)
            self.assertEqual(self.flushLoggedErrors(), [])
            await service.stopService()

    async def test_transportForgotten(self) -> None:
        """
        A protocol that forgets, or replaces, its transport is struck off for the same
        peer.
        """

        class Forgetful(Lines):
            def lineReceived(self, line: bytes) -> None:
                self.sendLine(line)
                self.transport = object()

            def connectionLost(self, reason: Any = None) -> None:
                self.transport = None
                super().connectionLost(reason)

        for kind in KINDS:
            service = self.served(kind, Forgetful, limits=Limits(sessionsPerPeer=1))
            for _ in range(3):
                await in_thread(self.visit, service, kind)
                await until(lambda: not service.factory.sessions)  # noqa: B023
            self.assertEqual(service.factory.admission.peers, {})
            client = await in_thread(self.come, service, kind)
            client.sendall(b"a\n")
            self.assertEqual(await in_thread(client.recv, 2), b"a\n")
            await service.stopService()
            client.close()
            self.assertEqual(service.factory.ended.total(), 4)
            self.flushLoggedErrors(AttributeError)

    async def test_saidToBeLost(self) -> None:
        """
        A protocol that says itself that its connection is lost, or forgets itself, has
        none that goes on untracked.
        """
        for kind in KINDS:
            for hook in ("connectionLost", "unregister"):
                protocol = type(
                    "Leaving",
                    (Lines,),
                    {
                        "lineReceived": lambda self, line, hook=hook: getattr(
                            self, hook
                        )()
                    },
                )
                service = self.served(kind, protocol)
                self.assertEqual(await in_thread(self.visit, service, kind), b"")
                self.assertEqual(service.factory.sessions, {})
                await service.stopService()
                await turn()
                assertNothingLeft(service)

    async def test_factoryForgotten(self) -> None:
        """
        A protocol that forgets, or replaces, its factory is struck off where it was
        registered, and waited for at the stop.
        """

        class Forgetful(Lines):
            def lineReceived(self, line: bytes) -> None:
                self.sendLine(line)
                self.factory = None

        class AtTheEnd(Lines):
            def connectionLost(self, reason: Any = None) -> None:
                self.factory = SessionFactory.forProtocol(Lines)
                super().connectionLost(reason)

        for kind in KINDS:
            for protocol in (Forgetful, AtTheEnd):
                service = self.served(kind, protocol, limits=Limits(sessionsPerPeer=1))
                for _ in range(2):
                    await in_thread(self.visit, service, kind)
                    await until(lambda: not service.factory.sessions)  # noqa: B023
                client = await in_thread(self.come, service, kind)
                client.sendall(b"a\n")
                self.assertEqual(await in_thread(client.recv, 2), b"a\n")
                stopped = service.stopService()
                with client:
                    self.assertEqual(await in_thread(read_to_end, client), b"")
                await stopped
                self.assertEqual(service.factory.ended.total(), 3)
                await turn()
                assertNothingLeft(service)


class BeforeTheBeginningTests(EndsTestCase):
    """
    What a protocol does before it has called the inherited C{connectionMade}.
    """

    def early(self, act: Callable[[Any], object], *, call: bool = True) -> type[Lines]:
        class Early(Lines):
            def connectionMade(self) -> None:
                act(self)
                if call:
                    super().connectionMade()

        return Early

    async def test_closed(self) -> None:
        """
        One that is closed, or cut off, already is a session all the same: recorded,
        limited, and waited for at the stop.
        """

        def look(service: Any, kind: str) -> bytes:
            # Not `visit`: a line that arrives with the last bytes of a TLS handshake
            # is read with them, and answered.
            got = b""
            with (
                contextlib.suppress(OSError, EOFError),
                self.come(service, kind) as client,
            ):
                got = client.recv(100)
            return got

        for kind in KINDS:
            for act, reason in (
                (Session.close, EndReason.LOCAL_CLOSED),
                (Session.abort, EndReason.ABORTED),
            ):
                for call in (True, False):
                    service = self.served(kind, self.early(act, call=call))
                    factory = service.factory
                    self.assertEqual(await in_thread(look, service, kind), b"")
                    await until(lambda: factory.ended or factory.refused)  # noqa: B023
                    self.assertEqual(factory.ended, {reason: 1}, kind)
                    self.assertEqual(factory.refused, {})
                    self.assertEqual(len(factory.faults), 0 if call else 1)
                    factory.faults.clear()
                    await service.stopService()
                    await turn()
                    assertNothingLeft(service)
            self.flushLoggedErrors()

    async def test_waitedFor(self) -> None:
        """
        A peer that does not leave then is in the record until its time is over.
        """
        service = self.served("tcp", self.early(Session.close), abortAfter=0.2)
        client = await in_thread(self.come, service, "tcp")
        with client:
            await until(lambda: service.factory.opened)
            self.assertEqual(len(service.factory.sessions), 1)
            await service.stopService()
        self.assertEqual(service.factory.ended.total(), 1)
        assertNothingLeft(service)

    async def test_lost(self) -> None:
        """
        One that says that it is lost already is cut off, and counted as refused.
        """
        for kind in KINDS:
            service = self.served(kind, self.early(Session.connectionLost))
            self.assertEqual(await in_thread(self.visit, service, kind), b"")
            self.assertEqual(service.factory.refused, {EndReason.ERROR: 1})
            await service.stopService()
            await turn()
            assertNothingLeft(service)

    async def test_logPrefix(self) -> None:
        """
        A prefix for the log that cannot be told, which the transport asks for before
        all, is logged; the session has its class's name, and goes on.
        """

        class Nameless(Lines):
            def logPrefix(self) -> str:
                raise ZeroDivisionError

        for kind in KINDS:
            service = self.served(kind, Nameless)
            self.assertEqual(await in_thread(self.visit, service, kind), b"a\n")
            # (A layer does not ask for it.)
            logged = self.flushLoggedErrors(ZeroDivisionError)
            self.assertEqual(bool(logged), kind in ("tcp", "unix"))
            await service.stopService()
            await turn()
            assertNothingLeft(service)


class ResumedTests(SynchronousTestCase):
    """
    A hook that is called because input goes on, perhaps by a timer.
    """

    def test_raises(self) -> None:
        """
        Its exception ends the session, and goes no further.
        """
        factory = SessionFactory.forProtocol(failing("lineReceived"), clock=Clock())
        session = factory.buildProtocol(None)
        assert session is not None
        session.makeConnection(FullTransport())
        session.pauseProducing()
        session.dataReceived(b"a\nb\n")
        session.resumeProducing()
        self.assertTrue(session.isAborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        session.connectionLost()
        self.assertEqual(factory.ended, {EndReason.ERROR: 1})


_CASES = (
    *(f"{__name__}.{each.__name__}" for each in (RaisingTests, AfterTheEndTests)),
    "tests.unit.session.test_hook_checks.SkippingTests",
)


@slow
class ReactorTests(SynchronousTestCase):
    """
    The same under other reactors.
    """

    def test_others(self) -> None:
        for name in ("epoll", "asyncio", "poll"):
            tested = finished(
                self,
                [
                    *(script("trial"), f"--reactor={name}"),
                    *_CASES,
                ],
                folder=new_folder(self),
            )
            self.assertEqual(tested.wait(), 0, tested.stdout)
