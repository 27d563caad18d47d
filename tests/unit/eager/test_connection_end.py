"""
L{twisted_echo.eager.connection_end}: connections that end with nothing left to send.
"""

import select
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.internet import error

from tests.support.loop import (
    ASYNCIO,
    TCP,
    UNIX,
    HalfCloseable,
    Loop,
    LoopTestCase,
    Producer,
    close_with_reset,
    fail,
    wait_for_event,
)
from twisted_echo.eager.tcp_transports import EagerPort, EagerServer
from twisted_echo.eager.unix_transports import EagerUNIXPort, EagerUNIXServer
from twisted_echo.eager.write_queue import WriteQueueMixin
from twisted_echo.net.receive_queue import readArrived

ADOPTED = ("adopted TCP", "adopted UNIX")


class Watched(HalfCloseable):
    """
    A protocol that notes whether its connection is lost within a call of its own.
    """

    calls = 0
    isLostWithin = False

    def dataReceived(self, data: bytes) -> None:
        self.calls += 1
        super().dataReceived(data)
        self.calls -= 1

    def readConnectionLost(self) -> None:
        self.calls += 1
        super().readConnectionLost()
        self.calls -= 1

    def connectionLost(self, reason: Any = None) -> None:
        self.isLostWithin = bool(self.calls)
        super().connectionLost(reason)


