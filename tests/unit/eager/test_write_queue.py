"""
L{twisted_echo.eager.write_queue}: what goes out in a turn, and what is left behind.
"""

import errno
import gc
import select
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from tests.support.loop import (
    ASYNCIO,
    EPOLL,
    TCP,
    UNIX,
    HalfCloseable,
    Loop,
    LoopTestCase,
    Producer,
    Recorder,
    close_with_reset,
    fail,
    wait_for_event,
)
from tests.support.processes import read_exactly
from twisted_echo.eager.optional_interfaces import IOutputObserver

TAPPED = ("adopted TCP", "adopted UNIX")


# Where a program writes


def _in_timer(loop: Loop, write: Callable[[], Any]) -> None:
    loop.reactor.callLater(0, write)


def _in_deferred(loop: Loop, write: Callable[[], Any]) -> None:
    result: Deferred[None] = Deferred()
    result.addCallback(lambda _: write())
    loop.reactor.callLater(0, result.callback, None)


def _from_thread(loop: Loop, write: Callable[[], Any]) -> None:
    thread = threading.Thread(target=loop.reactor.callFromThread, args=(write,))
    thread.start()
    thread.join()


def _in_other_connection(loop: Loop, write: Callable[[], Any]) -> None:
    other, peer = loop.link("accepted UNIX")
    other.onReceived = lambda data: write()
    peer.sendall(b"x")


OUTSIDE = (_in_timer, _in_deferred, _from_thread, _in_other_connection)


def _do_in_data_received(protocol: Any, peer: socket.socket, act: Any) -> None:
    protocol.onReceived = lambda data: act()
    peer.sendall(b"x")


class OneSendTests(LoopTestCase):
    """
    However much is written in a turn, one call sends it.
    """

    def test_outside(self) -> None:
        for kind in TAPPED:
            for where in OUTSIDE:
                for streaming in (False, True):
                    loop = self.eager()
                    protocol, peer = loop.link(kind, tap=True)
                    transport = protocol.transport
                    if streaming:
                        transport.registerProducer(Producer(protocol.events), True)

                    def write(transport: Any = transport) -> None:
                        for n in range(10):
                            transport.write(b"%d" % n)
                            transport.writeSequence([b"<", b">"])

                    where(loop, write)
                    expected = b"".join(b"%d<>" % n for n in range(10))
                    self.assertEqual(loop.take(peer, 30), expected)
                    loop.turn()
                    self.assertEqual(transport.getHandle().offered, [30], where)
                    self.assertEqual(protocol.events, [("made",)])
                    self.assertEqual(loop.reactor.getWriters(), [])

    def test_web(self) -> None:
        """
        So does one for an answer of twisted.web, that is written in pieces.
        """

        class Answer(Resource):
            isLeaf = True

            def __init__(self, later: Any) -> None:
                super().__init__()
                self.later = later

            def render_GET(self, request: Any) -> int:
                request.setHeader(b"Content-Length", b"40")

                def write() -> None:
                    for n in range(20):
                        request.write(b"%02d" % n)
                    request.finish()

                if self.later:
                    self.later(0, write)
                else:
                    write()
                return NOT_DONE_YET

        body = b"".join(b"%02d" % n for n in range(20))
        for isLater in (False, True):
            loop = self.eager()
            resource = Answer(loop.reactor.callLater if isLater else None)
            site = Site(resource, timeout=None, reactor=loop.reactor)
            channel = site.buildProtocol(None)
            protocol, peer = loop.link("adopted TCP", tap=True)
            channel.makeConnection(protocol.transport)
            protocol.onReceived = channel.dataReceived
            tap = protocol.transport.getHandle()
            for times in (1, 2):
                peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                loop.until(lambda tap=tap, times=times: len(tap.sent) == times)
                loop.turn()
                self.assertEqual(len(tap.offered), times)
                self.assertTrue(tap.sent[-1].endswith(b"\r\n\r\n" + body))

    def test_large(self) -> None:
        """
        A large piece is sent by one call a turn, of C{SEND_LIMIT} bytes at most.
        """
        for kind in TAPPED:
            loop = self.eager()
            protocol, _ = loop.link(kind, tap=True)
            tap = protocol.transport.getHandle()
            protocol.transport.writeSequence([b"x" * 100_000] * 10)
            loop.turn()
            self.assertEqual(tap.offered[0], protocol.transport.SEND_LIMIT)
            # (One turn of a test is two iterations of asyncio's loop.)
            self.assertLessEqual(len(tap.offered), 2)

    def test_smallIsNotHeldBack(self) -> None:
        """
        A second small piece, of a later turn, does not wait in the kernel until the
        peer, who takes its time, acknowledges the first.
        """
        import fcntl
        import struct

        for kind in TCP:
            loop = self.eager()
            protocol, peer = loop.link(kind)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            for piece in (b"a", b"b", b"c"):
                protocol.transport.write(piece)
                loop.turn()
                # SIOCOUTQNSD: how many bytes the kernel has not sent yet.
                unsent = fcntl.ioctl(protocol.transport.getHandle(), 0x894B, bytes(4))
                self.assertEqual(struct.unpack("i", unsent), (0,), kind)


