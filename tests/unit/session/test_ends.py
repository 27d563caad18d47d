"""
A session ends once, whatever its hooks do: over TCP, UNIX, TLS, and behind PROXY.
"""

import contextlib
import gc
import socket
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
    connect,
    in_thread,
    read_to_end,
    reset,
    tls,
    turn,
    until,
)
from tests.support.marks import slow
from tests.support.processes import finished, new_folder, script
from tests.support.tlsclient import TLSTestCase
from twisted_echo import (
    AnswerQueue,
    Deadlines,
    EndReason,
    FastLineReceiver,
    Limits,
    Session,
    SessionFactory,
    SessionService,
    WhenFull,
)
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.testing import ServiceThread, assertNothingLeft, running

KINDS = ("tcp", "unix", "ssl", "haproxy:tcp", "haproxy:ssl")
PROXY = b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 7\r\n"


class Lines(Session, FastLineReceiver):
    """
    Answers lines.
    """

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


class EndsTestCase(TLSTestCase):
    """
    Services of every kind, and clients that come and go.
    """

    timeout = 120

    def served(self, kind: str, protocol: Any, **options: Any) -> SessionService:
        factory = SessionFactory.forProtocol(protocol, **options)
        if kind != "unix":
            return self.serve_tls(factory, kind)
        listening = parseEndpoint(reactor, f"unix:{self.mktemp()}")
        return self.serve(factory, listening.endpoint)

    def come(self, service: SessionService, kind: str) -> socket.socket:
        """
        Connect, and say all that is to be said before a line. To be called in a thread.
        """
        client = connect(service.addresses[0])
        if kind.startswith("haproxy"):
            client.sendall(PROXY)
        return tls(client) if kind.endswith("ssl") else client

    def visit(self, service: SessionService, kind: str) -> bytes:
        """
        Come, send a line, and go when it is answered, or when the service ends it. To
        be called in a thread.

        @return: what was read.
        """
        got = b""
        with contextlib.suppress(OSError, EOFError), self.come(service, kind) as client:
            client.sendall(b"a\n")
            while got != b"a\n" and (more := client.recv(100)):
                got += more
        return got


def failing(hook: str, *, first: bool = True) -> type[Lines]:
    """
    A protocol of which a hook raises an exception before, or after, it has called the
    inherited one.
    """

    def fail(self: Any, *args: Any) -> Any:
        if not first:
            getattr(super(Failing, self), hook)(*args)
        raise ZeroDivisionError(hook)

    Failing = type("Failing", (Lines,), {hook: fail})
    return Failing


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
            for hook in ("connectionLost", "forget"):
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
        for kind in KINDS:
            for act, reason in (
                (Session.close, EndReason.LOCAL_CLOSED),
                (Session.abort, EndReason.ABORTED),
            ):
                for call in (True, False):
                    service = self.served(kind, self.early(act, call=call))
                    factory = service.factory
                    self.assertEqual(await in_thread(self.visit, service, kind), b"")
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


