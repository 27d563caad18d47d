"""
What clients of real connections see of a stop.
"""

import socket
from select import select
from threading import Event
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from tests.support.clients import (
    LEFT,
    TCP,
    ServedTestCase,
    collect,
    connect,
    in_thread,
    pump,
    read_to_end,
    stick,
    tls,
    tls_endpoint,
    turn,
    until,
)
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EndReason,
    SessionFactory,
    State,
)
from twisted_echo.testing.clocks import elapse

HOURS = 3600.0


def _factory(clock: Any = None, **config: Any) -> EchoFactory:
    return EchoFactory(EchoConfig(**config), clock=clock)


class _Stream:
    """
    A client that sends numbered lines, and reads, until end-of-file.
    """

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.sent = bytearray()
        self.received = bytearray()

    def run(self) -> None:
        """
        To be called in a thread; a reset is raised.
        """
        number = 0
        pending = b""
        with self.client:
            self.client.setblocking(False)
            while True:
                readable, writable, _ = select([self.client], [self.client], [], 20)
                if readable:
                    data = self.client.recv(1 << 16)
                    if not data:
                        return
                    self.received += data
                if writable:
                    if not pending:
                        pending = b"".join(
                            b"line %d\n" % n for n in range(number, number + 100)
                        )
                        number += 100
                    size = self.client.send(pending)
                    self.sent += pending[:size]
                    pending = pending[size:]