class AsyncioOneSendTests(OneSendTests):
    reactors = ASYNCIO


class TurnTests(LoopTestCase):
    """
    Whose turn it is.
    """

    def test_resumedLater(self) -> None:
        """
        A producer that is resumed at the end of a turn, and fills the buffer, is
        resumed again after everybody else had a turn.
        """
        for kind in TCP + UNIX:
            loop = self.eager()
            protocol, peer = loop.link(kind)
            other, other_peer = loop.link("adopted UNIX")
            transport = protocol.transport
            ahead = []
            producer = Producer(protocol.events)

            def more(
                transport: Any = transport,
                other_peer: Any = other_peer,
                protocol: Any = protocol,
                other: Any = other,
                ahead: Any = ahead,
            ) -> None:
                asked = protocol.events.count(("resume",))
                ahead.append(asked - len(other.received))
                if asked < 20:
                    other_peer.sendall(b"x")
                    transport.write(b"y" * (transport.bufferSize + 1))

            producer.onResume = more
            transport.registerProducer(producer, True)
            transport.write(b"y" * (transport.bufferSize + 1))
            data = loop.take(peer, 20 * (transport.bufferSize + 1))
            loop.until(lambda ahead=ahead: len(ahead) == 20)
            self.assertEqual(set(data), set(b"y"))
            # On asyncio what is ready to be read is read in the iteration after the
            # next end of a turn.
            self.assertLessEqual(max(ahead), 1 if self.reactors is EPOLL else 2, kind)

    def test_pausedAtBufferSize(self) -> None:
        """
        A producer that writes until it is paused has written C{bufferSize} bytes.
        """
        for kind in TCP + UNIX:
            for inside in (False, True):

                def scenario(
                    loop: Loop, kind: str = kind, inside: bool = inside
                ) -> list[tuple[Any, ...]]:
                    protocol, peer = loop.link(kind)
                    transport = protocol.transport

                    def produce() -> None:
                        producer = Producer(protocol.events)
                        transport.registerProducer(producer, True)
                        count = 0
                        while not transport.producerPaused and count < 1000:
                            transport.write(b"x" * 1000)
                            count += 1
                        protocol.events.append(("written", count))

                    if inside:
                        _do_in_data_received(protocol, peer, produce)
                    else:
                        _in_timer(loop, produce)
                    loop.take(peer, 66_000)
                    loop.until(lambda: ("resume",) in protocol.events)
                    events: list[tuple[Any, ...]] = protocol.events
                    return events

                self.assertIn(("written", 66), self.same(scenario))


class AsyncioTurnTests(TurnTests):
    reactors = ASYNCIO


class Observer(Producer):
    """
    A producer whose C{outputWaits} does what a test wants.
    """

    onWaiting: Callable[[], Any]

    def outputWaits(self) -> None:
        self.onWaiting()


implementer(IOutputObserver)(Observer)


