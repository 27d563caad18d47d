"""
L{twisted_echo.eager.transports}: connections that send when they are told to, and that
are Twisted's in everything else.

Sockets are real, and so is the reactor: one for each test, turned by hand. What
Twisted's own transports do is not written down here: where it can be, a scenario
runs on C{EPollReactor} and on L{EagerEPollReactor}, and must come out the same.
"""

import contextlib
import errno
import os
import random
import re
import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import twisted.internet
from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IOpenSSLClientConnectionCreator,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
    IUNIXTransport,
)
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.support.clients import _Connections as Certificate
from tests.support.processes import new_folder, read_exactly
from twisted_echo.eager.tcp_transports import EagerTCPMixin
from twisted_echo.reactor import EagerEPollReactor

PATIENCE = 20.0
"""
Seconds after which a test fails. Nothing waits so long while the code is right.
"""

TURNS = 20_000
"""
Turns of the reactor after which a test fails.
"""

TCP = ("accepted TCP", "connected TCP", "adopted TCP")
UNIX = ("accepted UNIX", "connected UNIX", "adopted UNIX")

# Protocols


class Recorder(Protocol):
    """
    Notes what happens to it, and does what a test wants.

    @ivar events: what happened, in order.
    @ivar onMade: called when the connection is made.
    @ivar onReceived: called with what was received.
    @ivar onLost: called when the connection is lost.
    """

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.received = b""
        self.reason: Any = None
        self.onMade: Callable[[], Any] = lambda: None
        self.onReceived: Callable[[bytes], Any] = lambda data: None
        self.onLost: Callable[[], Any] = lambda: None

    def connectionMade(self) -> None:
        self.events.append(("made",))
        self.onMade()

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.events.append(("received", data))
        self.onReceived(data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.reason = reason.type
        self.events.append(("lost", reason.type))
        self.onLost()


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """
    One that is told of each direction.
    """

    onReadLost: Callable[[], Any] = staticmethod(lambda: None)
    onWriteLost: Callable[[], Any] = staticmethod(lambda: None)

    def readConnectionLost(self) -> None:
        self.events.append(("read lost",))
        self.onReadLost()

    def writeConnectionLost(self) -> None:
        self.events.append(("write lost",))
        self.onWriteLost()


@implementer(IPushProducer, IPullProducer)
class Producer:
    """
    Notes what it is told.
    """

    def __init__(self, events: list[tuple[Any, ...]]) -> None:
        self.events = events
        self.onPause: Callable[[], Any] = lambda: None
        self.onResume: Callable[[], Any] = lambda: None

    def pauseProducing(self) -> None:
        self.events.append(("pause",))
        self.onPause()

    def resumeProducing(self) -> None:
        self.events.append(("resume",))
        self.onResume()

    def stopProducing(self) -> None:
        self.events.append(("stop",))


class OneProtocol(ClientFactory):
    """
    A factory of a protocol that is there already.
    """

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self.built = protocol

    def buildProtocol(self, addr: Any) -> Any:
        return self.built


# Sockets


class Tapped(socket.socket):
    """
    A socket that notes each C{send}, and goes wrong as planned.

    @ivar offered: how many bytes it was asked to send, call by call.
    @ivar sent: what it sent, call by call.
    @ivar plan: what its next calls do: an C{errno} to fail with is given as an
        C{OSError}, a number is how many bytes it takes at most.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offered: list[int] = []
        self.sent: list[bytes] = []
        self.plan: list[Any] = []

    def send(self, data: Any, *flags: int) -> int:  # type: ignore[override]
        self.offered.append(len(data))
        step = self.plan.pop(0) if self.plan else len(data)
        if isinstance(step, OSError):
            raise step
        count = super().send(memoryview(data)[:step], *flags)
        self.sent.append(bytes(memoryview(data)[:count]))
        return count


def _tappedFromfd(fd: int, family: int, type: int, proto: int = 0) -> Tapped:
    return Tapped(family, type, proto, fileno=os.dup(fd))


def fail(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def wait_for_event(descriptor: Any, event: int, patience: float = PATIENCE) -> None:
    """
    Wait until the kernel has an event for a descriptor, without the reactor.
    """
    poller = select.poll()
    poller.register(descriptor, event)
    if not poller.poll(patience * 1000):
        raise AssertionError("the kernel has no such event")


def close_with_reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


# The reactor


class Loop:
    """
    A reactor of the test's own, turned by hand, and gone at the end of the test.
    """

    def __init__(self, test: SynchronousTestCase, kind: Any) -> None:
        self.test = test
        self.reactor = kind()
        self.eager = isinstance(self.reactor, EagerEPollReactor)
        self._protocols: list[Any] = []
        test.addCleanup(self.end)

    def turn(self, longest: float = 0.0) -> None:
        """
        One turn; it waits for an event for C{longest} seconds at most.
        """
        self.reactor.iterate(longest)

    def until(self, condition: Callable[[], Any]) -> None:
        """
        Turn until something holds.
        """
        for _ in range(TURNS):
            if condition():
                return
            self.turn(0.01 if not self.reactor.getDelayedCalls() else 0.0)
        raise AssertionError("it did not come true")

    def read(self, descriptor: Any) -> None:
        """
        One turn in which there is something to read.
        """
        wait_for_event(descriptor, select.POLLIN)
        self.turn()

    def link(
        self, kind: str, protocol: Any = None, sendBuffer: int = 0, tap: bool = False
    ) -> tuple[Any, socket.socket]:
        """
        A protocol on a connection of some kind, and a blocking socket that is its
        peer.

        @param tap: make the transport's socket a L{Tapped}, for adopted ones only.
        """
        protocol = Recorder() if protocol is None else protocol
        self._protocols.append(protocol)
        how, family = kind.split()
        make = {
            "accepted": self._accept,
            "connected": self._connect,
            "adopted": self._adopt,
        }[how]
        if tap:
            self.test.patch(socket, "fromfd", _tappedFromfd)
        peer = make(family, OneProtocol(protocol))
        self.test.addCleanup(peer.close)
        peer.settimeout(PATIENCE)
        self.until(lambda: protocol.transport is not None)
        if sendBuffer:
            handle = protocol.transport.getHandle()
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sendBuffer)
            # Not less than a segment of loopback, else TCP waits for its timers.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
            if family == "TCP":
                protocol.transport.setTcpNoDelay(True)
        return protocol, peer

    def _accept(self, family: str, factory: Any) -> socket.socket:
        if family == "TCP":
            port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
            peer = socket.socket()
            peer.connect(("127.0.0.1", port.getHost().port))
        else:
            path = str(new_folder(self.test) / "socket")
            port = self.reactor.listenUNIX(path, factory)
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(path)
        self.until(lambda: factory.built.transport is not None)
        port.stopListening()
        self.turn()
        return peer

    def _connect(self, family: str, factory: Any) -> socket.socket:
        if family == "TCP":
            listener = socket.create_server(("127.0.0.1", 0))
            self.reactor.connectTCP(*listener.getsockname(), factory)
        else:
            path = str(new_folder(self.test) / "socket")
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen()
            self.reactor.connectUNIX(path, factory)
        with listener:
            self.until(lambda: factory.built.transport is not None)
            return listener.accept()[0]

    def _adopt(self, family: str, factory: Any) -> socket.socket:
        if family == "TCP":
            with socket.create_server(("127.0.0.1", 0)) as listener:
                peer = socket.create_connection(listener.getsockname())
                own = listener.accept()[0]
            number = socket.AF_INET
        else:
            peer, own = socket.socketpair()
            number = socket.AF_UNIX
        with own:
            own.setblocking(False)
            self.reactor.adoptStreamConnection(own.fileno(), number, factory)
        return peer

    def drain(self, peer: socket.socket) -> tuple[bytes, str]:
        """
        Read up to the end of the connection, turning the reactor.

        @return: what was read, and how it ended.
        """
        data = []
        peer.setblocking(False)
        for _ in range(TURNS):
            try:
                chunk = peer.recv(1 << 16)
            except BlockingIOError:
                self.turn(0.001)
                continue
            except ConnectionError as problem:
                return b"".join(data), type(problem).__name__
            if not chunk:
                return b"".join(data), "end of file"
            data.append(chunk)
        raise AssertionError("the connection does not end")

    def take(self, peer: socket.socket, size: int) -> bytes:
        """
        Read exactly so many bytes, turning the reactor.
        """
        data = bytearray()
        peer.setblocking(False)
        for _ in range(TURNS):
            if len(data) == size:
                break
            try:
                chunk = peer.recv(min(size - len(data), 1 << 16))
            except BlockingIOError:
                self.turn(0.001)
                continue
            if not chunk:
                break
            data += chunk
        peer.settimeout(PATIENCE)
        return bytes(data)

    def end(self) -> None:
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        for protocol in self._protocols:
            # One that is paused is not among the reactor's.
            transport = protocol.transport
            if transport is not None and transport.connected:
                protocol.onLost = lambda: None
                transport.connectionLost(Failure(error.ConnectionLost()))
        for reader in list(self.reactor._internalReaders):
            self.reactor.removeReader(reader)
            reader.connectionLost(None)
        self.reactor._internalReaders.clear()
        self.reactor.disconnectAll()


class LoopTestCase(SynchronousTestCase):
    def eager(self) -> Loop:
        return Loop(self, EagerEPollReactor)

    def same(self, scenario: Callable[[Loop], Any]) -> Any:
        """
        Run a scenario on Twisted's reactor and on ours, and compare what comes
        out of it.
        """
        theirs = scenario(Loop(self, EPollReactor))
        ours = scenario(Loop(self, EagerEPollReactor))
        self.assertEqual(ours, theirs, "ours is first, Twisted's second")
        return ours


class FakesTests(LoopTestCase):
    def test_fakes(self) -> None:
        """
        The protocols and producers of these tests are what they pretend to be.
        """
        verifyObject(IPushProducer, Producer([]))
        verifyObject(IPullProducer, Producer([]))
        verifyObject(IHalfCloseableProtocol, HalfCloseable())

    def test_interfaces(self) -> None:
        """
        The transports provide what Twisted's provide.
        """
        loop = self.eager()
        for kind in TCP + UNIX:
            verifyObject(ITCPTransport, loop.link(kind)[0].transport)
        for kind in UNIX:
            verifyObject(IUNIXTransport, loop.link(kind)[0].transport)

    def test_ours(self) -> None:
        """
        Each kind of connection is one of ours.
        """
        loop = self.eager()
        self.assertEqual(
            [type(loop.link(kind)[0].transport).__name__ for kind in TCP + UNIX],
            [
                *("EagerServer", "EagerClient", "EagerServer"),
                *("EagerUNIXServer", "EagerUNIXClient", "EagerUNIXServer"),
            ],
        )


# What holds for every kind of connection


class EveryKind:
    """
    Tests of one kind of connection.
    """

    kind: ClassVar[str]

    def test_writeAtOnce(self) -> None:
        """
        What is written reaches the peer before the reactor turns again; on a UNIX
        connection, where a descriptor may follow, when it turns.
        """
        loop = self.eager()
        protocol, peer = loop.link(self.kind)
        for data in (b"hello", b"a", b"x" * 4000):
            protocol.transport.write(data)
            self.turn_for_unix(loop, protocol)
            self.assertEqual(read_exactly(peer, len(data)), data)

    def turn_for_unix(self, loop: Loop, protocol: Any) -> None:
        writers = loop.reactor.getWriters()
        if self.kind in UNIX:
            self.assertEqual(writers, [protocol.transport])
            loop.turn()
        else:
            self.assertEqual(writers, [])

    def test_writeSequenceAtOnce(self) -> None:
        """
        So does a sequence of pieces.
        """
        loop = self.eager()
        protocol, peer = loop.link(self.kind)
        for pieces in ([b"he", b"", b"llo"], (b"he", b"llo"), [b"hello"]):
            protocol.transport.writeSequence(pieces)
            self.turn_for_unix(loop, protocol)
            self.assertEqual(read_exactly(peer, 5), b"hello")

    def test_writeNothing(self) -> None:
        """
        Nothing is nothing.
        """
        loop = self.eager()
        protocol, peer = loop.link(self.kind)
        protocol.transport.write(b"")
        protocol.transport.writeSequence([])
        protocol.transport.writeSequence([b"", b""])
        self.assertEqual(loop.reactor.getWriters(), [])
        protocol.transport.write(b"a")
        self.turn_for_unix(loop, protocol)
        self.assertEqual(peer.recv(100), b"a")
        self.assertEqual(protocol.reason, None)

    def test_answerInTheSameTurn(self) -> None:
        """
        What is written in C{dataReceived} reaches the peer without another turn.
        """
        loop = self.eager()
        protocol, peer = loop.link(self.kind)

        def answer(data: bytes) -> None:
            protocol.transport.write(data)
            protocol.transport.writeSequence([b"-", data])
            protocol.transport.write(b"!")

        protocol.onReceived = answer
        for word in (b"one", b"three"):
            peer.sendall(word)
            loop.read(protocol.transport.getHandle())
            expected = word + b"-" + word + b"!"
            self.assertEqual(read_exactly(peer, len(expected)), expected)

    def test_writeInConnectionMade(self) -> None:
        def scenario(loop: Loop) -> Any:
            protocol = Recorder()

            def greet() -> None:
                protocol.transport.write(b"hello ")
                protocol.transport.writeSequence([b"there ", b"x" * 300_000])
                protocol.transport.loseConnection()

            protocol.onMade = greet
            _, peer = loop.link(self.kind, protocol)
            outcome = loop.drain(peer)
            peer.close()
            loop.until(lambda: protocol.reason)
            return outcome, protocol.events

        (data, ended), _ = self.same(scenario)
        self.assertEqual((len(data), ended), (300_012, "end of file"))

    def test_writeInConnectionLost(self) -> None:
        """
        It is ignored, and so is all that is asked later.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind)
            transport = protocol.transport

            def late() -> None:
                transport.write(b"late")
                transport.writeSequence([b"late"])
                transport.loseConnection()
                transport.abortConnection()

            protocol.onLost = late
            peer.close()
            loop.until(lambda: protocol.reason)
            late()
            producer = Producer(protocol.events)
            transport.registerProducer(producer, True)
            transport.unregisterProducer()
            loop.turn()
            return protocol.events

        self.same(scenario)

    def test_loseConnectionFlushes(self) -> None:
        """
        All that was written comes, and then end-of-file.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind, sendBuffer=4096)
            for n in range(100):
                protocol.transport.write(b"%04d" % n * 1000)
            protocol.transport.loseConnection()
            protocol.transport.write(b"after")
            protocol.transport.writeSequence([b"after ", b"that"])
            protocol.transport.loseConnection()
            outcome = loop.drain(peer)
            peer.close()
            loop.until(lambda: protocol.reason)
            return outcome, protocol.events

        (data, ended), _ = self.same(scenario)
        sent = b"".join(b"%04d" % n * 1000 for n in range(100))
        self.assertTrue(data.startswith(sent))
        self.assertEqual(ended, "end of file")

    def test_loseConnectionInDataReceived(self) -> None:
        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind)

            def answer(data: bytes) -> None:
                protocol.transport.write(b"before ")
                protocol.transport.loseConnection()
                protocol.transport.write(b"after")

            protocol.onReceived = answer
            peer.sendall(b"x")
            outcome = loop.drain(peer)
            loop.until(lambda: protocol.reason)
            return outcome, protocol.events

        self.same(scenario)

    def test_loseWriteConnection(self) -> None:
        """
        The peer gets everything and end-of-file, and can still send.
        """
        for protocolClass in (Recorder, HalfCloseable):

            def scenario(loop: Loop, protocolClass: Any = protocolClass) -> Any:
                protocol, peer = loop.link(self.kind, protocolClass(), 4096)
                protocol.transport.write(b"x" * 200_000)
                protocol.transport.loseWriteConnection()
                protocol.transport.write(b"after")
                data = loop.take(peer, 200_005)
                loop.until(lambda: select.select([peer], [], [], 0)[0])
                end = peer.recv(1)
                protocol.transport.write(b"never")
                protocol.transport.writeSequence([b"never"])
                peer.sendall(b"still here")
                loop.until(lambda: protocol.received == b"still here")
                peer.close()
                loop.until(lambda: ("read lost",) in protocol.events or protocol.reason)
                return (
                    data,
                    end,
                    protocol.events[:1],
                    protocol.events[-1],
                    (("write lost",) in protocol.events),
                )

            data, end, *_ = self.same(scenario)
            self.assertTrue(data == b"x" * 200_000 + b"after")
            self.assertEqual(end, b"")

    def test_loseWriteConnectionInDataReceived(self) -> None:
        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind, HalfCloseable())

            def answer(data: bytes) -> None:
                protocol.transport.write(b"before ")
                protocol.transport.loseWriteConnection()
                protocol.transport.write(b"after")

            protocol.onReceived = answer
            peer.sendall(b"x")
            outcome = loop.drain(peer)
            return outcome, protocol.events

        outcome, _ = self.same(scenario)
        self.assertEqual(outcome, (b"before after", "end of file"))

    def test_closeWithinDataReceived(self) -> None:
        """
        After a half-close C{loseConnection} loses the connection at once, even in
        C{dataReceived}; what is written then is ignored.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind, HalfCloseable())
            transport = protocol.transport
            transport.loseWriteConnection()
            loop.until(lambda: ("write lost",) in protocol.events)

            def close(data: bytes) -> None:
                transport.write(b"not any more")
                transport.loseConnection()
                protocol.events.append(("returned",))
                transport.write(b"not any more")
                transport.writeSequence([b"not any more"])

            protocol.onReceived = close
            peer.sendall(b"x")
            outcome = loop.drain(peer)
            loop.turn()
            return outcome, protocol.events

        _, events = self.same(scenario)
        self.assertEqual(events[-2:], [("lost", error.ConnectionDone), ("returned",)])

    def test_writeAfterReadConnectionLost(self) -> None:
        """
        End-of-file from the peer does not keep the rest from being sent.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind, HalfCloseable(), 4096)

            def answer() -> None:
                protocol.transport.write(b"x" * 200_000)
                protocol.transport.write(b"rest")
                protocol.transport.loseConnection()

            protocol.onReadLost = answer
            peer.shutdown(socket.SHUT_WR)
            outcome = loop.drain(peer)
            loop.until(lambda: protocol.reason)
            return outcome, protocol.events

        (data, ended), _ = self.same(scenario)
        self.assertEqual((len(data), ended), (200_004, "end of file"))

    def test_abortConnection(self) -> None:
        """
        What waits in the buffer is dropped.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind, sendBuffer=4096)
            protocol.transport.write(b"x" * 1_000_000)
            loop.turn()
            protocol.transport.abortConnection()
            protocol.transport.write(b"after")
            protocol.transport.writeSequence([b"after"])
            protocol.transport.abortConnection()
            protocol.transport.loseConnection()
            protocol.events.append(("returned",))
            loop.until(lambda: protocol.reason)
            data, ended = loop.drain(peer)
            return len(data) < 1_000_000, b"after" in data, ended, protocol.events

        dropped, after, *_, events = self.same(scenario)
        self.assertEqual((dropped, after), (True, False))
        self.assertEqual(
            events, [("made",), ("returned",), ("lost", error.ConnectionAborted)]
        )

    def test_abortConnectionInDataReceived(self) -> None:
        """
        What was written before it in the same C{dataReceived} is dropped, too.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind)

            def abort(data: bytes) -> None:
                protocol.transport.write(b"before")
                protocol.transport.abortConnection()
                protocol.transport.write(b"after")
                protocol.events.append(("returned",))

            protocol.onReceived = abort
            peer.sendall(b"x")
            outcome = loop.drain(peer)
            loop.until(lambda: protocol.reason)
            return outcome, protocol.events

        outcome, _ = self.same(scenario)
        self.assertEqual(outcome[0], b"")

    def test_notBytes(self) -> None:
        """
        What is not bytes is refused as Twisted refuses it, in every state, and
        the connection goes on.
        """
        wrong = ("text", bytearray(b"x"), memoryview(b"x"), 7, None)

        def refusals(transport: Any) -> list[Any]:
            calls = [
                *((transport.write, each) for each in wrong),
                *((transport.writeSequence, [b"good", each]) for each in wrong),
                *((transport.writeSequence, (each,)) for each in wrong),
                *((transport.writeSequence, each) for each in ("text", b"x", 7, None)),
            ]
            outcome: list[Any] = []
            for function, argument in calls:
                try:
                    function(argument)
                except Exception as problem:
                    outcome.append((type(problem), str(problem)))
                else:
                    outcome.append((None, repr(argument)))
            return outcome

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind)
            transport = protocol.transport
            outcomes = [refusals(transport)]

            def answer(data: bytes) -> None:
                transport.write(b"<")
                outcomes.append(refusals(transport))
                transport.write(b">")

            protocol.onReceived = answer
            peer.sendall(b"x")
            got = loop.take(peer, 2)
            transport.loseConnection()
            outcomes.append(refusals(transport))
            loop.drain(peer)
            loop.until(lambda: protocol.reason)
            outcomes.append(refusals(transport))
            return got, outcomes

        got, outcomes = self.same(scenario)
        self.assertEqual(got, b"<>")
        self.assertIn((TypeError, "Data must be bytes"), outcomes[0])

    def test_subclassOfBytes(self) -> None:
        """
        Bytes of a subclass are bytes, and keep their place.
        """

        class Special(bytes):
            pass

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind)
            transport = protocol.transport

            def answer(data: bytes) -> None:
                transport.write(b"1")
                transport.write(Special(b"2"))
                transport.writeSequence([b"3", Special(b"4")])
                transport.write(b"5")

            answer(b"")
            protocol.onReceived = answer
            peer.sendall(b"x")
            return loop.take(peer, 10)

        self.assertEqual(self.same(scenario), b"1234512345")

    def test_exceptionInDataReceived(self) -> None:
        """
        It is logged once and ends the connection.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(self.kind)

            def answer(data: bytes) -> None:
                protocol.transport.write(b"gathered")
                raise ZeroDivisionError("on purpose")

            protocol.onReceived = answer
            peer.sendall(b"x")
            data, ended = loop.drain(peer)
            logged = self.flushLoggedErrors(ZeroDivisionError)
            return data, ended, protocol.events, len(logged)

        data, _, events, logged = self.same(scenario)
        self.assertEqual((data, logged), (b"", 1))
        self.assertEqual(events[-1], ("lost", ZeroDivisionError))

    def test_manyChops(self) -> None:
        """
        However it is written, received and cut, each byte arrives, in order.
        """
        for seed in range(6):
            self.assert_orderKept(seed)

    def assert_orderKept(self, seed: int) -> None:
        chance = random.Random(seed)
        loop = self.eager()
        protocol, peer = loop.link(self.kind, sendBuffer=chance.choice([2048, 16384]))
        transport = protocol.transport
        peer.setblocking(False)
        wrote, got = [], []

        def piece() -> bytes:
            size = chance.choice([0, 1, 10, 100, 5000, 70_000, 200_000])
            data = chance.randbytes(chance.randint(0, size))
            wrote.append(data)
            return data

        def act() -> None:
            for _ in range(chance.randint(0, 4)):
                if chance.random() < 0.7:
                    transport.write(piece())
                else:
                    transport.writeSequence(
                        [piece() for _ in range(chance.randint(0, 3))]
                    )

        def read(most: int) -> None:
            with contextlib.suppress(BlockingIOError):
                got.append(peer.recv(most))

        protocol.onReceived = lambda data: act()
        for _ in range(60):
            step = chance.choice(("write", "turn", "receive", "read", "read"))
            if step == "write":
                act()
            elif step == "turn":
                loop.turn()
            elif step == "receive":
                expected = protocol.received + b"x"
                peer.sendall(b"x")
                loop.until(lambda expected=expected: protocol.received == expected)
            else:
                read(chance.choice([100, 5000, 1 << 17]))
        transport.loseConnection()
        rest, ended = loop.drain(peer)
        self.assertEqual(ended, "end of file")
        data, expected = b"".join(got) + rest, b"".join(wrote)
        self.assertEqual(len(data), len(expected), f"seed {seed}")
        self.assertTrue(data == expected, f"seed {seed}")


