"""
L{twisted_echo.eager.sending}: what is sent, call by call.
"""

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

from twisted.internet import error

from tests.support.loop import (
    ASYNCIO,
    PATIENCE,
    TCP,
    UNIX,
    HalfCloseable,
    Loop,
    LoopTestCase,
    OneProtocol,
    Producer,
    Recorder,
    close_with_reset,
    fail,
    wait_for_event,
)
from tests.support.processes import read_exactly


class SendTests(LoopTestCase):
    """
    The calls of C{send}, on sockets that do as planned.
    """

    kinds = ("adopted TCP", "adopted UNIX")

    def tapped(self, kind: str) -> tuple[Loop, Any, Any, socket.socket]:
        loop = self.eager()
        protocol, peer = loop.link(kind, tap=True)
        return loop, protocol, protocol.transport.getHandle(), peer

    def test_oneSend(self) -> None:
        """
        What is written outside C{dataReceived} is sent by one call, when the turn
        ends, and no other call is made later.
        """
        for kind in self.kinds:
            loop, protocol, tap, _ = self.tapped(kind)
            protocol.transport.write(b"one")
            protocol.transport.writeSequence([b"t", b"w", b"o"])
            protocol.transport.write(b"three")
            self.assertEqual(tap.offered, [])
            for _ in range(3):
                loop.turn()
            self.assertEqual(tap.sent, [b"onetwothree"])
            self.assertEqual(tap.offered, [11])

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
            loop.turn()
            # (The same poll may have told that it can be written to.)
            protocol.transport.write(b"2")
            protocol.transport.writeSequence([b"3"])
            loop.until(lambda tap=tap: b"".join(tap.sent) == b"123")
            loop.turn()
            protocol.transport.write(b"4")
            loop.turn()
            self.assertEqual(tap.sent[-1], b"4")
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
        loop.until(lambda: tap.sent)
        protocol.transport.write(b"ghi")
        self.assertEqual(loop.take(peer, 9), b"abcdefghi")
        self.assertEqual(tap.sent[0], b"abc")

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
                    loop.turn()
                limit = protocol.transport.SEND_LIMIT
                self.assertEqual(tap.offered[0], limit)
                self.assertTrue(loop.take(peer, len(sent)) == sent)
                self.assertLessEqual(max(tap.offered), limit)

    def test_noSendOfAnythingElse(self) -> None:
        """
        A connection that is told to close, to half-close or to abort sends nothing
        before the turn ends.
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
            for _ in range(writes):
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

    def test_resetThenLoseConnection(self) -> None:
        """
        So it is when the connection is closed before the reset is read, with nothing
        to send.
        """
        for kind in TCP:
            for half in (Recorder, HalfCloseable):

                def scenario(loop: Loop, kind: str = kind, half: Any = half) -> Any:
                    protocol, peer = loop.link(kind, half())
                    close_with_reset(peer)
                    wait_for_event(protocol.transport.getHandle(), select.POLLHUP)
                    protocol.transport.loseConnection()
                    loop.until(lambda: protocol.reason)
                    return protocol.events

                self.assertEqual(self.same(scenario)[-1][1], error.ConnectionLost)

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
        C{TCP_NODELAY} is on from the beginning until the protocol turns it off. What
        is reported is what the protocol has chosen, as with Twisted's transports.
        """

        def scenario(loop: Loop, kind: str) -> list[bool]:
            protocol = Recorder()
            reported, on = [], []

            def note() -> None:
                transport: Any = protocol.transport
                option = transport.getHandle().getsockopt(IPPROTO_TCP, TCP_NODELAY)
                reported.append(transport.getTcpNoDelay())
                on.append(bool(option))

            protocol.onMade = note
            loop.link(kind, protocol)
            transport: Any = protocol.transport
            for chosen in (False, True, False):
                transport.setTcpNoDelay(chosen)
                note()
            self.assertEqual(on[1:], [False, True, False])
            self.assertEqual(on[0], type(loop.reactor) is self.reactors.eager)
            return reported

        for kind in TCP:
            self.assertEqual(
                self.same(lambda loop, kind=kind: scenario(loop, kind)),
                [False, False, True, False],
            )

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
        loop = self.eager()
        protocol, peer = loop.link("adopted TCP")
        protocol.transport.write(b"x")
        loop.turn()
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
            peer.settimeout(PATIENCE)
            connector.transport.write(b"hello")
            loop.turn()
            self.assertEqual(read_exactly(peer, 5), b"hello")
            connector.disconnect()
            loop.until(lambda: connector.state == "disconnected")
            connector.connect()
        connector.stopConnecting()


class AsyncioSendTests(SendTests):
    reactors = ASYNCIO


class AsyncioPeerTests(PeerTests):
    reactors = ASYNCIO


class AsyncioNoDelayTests(NoDelayTests):
    reactors = ASYNCIO


class AsyncioConnectingTests(ConnectingTests):
    reactors = ASYNCIO