class EndTests(LoopTestCase):
    """
    On the epoll reactors.

    @cvar last: the sizes of what is sent at the end of an adopted connection.
    """

    last: ClassVar[list[int]] = []

    def ended(self, loop: Loop, kind: str, *, byPeer: bool, answer: bytes) -> Any:
        """
        Have a connection closed in C{dataReceived}, or by the peer's end-of-file.

        @return: its protocol, what had happened to it by the end of that turn, what its
            socket has been asked to send, and what the peer has received.
        """
        protocol, peer = loop.link(kind, Watched(), tap=kind in ADOPTED)
        transport = protocol.transport
        handle = transport.getHandle()

        def close(data: bytes = b"") -> None:
            if answer:
                transport.write(answer)
            transport.loseConnection()

        if byPeer:
            protocol.onReadLost = close
            peer.shutdown(1)
        else:
            protocol.onReceived = close
            peer.sendall(b"bye")
        loop.read(transport)
        if isinstance(loop.reactor, WriteQueueMixin):
            # The turn ends. (Twisted has no such end.)
            loop.reactor.flushWriteQueue()
        events = list(protocol.events)
        rest = loop.drain(peer)
        return protocol, events, getattr(handle, "offered", []), rest

    def test_sameTurn(self) -> None:
        """
        With nothing to send it ends in the turn in which it is closed, and sends
        nothing; never within a call of the protocol, and as with Twisted.
        """
        for kind in TCP + UNIX:
            for byPeer in (False, True):

                def scenario(loop: Loop, kind: str = kind, is_: bool = byPeer) -> Any:
                    protocol, events, offered, rest = self.ended(
                        loop, kind, byPeer=is_, answer=b""
                    )
                    if isinstance(loop.reactor, self.reactors.eager):
                        self.assertIn(("lost", error.ConnectionDone), events)
                        self.assertEqual(offered, self.last if kind in ADOPTED else [])
                    return protocol.events, protocol.isLostWithin, rest

                _events, isWithin, rest = self.same(scenario)
                self.assertFalse(isWithin)
                self.assertEqual(rest, (b"", "end of file"))

    def test_afterAnswer(self) -> None:
        """
        What C{dataReceived} writes before it closes is sent once, and nothing after.
        """
        for kind in ADOPTED:
            loop = Loop(self, self.reactors.eager)
            protocol, events, offered, rest = self.ended(
                loop, kind, byPeer=False, answer=b"221"
            )
            self.assertIn(("lost", error.ConnectionDone), events)
            self.assertEqual(
                (offered, rest), ([3, *self.last], (b"221", "end of file"))
            )
            self.assertFalse(protocol.isLostWithin)

    def test_waits(self) -> None:
        """
        A connection from which the kernel does not take everything ends later.
        """
        for kind in ADOPTED:
            loop = Loop(self, self.reactors.eager)
            protocol, peer = loop.link(kind, Watched(), tap=True)
            transport = protocol.transport
            transport.getHandle().plan = [2, fail(11)]

            def answer(data: bytes, transport: Any = transport) -> None:
                transport.write(b"answer")
                transport.loseConnection()

            protocol.onReceived = answer
            peer.sendall(b"bye")
            loop.read(transport)
            self.assertNotIn(("lost", error.ConnectionDone), protocol.events)
            self.assertEqual(loop.drain(peer), (b"answer", "end of file"))
            self.assertFalse(protocol.isLostWithin)

    def test_pausedProducer(self) -> None:
        """
        A producer that is paused when the connection is closed is resumed first, as
        with Twisted.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link("accepted TCP", Watched())
            transport = protocol.transport
            producer = Producer(protocol.events)
            transport.registerProducer(producer, True)
            producer.onResume = transport.unregisterProducer

            def close(data: bytes) -> None:
                transport.write(b"x" * (transport.bufferSize + 1))
                transport.loseConnection()

            protocol.onReceived = close
            peer.sendall(b"bye")
            received, end = loop.drain(peer)
            return protocol.events, len(received), end, protocol.isLostWithin

        self.assertFalse(self.same(scenario)[-1])

    def test_hangup(self) -> None:
        """
        When the other end of a UNIX socket has closed, Twisted's reason is that the
        connection was lost, whether it is closed by C{dataReceived} or by the
        end-of-file.
        """
        for kind in UNIX:
            for data in (b"", b"bye"):

                def scenario(loop: Loop, kind: str = kind, data: bytes = data) -> Any:
                    protocol, peer = loop.link(kind, Watched())
                    transport = protocol.transport
                    protocol.onReadLost = transport.loseConnection
                    protocol.onReceived = lambda _: transport.loseConnection()
                    peer.sendall(data)
                    peer.close()
                    loop.until(lambda: protocol.reason)
                    return protocol.events, protocol.isLostWithin

                events, isWithin = self.same(scenario)
                self.assertEqual(events[-1], ("lost", error.ConnectionLost))
                self.assertFalse(isWithin)

    def test_subclass(self) -> None:
        """
        The same for a program's own subclass of a transport.
        """

        class Own(EagerUNIXServer):
            pass

        class OwnTCP(EagerServer):
            pass

        self.patch(EagerUNIXPort, "transport", Own)
        self.patch(EagerPort, "transport", OwnTCP)
        self.test_hangup()
        self.test_reset()

    def test_reset(self) -> None:
        """
        When the peer has reset the connection before it is read, that is the reason.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link("accepted TCP", Watched())
            protocol.onReceived = lambda _: protocol.transport.loseConnection()
            peer.sendall(b"bye")
            close_with_reset(peer)
            loop.until(lambda: protocol.reason)
            return protocol.events

        self.assertEqual(self.same(scenario)[-1], ("lost", error.ConnectionLost))

    def test_readByAnother(self) -> None:
        """
        A connection that is read while another one is, and is closed by that, has had
        no event of its own: the kernel is asked.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link("accepted TCP", Watched())
            other, itsPeer = loop.link("accepted TCP", Watched())
            other.onReceived = lambda _: readArrived(protocol.transport, atMost=1)
            # (The poll returns first what was readable first.)
            itsPeer.sendall(b"go")
            wait_for_event(other.transport, select.POLLIN)
            peer.sendall(b"bye")
            wait_for_event(protocol.transport, select.POLLIN)
            protocol.onReceived = lambda _: protocol.transport.loseConnection()
            close_with_reset(peer)
            loop.until(lambda: protocol.reason)
            return protocol.events

        self.assertEqual(self.same(scenario)[-1], ("lost", error.ConnectionLost))

    def test_order(self) -> None:
        """
        Connections that are closed in one turn end in the order in which they were.
        """

        def scenario(loop: Loop) -> Any:
            closed: list[int] = []
            lost: list[int] = []
            for number in range(4):
                protocol, peer = loop.link("accepted TCP", Watched())

                def close(
                    data: bytes, number: int = number, end: Any = protocol.transport
                ) -> None:
                    closed.append(number)
                    end.loseConnection()

                protocol.onReceived = close
                protocol.onLost = lambda number=number: lost.append(number)
                peer.sendall(b"bye")
                wait_for_event(protocol.transport, select.POLLIN)
            loop.until(lambda: len(lost) == 4)
            return closed == lost

        self.assertTrue(self.same(scenario))

    def test_outsideOfReading(self) -> None:
        """
        A connection that is closed outside its own C{doRead} still asks the kernel,
        which tells whether the peer has reset it.
        """
        loop = Loop(self, self.reactors.eager)
        protocol, peer = loop.link("adopted TCP", Watched(), tap=True)
        handle = protocol.transport.getHandle()
        protocol.transport.loseConnection()
        self.assertEqual(loop.drain(peer), (b"", "end of file"))
        self.assertEqual(handle.offered, [0])

    def test_raises(self) -> None:
        """
        What C{connectionLost} raises then is logged, and the reactor goes on.
        """
        loop = Loop(self, self.reactors.eager)
        for byPeer in (False, True):
            protocol, peer = loop.link("accepted TCP", Watched())

            def boom() -> None:
                raise ZeroDivisionError

            protocol.onLost = boom
            transport = protocol.transport
            protocol.onReadLost = transport.loseConnection
            protocol.onReceived = lambda data, end=transport.loseConnection: end()
            if byPeer:
                peer.shutdown(1)
            else:
                peer.sendall(b"bye")
            loop.read(transport)
            loop.turn()
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            loop.turn()


class MeanwhileTests(LoopTestCase):
    """
    What happens between the close and the end of that turn.
    """

    def later(self, loop: Loop, kind: str, *, byPeer: bool, act: Any) -> Any:
        """
        Have something done by a timer that is due in the turn in which a connection is
        closed.

        @param act: called with the protocol.
        """
        protocol, peer = loop.link(kind, Watched())
        transport = protocol.transport

        def timed() -> None:
            protocol.events.append(("timer", transport.connected))
            act(protocol)

        def close(data: bytes = b"") -> None:
            transport.loseConnection()
            loop.reactor.callLater(0, timed)

        if byPeer:
            protocol.onReadLost = close
            peer.shutdown(1)
        else:
            protocol.onReceived = close
            peer.sendall(b"bye")
        rest = loop.drain(peer)
        loop.until(lambda: protocol.reason)
        return protocol.events, rest

    def test_writtenLater(self) -> None:
        """
        What a timer writes that is due in the same turn is sent, as with Twisted.
        """
        for kind in TCP + UNIX:
            for byPeer in (False, True):

                def scenario(loop: Loop, kind: str = kind, is_: bool = byPeer) -> Any:
                    return self.later(
                        loop,
                        kind,
                        byPeer=is_,
                        act=lambda protocol: protocol.transport.write(b"late"),
                    )

                events, rest = self.same(scenario)
                self.assertEqual(rest, (b"late", "end of file"))
                self.assertEqual(
                    events[-2:], [("timer", 1), ("lost", error.ConnectionDone)]
                )

    def test_pulledLater(self) -> None:
        """
        A pull producer that a timer registers in the same turn is asked first.
        """

        def register(protocol: Any) -> None:
            transport, producer = protocol.transport, Producer(protocol.events)

            def produce() -> None:
                transport.write(b"last")
                transport.unregisterProducer()

            producer.onResume = produce
            transport.registerProducer(producer, False)

        def scenario(loop: Loop) -> Any:
            return self.later(loop, "accepted TCP", byPeer=False, act=register)

        _events, rest = self.same(scenario)
        self.assertEqual(rest, (b"last", "end of file"))

    def test_stop(self) -> None:
        """
        A reactor that is stopped in the same turn ends the connection.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link("accepted TCP", Watched())

            def stop(data: bytes) -> None:
                protocol.transport.loseConnection()
                loop.reactor.stop()

            protocol.onReceived = stop
            peer.sendall(b"bye")
            loop.reactor.run(installSignalHandlers=False)
            return protocol.events

        self.assertEqual(self.same(scenario)[-1], ("lost", error.ConnectionLost))


