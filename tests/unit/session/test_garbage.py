"""
Sessions that came and went leave nothing, and need no garbage collector for it.
"""

import gc
import os
import socket
from collections import Counter
from typing import Any
from unittest import skipUnless
from weakref import ref

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Server
from twisted.python.failure import Failure

from tests.support.clients import (
    ServedTestCase,
    collect,
    connect,
    in_thread,
    pump,
    read_to_end,
    reset,
    tls,
    tls_endpoint,
    turn,
    until,
)
from twisted_echo import (
    AnsweringLineReceiver,
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    FastInt16StringReceiver,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.session.backpressure import Backpressure
from twisted_echo.session.ends.end_reason import SessionEnd

SESSIONS = 2000
AT_ONCE = 20

KINDS = (Deferred, Failure, Server, EchoProtocol, SessionEnd, Backpressure)


def _alive() -> Counter[str]:
    """
    How many objects of the kinds that sessions are made of there are.
    """
    counted: Counter[str] = Counter({kind.__name__: 0 for kind in KINDS})
    for each in gc.get_objects():
        for kind in KINDS:
            if isinstance(each, kind):
                counted[kind.__name__] += 1
    return counted


def _open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# How a client ends, after its first line has come back.


def _closes(client: socket.socket) -> None:
    client.close()


def _resets(client: socket.socket) -> None:
    reset(client)


def _half_closes(client: socket.socket) -> None:
    assert pump(client, b"more\nrest") == b"more\nrest"


def _sends_too_long_a_line(client: socket.socket) -> None:
    client.sendall(b"more\n" + b"x" * 200)
    assert read_to_end(client) == b"more\n"


WAYS = (_closes, _resets, _half_closes, _sends_too_long_a_line)


class LeakTests(ServedTestCase):
    """
    With the garbage collector switched off.
    """

    timeout = 120

    def setUp(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.weak: list[Any] = []
        self.factory = EchoFactory(EchoConfig(maxLength=100))
        remember = self.weak

        class Remembered(EchoProtocol):
            def connectionMade(self) -> None:
                super().connectionMade()
                remember.append(ref(self))
                remember.append(ref(self.transport))

        self.factory.protocol = Remembered

    async def cycle(self, service: SessionService, count: int) -> None:
        """
        Have so many sessions come and go, ending in every way.
        """
        (address,) = service.addresses

        def clients() -> None:
            for first in range(0, count, AT_ONCE):
                opened = [connect(address) for _ in range(AT_ONCE)]
                for client in opened:
                    client.sendall(b"first\n")
                for number, client in enumerate(opened, first):
                    assert collect(client, 6) == b"first\n"
                    WAYS[number % len(WAYS)](client)

        await in_thread(clients)
        await until(lambda: not service.factory.sessions)

    async def waiters(self, session: Any, client: socket.socket) -> None:
        """
        Ask for the end of a session in every way that may be held on to.
        """
        first, second = session.whenEnded(), session.whenEnded()
        second.addErrback(lambda failure: None)
        second.cancel()
        client.close()
        await first
        await session.whenEnded()

    def gone(self) -> int:
        return sum(each() is None for each in self.weak)

    def start(self, *endpoints: Any) -> SessionService:
        return self.serve(self.factory, *endpoints)

    async def rest(self) -> None:
        """
        Let what was to happen in the next turns happen.
        """
        for _ in range(3):
            await turn()

    async def test_objects(self) -> None:
        """
        After many sessions and a stop no session, transport, Deferred or Failure
        of theirs is alive.
        """
        service = self.start()
        # What Twisted and this test make once, and keep.
        await self.cycle(service, AT_ONCE)
        await service.stopService()
        await self.rest()
        self.weak.clear()
        before = _alive()
        service.startService()
        await self.cycle(service, SESSIONS)
        session, client = await self.session(service)
        await self.waiters(session, client)
        held = [(await self.session(service))[1] for _ in range(AT_ONCE)]
        readers = [in_thread(read_to_end, client) for client in held]
        results = await service.stopService()
        self.assertEqual(len(results), 1 + AT_ONCE)
        for reader in readers:
            self.assertEqual(await reader, b"")
        del session, client, held, readers, reader, results
        await self.rest()
        self.assertEqual(len(self.weak), 2 * (SESSIONS + 1 + AT_ONCE))
        self.assertEqual(self.gone(), len(self.weak))
        # A thread that has read for us lets go of its Deferred when it has told us.
        # (`+` leaves out what there is no more of.)
        for _ in range(100):
            more = +(_alive() - before)
            if not more:
                break
            await deferLater(reactor, 0.01)
        self.assertEqual(more, Counter())
        self.assertEqual(self.factory.sessions, {})

    async def test_whileRunning(self) -> None:
        """
        Nothing waits for the stop: sessions that ended are gone at once.
        """
        service = self.start()
        await self.cycle(service, 5 * AT_ONCE)
        await self.rest()
        self.assertEqual(self.gone(), len(self.weak))
        self.assertEqual(len(self.weak), 2 * 5 * AT_ONCE)

    @skipUnless(os.path.isdir("/proc/self/fd"), "needs /proc")
    async def test_files(self) -> None:
        """
        The same file descriptors are open as before the start.
        """
        service = self.start()
        await self.cycle(service, AT_ONCE)
        await service.stopService()
        await self.rest()
        before = _open_files()
        service.startService()
        await self.cycle(service, 10 * AT_ONCE)
        _, client = await self.session(service)
        reader = in_thread(read_to_end, client)
        await service.stopService()
        await reader
        await self.rest()
        self.assertEqual(_open_files(), before)

    async def test_aborted(self) -> None:
        """
        Sessions that were aborted, a choked one among them, are gone too.
        """
        self.factory.abortAfter = 0.05
        service = self.start()
        await self.session(service)
        session, client = await self.session(service)
        client.setblocking(False)
        await until(lambda: _sent(client) is None and session.paused)
        session = None
        await service.stopService()
        await self.rest()
        self.assertEqual(self.gone(), 4)

    async def test_tls(self) -> None:
        """
        Sessions over TLS are gone, whoever closed first.
        """
        service = self.start(tls_endpoint())
        for closesFirst in (True, False):
            session, client = await self.session(service)
            client = await in_thread(tls, client)
            client.sendall(b"a\n")
            self.assertEqual(await in_thread(collect, client, 2), b"a\n")
            if closesFirst:
                client.close()
            else:
                session.close()
                await in_thread(read_to_end, client)
            session = None
            await until(lambda: not service.factory.sessions)
        await service.stopService()
        await self.rest()
        alive = [each() for each in self.weak if isinstance(each(), EchoProtocol)]
        self.assertEqual(alive, [])


def _sent(client: socket.socket) -> int | None:
    """
    Send what the kernel takes; None when it takes no more.
    """
    try:
        return client.send(b"a line of sixteen\n" * 10_000)
    except BlockingIOError:
        return None


class Framed(Session, FastInt16StringReceiver):
    """
    Answers each frame by itself.
    """

    MAX_LENGTH = 100

    def stringReceived(self, string: bytes) -> None:
        self.sendString(string)


class Answering(AnsweringLineReceiver):
    """
    Answers later; to C{never} it does not.
    """

    delimiter = b"\n"
    answerTimeout = 0.2

    async def answer(self, line: bytes) -> bytes:
        if line == b"never":
            await Deferred()
        await deferLater(reactor, 0)
        return line

    def answerFailed(self, line: bytes, failure: Failure) -> bytes:
        return b"failed"


class OtherLeakTests(ServedTestCase):
    """
    The same for frames, and for answers that take time.
    """

    timeout = 120

    async def check(self, protocol: type[Session], first: bytes, *rests: bytes) -> None:
        """
        Have sessions answer C{first}, be sent a rest, and then be reset or closed.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        weak: list[Any] = []

        class Remembered(protocol):  # type: ignore[misc,valid-type]
            def connectionMade(self) -> None:
                super().connectionMade()
                weak.append(ref(self))
                weak.append(ref(self.transport))

        service = self.serve(SessionFactory.forProtocol(Remembered))
        (address,) = service.addresses

        def clients() -> None:
            for rest in rests:
                for end in (reset, socket.socket.close):
                    client = connect(address)
                    client.sendall(first)
                    assert collect(client, len(first)) == first
                    client.sendall(rest)
                    end(client)

        await in_thread(clients)
        await until(lambda: not service.factory.sessions)
        await service.stopService()
        for _ in range(3):
            await turn()
        self.assertEqual(len(weak), 2 * 2 * len(rests))
        self.assertEqual([each() for each in weak if each() is not None], [])

    async def test_frames(self) -> None:
        await self.check(
            Framed, b"\0\5first", b"", b"\0", b"\0\5sec", b"\xff\xff" + b"x" * 200
        )

    async def test_answers(self) -> None:
        await self.check(
            Answering, b"first\n", b"", b"never\n", b"a\nb\nnever\nc\n", b"part"
        )
