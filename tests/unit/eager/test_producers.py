"""
L{twisted_echo.eager.sending}: producers are paused and resumed as Twisted does it.
"""

import socket
from collections.abc import Callable
from typing import Any

from tests.support.loop import (
    ASYNCIO,
    TCP,
    UNIX,
    Loop,
    LoopTestCase,
    Producer,
)
from tests.support.processes import read_exactly


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
        While a pull producer is there, nothing is sent before the turn ends: it is
        asked for more when everything is sent.
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
        It answers when it is asked, and sends when the turn ends.
        """
        protocol.onReceived = lambda data: protocol.transport.write(b"answer")
        peer.sendall(b"x")
        loop.read(protocol.transport.getHandle())
        peer.settimeout(1)
        self.assertEqual(read_exactly(peer, 6), b"answer")
        self.assertEqual(loop.reactor.getWriters(), [])
        protocol.transport.write(b"later")
        loop.turn()
        self.assertEqual(read_exactly(peer, 5), b"later")

    def test_eagerAgain(self) -> None:
        """
        Without its producer a connection sends what C{dataReceived} has written as
        soon as that returns, and the rest when the turn ends.
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


class AsyncioProducerTests(ProducerTests):
    reactors = ASYNCIO