class AcceptedTCPTests(EveryKind, LoopTestCase):
    kind = "accepted TCP"


class ConnectedTCPTests(EveryKind, LoopTestCase):
    kind = "connected TCP"


class AdoptedTCPTests(EveryKind, LoopTestCase):
    kind = "adopted TCP"


class AcceptedUNIXTests(EveryKind, LoopTestCase):
    kind = "accepted UNIX"


class ConnectedUNIXTests(EveryKind, LoopTestCase):
    kind = "connected UNIX"


class AdoptedUNIXTests(EveryKind, LoopTestCase):
    kind = "adopted UNIX"


# What is sent, call by call


class SendTests(LoopTestCase):
    """
    The calls of C{send}, on sockets that do as planned.
    """

    # (Outside C{dataReceived} only TCP sends at once.)
    kinds = ("adopted TCP", "adopted UNIX")

    def tapped(self, kind: str) -> tuple[Loop, Any, Any, socket.socket]:
        loop = self.eager()
        protocol, peer = loop.link(kind, tap=True)
        return loop, protocol, protocol.transport.getHandle(), peer

    def test_oneSendForOneWrite(self) -> None:
        _, protocol, tap, _ = self.tapped("adopted TCP")
        protocol.transport.write(b"one")
        protocol.transport.writeSequence([b"t", b"w", b"o"])
        self.assertEqual(tap.sent, [b"one", b"two"])

    def test_gathered(self) -> None:
        """
        What is written inside C{dataReceived} is sent by one call, after it, and
        no other call is made later.
        """
        for kind in self.kinds:
            loop, protocol, tap, peer = self.tapped(kind)

            def answer(data: bytes, protocol: Any = protocol, tap: Any = tap) -> None:
                for n in range(10):
                    protocol.transport.write(b"%d" % n)
                    protocol.transport.writeSequence([b"<", b">"])
                self.assertEqual(tap.sent, [])

            protocol.onReceived = answer
            peer.sendall(b"x")
            loop.read(tap)
            expected = b"".join(b"%d<>" % n for n in range(10))
            self.assertEqual(tap.sent, [expected])
            loop.turn()
            self.assertEqual(tap.offered, [len(expected)])
            self.assertEqual(loop.reactor.getWriters(), [])

    def test_noWriteNoSend(self) -> None:
        for kind in self.kinds:
            loop, protocol, tap, peer = self.tapped(kind)
            peer.sendall(b"x")
            loop.read(tap)
            loop.turn()
            self.assertEqual(protocol.received, b"x")
            self.assertEqual(tap.offered, [])

    def test_neverPastTheBuffer(self) -> None:
        """
        While bytes wait, nothing is sent before them.
        """
        for number in (errno.EAGAIN, errno.ENOBUFS):
            loop, protocol, tap, peer = self.tapped("adopted TCP")
            tap.plan = [fail(number)]
            protocol.transport.write(b"1")
            protocol.transport.write(b"2")
            protocol.transport.writeSequence([b"3"])
            self.assertEqual(tap.offered, [1])
            loop.until(lambda tap=tap: tap.sent)
            self.assertEqual(tap.sent, [b"123"])
            loop.turn()
            protocol.transport.write(b"4")
            self.assertEqual(tap.sent, [b"123", b"4"])
            self.assertEqual(read_exactly(peer, 4), b"1234")
            self.assertEqual(loop.reactor.getWriters(), [])

    def test_neverPastTheBufferInDataReceived(self) -> None:
        """
        Nor in C{dataReceived}.
        """
        for kind in self.kinds:
            loop, protocol, tap, peer = self.tapped(kind)
            protocol.onReceived = protocol.transport.write
            # Once when it is written, once for each of two turns.
            tap.plan = [fail(errno.EAGAIN)]
            protocol.transport.write(b"first ")
            peer.sendall(b"second")
            loop.read(tap)
            protocol.transport.write(b" third")
            self.assertEqual(loop.take(peer, 18), b"first second third")

    def test_waitingIsNotCounted(self) -> None:
        """
        What waits is not gone through whenever more is written behind it: a
        client that sends and does not read costs no more with each line.
        """

        class Counting(list[bytes]):
            """
            Counts the pieces that are looked at.
            """

            seen = 0

            def __iter__(self) -> Iterator[bytes]:
                for each in super().__iter__():
                    self.seen += 1
                    yield each

        def come_and_go(transport: Any) -> None:
            transport.registerProducer(Producer([]), True)
            transport.unregisterProducer()

        for kind in TCP + UNIX:
            for prepare, before in (
                (lambda transport: None, lambda transport: None),
                (lambda transport: None, come_and_go),
                # Not plain.
                (lambda t: t.registerProducer(Producer([]), False), lambda t: None),
            ):
                loop = self.eager()
                protocol, peer = loop.link(kind, sendBuffer=4096)
                transport = protocol.transport
                transport.write(b"x" * 1_000_000)
                loop.turn()
                prepare(transport)
                pieces = transport._tempDataBuffer = Counting()

                def answer(
                    data: bytes, transport: Any = transport, before: Any = before
                ) -> None:
                    before(transport)
                    transport.write(data)
                    transport.write(b"!")

                protocol.onReceived = answer
                for n in range(20):
                    peer.sendall(b"%d" % (n % 10))
                    loop.read(transport.getHandle())
                self.assertIs(transport._tempDataBuffer, pieces)
                self.assertEqual((len(pieces), pieces.seen), (40, 0), kind)
                self.assertEqual(b"".join(pieces), b"0!1!2!3!4!5!6!7!8!9!" * 2)

    def test_partial(self) -> None:
        """
        What the kernel does not take is sent when it does, from where it stopped.
        """
        loop, protocol, tap, peer = self.tapped("adopted TCP")
        tap.plan = [3, 2, fail(errno.EAGAIN), 1]
        protocol.transport.write(b"abcdef")
        protocol.transport.write(b"ghi")
        self.assertEqual(tap.sent, [b"abc"])
        self.assertEqual(loop.take(peer, 9), b"abcdefghi")
        self.assertEqual(tap.sent[:4], [b"abc", b"de", b"f", b"ghi"])

    def test_partialOfGathered(self) -> None:
        for kind in self.kinds:
            loop, protocol, tap, peer = self.tapped(kind)

            def answer(data: bytes, protocol: Any = protocol) -> None:
                protocol.transport.write(b"abc")
                protocol.transport.write(b"def")

            protocol.onReceived = answer
            tap.plan = [4, fail(errno.EAGAIN)]
            peer.sendall(b"x")
            loop.read(tap)
            self.assertEqual(tap.sent, [b"abcd"])
            protocol.transport.write(b"ghi")
            self.assertEqual(loop.take(peer, 9), b"abcdefghi")

    def test_sendLimit(self) -> None:
        """
        No call is offered more than C{SEND_LIMIT} bytes.
        """
        sent = bytes(range(256)) * 8000
        for kind in self.kinds:
            for inside in (False, True):
                loop, protocol, tap, peer = self.tapped(kind)
                if inside:
                    protocol.onReceived = lambda data, p=protocol: p.transport.write(
                        sent
                    )
                    peer.sendall(b"x")
                    loop.read(tap)
                else:
                    protocol.transport.write(sent)
                    if kind in UNIX:
                        loop.turn()
                limit = protocol.transport.SEND_LIMIT
                self.assertEqual(tap.offered[0], limit)
                self.assertTrue(loop.take(peer, len(sent)) == sent)
                self.assertLessEqual(max(tap.offered), limit)

    def test_noSendOfAnythingElse(self) -> None:
        """
        A closing, half-closed or aborted connection sends nothing at once.
        """
        for kind in self.kinds:
            for end in ("loseConnection", "loseWriteConnection", "abortConnection"):
                _, protocol, tap, _ = self.tapped(kind)
                getattr(protocol.transport, end)()
                protocol.transport.write(b"later")
                protocol.transport.writeSequence([b"later"])
                self.assertEqual(tap.offered, [], end)

    def test_errorIsReportedByTheReactor(self) -> None:
        """
        C{write} neither raises nor calls back; the next turn tells, as Twisted's
        would.
        """
        for kind in self.kinds:
            for number in (errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT):

                def scenario(loop: Loop, kind: str = kind, number: int = number) -> Any:
                    protocol, _ = loop.link(kind, tap=True)
                    tap = protocol.transport.getHandle()
                    tap.plan = [fail(number)] * 3
                    protocol.transport.write(b"x")
                    protocol.transport.write(b"y")
                    protocol.transport.writeSequence([b"z"])
                    protocol.events.append(("returned",))
                    loop.until(lambda: protocol.reason)
                    return protocol.events

                self.assertEqual(
                    self.same(scenario),
                    [("made",), ("returned",), ("lost", error.ConnectionLost)],
                )

    def test_errorInDataReceived(self) -> None:
        for kind in self.kinds:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind, tap=True)
                tap = protocol.transport.getHandle()
                tap.plan = [fail(errno.EPIPE)] * 3

                def answer(data: bytes) -> None:
                    protocol.transport.write(b"x")
                    protocol.events.append(("returned",))

                protocol.onReceived = answer
                peer.sendall(b"x")
                loop.until(lambda: protocol.reason)
                return protocol.events

            self.same(scenario)


