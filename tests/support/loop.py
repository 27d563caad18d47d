"""
Reactors that a test turns by hand, and connections on them.

Sockets are real, and so is the reactor: one for each test. What Twisted's own
transports do is not written down: where it can be, a scenario runs on a reactor of
Twisted's and on ours, and must come out the same (L{LoopTestCase.same}). A test case
runs on the epoll reactors. A subclass whose C{reactors} are L{ASYNCIO} runs on those of
asyncio's loop.
"""

import asyncio
import os
import select
import selectors
import socket
import struct
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from twisted.internet import error
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
)
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.support.processes import new_folder
from twisted_echo.asyncio_reactor import EagerAsyncioSelectorReactor
from twisted_echo.reactor import EagerEPollReactor
from twisted_echo.service import SessionService

PATIENCE = 20.0
"""
Seconds after which a test fails. Nothing waits so long while the code is right.
"""

TURNS = 20_000
"""
Turns of the reactor after which a test fails.
"""


class Reactors(NamedTuple):
    """
    Twisted's reactor of some kind, and ours.
    """

    stock: type[Any]
    eager: type[Any]


EPOLL = Reactors(EPollReactor, EagerEPollReactor)
ASYNCIO = Reactors(AsyncioSelectorReactor, EagerAsyncioSelectorReactor)

TCP = ("accepted TCP", "connected TCP", "adopted TCP")
UNIX = ("accepted UNIX", "connected UNIX", "adopted UNIX")


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
    A protocol that learns when each direction ends.
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


class Loop:
    """
    A reactor of the test's own, turned by hand, and gone at the end of the test.
    """

    def __init__(self, test: SynchronousTestCase, kind: type[Any]) -> None:
        self.test = test
        self.reactor: Any
        self._asyncio: asyncio.SelectorEventLoop | None = None
        if issubclass(kind, AsyncioSelectorReactor):
            self._selector = selectors.EpollSelector()
            self._asyncio = asyncio.SelectorEventLoop(self._selector)
            self.reactor = kind(self._asyncio)
        else:
            self.reactor = kind()
        self._protocols: list[Any] = []
        test.addCleanup(self.end)

    def turn(self, longest: float = 0.0) -> None:
        """
        One turn; it waits for an event for C{longest} seconds at most.
        """
        if self._asyncio is None:
            self.reactor.iterate(longest)
            return
        # (C{iterate} lasts for 10 ms there.) What is read in one iteration is answered
        # in the next.
        if longest and not self.reactor.getWriters():
            select.select([self._selector], [], [], longest)
        for _ in range(2):
            self._asyncio.call_soon(self._asyncio.stop)
            self._asyncio.run_forever()

    def serve(self, service: SessionService) -> None:
        """
        Start a service, and stop it when the test ends.
        """
        service.startService()

        def stop() -> None:
            service.stopNow()
            for _ in range(20):
                self.turn()

        self.test.addCleanup(stop)

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
        # (A timer closes it, by the wall clock, which may have gone back meanwhile.)
        self.until(lambda: not port.connected)
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
        if self._asyncio is not None:
            self._asyncio.close()


class LoopTestCase(SynchronousTestCase):
    """
    @cvar reactors: those of which it takes one for each L{Loop}.
    """

    reactors: ClassVar[Reactors] = EPOLL

    def eager(self) -> Loop:
        return Loop(self, self.reactors.eager)

    def same(self, scenario: Callable[[Loop], Any]) -> Any:
        """
        Run a scenario on Twisted's reactor and on ours, and compare what comes
        out of it.
        """
        theirs = scenario(Loop(self, self.reactors.stock))
        ours = scenario(Loop(self, self.reactors.eager))
        self.assertEqual(ours, theirs, "ours is first, Twisted's second")
        return ours
