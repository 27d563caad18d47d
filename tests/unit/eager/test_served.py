"""
An accepted connection begins and ends as one of Twisted's.
"""

import re
import socket
from typing import Any, ClassVar

from twisted.internet import error
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.components import Adapter, registerAdapter
from twisted.python.failure import Failure

from tests.support.loop import (
    ASYNCIO,
    HalfCloseable,
    Loop,
    LoopTestCase,
    Producer,
    Recorder,
)
from twisted_echo.eager.tcp_transports import EagerPort, EagerServer
from twisted_echo.eager.unix_transports import EagerUNIXPort, EagerUNIXServer


class OwnPrefix(Recorder):
    def logPrefix(self) -> str:
        return f"after {len(self.events)} events"


class PrefixOfInstance(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.logPrefix = lambda: "mine"  # type: ignore[method-assign]


class NotProtocol:
    """
    A protocol that has no base class of Twisted's, and hands on what it is asked for.
    """

    def __init__(self) -> None:
        self._recorder = Recorder()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recorder, name)


class Adapted(Recorder):
    """
    A protocol for which there is an adapter that can half-close.
    """


class _HalfCloser(Adapter):
    def readConnectionLost(self) -> None:
        self.original.events.append(("adapted",))


registerAdapter(_HalfCloser, Adapted, IHalfCloseableProtocol)


def _plain(shown: str) -> str:
    # The ports' numbers and files differ from run to run.
    return re.sub(r"\d{4,}|b?'[^']*/[^']*'|/\S*", "N", shown)