class PeerTests(LoopTestCase):
    """
    Peers that go away.
    """

    def gone(
        self, kind: str, leave: Callable[[socket.socket], Any], writes: int = 1
    ) -> list[Any]:
        """
        What happens when a peer is gone, and only then something is written.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(kind)
            handle = protocol.transport.getHandle()
            leave(peer)
            wait_for_event(handle, select.POLLRDHUP)
            for n in range(writes):
                if n and loop.eager and kind in TCP:
                    # The peer's kernel has answered what was sent before.
                    wait_for_event(handle, select.POLLHUP)
                protocol.transport.write(b"too late")
            protocol.events.append(("returned",))
            loop.until(lambda: protocol.reason)
            return protocol.events

        events: list[Any] = self.same(scenario)
        return events

    def test_reset(self) -> None:
        """
        After a reset it is C{ConnectionLost}, not C{ConnectionDone}.
        """
        for kind in TCP:
            for writes in (0, 1, 3):
                self.assertEqual(
                    self.gone(kind, close_with_reset, writes),
                    [("made",), ("returned",), ("lost", error.ConnectionLost)],
                )

    def test_closed(self) -> None:
        """
        After a regular end it is C{ConnectionDone}, whatever was written since.
        """
        for kind in TCP + UNIX:
            for writes in (0, 1, 3):
                self.assertEqual(
                    self.gone(kind, socket.socket.close, writes),
                    [("made",), ("returned",), ("lost", error.ConnectionDone)],
                    f"{kind}, {writes} writes",
                )

    def test_closedUnread(self) -> None:
        """
        A peer that closes with bytes unread resets the connection.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                protocol.transport.write(b"unread")
                loop.until(lambda: select.select([peer], [], [], 0)[0])
                peer.close()
                wait_for_event(protocol.transport.getHandle(), select.POLLHUP)
                protocol.transport.write(b"too late")
                loop.until(lambda: protocol.reason)
                return protocol.events

            self.same(scenario)

    def test_resetAfterRequest(self) -> None:
        """
        A peer that asks and resets is answered in vain.
        """
        for kind in TCP:
            for half in (Recorder, HalfCloseable):

                def scenario(loop: Loop, kind: str = kind, half: Any = half) -> Any:
                    protocol, peer = loop.link(kind, half())
                    protocol.onReceived = protocol.transport.write
                    peer.sendall(b"x")
                    close_with_reset(peer)
                    wait_for_event(protocol.transport.getHandle(), select.POLLHUP)
                    loop.until(lambda: protocol.reason)
                    return protocol.events

                self.assertEqual(self.same(scenario)[-1][1], error.ConnectionLost)

    def test_closedAfterRequest(self) -> None:
        """
        A peer that asks and closes is answered in vain; it has closed in order.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                protocol.onReceived = protocol.transport.write
                peer.sendall(b"x")
                peer.close()
                wait_for_event(protocol.transport.getHandle(), select.POLLRDHUP)
                loop.until(lambda: protocol.reason)
                return protocol.events

            self.assertEqual(self.same(scenario)[-1][1], error.ConnectionDone, kind)

    def test_resetWhileBuffered(self) -> None:
        for kind in TCP:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind, sendBuffer=4096)
                protocol.transport.write(b"x" * 3_000_000)
                loop.turn()
                close_with_reset(peer)
                wait_for_event(protocol.transport.getHandle(), select.POLLHUP)
                protocol.transport.write(b"more")
                loop.until(lambda: protocol.reason)
                return protocol.events

            self.assertEqual(self.same(scenario)[-1][1], error.ConnectionLost)


class NoDelayTests(LoopTestCase):
    """
    No small write waits until the one before it is acknowledged.
    """

    def test_on(self) -> None:
        """
        C{TCP_NODELAY} is on when the protocol is told of its connection, and off
        if the protocol wants it so.
        """
        for kind in TCP:
            for off in (False, True):
                protocol = Recorder()

                def made(protocol: Recorder = protocol, off: bool = off) -> None:
                    transport: Any = protocol.transport
                    protocol.events.append(("on", transport.getTcpNoDelay()))
                    if off:
                        transport.setTcpNoDelay(False)

                protocol.onMade = made
                loop = self.eager()
                _, peer = loop.link(kind, protocol)
                peer.sendall(b"x")
                loop.until(lambda protocol=protocol: protocol.received)
                self.assertIn(("on", True), protocol.events, kind)
                transport: Any = protocol.transport
                self.assertEqual(transport.getTcpNoDelay(), not off, kind)

    def test_refused(self) -> None:
        """
        That the kernel refuses it, as some do when the peer is gone, is nobody's
        concern.
        """

        class Refusing(socket.socket):
            def setsockopt(self, *args: Any) -> None:
                raise fail(errno.EINVAL)

        self.patch(
            socket,
            "fromfd",
            lambda fd, family, type, proto=0: Refusing(
                family, type, proto, fileno=os.dup(fd)
            ),
        )
        protocol, peer = self.eager().link("adopted TCP")
        protocol.transport.write(b"x")
        self.assertEqual(read_exactly(peer, 1), b"x")


class ConnectingTests(LoopTestCase):
    """
    Clients that are not connected yet.
    """

    def listener(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        listener.settimeout(PATIENCE)
        return listener

    def test_writeBeforeConnected(self) -> None:
        """
        What is written to a client that is not connected yet is ignored.
        """

        def scenario(loop: Loop) -> Any:
            listener = self.listener()
            protocol = Recorder()
            loop._protocols.append(protocol)
            factory = OneProtocol(protocol)
            connector = loop.reactor.connectTCP(*listener.getsockname(), factory)
            connector.transport.write(b"early")
            connector.transport.writeSequence([b"early"])

            def build(addr: Any) -> Any:
                connector.transport.write(b"early, too")
                return protocol

            factory.buildProtocol = build
            protocol.onMade = lambda: protocol.transport.write(b"in time")
            loop.until(lambda: protocol.transport)
            peer = listener.accept()[0]
            self.addCleanup(peer.close)
            protocol.transport.loseConnection()
            return loop.drain(peer)[0]

        self.assertEqual(self.same(scenario), b"in time")

    def test_producerBeforeConnected(self) -> None:
        """
        A producer that is registered before the connection is made stays.
        """
        for streaming in (True, False):

            def scenario(loop: Loop, streaming: bool = streaming) -> Any:
                listener = self.listener()
                protocol = Recorder()
                loop._protocols.append(protocol)
                connector = loop.reactor.connectTCP(
                    *listener.getsockname(), OneProtocol(protocol)
                )
                producer = Producer(protocol.events)
                connector.transport.registerProducer(producer, streaming)
                protocol.onMade = lambda: protocol.transport.write(b"x" * 70_000)
                loop.until(lambda: protocol.transport)
                peer = listener.accept()[0]
                self.addCleanup(peer.close)
                producer.onResume = protocol.transport.unregisterProducer
                loop.take(peer, 70_000)
                loop.until(lambda: not loop.reactor.getWriters())
                return protocol.events

            self.assertIn(("resume",), self.same(scenario))

    def test_refused(self) -> None:
        """
        A connection that is refused fails as with Twisted's.
        """

        def scenario(loop: Loop) -> Any:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                address = listener.getsockname()
            failures = []
            factory = OneProtocol(None)
            factory.clientConnectionFailed = lambda c, reason: failures.append(reason)
            connector = loop.reactor.connectTCP(*address, factory)
            loop.until(lambda: failures)
            return [each.type for each in failures], connector.state

        self.same(scenario)

    def test_abortBeforeConnected(self) -> None:
        def scenario(loop: Loop) -> Any:
            listener = self.listener()
            failures = []
            factory = OneProtocol(None)
            factory.clientConnectionFailed = lambda c, reason: failures.append(reason)
            connector = loop.reactor.connectTCP(*listener.getsockname(), factory)
            connector.transport.abortConnection()
            loop.until(lambda: failures)
            return [each.type for each in failures], connector.state

        self.same(scenario)

    def test_noProtocol(self) -> None:
        """
        A factory that wants no connection.
        """

        def scenario(loop: Loop) -> Any:
            port = loop.reactor.listenTCP(0, OneProtocol(None), interface="127.0.0.1")
            peer = socket.create_connection(("127.0.0.1", port.getHost().port))
            self.addCleanup(peer.close)
            served = loop.drain(peer)

            listener = self.listener()
            loop.reactor.connectTCP(*listener.getsockname(), OneProtocol(None))
            loop.turn()
            peer = listener.accept()[0]
            self.addCleanup(peer.close)
            return served, loop.drain(peer)

        self.same(scenario)

    def test_connectAgain(self) -> None:
        """
        A connector connects more than once, eagerly each time.
        """
        loop = self.eager()
        listener = self.listener()
        factory = OneProtocol(None)
        factory.buildProtocol = lambda addr: Recorder()
        connector = loop.reactor.connectTCP(*listener.getsockname(), factory)
        for _ in range(2):
            loop.until(lambda: connector.state == "connected")
            peer = listener.accept()[0]
            self.addCleanup(peer.close)
            connector.transport.write(b"hello")
            self.assertEqual(read_exactly(peer, 5), b"hello")
            connector.disconnect()
            loop.until(lambda: connector.state == "disconnected")
            connector.connect()
        connector.stopConnecting()


# Producers


class ProducerTests(LoopTestCase):
    """
    Producers of both kinds are told what Twisted tells them.
    """

    kinds = ("accepted TCP", "connected UNIX")

    def pushed(
        self, script: Callable[[Loop, Any, Producer, socket.socket], Any]
    ) -> Any:
        """
        Run a script with a push producer, on both reactors.

        @return: what protocol and producer were told, in order.
        """
        for kind in self.kinds:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind, sendBuffer=4096)
                producer = Producer(protocol.events)
                protocol.transport.registerProducer(producer, True)
                outcome = script(loop, protocol, producer, peer)
                return protocol.events, outcome

            outcome = self.same(scenario)
        return outcome[0]

    def test_pushOnce(self) -> None:
        """
        Paused by more than C{bufferSize} bytes, resumed when they are gone.
        """

        def script(loop: Loop, protocol: Any, producer: Any, peer: Any) -> Any:
            size = protocol.transport.bufferSize
            note = protocol.events.append
            for length in (1, size, size + 1, 3 * size):
                note(("write", length))
                protocol.transport.write(b"x" * length)
                note(("written",))
                taken = loop.take(peer, length)
                loop.until(lambda: not loop.reactor.getWriters())
                note(("taken", len(taken)))

        events = self.pushed(script)
        self.assertEqual(events.count(("pause",)), 2)
        self.assertEqual(events.count(("resume",)), 2)

    def test_pushInDataReceived(self) -> None:
        """
        Likewise where it is written in C{dataReceived}.
        """

        def script(loop: Loop, protocol: Any, producer: Any, peer: Any) -> Any:
            size = protocol.transport.bufferSize
            total = 0

            def answer(data: bytes) -> None:
                for length in lengths:
                    protocol.transport.write(b"x" * length)
                    protocol.events.append(("wrote", length))

            protocol.onReceived = answer
            for lengths in (
                (1, 2),
                (size - 10, 10),
                (size - 10, 11),
                (size, size, 1, 1),
                (3 * size,),
            ):
                peer.sendall(b"x")
                total = sum(lengths)
                loop.take(peer, total)
                loop.until(lambda: not loop.reactor.getWriters())

        events = self.pushed(script)
        self.assertEqual(events.count(("resume",)), 3)

    def test_pushOnFullBuffer(self) -> None:
        """
        What is written in C{dataReceived} counts on top of what waits already.
        """

        def script(loop: Loop, protocol: Any, producer: Any, peer: Any) -> Any:
            size = 1_000_000
            protocol.onReceived = lambda data: (
                protocol.transport.write(b"y"),
                protocol.events.append(("written",)),
            )
            protocol.transport.write(b"x" * size)
            loop.turn()
            for _ in range(3):
                peer.sendall(b"x")
                loop.read(protocol.transport.getHandle())
            protocol.events.append(("received",))
            loop.take(peer, size + 3)
            loop.until(lambda: not loop.reactor.getWriters())

        self.assertEqual(self.pushed(script).count(("resume",)), 1)

    def test_notPausedForReading(self) -> None:
        """
        What is received and not answered tells the producer nothing.
        """

        def script(loop: Loop, protocol: Any, producer: Any, peer: Any) -> Any:
            size = 1_000_000
            protocol.transport.write(b"x" * size)
            loop.turn()
            protocol.transport.write(b"y")
            protocol.events.append(("written",))
            for _ in range(3):
                peer.sendall(b"x")
                loop.read(protocol.transport.getHandle())
            protocol.events.append(("received",))
            loop.take(peer, size + 1)
            loop.until(lambda: not loop.reactor.getWriters())

        events = self.pushed(script)
        self.assertEqual(events.count(("resume",)), 1)

    def test_lateProducerNotPausedForReading(self) -> None:
        """
        Nor one that came when the buffer was full already.
        """
        for kind in self.kinds:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind, sendBuffer=4096)
                protocol.transport.write(b"x" * 1_000_000)
                loop.turn()
                protocol.transport.write(b"y")
                producer = Producer(protocol.events)
                protocol.transport.registerProducer(producer, True)
                peer.sendall(b"x")
                loop.read(protocol.transport.getHandle())
                loop.take(peer, 1_000_001)
                loop.until(lambda: not loop.reactor.getWriters())
                return protocol.events

            self.same(scenario)

    def test_producerThatWritesWhenResumed(self) -> None:
        """
        A producer that fills the buffer whenever it is resumed.
        """

        def script(loop: Loop, protocol: Any, producer: Any, peer: Any) -> Any:
            size = protocol.transport.bufferSize + 1
            left = [5]

            def more() -> None:
                if left[0]:
                    left[0] -= 1
                    protocol.transport.write(b"%d" % left[0] * size)

            producer.onResume = more
            more()
            taken = loop.take(peer, 5 * size)
            loop.until(lambda: not loop.reactor.getWriters())
            return taken

        events = self.pushed(script)
        self.assertEqual(events.count(("pause",)), 5)
        self.assertEqual(events.count(("resume",)), 5)

    def test_staleProducerPaused(self) -> None:
        """
        A transport remembers that it has paused a producer that is gone, and
        resumes the next one when it has sent everything: later, and never from
        within C{write}.
        """
        for kind in self.kinds:
            for inside in (False, True):

                def scenario(
                    loop: Loop, kind: str = kind, inside: bool = inside
                ) -> Any:
                    protocol, peer = loop.link(kind)
                    transport = protocol.transport
                    transport.registerProducer(Producer(protocol.events), True)
                    transport.write(b"x" * 100_000)
                    transport.unregisterProducer()
                    loop.take(peer, 100_000)
                    loop.until(lambda: not loop.reactor.getWriters())
                    producer = Producer(protocol.events)
                    producer.onResume = lambda: transport.write(b" resumed")

                    def act(data: bytes = b"") -> None:
                        transport.registerProducer(producer, True)
                        for word in (b"one", b" two"):
                            transport.write(word)
                            protocol.events.append(("written", word))
                        transport.writeSequence([b" thr", b"ee"])
                        protocol.events.append(("returned",))

                    if inside:
                        protocol.onReceived = act
                        peer.sendall(b"x")
                    else:
                        act()
                    taken = loop.take(peer, 21)
                    loop.until(lambda: not loop.reactor.getWriters())
                    return taken, protocol.events

                taken, events = self.same(scenario)
                self.assertEqual(taken, b"one two three resumed")
                self.assertEqual(events[-2:], [("returned",), ("resume",)])

    def test_pauseThatCloses(self) -> None:
        """
        A producer may do to the connection what it likes when it is paused.
        """
        for end in ("loseConnection", "abortConnection", "unregisterProducer"):

            def script(
                loop: Loop, protocol: Any, producer: Any, peer: Any, end: str = end
            ) -> Any:
                def close() -> None:
                    producer.onPause = lambda: None
                    protocol.transport.unregisterProducer()
                    getattr(protocol.transport, end)()

                producer.onPause = close
                protocol.transport.write(b"x" * 200_000)
                if end == "unregisterProducer":
                    protocol.transport.loseConnection()
                data, ended = loop.drain(peer)
                loop.until(lambda: protocol.reason)
                return end == "abortConnection" or (len(data), ended)

            self.pushed(script)

    def test_stoppedAtTheEnd(self) -> None:
        def script(loop: Loop, protocol: Any, producer: Any, peer: Any) -> Any:
            protocol.transport.write(b"x" * 200_000)
            peer.close()
            loop.until(lambda: protocol.reason)

        self.assertIn(("stop",), self.pushed(script))

    def test_loseConnectionWaitsForProducer(self) -> None:
        """
        A connection with a producer closes when the producer is gone.
        """

        def script(loop: Loop, protocol: Any, producer: Any, peer: Any) -> Any:
            protocol.transport.write(b"a" * 100_000)
            protocol.transport.loseConnection()
            data = loop.take(peer, 100_000)
            protocol.transport.write(b"b")
            data += loop.take(peer, 1)
            protocol.transport.unregisterProducer()
            rest, ended = loop.drain(peer)
            loop.until(lambda: protocol.reason)
            return data + rest, ended

        self.pushed(script)

    def test_secondProducer(self) -> None:
        """
        A second one is refused, and nothing else changes.
        """
        for streaming in (True, False):

            def script(
                loop: Loop,
                protocol: Any,
                producer: Any,
                peer: Any,
                streaming: bool = streaming,
            ) -> Any:
                second = Producer(protocol.events)
                refused = self.assertRaises(
                    RuntimeError,
                    protocol.transport.registerProducer,
                    second,
                    streaming,
                )
                text = (
                    str(refused).replace(repr(producer), "1").replace(repr(second), "2")
                )
                protocol.transport.write(b"hello")
                if loop.eager and isinstance(protocol.transport, EagerTCPMixin):
                    # At once, as before.
                    wait_for_event(peer, select.POLLIN, 2.0)
                return text, loop.take(peer, 5)

            self.pushed(script)

    def pulled(self, chunks: list[bytes], *, end: str = "unregister") -> Any:
        """
        Run a pull producer to its end, on both reactors.
        """
        for kind in self.kinds:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind, sendBuffer=4096)
                transport = protocol.transport
                left = list(chunks)
                producer = Producer(protocol.events)

                def more() -> None:
                    if left:
                        transport.write(left.pop(0))
                    if not left:
                        transport.unregisterProducer()
                        protocol.events.append(("unregistered",))

                producer.onResume = more
                transport.write(b"before ")
                transport.registerProducer(producer, False)
                transport.write(b"between ")
                got = loop.take(peer, 15 + sum(map(len, chunks)))
                transport.write(b"after")
                transport.loseConnection()
                return got, loop.drain(peer), protocol.events

            outcome = self.same(scenario)
        return outcome

    def test_pull(self) -> None:
        """
        It is asked whenever the buffer is empty, and its bytes keep their place.
        """
        chunks = [b"1" * 10, b"2" * 100_000, b"3", b"4" * 300_000, b"5"]
        *_, events = self.pulled(chunks)
        self.assertEqual(events.count(("resume",)), 5)

    def test_pullOnce(self) -> None:
        """
        One that is done when it is first asked.
        """
        self.pulled([b"all of it"])
        self.pulled([b"x" * 200_000])

    def test_pullAlone(self) -> None:
        """
        What it writes when it is first asked makes the reactor ask again.
        """
        for kind in self.kinds:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                left = [b"1", b"2", b"3"]
                producer = Producer(protocol.events)

                def more() -> None:
                    protocol.transport.write(left.pop(0))
                    if not left:
                        protocol.transport.unregisterProducer()

                producer.onResume = more
                protocol.transport.registerProducer(producer, False)
                return loop.take(peer, 3), protocol.events

            self.assertEqual(self.same(scenario)[0], b"123")

    def test_pullInDataReceived(self) -> None:
        for kind in self.kinds:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                transport = protocol.transport
                left = [b"3", b"4" * 100_000, b"5"]
                producer = Producer(protocol.events)

                def more() -> None:
                    transport.write(left.pop(0))
                    if not left:
                        transport.unregisterProducer()
                        transport.write(b"6")
                        transport.loseConnection()

                producer.onResume = more

                def answer(data: bytes) -> None:
                    transport.write(b"1")
                    transport.writeSequence([b"2"])
                    transport.registerProducer(producer, False)

                protocol.onReceived = answer
                peer.sendall(b"x")
                return loop.drain(peer), protocol.events

            (data, _), _ = self.same(scenario)
            self.assertTrue(data == b"123" + b"4" * 100_000 + b"56")

    def test_noEagernessForPull(self) -> None:
        """
        While a pull producer is there, its next turn comes when the reactor has
        sent everything, so nothing is sent at once.
        """
        loop = self.eager()
        protocol, peer = loop.link("adopted TCP", tap=True)
        tap = protocol.transport.getHandle()
        protocol.transport.registerProducer(Producer([]), False)
        protocol.transport.write(b"x")
        self.assertEqual(tap.offered, [])
        self.assertEqual(loop.take(peer, 1), b"x")

    def assert_eager(self, loop: Loop, protocol: Any, peer: socket.socket) -> None:
        """
        It answers at once, and over TCP sends at once.
        """
        protocol.onReceived = lambda data: protocol.transport.write(b"answer")
        peer.sendall(b"x")
        loop.read(protocol.transport.getHandle())
        peer.settimeout(1)
        self.assertEqual(read_exactly(peer, 6), b"answer")
        self.assertEqual(loop.reactor.getWriters(), [])
        if isinstance(protocol.transport, EagerTCPMixin):
            protocol.transport.write(b"at once")
            self.assertEqual(read_exactly(peer, 7), b"at once")

    def test_eagerAgain(self) -> None:
        """
        Without its producer a connection sends at once again.
        """
        for kind in TCP + UNIX:
            for streaming in (True, False):
                loop = self.eager()
                protocol, peer = loop.link(kind)
                for _ in range(2):
                    producer = Producer([])
                    protocol.transport.registerProducer(producer, streaming)
                    protocol.transport.write(b"buffered")
                    self.assertEqual(loop.take(peer, 8), b"buffered")
                    loop.turn()
                    protocol.transport.unregisterProducer()
                    loop.until(lambda loop=loop: not loop.reactor.getWriters())
                    self.assert_eager(loop, protocol, peer)

    def test_eagerAgainAfterOneResume(self) -> None:
        """
        So it does when the producer was done when it was first asked, as the one
        that sends an empty file is.
        """
        for kind in TCP + UNIX:
            loop = self.eager()
            protocol, peer = loop.link(kind)
            producer = Producer([])
            producer.onResume = protocol.transport.unregisterProducer
            protocol.transport.registerProducer(producer, False)
            loop.turn()
            self.assert_eager(loop, protocol, peer)

    def test_notEagerWhileClosing(self) -> None:
        """
        The end of a pull producer does not make a closing connection eager.
        """
        for end in ("loseConnection", "loseWriteConnection", "abortConnection"):
            loop = self.eager()
            protocol, _ = loop.link("adopted TCP", tap=True)
            tap = protocol.transport.getHandle()
            protocol.transport.registerProducer(Producer([]), False)
            getattr(protocol.transport, end)()
            protocol.transport.unregisterProducer()
            protocol.transport.write(b"x")
            self.assertEqual(tap.offered, [], end)


# Descriptors


class DescriptorTests(LoopTestCase):
    """
    Descriptors over UNIX connections.
    """

    def passed(self, act: Callable[[Any, int], Any], inside: bool) -> None:
        """
        Run C{act} with a transport and a descriptor, and compare what arrives.
        """
        for kind in UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                own, other = os.pipe()
                os.write(other, b"from the pipe")
                os.close(other)
                self.addCleanup(os.close, own)

                def do(data: bytes = b"") -> None:
                    act(protocol.transport, own)
                    protocol.transport.write(b"end")

                if inside:
                    protocol.onReceived = do
                    peer.sendall(b"x")
                else:
                    do()
                data, contents = b"", []
                peer.setblocking(False)
                for _ in range(TURNS):
                    if data.endswith(b"end") or protocol.reason:
                        break
                    try:
                        more, got, _, _ = socket.recv_fds(peer, 4096, 8)
                    except BlockingIOError:
                        loop.turn(0.001)
                        continue
                    data += more
                    for each in got:
                        contents.append(os.read(each, 100))
                        os.close(each)
                protocol.transport.write(b"goes on")
                return data, contents, loop.take(peer, 7), protocol.reason

            data, contents, rest, reason = self.same(scenario)
            self.assertEqual(contents[:1], [b"from the pipe"])
            self.assertEqual((data[-3:], rest, reason), (b"end", b"goes on", None))

    def test_beforeWrite(self) -> None:
        def act(transport: Any, own: int) -> None:
            transport.sendFileDescriptor(own)
            transport.write(b"with")

        for inside in (False, True):
            self.passed(act, inside)

    def test_betweenWrites(self) -> None:
        def act(transport: Any, own: int) -> None:
            transport.write(b"before")
            transport.sendFileDescriptor(own)
            transport.write(b"after")

        for inside in (False, True):
            self.passed(act, inside)

    def test_several(self) -> None:
        def act(transport: Any, own: int) -> None:
            for _ in range(3):
                transport.write(b"before")
                transport.sendFileDescriptor(own)
            transport.writeSequence([b"a", b"b", b"c"])

        for inside in (False, True):
            self.passed(act, inside)

    def written(self, inside: bool) -> None:
        """
        C{IUNIXTransport.sendFileDescriptor} asks for as many writes as
        descriptors, and not for an order.
        """
        for kind in UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                own, other = os.pipe()
                os.write(other, b"from the pipe")
                os.close(other)
                self.addCleanup(os.close, own)

                def do(data: bytes = b"") -> None:
                    protocol.transport.write(b"x")
                    protocol.transport.sendFileDescriptor(own)

                if inside:
                    protocol.onReceived = do
                    peer.sendall(b"x")
                else:
                    do()
                peer.setblocking(False)
                data, contents = b"", []
                for _ in range(20):
                    with contextlib.suppress(BlockingIOError):
                        more, got, _, _ = socket.recv_fds(peer, 4096, 8)
                        data += more
                        for each in got:
                            contents.append(os.read(each, 100))
                            os.close(each)
                    loop.turn(0.001)
                return data, contents, protocol.reason

            self.assertEqual(self.same(scenario), (b"x", [b"from the pipe"], None))

    def test_afterWrite(self) -> None:
        """
        A descriptor after the byte that it travels with.
        """
        self.written(inside=False)

    def test_afterWriteInDataReceived(self) -> None:
        self.written(inside=True)

    def test_afterWriteAndLose(self) -> None:
        """
        One that is the last thing before the end of the connection.
        """
        for kind in UNIX:
            for inside in (False, True):

                def scenario(
                    loop: Loop, kind: str = kind, inside: bool = inside
                ) -> Any:
                    protocol, peer = loop.link(kind)
                    own, other = os.pipe()
                    self.addCleanup(os.close, own)
                    self.addCleanup(os.close, other)

                    def do(data: bytes = b"") -> None:
                        protocol.transport.write(b"x")
                        protocol.transport.sendFileDescriptor(own)
                        protocol.transport.loseConnection()

                    if inside:
                        protocol.onReceived = do
                        peer.sendall(b"x")
                    else:
                        do()
                    loop.until(lambda: protocol.reason)
                    data, passed, _, _ = socket.recv_fds(peer, 10, 8)
                    for each in passed:
                        os.close(each)
                    return data, len(passed), protocol.reason

                self.assertEqual(self.same(scenario)[:2], (b"x", 1))

    def test_tooMany(self) -> None:
        """
        More descriptors than bytes are Twisted's error.
        """
        for kind in UNIX:
            for inside in (False, True):

                def scenario(
                    loop: Loop, kind: str = kind, inside: bool = inside
                ) -> Any:
                    protocol, peer = loop.link(kind)
                    own, other = os.pipe()
                    self.addCleanup(os.close, own)
                    self.addCleanup(os.close, other)

                    def do(data: bytes = b"") -> None:
                        protocol.transport.write(b"x")
                        protocol.transport.sendFileDescriptor(own)
                        protocol.transport.sendFileDescriptor(own)

                    if inside:
                        protocol.onReceived = do
                        peer.sendall(b"x")
                    else:
                        do()
                    loop.until(lambda: protocol.reason)
                    return protocol.reason

                self.assertIs(self.same(scenario), error.FileDescriptorOverrun)

    def test_fromPullProducer(self) -> None:
        """
        A pull producer that sends a descriptor and is gone.
        """

        def act(transport: Any, own: int) -> None:
            producer = Producer([])

            def resume() -> None:
                producer.onResume = lambda: None
                transport.sendFileDescriptor(own)

            transport.registerProducer(producer, False)
            resume()
            transport.unregisterProducer()
            transport.write(b"with")

        for inside in (False, True):
            self.passed(act, inside)

    def test_received(self) -> None:
        """
        What a peer sends along is received, and answered.
        """
        for kind in UNIX:
            loop = self.eager()
            protocol, peer = loop.link(kind)
            protocol.onReceived = protocol.transport.write
            own, other = os.pipe()
            self.addCleanup(os.close, own)
            os.close(other)
            socket.send_fds(peer, [b"x"], [own])
            loop.read(protocol.transport.getHandle())
            self.assertEqual(read_exactly(peer, 1), b"x")


# TLS


@implementer(IOpenSSLClientConnectionCreator)
class Trusting:
    """
    A TLS client that believes everything.
    """

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)


class TLSPeer:
    """
    The other end of a TLS connection, that keeps what was on the wire.
    """

    def __init__(self, loop: Loop, peer: socket.socket) -> None:
        self.loop = loop
        self.peer = peer
        self.wire = b""
        peer.setblocking(False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """
        Do something with C{tls}, turning the reactor while it waits.
        """
        for _ in range(TURNS):
            try:
                return function(*args)
            except ssl.SSLWantReadError:
                pass
            finally:
                self._flush()
            try:
                data = self.peer.recv(1 << 16)
            except BlockingIOError:
                self.loop.turn(0.001)
                continue
            self.wire += data
            if data:
                self._in.write(data)
            else:
                self._in.write_eof()
        raise AssertionError("it waits for ever")

    def _flush(self) -> None:
        data = self._out.read()
        while data:
            try:
                data = data[self.peer.send(data) :]
            except BlockingIOError:
                self.loop.turn()

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.run(self.tls.read, size - len(data))
            if not more:
                break
            data += more
        return data


class TLSTests(LoopTestCase):
    """
    TLS over these connections.
    """

    def loop(self, kind: Any) -> Loop:
        loop = Loop(self, kind)
        # Of which TLS takes its clock.
        self.patch(twisted.internet, "reactor", loop.reactor)
        return loop

    def secured(self, kind: str, size: int, inside: bool, producer: Any = None) -> Any:
        """
        Start TLS after so many bytes without.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(kind, sendBuffer=4096)
            transport = protocol.transport
            plain = b"p" * size

            def answer(data: bytes = b"") -> None:
                protocol.onReceived = transport.write
                transport.write(plain)
                transport.writeSequence([b"plain", b"!"])
                if producer is not None:
                    told = Producer(protocol.events)
                    transport.registerProducer(told, producer == "push")
                # Who has the certificate is the server.
                transport.startTLS(Certificate(), kind != "connected TCP")
                transport.write(b"secret ")
                transport.writeSequence([b"secret"])
                if producer is not None:
                    transport.unregisterProducer()

            if inside:
                protocol.onReceived = answer
                peer.sendall(b"STARTTLS")
            else:
                answer()
            self.assertTrue(loop.take(peer, size + 6) == plain + b"plain!")
            client = TLSPeer(loop, peer)
            client.run(client.tls.do_handshake)
            got = client.read(13)
            big = b"e" * 100_000
            client.run(client.tls.write, big)
            echoed = client.read(len(big)) == big
            for each in (b"secret", b"eeeeeeee"):
                self.assertNotIn(each, client.wire)
            transport.loseConnection()
            rest = client.read(1)
            peer.close()
            loop.until(lambda: protocol.reason)
            events = [each for each in protocol.events if each[0] != "received"]
            return got, echoed, rest, events

        theirs = scenario(self.loop(EPollReactor))
        ours = scenario(self.loop(EagerEPollReactor))
        self.assertEqual(ours, theirs)
        self.assertEqual(ours[:3], (b"secret secret", True, b""))

    def test_startTLSInDataReceived(self) -> None:
        """
        What was written before is sent plainly and first, and what is written
        after it never is.
        """
        for kind in TCP:
            for size in (10, 300_000):
                self.secured(kind, size, inside=True)

    def test_startTLSOutside(self) -> None:
        for kind in TCP:
            for size in (10, 300_000):
                self.secured(kind, size, inside=False)

    def test_startTLSWithProducer(self) -> None:
        """
        A producer moves to the TLS layer; its end lets nothing out beside that.
        """
        for producer in ("push", "pull"):
            for inside in (False, True):
                self.secured("accepted TCP", 10, inside, producer)

    def test_listenAndConnect(self) -> None:
        """
        C{listenSSL} and C{connectSSL}, over and over the same connection.
        """
        sent = bytes(range(256)) * 4000

        def scenario(loop: Loop) -> Any:
            server, client = HalfCloseable(), Recorder()
            loop._protocols += [server, client]
            server.onReceived = lambda data: server.transport.write(data)
            port = loop.reactor.listenSSL(
                0, OneProtocol(server), Certificate(), interface="127.0.0.1"
            )
            loop.reactor.connectSSL(
                "127.0.0.1", port.getHost().port, OneProtocol(client), Trusting()
            )
            loop.until(lambda: client.transport is not None)
            client.transport.write(sent)
            client.transport.writeSequence([b"e", b"nd"])
            loop.until(lambda: len(client.received) == len(sent) + 3)
            client.transport.loseConnection()
            loop.until(lambda: client.reason and server.reason)
            return client.received == sent + b"end", client.reason, server.reason

        theirs = scenario(self.loop(EPollReactor))
        ours = scenario(self.loop(EagerEPollReactor))
        self.assertEqual(ours, theirs)
        self.assertTrue(ours[0])