class SkippingTests(EndsTestCase):
    """
    Hooks that do not call the inherited one.
    """

    def skipping(self, *hooks: str) -> Any:
        return type("Upper", (Lines,), dict.fromkeys(hooks, lambda self, *args: None))

    async def test_ends(self) -> None:
        """
        All that a session promises holds: limits, deadlines, the end, and the stop.
        """
        everything = self.skipping(
            "makeConnection", "connectionMade", "readConnectionLost", "connectionLost"
        )
        for kind in KINDS:
            service = self.served(
                kind,
                everything,
                limits=Limits(sessions=1, whenFull=WhenFull.REFUSE),
                deadlines=Deadlines(idle=0, line=0.4, write=0, handshake=0),
            )
            factory = service.factory
            client = await in_thread(self.come, service, kind)
            client.sendall(b"unfinished")
            await until(lambda: factory.sessions)  # noqa: B023
            with contextlib.suppress(OSError):
                self.assertEqual(await in_thread(self.visit, service, kind), b"")
            await until(lambda: factory.refused)  # noqa: B023
            self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 1}, kind)
            await in_thread(read_to_end, client)
            await until(lambda: factory.ended)  # noqa: B023
            self.assertEqual(factory.ended, {EndReason.LINE_TIMEOUT: 1}, kind)
            self.assertEqual(factory.sessions, {})
            client = await in_thread(self.come, service, kind)
            await until(lambda: factory.sessions)  # noqa: B023
            reading = in_thread(read_to_end, client)
            await service.stopService()
            self.assertEqual(await reading, b"")
            self.assertEqual(factory.ended[EndReason.STOPPED], 1)
            # (Under TLS the end of input is none of its own when both are closed.)
            self.assertGreaterEqual(len(factory.faults), 3)

    async def test_running(self) -> None:
        """
        A test's service fails by it, with the sentence.
        """
        for hook in ("connectionMade", "connectionLost"):
            factory = SessionFactory.forProtocol(self.skipping(hook))
            sentence = rf"Upper\.{hook} must call super\(\)\.{hook}\(\)"
            with self.assertRaisesRegex(AssertionError, sentence):
                async with running(
                    SessionService("tcp:0:interface=127.0.0.1", factory)
                ) as service:
                    await in_thread(self.visit, service, "tcp")
                    await until(lambda: factory.ended)  # noqa: B023

    @slow
    async def test_net(self) -> None:
        """
        One that was put on an instance, or whose transport was kept from telling it by
        a producer's exception, is found soon, and its descriptor closed.
        """

        class Assigning(Lines):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.connectionLost = lambda reason=None: None  # type: ignore[method-assign]

        class Producing(Lines):
            backpressure = False

            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.registerProducer(self, True)

            def stopProducing(self) -> None:
                raise ZeroDivisionError

        fault = f"{Assigning.__qualname__}.connectionLost must call"
        for kind in ("tcp", "unix", "ssl"):
            for protocol, faults in (Assigning, 1), (Producing, 0):
                deadlines = Deadlines(idle=0, line=0, write=0, handshake=0.4)
                service = self.served(kind, protocol, deadlines=deadlines)
                await in_thread(self.visit, service, kind)
                await until(lambda: service.factory.ended)  # noqa: B023
                self.assertEqual(service.factory.sessions, {})
                self.assertEqual(len(service.factory.faults), faults)
                self.assertTrue(
                    all(each.startswith(fault) for each in service.factory.faults)
                )
                service.factory.faults.clear()
                await service.stopService()
                await turn()
                assertNothingLeft(service)
                self.flushLoggedErrors(ZeroDivisionError)

    async def test_netAtTheStop(self) -> None:
        """
        The stop does not wait for one whose transport is gone.
        """

        class Assigning(Lines):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.connectionLost = lambda reason=None: None  # type: ignore[method-assign]

        deadlines = Deadlines(idle=0, line=0, write=0, handshake=0)
        service = self.served("tcp", Assigning, deadlines=deadlines, abortAfter=60.0)
        await in_thread(self.visit, service, "tcp")
        (session,) = service.factory.sessions
        await until(lambda: session.isGone)
        await service.stopService()
        self.assertEqual(service.factory.ended.total(), 1)


class ThreadTests(SynchronousTestCase):
    """
    The fixture C{serve} stands on L{ServiceThread}.
    """

    def test_named(self) -> None:
        for hook in ("connectionMade", "readConnectionLost", "connectionLost"):
            protocol = type("Upper", (Lines,), {hook: lambda self, *args: None})
            server = ServiceThread(protocol)
            with server.connect() as client:
                client.sendall(b"a\n")
                self.assertEqual(client.recv(100), b"a\n")
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(client.recv(100), b"")
            server.flushLoggedErrors()
            with self.assertRaisesRegex(
                AssertionError, rf"Upper\.{hook} must call super\(\)\.{hook}\(\)"
            ):
                server.stop()


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


_CASES = (RaisingTests, AfterTheEndTests, SkippingTests)


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
                    *(f"{__name__}.{each.__name__}" for each in _CASES),
                ],
                folder=new_folder(self),
            )
            self.assertEqual(tested.wait(), 0, tested.stdout)