class ErrorTests(LoopTestCase):
    """
    What goes wrong at the end of a turn is one connection's concern.
    """

    def ended(self, prepare: Callable[[Any], Any], protocol: Any = Recorder) -> Any:
        """
        What happens when one connection goes wrong at the end of a turn, and another
        one is served after it.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                bad, _ = loop.link(kind, protocol())
                good, peer = loop.link(kind)
                prepare(bad)
                good.transport.write(b"served")
                loop.until(lambda: bad.reason)
                self.assertEqual(loop.take(peer, 6), b"served")
                self.assertEqual(loop.reactor.getWriters(), [])
                errors = [each.type for each in self.flushLoggedErrors()]
                return bad.events, errors

            outcome = self.same(scenario)
        return outcome

    def raising(self, problem: BaseException) -> Callable[[], Any]:
        def act() -> None:
            raise problem

        return act

    def test_resume(self) -> None:
        def prepare(bad: Any) -> None:
            producer = Producer(bad.events)
            producer.onResume = self.raising(ZeroDivisionError())
            bad.transport.registerProducer(producer, True)
            bad.transport.write(b"x" * 66_000)

        events, errors = self.ended(prepare)
        self.assertEqual(events[-1], ("lost", ZeroDivisionError))
        self.assertEqual(errors, [ZeroDivisionError])

    def test_pause(self) -> None:
        """
        A producer that raises when it is paused keeps nothing from being sent.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                producer = Producer(protocol.events)
                producer.onPause = self.raising(ZeroDivisionError())
                protocol.transport.registerProducer(producer, True)
                self.assertRaises(
                    ZeroDivisionError, protocol.transport.write, b"x" * 66_000
                )
                producer.onPause = lambda: None
                protocol.transport.write(b"after")
                return loop.take(peer, 66_005) == b"x" * 66_000 + b"after"

            self.assertTrue(self.same(scenario))

    def test_connectionLost(self) -> None:
        def prepare(bad: Any) -> None:
            bad.onLost = self.raising(ZeroDivisionError())
            bad.transport.write(b"x")
            bad.transport.loseConnection()

        events, errors = self.ended(prepare)
        self.assertEqual(events[-1], ("lost", error.ConnectionDone))
        self.assertEqual(errors, [ZeroDivisionError])

    def test_writeConnectionLost(self) -> None:
        def prepare(bad: Any) -> None:
            bad.onWriteLost = self.raising(ZeroDivisionError())
            bad.transport.write(b"x")
            bad.transport.loseWriteConnection()

        events, errors = self.ended(prepare, HalfCloseable)
        self.assertEqual(events[-1], ("lost", ZeroDivisionError))
        self.assertEqual(errors, [ZeroDivisionError])

    def test_outputWaits(self) -> None:
        """
        An observer that raises ends its connection.
        """
        for kind in TAPPED:
            loop = self.eager()
            bad, _ = loop.link(kind, tap=True)
            good, peer = loop.link(kind)
            observer = Observer(bad.events)
            observer.onWaiting = self.raising(ZeroDivisionError())
            bad.transport.registerProducer(observer, True)
            bad.transport.getHandle().plan = [fail(errno.EAGAIN)]
            bad.transport.write(b"x")
            good.transport.write(b"served")
            loop.turn()
            self.assertEqual(read_exactly(peer, 6), b"served")
            self.assertEqual(bad.reason, ZeroDivisionError)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(loop.reactor.getWriters(), [])

    def test_closedHandle(self) -> None:
        """
        So does a socket that the program has closed by itself.
        """
        for kind in TCP + UNIX:
            loop = self.eager()
            bad, _ = loop.link(kind)
            good, peer = loop.link(kind)
            # (Else the poller has a number that is nobody's.)
            bad.transport.stopReading()
            bad.transport.getHandle().close()
            bad.transport.write(b"x")
            good.transport.write(b"served")
            loop.turn()
            self.assertEqual(read_exactly(peer, 6), b"served")
            self.assertIsNotNone(bad.reason)
            self.assertEqual(loop.reactor.getWriters(), [])
            self.flushLoggedErrors()

    def test_leavesTheLoop(self) -> None:
        """
        An exception that leaves the loop leaves the others queued.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                bad, _ = loop.link(kind)
                good, peer = loop.link(kind)
                bad.onLost = self.raising(KeyboardInterrupt())
                bad.transport.loseConnection()
                good.transport.write(b"served")
                self.assertRaises(
                    KeyboardInterrupt, loop.until, lambda: not bad.transport
                )
                return loop.take(peer, 6)

            self.assertEqual(self.same(scenario), b"served")

    def test_reset(self) -> None:
        """
        A reset that is met in a turn's end is a C{ConnectionLost}, whatever waits to
        be done.
        """

        def pull(transport: Any) -> None:
            transport.registerProducer(Producer([]), False)

        def half_close(transport: Any) -> None:
            transport.loseWriteConnection()

        for kind in TCP:
            for prepare in (lambda transport: None, pull, half_close):

                def scenario(
                    loop: Loop, kind: str = kind, prepare: Any = prepare
                ) -> Any:
                    protocol, peer = loop.link(kind)
                    close_with_reset(peer)
                    wait_for_event(protocol.transport.getHandle(), select.POLLHUP)
                    protocol.transport.write(b"too late")
                    prepare(protocol.transport)
                    loop.until(lambda: protocol.reason)
                    return protocol.reason

                self.assertEqual(self.same(scenario), error.ConnectionLost, prepare)

    def test_resetWhilePaused(self) -> None:
        """
        A reset that nobody has read of is met by who closes or half-closes, with
        nothing to send.
        """
        for kind in TCP:
            for half in (Recorder, HalfCloseable):
                for act in ("loseConnection", "loseWriteConnection"):

                    def scenario(
                        loop: Loop, kind: str = kind, half: Any = half, act: str = act
                    ) -> Any:
                        protocol, peer = loop.link(kind, half())
                        protocol.transport.pauseProducing()
                        close_with_reset(peer)
                        wait_for_event(protocol.transport.getHandle(), select.POLLHUP)
                        getattr(protocol.transport, act)()
                        loop.until(lambda: protocol.reason)
                        return protocol.events

                    self.assertEqual(
                        self.same(scenario), [("made",), ("lost", error.ConnectionLost)]
                    )

    def test_halfClosedTwice(self) -> None:
        """
        Who half-closes a second time, there or later, ends the connection.
        """
        for kind in TCP + UNIX:
            for isWithin in (False, True):

                def scenario(
                    loop: Loop, kind: str = kind, isWithin: bool = isWithin
                ) -> Any:
                    protocol, _peer = loop.link(kind, HalfCloseable())
                    again = protocol.transport.loseWriteConnection
                    if isWithin:
                        protocol.onWriteLost = again
                    again()
                    if not isWithin:
                        loop.until(lambda: len(protocol.events) > 1)
                        again()
                    loop.until(lambda: protocol.reason)
                    return protocol.events

                expected = [("made",), ("write lost",), ("lost", error.ConnectionLost)]
                self.assertEqual(self.same(scenario), expected)

    def test_closedInReadConnectionLost(self) -> None:
        """
        A protocol that half-closes closes when its peer has closed.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind, HalfCloseable())
                protocol.onReadLost = protocol.transport.loseConnection
                peer.close()
                loop.until(lambda: protocol.reason)
                return protocol.events

            self.same(scenario)