class FactoryTests(LoopTestCase):
    def test_port(self) -> None:
        """
        Connections of an adopted port are ours, too, with the same descriptions.
        """

        def scenario(loop: Loop) -> Any:
            described = []
            path = str(new_folder(self) / "socket")
            unix = socket.socket(socket.AF_UNIX)
            unix.bind(path)
            unix.listen()
            for listener in (socket.create_server(("127.0.0.1", 0)), unix):
                with listener:
                    listener.setblocking(False)
                    address = listener.getsockname()
                    protocols = []
                    factory = Factory.forProtocol(Recorder)
                    build = factory.buildProtocol

                    def keep(
                        addr: Any, build: Any = build, kept: Any = protocols
                    ) -> Any:
                        kept.append(build(addr))
                        loop._protocols.append(kept[-1])
                        return kept[-1]

                    factory.buildProtocol = keep
                    port = loop.reactor.adoptStreamPort(
                        listener.fileno(), listener.family, factory
                    )
                peer = socket.socket(listener.family)
                self.addCleanup(peer.close)
                peer.connect(address)
                loop.until(lambda protocols=protocols: protocols)
                port.stopListening()
                loop.turn()
                transport = protocols[0].transport
                transport.write(b"hello")
                self.assertEqual(loop.take(peer, 5), b"hello")
                described.append(
                    [
                        str(text).replace(str(number), "PORT")
                        for text in (
                            transport,
                            transport.logPrefix(),
                            transport.getPeer(),
                            transport.getHost(),
                        )
                        for number in [_port(address)]
                    ]
                )
            # The peers' ports and paths are the kernel's choice.
            return [[_nameless(text) for text in each] for each in described]

        self.same(scenario)


def _port(address: Any) -> Any:
    return address if isinstance(address, str) else address[1]


def _nameless(text: str) -> str:
    return re.sub(r"port=\d+", "port=ANY", text)