class AcceptedTests(LoopTestCase):
    """
    Tests of connections that are accepted or adopted.
    """

    kinds: ClassVar[tuple[str, ...]] = (
        *("accepted TCP", "accepted UNIX"),
        *("adopted TCP", "adopted UNIX"),
    )

    def each(self, scenario: Any) -> list[Any]:
        return [
            self.same(lambda loop, kind=kind: scenario(loop, kind))
            for kind in self.kinds
        ]

    def test_names(self) -> None:
        """
        What a transport is called, in a log and by C{repr}, is Twisted's, and stays as
        it was in the beginning, when nobody asked.
        """

        def names(transport: Any) -> list[str]:
            shown = (transport.logPrefix(), transport.logstr, transport.repstr)
            return [_plain(each) for each in (*shown, repr(transport))]

        for make in (Recorder, OwnPrefix, PrefixOfInstance, NotProtocol, Protocol):

            def scenario(loop: Loop, kind: str, make: Any = make) -> Any:
                found = []
                for isAsked in (False, True):
                    transport = loop.link(kind, make())[0].transport
                    early = names(transport) if isAsked else []
                    transport.connectionLost(Failure(error.ConnectionDone()))
                    found.append((early, names(transport)))
                return found

            for (_, unasked), (early, late) in self.each(scenario):
                self.assertEqual(early, late)
                self.assertEqual(len(unasked), 4)

    def test_attributes(self) -> None:
        """
        The same attributes are there before and after the end.
        """
        names = (
            *("bufferSize", "client", "connected", "dataBuffer", "disconnected"),
            *("disconnecting", "fileno", "hostname", "offset", "producer", "protocol"),
            *("producerPaused", "reactor", "repstr", "server", "sessionno", "socket"),
            *("streamingProducer", "_addressType", "_tempDataBuffer", "_tempDataLen"),
            "SEND_LIMIT",
        )

        def noted(transport: Any) -> list[tuple[str, str]]:
            there = [each for each in names if hasattr(transport, each)]
            return [(each, type(getattr(transport, each)).__name__) for each in there]

        def scenario(loop: Loop, kind: str) -> Any:
            transport = loop.link(kind)[0].transport
            before = noted(transport)
            transport.connectionLost(Failure(error.ConnectionDone()))
            after = noted(transport)
            return [
                [each for each in found if each[0] not in ("reactor", "server")]
                for found in (before, after)
            ]

        for before, after in self.each(scenario):
            gone = {name for name, _ in before} - {name for name, _ in after}
            self.assertEqual(gone, {"protocol", "socket"})

    def test_nameIsSet(self) -> None:
        """
        A program may set both names.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            transport = loop.link(kind)[0].transport
            transport.logstr, transport.repstr = "logged", "shown"
            return transport.logPrefix(), repr(transport)

        self.assertEqual(set(self.each(scenario)), {("logged", "shown")})

    def test_lostTwice(self) -> None:
        """
        A protocol is told once.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            protocol, _ = loop.link(kind)
            transport = protocol.transport
            transport.connectionLost(Failure(error.ConnectionDone()))
            transport.connectionLost(Failure(error.ConnectionLost()))
            return protocol.events

        for events in self.each(scenario):
            self.assertEqual(events[1:], [("lost", error.ConnectionDone)])

    def test_producer(self) -> None:
        """
        A producer is stopped while the protocol is still connected to a socket. There
        is one at a time.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            protocol, _ = loop.link(kind)
            transport, events = protocol.transport, protocol.events
            producer = Producer(events)
            producer.stopProducing = lambda: events.append(  # type: ignore[method-assign]
                (transport.connected, transport.fileno() > 0, transport.disconnected)
            )
            transport.registerProducer(Producer(events), True)
            transport.unregisterProducer()
            transport.registerProducer(producer, True)
            self.assertRaises(
                RuntimeError, transport.registerProducer, Producer(events), True
            )
            transport.connectionLost(Failure(error.ConnectionDone()))
            transport.registerProducer(Producer(events), True)
            return events, transport.producer, transport.streamingProducer

        for events, _, _ in self.each(scenario):
            self.assertEqual(events[1], (0, True, 1))
            self.assertEqual(events[2], ("lost", error.ConnectionDone))

    def test_unregisterAfterClose(self) -> None:
        """
        A connection that was closed ends when its producer has unregistered.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            protocol, peer = loop.link(kind)
            transport = protocol.transport
            transport.registerProducer(Producer(protocol.events), True)
            transport.write(bytes(transport.bufferSize + 1))
            transport.loseConnection()
            loop.take(peer, transport.bufferSize + 1)
            loop.until(lambda: ("resume",) in protocol.events)
            transport.unregisterProducer()
            return loop.drain(peer), protocol.events

        for _, events in self.each(scenario):
            self.assertEqual(events[-1], ("lost", error.ConnectionDone))

    def test_readsNoMore(self) -> None:
        """
        A connection that is closed is not read, even if something is still to send.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            transport = loop.link(kind)[0].transport
            found = [transport in loop.reactor.getReaders()]
            transport.write(b"x")
            transport.loseConnection()
            transport.resumeProducing()
            return [*found, transport in loop.reactor.getReaders()]

        for found in self.each(scenario):
            self.assertEqual(found, [True, False])

    def test_switched(self) -> None:
        """
        Who is the protocol when its producer has stopped hears of the end.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            protocol, _ = loop.link(kind)
            transport, other = protocol.transport, Recorder()
            producer = Producer(protocol.events)
            producer.stopProducing = lambda: setattr(  # type: ignore[method-assign]
                transport, "protocol", other
            )
            transport.registerProducer(producer, True)
            transport.abortConnection()
            loop.until(lambda: other.events)
            return protocol.events, other.events

        for events, others in self.each(scenario):
            self.assertEqual(events[1:], [])
            self.assertEqual(others, [("lost", error.ConnectionAborted)])

    def test_protocolIsGone(self) -> None:
        """
        A connection whose protocol the program has deleted is closed all the same.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            protocol, peer = loop.link(kind)
            transport = protocol.transport
            del transport.protocol
            transport.loseConnection()
            loop.drain(peer)
            logged = len(self.flushLoggedErrors(AttributeError))
            return transport.connected, transport.disconnected, logged

        self.assertEqual(set(self.each(scenario)), {(0, 1, 1)})

    def test_emptyProtocol(self) -> None:
        """
        A protocol that is false is not half-closed: Twisted asks it for its truth.
        """

        class Empty(HalfCloseable):
            def __len__(self) -> int:
                return 0

        def scenario(loop: Loop, kind: str) -> Any:
            protocol, peer = loop.link(kind, Empty())
            peer.shutdown(1)
            loop.until(lambda: protocol.reason)
            return protocol.events

        for events in self.each(scenario):
            self.assertEqual(events[1:], [("lost", error.ConnectionDone)])

    def test_conforms(self) -> None:
        """
        A protocol may adapt itself to half-closing, even if it provides it.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            adapter = HalfCloseable()

            class Conforms(HalfCloseable):
                def __conform__(self, interface: Any) -> Any:
                    return adapter if interface is IHalfCloseableProtocol else None

            protocol, peer = loop.link(kind, Conforms())
            peer.shutdown(1)
            loop.until(lambda: adapter.events)
            return protocol.events[1:], adapter.events

        for events, adapted in self.each(scenario):
            self.assertEqual((events, adapted), ([], [("read lost",)]))

    def test_prefixReplaced(self) -> None:
        """
        A program may replace what the names are made of, for all protocols.
        """
        self.patch(Protocol, "logPrefix", lambda protocol: "replaced")

        def scenario(loop: Loop, kind: str) -> Any:
            return loop.link(kind)[0].transport.logPrefix().split(",")[0]

        self.assertEqual(self.each(scenario)[0], "replaced")

    def test_hostname(self) -> None:
        """
        The log names the peer, whatever a program takes for its host.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            transport = loop.link(kind)[0].transport
            transport.hostname = "other"
            return _plain(transport.logPrefix())

        self.assertNotIn("other", "".join(self.each(scenario)))

    def test_adapter(self) -> None:
        """
        A protocol that is adapted to half-closing hears of the end-of-file.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            protocol, peer = loop.link(kind, Adapted())
            peer.shutdown(1)
            loop.until(lambda: len(protocol.events) > 1)
            return protocol.events

        for events in self.each(scenario):
            self.assertEqual(events[1:], [("adapted",)])

    def test_raises(self) -> None:
        """
        A protocol that fails at the end-of-file loses its connection.
        """

        def scenario(loop: Loop, kind: str) -> Any:
            class Fails(HalfCloseable):
                def readConnectionLost(self) -> None:
                    raise ZeroDivisionError

            protocol, peer = loop.link(kind, Fails())
            peer.shutdown(1)
            loop.until(lambda: protocol.reason)
            return protocol.events, len(self.flushLoggedErrors(ZeroDivisionError))

        for events, logged in self.each(scenario):
            self.assertEqual(events[1:], [("lost", ZeroDivisionError)])
            self.assertEqual(logged, 1)


