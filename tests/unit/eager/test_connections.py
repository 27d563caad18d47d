"""
Every kind of connection of the eager reactor sends when it is told to, and is Twisted's
in everything else.
"""

import contextlib
import random
import select
import socket
from typing import Any, ClassVar

from twisted.internet import error
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
    IUNIXTransport,
)
from zope.interface.verify import verifyObject

from tests.support.loop import (
    ASYNCIO,
    TCP,
    UNIX,
    HalfCloseable,
    Loop,
    LoopTestCase,
    Producer,
    Recorder,
)
from tests.support.processes import read_exactly


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


class EveryKind:
    """
    Tests of one kind of connection.
    """

    kind: ClassVar[str]

    def test_write(self) -> None:
        """
        What is written reaches the peer when the turn ends.
        """
        loop = self.eager()
        protocol, peer = loop.link(self.kind)
        for data in (b"hello", b"a", b"x" * 4000):
            protocol.transport.write(data)
            self.end_turn(loop, protocol)
            self.assertEqual(read_exactly(peer, len(data)), data)

    def end_turn(self, loop: Loop, protocol: Any) -> None:
        self.assertEqual(loop.reactor.getWriters(), [protocol.transport])
        loop.turn()
        self.assertEqual(loop.reactor.getWriters(), [])

    def test_writeSequence(self) -> None:
        """
        So does a sequence of pieces.
        """
        loop = self.eager()
        protocol, peer = loop.link(self.kind)
        for pieces in ([b"he", b"", b"llo"], (b"he", b"llo"), [b"hello"]):
            protocol.transport.writeSequence(pieces)
            self.end_turn(loop, protocol)
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
        self.end_turn(loop, protocol)
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
            self.assertEqual(loop.reactor.getWriters(), [])
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


class AsyncioAcceptedTCPTests(AcceptedTCPTests):
    reactors = ASYNCIO


class AsyncioConnectedTCPTests(ConnectedTCPTests):
    reactors = ASYNCIO


class AsyncioAdoptedTCPTests(AdoptedTCPTests):
    reactors = ASYNCIO


class AsyncioAcceptedUNIXTests(AcceptedUNIXTests):
    reactors = ASYNCIO


class AsyncioConnectedUNIXTests(ConnectedUNIXTests):
    reactors = ASYNCIO


class AsyncioAdoptedUNIXTests(AdoptedUNIXTests):
    reactors = ASYNCIO