class AsyncioErrorTests(ErrorTests):
    reactors = ASYNCIO

    def test_systemExit(self) -> None:
        """
        On asyncio C{SystemExit} in C{dataReceived} is logged, and the connection
        goes on, as Twisted has it. What was written is sent.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)

                def act() -> None:
                    protocol.transport.write(b"written")
                    raise SystemExit

                _do_in_data_received(protocol, peer, act)
                data = loop.take(peer, 7)
                return data, len(self.flushLoggedErrors(SystemExit)), protocol.reason

            self.assertEqual(self.same(scenario), (b"written", 1, None))


class ByHandTests(LoopTestCase):
    """
    What a program itself tells the reactor, or a transport, about writing.
    """

    def test_stopped(self) -> None:
        """
        What is written after C{stopWriting} is sent, and what waited is sent before.
        """

        def in_data_received(protocol: Any, peer: Any, act: Any) -> None:
            _do_in_data_received(protocol, peer, act)

        def at_once(protocol: Any, peer: Any, act: Any) -> None:
            act()

        for kind in TCP + UNIX:
            for where in (at_once, in_data_received):
                for size in (1, 300_000):

                    def scenario(
                        loop: Loop,
                        kind: str = kind,
                        where: Any = where,
                        size: int = size,
                    ) -> Any:
                        protocol, peer = loop.link(kind)
                        transport = protocol.transport

                        def act() -> None:
                            transport.write(b"a" * size)
                            transport.stopWriting()
                            protocol.events.append(("acted",))

                        where(protocol, peer, act)
                        loop.until(lambda: ("acted",) in protocol.events)
                        loop.turn()
                        transport.write(b"b")
                        loop.reactor.removeWriter(transport)
                        transport.write(b"c")
                        data = loop.take(peer, size + 2)
                        return data.strip(b"a"), len(data), loop.reactor.getWriters()

                    self.assertEqual(self.same(scenario), (b"bc", size + 2, []))

    def test_doWrite(self) -> None:
        """
        A protocol sends in C{dataReceived}, as it cannot wait, and writes more then.
        """
        for kind in TCP + UNIX:
            for size in (1, 300_000):

                def scenario(loop: Loop, kind: str = kind, size: int = size) -> Any:
                    protocol, peer = loop.link(kind)

                    def act() -> None:
                        protocol.transport.write(b"a" * size)
                        protocol.transport.doWrite()
                        protocol.transport.write(b"b")

                    _do_in_data_received(protocol, peer, act)
                    data = loop.take(peer, size + 1)
                    return data.strip(b"a"), len(data), loop.reactor.getWriters()

                self.assertEqual(self.same(scenario), (b"b", size + 1, []))

    def test_removeAll(self) -> None:
        """
        So is what is written after C{removeAll}.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                protocol.transport.write(b"a")
                removed = loop.reactor.removeAll()
                protocol.transport.write(b"b")
                return removed == [protocol.transport], loop.take(peer, 2)

            self.assertEqual(self.same(scenario), (True, b"ab"))


