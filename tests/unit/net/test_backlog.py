"""
L{twisted_echo.net.backlog}: what waits when a port closes is accepted, as there is
room.
"""

import os
import resource
import socket
from collections.abc import Iterable
from threading import Event
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from tests.support.clients import (
    PATIENCE,
    connect,
    in_thread,
    read_to_end,
    stick,
    turn,
    until,
)
from tests.support.peer import PROXY_HEADER
from tests.support.tlsclient import TLSTestCase
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EndReason,
    Limits,
    SessionService,
)
from twisted_echo.testing.clocks import elapse


class BacklogTests(TLSTestCase):
    """
    Over real ports.
    """

    def serveLimited(
        self, *endpoints: Any, clock: Any = None, **limits: Any
    ) -> SessionService:
        factory = EchoFactory(EchoConfig(limits=Limits(**limits)), clock=clock)
        return self.serve(factory, *endpoints)

    def waiting(
        self, service: SessionService, data: bytes, host: str = "127.0.0.1"
    ) -> socket.socket:
        """
        A client that has been connected by the kernel alone, and has sent something.
        """
        (address,) = service.addresses
        client = socket.socket()
        self.addCleanup(client.close)
        client.settimeout(PATIENCE)
        client.bind((host, 0))
        client.connect((address.host, address.port))
        client.sendall(data)
        return client

    async def assert_ended(
        self,
        service: SessionService,
        clients: list[socket.socket],
        *others: socket.socket,
    ) -> None:
        """
        Stop, and have each client get an answer and an end.

        @param others: those that perhaps only get the end.
        """
        stopped = service.stopService()

        def read(clients: Iterable[socket.socket]) -> set[bytes]:
            return {read_to_end(client) for client in clients}

        self.assertEqual(await in_thread(read, clients), {b"a\n"})
        self.assertLessEqual(await in_thread(read, others), {b"a\n", b""})
        await stopped
        factory = service.factory
        counted = factory.ended.total() + factory.refused.total()
        self.assertEqual(counted, len(clients) + len(others))

    async def test_behindRefused(self) -> None:
        """
        One address has hundreds of connections in the backlog, of which most are
        refused; those of others, who wait behind, are served.
        """
        service = self.serveLimited(sessions=20, sessionsPerPeer=20)
        greedy = [self.waiting(service, b"a\n") for _ in range(331)]
        others = [self.waiting(service, b"a\n", f"127.0.0.{n}") for n in range(2, 52)]
        await until(lambda: len(service.factory.sessions) == 20)
        await self.assert_ended(service, others, *greedy)
        self.assertEqual(service.factory.refused, {EndReason.REFUSED_PEER: 311})

    async def test_behindRefusedByProxy(self) -> None:
        """
        The same behind a proxy, which announces them.
        """
        limits = Limits(sessions=20, sessionsPerPeer=20)
        service = self.serve_tls(EchoFactory(EchoConfig(limits=limits)), "haproxy:tcp")
        greedy = [self.waiting(service, PROXY_HEADER % 1 + b"a\n") for _ in range(331)]
        others = [
            self.waiting(service, PROXY_HEADER % n + b"a\n") for n in range(2, 52)
        ]
        await until(lambda: len(service.factory.sessions) == 20)
        await self.assert_ended(service, others, *greedy)
        self.assertEqual(service.factory.refused, {EndReason.REFUSED_PEER: 311})

    async def test_others(self) -> None:
        """
        While hundreds are accepted, other connections have their turns.
        """
        service = self.serve(EchoFactory(EchoConfig()))
        clients = [self.waiting(service, b"a\n") for _ in range(250)]
        most: list[int] = []
        started = service.factory.sessionStarted

        def count(session: Any) -> None:
            most.append(service.factory.opened)
            started(session)

        self.patch(service.factory, "sessionStarted", count)
        stopped = service.stopService()
        self.assertLessEqual(len(most), 100)
        del stopped
        await self.assert_ended(service, clients)

    async def test_protocolRaises(self) -> None:
        """
        A protocol that raises an exception costs nobody else his end.
        """

        class Failing(EchoProtocol):
            def connectionMade(self) -> None:
                super().connectionMade()
                if not self.serial % 3:
                    raise ZeroDivisionError

        factory = EchoFactory(EchoConfig())
        factory.protocol = Failing
        service = self.serve(factory)
        clients = [self.waiting(service, b"a\n") for _ in range(9)]
        stopped = service.stopService()

        def read(client: socket.socket) -> bytes:
            try:
                return read_to_end(client)
            except ConnectionResetError:
                return b"error"

        got = [await in_thread(read, client) for client in clients]
        await stopped
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(got, [b"a\n", b"a\n", b"error"] * 3)

    async def test_deadline(self) -> None:
        """
        For whom there is no room until the deadline, he is refused in order, and
        counted.
        """
        clock = Clock()
        service = self.serveLimited(clock=clock, sessions=1)
        first = self.client(service, receive_buffer=1 << 16)
        await in_thread(stick, first, b"a line of sixteen\n" * 1_000_000)
        await until(lambda: any(each.isPaused for each in service.factory.sessions))
        others = [self.waiting(service, b"a\n") for _ in range(3)]
        stopped = service.stopService()
        for _ in range(5):
            await turn()
        self.assertEqual(service.factory.opened, 1)
        elapse(clock, service.factory.abortAfter)
        for client in others:
            self.assertEqual(await in_thread(read_to_end, client), b"")
        await stopped
        self.assertEqual(service.factory.ended, {EndReason.ABORTED_IN_DRAIN: 1})
        self.assertEqual(service.factory.refused, {EndReason.STOPPED: 3})
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_grace(self) -> None:
        """
        In the time of grace those who waited are served as sessions end.
        """
        limits = Limits(sessions=1)
        factory = EchoFactory(EchoConfig(limits=limits))
        service = self.serve(factory, grace=600)
        first = self.client(service)
        await until(lambda: factory.sessions)
        others = [self.waiting(service, b"a\n") for _ in range(3)]
        stopped = service.stopService()
        for client in [first, *others]:
            client.sendall(b"b\n")
            self.assertTrue((await in_thread(client.recv, 100)).endswith(b"\n"))
            self.assertEqual(len(factory.sessions), 1)
            client.close()
        await stopped
        self.assertEqual((factory.opened, factory.refused), (4, {}))

    async def test_graceBehindProxy(self) -> None:
        """
        So are those that become sessions only then.
        """
        factory = EchoFactory(EchoConfig())
        service = self.serve_tls(factory, "haproxy:tcp", grace=600)
        clients = [
            self.waiting(service, PROXY_HEADER % n + b"a\n") for n in range(1, 4)
        ]
        stopped = service.stopService()
        for client in clients:
            self.assertEqual(await in_thread(client.recv, 100), b"a\n")
            client.sendall(b"b\n")
            self.assertEqual(await in_thread(client.recv, 100), b"b\n")
            client.close()
        await stopped
        self.assertEqual((factory.opened, factory.refused), (3, {}))

    async def test_descriptors(self) -> None:
        """
        They wait for descriptors, too: nobody is closed for want of one.
        """
        service = self.serve(EchoFactory(EchoConfig()))
        clients = [self.waiting(service, b"a\n") for _ in range(40)]
        # The threads of the clients, and the reactor, have descriptors of their own.
        await in_thread(lambda: None)
        free = os.dup(0)
        os.close(free)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 12, hard))
        try:
            await self.assert_ended(service, clients)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(service.snapshot().acceptErrors, 0)

    async def test_floodUNIX(self) -> None:
        """
        Of clients that connect by a UNIX socket as fast as they can, each is answered
        or refused, and the stop ends.
        """
        service = self.serve(EchoFactory(EchoConfig()), f"unix:{self.mktemp()}")
        (address,) = service.addresses
        begun = Event()

        def hammer() -> set[bytes]:
            replies = set()
            try:
                while True:
                    client = connect(address)
                    begun.set()
                    try:
                        client.sendall(b"a\n")
                    except BrokenPipeError:
                        # The end has come before the line.
                        replies.add(read_to_end(client))
                    else:
                        replies.add(read_to_end(client))
            except (ConnectionRefusedError, FileNotFoundError):
                return replies

        service.factory.closing = EndReason.STOPPED
        hammers = [in_thread(hammer) for _ in range(4)]
        await in_thread(begun.wait)
        await service.stopService()
        replies = set().union(*[await each for each in hammers])
        self.assertLessEqual(replies, {b"a\n", b""})
        self.assertIn(b"a\n", replies)

    async def test_givenUp(self) -> None:
        """
        A wait that is given up closes the port.
        """
        service = self.serveLimited(sessions=1)
        first = self.client(service)
        await until(lambda: service.factory.sessions)
        other = self.waiting(service, b"")
        (listener,) = service._listeners._listeners
        port = listener.port
        closed = listener.close()
        closed.cancel()
        with self.assertRaises(CancelledError):
            await closed
        await until(lambda: not port.connected)
        for client in first, other:
            client.close()