class Polls:
    """
    A poller that notes how long it may wait, and stops the reactor at its second poll.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.poller = reactor._poller
        self.waits: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.poller, name)

    def poll(self, wait: float, most: int) -> Any:
        self.waits.append(wait)
        if len(self.waits) != 2:
            return self.poller.poll(wait, most)
        if not self.reactor._stopped:
            self.reactor.stop()
        return []


class WaitTests(LoopTestCase):
    """
    How long the reactor waits after a connection has ended.
    """

    def waits(
        self,
        act: Callable[[Any], Any],
        before: Callable[[Loop], Any] = lambda _: None,
        timer: float | None = None,
    ) -> Any:
        """
        @param act: called with the reactor when the connection is lost.
        @param before: called at the beginning.
        @param timer: in how many seconds a timer is due that is set before.
        """
        loop = self.eager()
        before(loop)
        protocol, peer = loop.link("accepted TCP", Watched())
        reactor = loop.reactor
        protocol.onReceived = lambda _: protocol.transport.loseConnection()
        protocol.onLost = lambda: act(reactor)
        peer.sendall(b"bye")
        if timer is not None:
            reactor.callLater(timer, list)
        reactor._poller = polls = Polls(reactor)
        reactor.run(installSignalHandlers=False)
        self.assertEqual(protocol.reason, error.ConnectionDone)
        return polls.waits[1]

    def test_nothing(self) -> None:
        """
        It waits for an event: no turn is made for nothing.
        """
        self.assertEqual(self.waits(lambda _: None), -1)

    def test_timer(self) -> None:
        """
        It waits no longer than until the next timer.
        """
        hour = 3600.0
        for earlier in (None, 2 * hour):
            waits = self.waits(
                lambda reactor: reactor.callLater(hour, list), timer=earlier
            )
            self.assertTrue(0 < waits <= hour, waits)
        waits = self.waits(
            lambda reactor: reactor.callLater(2 * hour, list), timer=hour
        )
        self.assertTrue(0 < waits <= hour, waits)

    def test_iterate(self) -> None:
        """
        It waits no longer than the program that turns it says.
        """
        loop = self.eager()
        protocol, peer = loop.link("accepted TCP", Watched())
        reactor = loop.reactor

        def close(data: bytes) -> None:
            protocol.transport.loseConnection()
            reactor.callLater(0, reactor.iterate, 0)

        protocol.onReceived = close
        peer.sendall(b"bye")
        reactor._poller = polls = Polls(reactor)
        reactor.run(installSignalHandlers=False)
        self.assertEqual((protocol.reason, polls.waits[1]), (error.ConnectionDone, 0))

    def test_stopped(self) -> None:
        """
        It does not wait when it was stopped.
        """
        self.assertEqual(self.waits(lambda reactor: reactor.stop()), 0)
        self.assertEqual(self.waits(lambda reactor: reactor.crash()), 0)

    def test_written(self) -> None:
        """
        Nor when something was written to another connection.
        """
        found: list[Any] = []

        def answer(reactor: Any) -> None:
            found[0].transport.write(b"gone")

        def link(loop: Loop) -> None:
            found.append(loop.link("accepted TCP")[0])

        self.assertEqual(self.waits(answer, before=link), 0)


class AsyncioEndTests(EndTests):
    """
    The same on asyncio's loop, which does not tell whether the peer has hung up: the
    empty send does.
    """

    reactors = ASYNCIO
    last: ClassVar[list[int]] = [0]
