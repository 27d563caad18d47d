"""
L{twisted_echo.eager.write_queue}: what follows a write stays behind it.
"""

import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.process import reapAllProcesses
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.support.loop import (
    ASYNCIO,
    PATIENCE,
    TCP,
    UNIX,
    HalfCloseable,
    Loop,
    LoopTestCase,
    Producer,
    Recorder,
)
from tests.support.processes import read_exactly
from twisted_echo.eager.optional_interfaces import IProtocolWithTLS

PLACES = ("timer", "dataReceived", "another's dataReceived")


@implementer(IProtocolWithTLS)
class BeginsTLS(Recorder):
    """
    A protocol that notes that it has to begin TLS, and what has been sent by then.
    """

    def startTLSByTransport(self, context: Any, normal: bool) -> None:
        self.events.append(("begin TLS", context, normal))


class Child(ProcessProtocol):
    reason: Any = None

    def processEnded(self, reason: Failure) -> None:
        self.reason = reason.type


class OrderTestCase(LoopTestCase):
    def do(
        self, loop: Loop, where: str, protocol: Any, peer: Any, act: Callable[[], Any]
    ) -> None:
        """
        Have something done by the program at some place.
        """
        done = []

        def note(_: bytes = b"") -> None:
            if not done:
                done.append(True)
                act()

        if where == "timer":
            loop.reactor.callLater(0, note)
        elif where == "dataReceived":
            protocol.onReceived = note
            peer.sendall(b"x")
        else:
            other, other_peer = loop.link("accepted UNIX")
            other.onReceived = note
            other_peer.sendall(b"x")
        loop.until(lambda: done)

    def everywhere(
        self,
        act: Callable[[Any], Any],
        finish: Callable[[Loop, Any, Any], Any],
        protocol: Callable[[], Any] = Recorder,
    ) -> Any:
        """
        What comes of something that the program does with a transport, as on
        Twisted's reactor, on every kind of connection and at every place.
        """
        outcomes = []
        for kind in TCP + UNIX:
            for where in PLACES:

                def scenario(loop: Loop, kind: str = kind, where: str = where) -> Any:
                    made, peer = loop.link(kind, protocol())
                    self.do(loop, where, made, peer, lambda: act(made.transport))
                    outcome = finish(loop, made, peer)
                    events = [each for each in made.events if each[0] != "received"]
                    return outcome, events, made.reason

                outcomes.append(self.same(scenario)[0])
        self.assertEqual(outcomes, outcomes[:1] * len(outcomes))
        return outcomes[0]


def _drained(loop: Loop, protocol: Any, peer: socket.socket) -> Any:
    outcome = loop.drain(peer)
    loop.until(lambda: protocol.reason)
    return outcome


