"""
L{twisted_echo.eager.connection_end}: connections that end with nothing left to send.
"""

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
    fail,
)
from twisted_echo.eager.unix_transports import EagerUNIXPort, EagerUNIXServer

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

        @return: its protocol, as it was in the turn in which that happened, and what
            its socket has been asked to send.
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

        self.patch(EagerUNIXPort, "transport", Own)
        self.test_hangup()

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
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            loop.turn()


class AsyncioEndTests(EndTests):
    """
    The same on asyncio's loop, which does not tell whether the peer has hung up: the
    empty send does.
    """

    reactors = ASYNCIO
    last: ClassVar[list[int]] = [0]