class AsyncioAcceptedTests(AcceptedTests):
    """
    The same on asyncio's loop.
    """

    reactors = ASYNCIO


class SubclassTests(LoopTestCase):
    def test_ownPrefix(self) -> None:
        """
        A program's subclass may say what is logged of a protocol.
        """

        class Own(EagerServer):
            def _getLogPrefix(self, applicationObject: Any) -> str:
                return "own"

        self.patch(EagerPort, "transport", Own)
        protocol, _ = self.eager().link("accepted TCP")
        self.assertTrue(protocol.transport.logPrefix().startswith("own,"))

    def test_noReactor(self) -> None:
        """
        A connection that is given no reactor has the global one, as Twisted's have.
        """
        from twisted.internet import reactor

        ours, peer = socket.socketpair()
        self.addCleanup(peer.close)
        made: Any = EagerServer
        transport = made(ours, Recorder(), ("127.0.0.1", 1), None, 0, None)
        self.addCleanup(ours.close)
        self.addCleanup(transport.stopReading)
        self.assertIs(transport.reactor, reactor)

    def test_overridden(self) -> None:
        """
        What a program's subclass overrides is called.
        """
        called: list[str] = []

        class Overrides:
            def startReading(self) -> None:
                called.append("start")
                super().startReading()  # type: ignore[misc]

            def stopReading(self) -> None:
                called.append("stop")
                super().stopReading()  # type: ignore[misc]

            def stopWriting(self) -> None:
                called.append("stop writing")
                super().stopWriting()  # type: ignore[misc]

        class OwnTCP(Overrides, EagerServer):
            bufferSize = 7

        class OwnUNIX(Overrides, EagerUNIXServer):
            bufferSize = 7

        self.patch(EagerPort, "transport", OwnTCP)
        self.patch(EagerUNIXPort, "transport", OwnUNIX)
        for kind in ("accepted TCP", "accepted UNIX"):
            called.clear()
            protocol, _ = self.eager().link(kind)
            self.assertEqual(protocol.transport.bufferSize, 7)
            protocol.transport.connectionLost(Failure(error.ConnectionDone()))
            self.assertEqual(called, ["start", "stop", "stop writing"])