class OrderTests(OrderTestCase):
    def test_loseConnection(self) -> None:
        def act(transport: Any) -> None:
            transport.write(b"one")
            transport.writeSequence([b"two", b"three"])
            transport.loseConnection()

        self.assertEqual(
            self.everywhere(act, _drained), (b"onetwothree", "end of file")
        )

    def test_loseConnectionOfMuch(self) -> None:
        def act(transport: Any) -> None:
            transport.write(b"x" * 3_000_000)
            transport.loseConnection()

        def finish(loop: Loop, protocol: Any, peer: Any) -> Any:
            data, ended = _drained(loop, protocol, peer)
            return len(data), ended

        self.assertEqual(self.everywhere(act, finish), (3_000_000, "end of file"))

    def test_loseWriteConnection(self) -> None:
        """
        The peer reads to the end, and is still heard.
        """

        def act(transport: Any) -> None:
            transport.write(b"last words")
            transport.loseWriteConnection()

        def finish(loop: Loop, protocol: Any, peer: Any) -> Any:
            outcome = loop.drain(peer)
            peer.setblocking(True)
            peer.sendall(b"heard")
            loop.until(lambda: protocol.received.endswith(b"heard"))
            loop.until(lambda: ("write lost",) in protocol.events)
            return outcome

        self.assertEqual(
            self.everywhere(act, finish, HalfCloseable), (b"last words", "end of file")
        )

    def test_abortConnection(self) -> None:
        """
        It discards what was written before.
        """

        def act(transport: Any) -> None:
            transport.write(b"never sent")
            transport.abortConnection()

        def finish(loop: Loop, protocol: Any, peer: Any) -> Any:
            data, _ = loop.drain(peer)
            loop.until(lambda: protocol.reason)
            return data, protocol.reason

        self.assertEqual(self.everywhere(act, finish), (b"", error.ConnectionAborted))

    def test_abortAfterAll(self) -> None:
        """
        Whatever was to follow.
        """
        for name in ("loseConnection", "loseWriteConnection"):

            def act(transport: Any, name: str = name) -> None:
                transport.write(b"never sent")
                getattr(transport, name)()
                transport.abortConnection()

            def finish(loop: Loop, protocol: Any, peer: Any) -> Any:
                data, _ = loop.drain(peer)
                loop.until(lambda: protocol.reason)
                return data

            self.assertEqual(self.everywhere(act, finish), b"")

    def test_registerProducer(self) -> None:
        """
        What was written before a producer came is sent before what it writes.
        """
        for streaming in (True, False):

            def act(transport: Any, streaming: bool = streaming) -> None:
                producer = Producer([])

                def more() -> None:
                    transport.write(b"produced ")
                    transport.unregisterProducer()
                    transport.loseConnection()

                producer.onResume = more
                transport.write(b"before ")
                transport.registerProducer(producer, streaming)
                if streaming:
                    transport.write(b"x" * 66_000)

            def finish(loop: Loop, protocol: Any, peer: Any) -> Any:
                data, _ = _drained(loop, protocol, peer)
                return data.replace(b"x", b"")

            self.assertEqual(self.everywhere(act, finish), b"before produced ")

    def test_startTLS(self) -> None:
        """
        A protocol that begins TLS itself writes behind what was written before.
        """

        def act(transport: Any) -> None:
            transport.write(b"plain ")
            transport.startTLS("context", False)
            transport.write(b"hello")

        for kind in TCP + UNIX:
            for where in PLACES:
                loop = self.eager()
                protocol, peer = loop.link(kind, BeginsTLS())
                transport = protocol.transport
                self.do(loop, where, protocol, peer, lambda t=transport: act(t))
                self.assertEqual(loop.take(peer, 11), b"plain hello")
                self.assertIn(("begin TLS", "context", False), protocol.events)

    def test_callFromThread(self) -> None:
        """
        What threads have written by C{callFromThread} is sent in their order.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)

                def call() -> None:
                    for n in range(100):
                        loop.reactor.callFromThread(
                            protocol.transport.write, b"%02d" % n
                        )

                thread = threading.Thread(target=call)
                thread.start()
                data = loop.take(peer, 200)
                thread.join()
                return data

            self.assertEqual(
                self.same(scenario), b"".join(b"%02d" % n for n in range(100))
            )

    def test_spawnProcess(self) -> None:
        """
        What is queued while the process forks is sent once.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                child = Child()
                transport = protocol.transport

                def act() -> None:
                    transport.write(b"before ")
                    loop.reactor.spawnProcess(
                        child, sys.executable, [sys.executable, "-c", ""], {}
                    )
                    transport.write(b"after")
                    transport.loseConnection()

                loop.reactor.callLater(0, act)
                outcome = loop.drain(peer)
                while child.reason is None:
                    reapAllProcesses()
                    loop.turn(0.01)
                return outcome, child.reason

            self.assertEqual(
                self.same(scenario),
                ((b"before after", "end of file"), error.ProcessDone),
            )

    def test_stop(self) -> None:
        """
        C{reactor.stop} sends what was written before if something makes the shutdown
        wait; else it discards that, as on Twisted's.
        """
        for kind in TCP + UNIX:
            for waits in (False, True):

                def scenario(loop: Loop, kind: str = kind, waits: bool = waits) -> Any:
                    protocol, peer = loop.link(kind)
                    reactor = loop.reactor

                    def act() -> None:
                        protocol.transport.write(b"last words")
                        reactor.stop()

                    if waits:
                        reactor.addSystemEventTrigger(
                            "before", "shutdown", deferLater, reactor, 0.001
                        )
                    reactor.callLater(0, act)
                    reactor.run(installSignalHandlers=False)
                    peer.settimeout(PATIENCE)
                    return read_exactly(peer, 11), protocol.reason

                self.assertEqual(
                    self.same(scenario),
                    (b"last words" if waits else b"", error.ConnectionLost),
                )