class AsyncioByHandTests(ByHandTests):
    reactors = ASYNCIO


class LostTests(LoopTestCase):
    """
    A connection that is lost with something queued.
    """

    def loss(self, kind: str, lose: Callable[[Loop, Any, Any], Any]) -> None:
        """
        Lose one that has something queued, and one that waits for the kernel, and see
        that nothing keeps them alive.
        """
        for size in (1, 3_000_000):
            loop = self.eager()
            protocol, peer = loop.link(kind, sendBuffer=4096)
            if size > 1:
                protocol.transport.write(b"x" * size)
                loop.turn()
            protocol.transport.write(b"x")
            self.assertEqual(loop.reactor.getWriters(), [protocol.transport])
            lose(loop, protocol, peer)
            loop.until(lambda p=protocol: p.reason)
            loop.turn()
            self.assertEqual(loop.reactor.getWriters(), [])
            dead = [weakref.ref(protocol), weakref.ref(protocol.transport)]
            loop._protocols.clear()
            del protocol
            gc.collect()
            self.assertEqual([each() for each in dead], [None, None], (kind, size))

    def test_aborted(self) -> None:
        for kind in TCP + UNIX:
            self.loss(kind, lambda loop, protocol, peer: _abort(protocol))

    def test_lost(self) -> None:
        """
        Lost by the program itself, or by another one's doing.
        """
        from twisted.python.failure import Failure

        for kind in TCP + UNIX:
            self.loss(
                kind,
                lambda loop, protocol, peer: protocol.transport.connectionLost(
                    Failure(error.ConnectionLost())
                ),
            )

    def test_disconnectAll(self) -> None:
        """
        The reactor ends those that are queued when it stops.
        """

        def lose(loop: Loop, protocol: Any, peer: Any) -> None:
            protocol.transport.stopReading()
            loop.reactor.disconnectAll()

        for kind in TCP + UNIX:
            self.loss(kind, lose)

    def test_closedByPeer(self) -> None:
        """
        The peer closes in the same turn in which another connection writes to it.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                other, other_peer = loop.link(kind)
                other.onReceived = lambda data: protocol.transport.write(b"too late")
                other_peer.sendall(b"x")
                peer.close()
                loop.until(lambda: protocol.reason and other.received)
                return protocol.reason

            self.assertEqual(self.same(scenario), error.ConnectionDone)


def _abort(protocol: Any) -> None:
    protocol.transport.abortConnection()


class AsyncioLostTests(LostTests):
    reactors = ASYNCIO