class StopTests(ServedTestCase):
    """
    What clients of real connections see of a stop.
    """

    async def underLoad(self, wrap, *endpoints):
        service = self.serve(_factory(), *endpoints)
        streams = [
            _Stream(await in_thread(wrap, self.client(service))) for _ in range(6)
        ]
        runs = gatherResults([in_thread(stream.run) for stream in streams])
        await until(lambda: all(len(stream.received) > 200_000 for stream in streams))
        results = await service.stopService()
        await runs
        self.assertEqual(len(results), 1 + 6)
        for (_, end), stream in zip(results[1:], streams, strict=True):
            self.assertIs(end.reason, EndReason.STOPPED)
            self.assertTrue(stream.sent.startswith(stream.received))
            self.assertTrue(stream.received.endswith(b"\n"))

    async def test_underLoad(self) -> None:
        """
        Clients in full flight get a whole-line prefix of what they sent, then
        end-of-file; never a reset.
        """
        await self.underLoad(lambda client: client)

    async def test_underLoadUNIX(self) -> None:
        """
        Likewise over a UNIX socket.
        """
        await self.underLoad(lambda client: client, f"unix:{self.mktemp()}")

    async def test_partialLine(self) -> None:
        """
        A line that is not whole when the service stops is not answered.
        """
        service = self.serve(_factory())
        session, client = await self.session(service)
        client.sendall(b"whole\nhalf")
        await until(lambda: session.bytesReceived)
        reader = in_thread(read_to_end, client)
        await service.stopService()
        self.assertEqual(await reader, b"whole\n")

    async def test_idle(self) -> None:
        """
        An idle client, whose own end-of-file follows, ends with no deadline.
        """
        clock = Clock()
        service = self.serve(_factory(clock))
        _, client = await self.session(service)
        reader = in_thread(read_to_end, client)
        await service.stopService()
        self.assertEqual(await reader, b"")
        self.assertEqual(clock.getDelayedCalls(), [])

    async def late(self, clock, service, session, client):
        """
        The stop does not fire before the deadline, and does then.
        """
        stopped = service.stopService()
        elapse(clock, service.factory.abortAfter - 0.1)
        for _ in range(5):
            await turn()
        self.assertNoResult(stopped)
        elapse(clock, 0.1)
        results = await stopped
        self.assertEqual(results[1], (True, session.end))
        self.assertIs(session.end.reason, EndReason.ABORTED_IN_DRAIN)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(service.factory.sessions, {})

    async def test_neverReads(self) -> None:
        """
        A peer that has sent megabytes and reads nothing is aborted at the
        deadline.
        """
        clock = Clock()
        service = self.serve(_factory(clock))
        client = self.client(service, receive_buffer=65536)
        await in_thread(stick, client, b"a line of sixteen\n" * 2_000_000)
        (session,) = service.factory.sessions
        self.assertTrue(session.paused)
        await self.late(clock, service, session, client)

    async def test_ignoresEndOfFile(self) -> None:
        """
        A peer that keeps its side open is aborted at the deadline.
        """
        clock = Clock()
        service = self.serve(_factory(clock))
        session, client = await self.session(service)
        await self.late(clock, service, session, client)
        self.assertEqual(await in_thread(client.recv, 1), b"")

    async def test_keepsSending(self) -> None:
        """
        A peer that goes on sending after end-of-file is read, and aborted at
        the deadline.
        """
        clock = Clock()
        service = self.serve(_factory(clock))
        session, client = await self.session(service)

        def flood() -> int:
            sent = 0
            try:
                while True:
                    sent += client.send(b"more\n" * 10_000)
            except (ConnectionResetError, BrokenPipeError):
                return sent

        flooding = in_thread(flood)
        await until(lambda: session.bytesReceived > 1_000_000)
        await self.late(clock, service, session, client)
        self.assertGreater(await flooding, 1_000_000)

    async def test_silentHandshake(self) -> None:
        """
        A TLS client that has not shaken hands does not delay the stop.
        """
        clock = Clock()
        service = self.serve(_factory(clock), tls_endpoint())
        await self.session(service)
        stopped = service.stopService()
        elapse(clock, service.factory.abortAfter)
        await stopped

    async def test_tls(self) -> None:
        """
        A TLS client gets its answers and C{close_notify}.
        """
        service = self.serve(_factory(), tls_endpoint())
        _, client = await self.session(service)
        client = await in_thread(tls, client)
        client.sendall(b"a\nb")
        self.assertEqual(await in_thread(collect, client, 2), b"a\n")
        reader = in_thread(read_to_end, client)
        results = await service.stopService()
        self.assertEqual(await reader, b"")
        self.assertIs(results[1][1].reason, EndReason.STOPPED)

    async def test_inBacklog(self) -> None:
        """
        Clients that the kernel has connected, but the service has not accepted
        yet, see end-of-file and no reset.
        """
        service = self.serve(_factory())
        clients = [self.client(service) for _ in range(40)]
        self.assertEqual(service.factory.sessions, {})
        stopped = service.stopService()
        self.assertEqual(len(service.factory.sessions), 40)
        for client in clients:
            self.assertEqual(await in_thread(read_to_end, client), b"")
        await stopped
        self.assertEqual(service.factory.sessions, {})

    async def test_atTheVeryMoment(self) -> None:
        """
        Of clients that connect while the stop goes on, each sees end-of-file, or
        is refused: none is reset.
        """
        service = self.serve(_factory())
        (address,) = service.addresses
        begun = Event()

        def hammer() -> list[bytes]:
            replies = []
            try:
                while True:
                    client = connect(address)
                    begun.set()
                    replies.append(read_to_end(client))
            except ConnectionRefusedError:
                return replies

        hammers = [in_thread(hammer) for _ in range(4)]
        await in_thread(begun.wait)
        service.factory.closing = EndReason.STOPPED
        await service.stopService()
        # Some may have come too late for their first, but not all.
        replies = [reply for each in hammers for reply in await each]
        self.assertEqual(set(replies), {b""})
        self.assertEqual(service.factory.sessions, {})

    async def test_sameBatch(self) -> None:
        """
        A stop in the middle of a batch of accepted connections: those that come
        after it in the batch are closed in order, and waited for.
        """
        await self.stoppedBySessions(1)

    async def test_sameBatchTwice(self) -> None:
        """
        Likewise if each of them stops the service.
        """
        await self.stoppedBySessions(10)

    async def stoppedBySessions(self, times):
        stops = []
        left = [None] * times

        class Stopping(EchoProtocol):
            def connectionMade(self) -> None:
                super().connectionMade()
                if left:
                    left.pop()
                    stops.append(service.stopService())

        service = self.serve(SessionFactory.forProtocol(Stopping))
        clients = [self.client(service) for _ in range(10)]
        await until(lambda: not left)
        for client in clients:
            self.assertEqual(await in_thread(read_to_end, client), b"")
        self.addCleanup(self.flushLoggedErrors, AssertionError)
        self.assertEqual(len(stops), times)
        await DeferredList(stops)
        self.assertIs(service.state, State.STOPPED)
        self.assertEqual(service.factory.sessions, {})

    async def test_fromALine(self) -> None:
        """
        A line that stops the service is answered, and so are those after it in
        its chunk.
        """
        stops = []

        class Stopping(EchoProtocol):
            def lineReceived(self, line: bytes) -> None:
                self.sendLine(line)
                if line == b"stop":
                    stops.append(service.stopService())

            def blockReceived(self, block: bytes) -> object:
                return super(EchoProtocol, self).blockReceived(block)

        service = self.serve(SessionFactory.forProtocol(Stopping))
        _, client = await self.session(service)
        client.sendall(b"a\nstop\nb\n")
        self.assertEqual(await in_thread(read_to_end, client), b"a\nstop\nb\n")
        await stops[0]

    async def test_graceNewcomers(self) -> None:
        """
        In the time of grace nobody new is accepted, and who is there is served.
        """
        service = self.serve(_factory(), grace=HOURS)
        (address,) = service.addresses
        _, client = await self.session(service)
        stopped = service.stopService()
        await turn()
        await turn()
        self.assertRaises(ConnectionRefusedError, connect, address)
        self.assertEqual(await in_thread(pump, client, b"bye\n"), b"bye\n")
        results = await stopped
        self.assertIn(results[1][1].reason, LEFT)

    async def test_answerInFlight(self) -> None:
        """
        An answer that is still to come is waited for.
        """
        answers: list[Deferred[None]] = []

        class Slow(EchoProtocol):
            def blockReceived(self, block: bytes) -> None:
                answer: Deferred[None] = Deferred()
                answer.addCallback(lambda _: self.transport.write(block))
                answers.append(self.answerLater(answer))

        service = self.serve(SessionFactory.forProtocol(Slow))
        _, client = await self.session(service)
        client.sendall(b"slow\n")
        await until(lambda: answers)
        reader = in_thread(read_to_end, client)
        stopped = service.stopService()
        await turn()
        answers[0].callback(None)
        self.assertEqual(await reader, b"slow\n")
        await stopped

    async def test_otherFactory(self) -> None:
        """
        A port in somebody else's hands is no business of the service.
        """
        other = await serverFromString(reactor, TCP).listen(Factory())
        self.addCleanup(other.stopListening)
        service = self.serve(_factory())
        await service.stopService()
        connect(other.getHost()).close()