class AsyncioOrderTests(OrderTests):
    reactors = ASYNCIO


class IterateTests(LoopTestCase):
    """
    A program that turns the reactor by itself. (On asyncio none can.)
    """

    def test_timer(self) -> None:
        """
        What was written before is sent meanwhile.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                heard = []

                def act() -> None:
                    protocol.transport.write(b"question")
                    heard.append(loop.take(peer, 8))
                    protocol.transport.write(b"end")

                loop.reactor.callLater(0, act)
                loop.until(lambda: heard)
                return heard, loop.take(peer, 3)

            self.assertEqual(self.same(scenario), ([b"question"], b"end"))

    def callback(self, name: str) -> None:
        """
        Turn the reactor within some callback of the end of a turn.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind, HalfCloseable())
                other, other_peer = loop.link(kind)
                transport = protocol.transport
                heard = []

                def act() -> None:
                    other.transport.write(b"inner ")
                    # Both are sent, whichever was to be the first.
                    heard.append(loop.take(other_peer, 12))
                    if transport.connected:
                        transport.write(b" more")

                producer = Producer([])
                producer.onResume = act
                other.transport.write(b"outer ")
                if name == "resume":
                    transport.registerProducer(producer, True)
                    transport.write(b"x" * 66_000)
                    loop.take(peer, 66_000)
                elif name == "lost":
                    protocol.onLost = act
                    transport.loseConnection()
                else:
                    protocol.onWriteLost = act
                    transport.loseWriteConnection()
                loop.until(lambda: heard)
                other.transport.write(b"outer again")
                return heard, loop.take(other_peer, 11), protocol.events

            heard, rest, _ = self.same(scenario)
            self.assertEqual((heard, rest), ([b"outer inner "], b"outer again"))

    def test_resume(self) -> None:
        self.callback("resume")

    def test_lost(self) -> None:
        self.callback("lost")

    def test_writeLost(self) -> None:
        self.callback("write lost")

    def test_pause(self) -> None:
        """
        Within C{pauseProducing}, which is called from within C{write}.
        """
        for kind in TCP + UNIX:
            for inside in (False, True):

                def scenario(
                    loop: Loop, kind: str = kind, inside: bool = inside
                ) -> Any:
                    protocol, peer = loop.link(kind)
                    transport = protocol.transport
                    producer = Producer([])

                    def turn() -> None:
                        producer.onPause = lambda: None
                        loop.turn()
                        protocol.events.append(("turned",))

                    producer.onPause = turn

                    def act(_: bytes = b"") -> None:
                        transport.registerProducer(producer, True)
                        transport.write(b"x" * 66_000)
                        transport.write(b"after")

                    if inside:
                        protocol.onReceived = act
                        peer.sendall(b"x")
                        loop.read(transport.getHandle())
                    else:
                        act()
                    data = loop.take(peer, 66_005)
                    return data, protocol.events

                data, events = self.same(scenario)
                self.assertTrue(data == b"x" * 66_000 + b"after")
                self.assertEqual(events[-1], ("turned",))
