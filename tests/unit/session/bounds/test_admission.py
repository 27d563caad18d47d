"""
L{twisted_echo.session.bounds.admission}: as many sessions as are allowed.
"""

import socket
from select import select
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.support.clients import (
    TCP,
    ServedTestCase,
    collect,
    connect,
    in_thread,
    read_to_end,
    turn,
    until,
)
from tests.support.sessions import DONE, Upper, made
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EndReason,
    Limits,
    SessionFactory,
    SessionService,
    WhenFull,
)
from twisted_echo.endpoints.strings import parseEndpoint


def _factory(clock: Any = None, **config: Any) -> EchoFactory:
    return EchoFactory(EchoConfig(**config), clock=clock)


@implementer(IStreamServerEndpoint)
class _Unpausable:
    """
    A real port that can only be listened on and closed.
    """

    def listen(self, protocolFactory: Any) -> Any:
        listening = serverFromString(reactor, TCP).listen(protocolFactory)
        return listening.addCallback(_OnlyPort)


@implementer(IListeningPort)
class _OnlyPort:
    def __init__(self, port: Any) -> None:
        self._port = port
        self.startListening = port.startListening
        self.stopListening = port.stopListening
        self.getHost = port.getHost


class FullTests(ServedTestCase):
    """
    As many sessions as are allowed, over real ports.
    """

    async def served(self, whenFull: WhenFull, *endpoints: Any) -> SessionService:
        limits = Limits(sessions=1, whenFull=whenFull)
        return self.serve(_factory(limits=limits), *endpoints)

    async def answer(self, client: socket.socket) -> bytes:
        client.sendall(b"a\n")
        return await in_thread(collect, client, 2)

    async def test_wait(self) -> None:
        """
        Who comes when it is full is connected, waits in the backlog, and is
        served as soon as another has gone; also when more is allowed.
        """
        service = await self.served(WhenFull.WAIT)
        factory = service.factory
        session, first = await self.session(service)
        second = self.client(service)
        second.sendall(b"b\n")
        for _ in range(20):
            await turn()
        self.assertEqual(list(factory.sessions), [session])
        self.assertEqual(await self.answer(first), b"a\n")
        first.close()
        self.assertEqual(await in_thread(collect, second, 2), b"b\n")
        third = self.client(service)
        factory.limits = Limits(sessions=2)
        self.assertEqual(await self.answer(third), b"a\n")
        self.assertEqual((factory.opened, factory.refused.total()), (3, 0))

    async def test_waitUnpausable(self) -> None:
        """
        Where a port cannot be paused, one more is refused.
        """
        service = await self.served(WhenFull.WAIT, _Unpausable())
        _, first = await self.session(service)
        second = self.client(service)
        self.assertEqual(await in_thread(second.recv, 1), b"")
        self.assertEqual(service.factory.refused, {EndReason.REFUSED_FULL: 1})
        first.close()
        await until(lambda: not service.factory.sessions)
        self.assertEqual(await self.answer(self.client(service)), b"a\n")

    async def test_refuse(self) -> None:
        """
        Who comes when it is full sees an end at once; changed to wait, he waits.
        """
        service = await self.served(WhenFull.REFUSE)
        factory = service.factory
        _, first = await self.session(service)
        for _ in range(3):
            client = self.client(service)
            self.assertEqual(await in_thread(client.recv, 1), b"")
        self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 3})
        factory.limits = Limits(sessions=1)
        last = self.client(service)
        first.close()
        self.assertEqual(await self.answer(last), b"a\n")
        self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 3})

    async def test_burst(self) -> None:
        """
        However many come at once, by however many ports, there are never more than are
        allowed; the others wait, and are served as soon as there is room.
        """

        class Counting(SessionFactory[Any]):
            most = 0

            def count(self) -> None:
                now = len(self.sessions) + len(self.handshakes)
                self.most = max(self.most, now)

            def sessionStarted(self, session: Any) -> None:
                super().sessionStarted(session)
                self.count()

            def handshakeStarted(self, handshake: Any, address: Any) -> None:
                super().handshakeStarted(handshake, address)
                self.count()

        haproxy = parseEndpoint(reactor, f"haproxy:unix:{self.mktemp()}").endpoint
        for endpoints in (
            (TCP,),
            (f"unix:{self.mktemp()}", TCP, TCP),
            (haproxy, TCP),
        ):
            factory = Counting(limits=Limits(sessions=7))
            factory.protocol = EchoProtocol
            service = self.serve(factory, *endpoints)
            clients = [
                connect(address) for address in service.addresses for _ in range(60)
            ]
            for client in clients:
                self.addCleanup(client.close)
                if isinstance(client.getpeername(), str) and haproxy in endpoints:
                    client.sendall(b"PROXY UNKNOWN\r\n")
                client.sendall(b"a\n")
            # More room is filled, and no more than that.
            await until(lambda: factory.most)  # noqa: B023
            for _ in range(20):
                await turn()
            self.assertEqual((factory.most, len(factory.sessions)), (7, 7))
            factory.limits = Limits(sessions=9)
            await until(lambda: factory.most > 7)  # noqa: B023
            for _ in range(20):
                await turn()
            self.assertEqual((factory.most, len(factory.sessions)), (9, 9))
            # (Each port serves its clients in the order in which they came, but a port
            # need not have its turn before the others are empty.)
            waiting = set(clients)
            while waiting:
                answered, _, _ = await in_thread(select, list(waiting), [], [], 20.0)
                self.assertTrue(answered)
                for client in answered:
                    self.assertEqual(client.recv(100), b"a\n")
                    client.close()
                    waiting.discard(client)
            self.assertEqual(factory.most, 9)
            self.assertEqual(
                (factory.opened, factory.refused.total()), (len(clients), 0)
            )
            await service.stopService()

    async def test_suspendedInBatch(self) -> None:
        """
        A service that is suspended while a batch of connections is accepted takes no
        more of that batch.
        """

        class Suspending(EchoProtocol):
            def connectionMade(self) -> None:
                super().connectionMade()
                if not suspended:
                    suspended.append(service.suspend())

        suspended: list[Any] = []
        service = self.serve(SessionFactory.forProtocol(Suspending))
        clients = [self.client(service) for _ in range(40)]
        await until(lambda: suspended)
        for _ in range(20):
            await turn()
        self.assertEqual(service.factory.opened, 1)
        await service.resume()
        for client in clients:
            self.assertEqual(await self.answer(client), b"a\n")

    async def test_suspended(self) -> None:
        """
        Suspended and full at once: accepted again when it is neither.
        """
        service = await self.served(WhenFull.WAIT)
        _, first = await self.session(service)
        await service.suspend()
        first.close()
        await until(lambda: not service.factory.sessions)
        client = self.client(service)
        for _ in range(20):
            await turn()
        self.assertFalse(service.factory.sessions)
        await service.resume()
        self.assertEqual(await self.answer(client), b"a\n")
        await service.suspend()
        await service.resume()
        other = self.client(service)
        for _ in range(20):
            await turn()
        self.assertEqual(len(service.factory.sessions), 1)
        client.close()
        self.assertEqual(await self.answer(other), b"a\n")

    async def test_stopWhileFull(self) -> None:
        """
        Those who wait when the service stops are served one after the other, as those
        before them have been sent their end-of-file, whether they close or not.
        """
        service = await self.served(WhenFull.WAIT)
        factory = service.factory
        _, first = await self.session(service)
        others = [self.client(service) for _ in range(5)]
        for number, client in enumerate(others):
            client.sendall(b"line %d\nrest" % number)
        served: list[int] = []
        started = factory.sessionStarted

        def count(session: Any) -> None:
            started(session)
            served.append(sum(not each.isFinished for each in factory.sessions))

        self.patch(factory, "sessionStarted", count)
        stopped = service.stopService()
        for number, client in enumerate(others):
            # It is the first who closes last.
            answer = await in_thread(read_to_end, client)
            self.assertEqual(answer, b"line %d\n" % number)
        self.assertEqual(await in_thread(read_to_end, first), b"")
        await stopped
        self.assertLessEqual(max(served), 1)
        self.assertEqual((factory.opened, factory.refused), (6, {}))
        self.assertEqual(factory.ended, {EndReason.STOPPED: 6})

    async def test_stopWhileFullUNIX(self) -> None:
        """
        The same by a UNIX socket; who comes when it is full is refused then.
        """
        service = await self.served(WhenFull.WAIT, f"unix:{self.mktemp()}")
        (address,) = service.addresses
        clients = [self.client(service) for _ in range(3)]
        for client in clients:
            client.sendall(b"line\n")
        stopped = service.stopService()
        for client in clients:
            self.assertEqual(await in_thread(read_to_end, client), b"line\n")
        self.assertRaises(OSError, connect, address)
        await stopped
        self.assertEqual(service.factory.ended, {EndReason.STOPPED: 3})


class _Stuck:
    """
    A gate that does not open again.
    """

    def shut(self) -> bool:
        return True

    def reopen(self) -> None:
        raise ZeroDivisionError


class FailureTests(SynchronousTestCase):
    def test_reopen(self) -> None:
        """
        A session has ended, and is counted and forgotten, though no port accepts again.
        """
        clock = Clock()
        session = made(Upper, clock=clock, limits=Limits(sessions=2))
        factory = session.factory
        factory.belongTo(_Stuck())
        factory.limits = Limits(sessions=1)
        session.connectionLost(DONE)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((factory.opened, factory.ended.total()), (1, 1))
        self.assertEqual(clock.getDelayedCalls(), [])
