"""
L{twisted_echo.eager.accepting}: what is accepted in one turn, and how.
"""

import socket
from collections.abc import Callable
from errno import EBADF
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from tests.support.loop import ASYNCIO, Loop, LoopTestCase, Recorder
from tests.support.processes import new_folder
from twisted_echo.command.workers.adopted import AdoptedEndpoint
from twisted_echo.eager import accepting
from twisted_echo.eager.accepting import SHARE, acceptor


class Counted(Factory[Any]):
    """
    Makes L{Recorder}s, each of which takes some time of a fake clock.

    @ivar third: called when the third is made.
    """

    noisy = False

    def __init__(self, loop: Loop) -> None:
        self.made: list[Recorder] = []
        self.loop = loop
        self.now = 0.0
        self.takes = 0.0
        self.third: Callable[[], object] = lambda: None

    def seconds(self) -> float:
        return self.now

    def buildProtocol(self, addr: Any) -> Recorder:
        self.now += self.takes
        protocol = Recorder()
        self.made.append(protocol)
        self.loop._protocols.append(protocol)
        if len(self.made) == 3:
            self.third()
        return protocol


class AcceptTests(LoopTestCase):
    """
    On the epoll reactor.
    """

    def listening(self, count: int, takes: float) -> tuple[Loop, Counted]:
        loop = Loop(self, self.reactors.eager)
        factory = Counted(loop)
        factory.takes = takes
        self.patch(accepting, "perf_counter", factory.seconds)
        port = loop.reactor.listenTCP(0, factory, 500, interface="127.0.0.1")
        for _ in range(count):
            peer = socket.create_connection(("127.0.0.1", port.getHost().port))
            self.addCleanup(peer.close)
        return loop, factory

    def test_share(self) -> None:
        """
        However many connections wait, a turn takes a share of time and then one more;
        the next turns take the others.
        """
        loop, factory = self.listening(50, SHARE / 4)
        loop.reactor.iterate(0) if self.reactors is not ASYNCIO else loop.turn()
        first = len(factory.made)
        self.assertIn(first, (4, 8) if self.reactors is ASYNCIO else (4,))
        loop.until(lambda: len(factory.made) == 50)

    def test_worker(self) -> None:
        """
        So does the port of a worker, on a socket that its supervisor has bound.
        """
        loop = self.eager()
        factory = Counted(loop)
        factory.takes = SHARE / 4
        self.patch(accepting, "perf_counter", factory.seconds)
        listening = socket.create_server(("127.0.0.1", 0), backlog=20)
        for _ in range(9):
            peer = socket.create_connection(listening.getsockname())
            self.addCleanup(peer.close)
        AdoptedEndpoint(loop.reactor, listening).listen(factory)
        found = []
        while len(factory.made) < 9:
            before = len(factory.made)
            loop.until(lambda before=before: len(factory.made) > before)
            found.append(len(factory.made) - before)
        self.assertEqual(max(found), 8 if self.reactors is ASYNCIO else 4)

    def test_oneAtLeast(self) -> None:
        """
        A connection that takes longer than the share is accepted in a turn all the
        same.
        """
        loop, factory = self.listening(3, SHARE * 9)
        loop.until(lambda: len(factory.made) == 3)

    def test_stops(self) -> None:
        """
        A port that stops listening while it accepts goes on as far as Twisted's, though
        its share is used up. Nobody who waits is reset.
        """
        for takes in (SHARE / 9, SHARE / 2, SHARE * 9):

            def scenario(loop: Loop, takes: float = takes) -> Any:
                factory = Counted(loop)
                factory.takes = takes
                self.patch(accepting, "perf_counter", factory.seconds)
                port = loop.reactor.listenTCP(0, factory, 500, interface="127.0.0.1")
                factory.third = port.stopListening
                peers = []
                for _ in range(60):
                    address = ("127.0.0.1", port.getHost().port)
                    peers.append(socket.create_connection(address))
                    self.addCleanup(peers[-1].close)
                loop.until(lambda: not port.connected)
                for peer in peers:
                    peer.setblocking(False)
                    self.assertRaises(BlockingIOError, peer.recv, 1)
                return len(factory.made)

            self.assertEqual(self.same(scenario), 60)

    def test_quick(self) -> None:
        """
        Connections that take no time are accepted in one turn, a hundred of them.
        """
        loop, factory = self.listening(100, 0.0)
        loop.turn()
        self.assertEqual(len(factory.made), 100)

    def test_failingPort(self) -> None:
        """
        What C{doRead} of a program's own port raises, or returns, ends it, as with
        Twisted; and so for a port that was given a C{doRead}.
        """

        def fails() -> Any:
            raise ZeroDivisionError

        def ends() -> Any:
            return CONNECTION_LOST

        for isOwnClass in (True, False):
            for act, expected in ((fails, ZeroDivisionError), (ends, ConnectionLost)):

                def scenario(
                    loop: Loop, isOwn: bool = isOwnClass, act: Any = act
                ) -> Any:
                    lost: list[Any] = []
                    factory = Counted(loop)
                    port = loop.reactor.listenTCP(0, factory, interface="127.0.0.1")
                    kind = type(port)

                    class Own(kind):  # type: ignore[misc, valid-type]
                        doRead = staticmethod(act)

                    if isOwn:
                        port.stopListening()
                        port = Own(0, factory, 50, "127.0.0.1", loop.reactor)
                        port.startListening()
                    else:
                        port.doRead = act

                    def note(reason: Failure) -> None:
                        lost.append(reason.type)
                        kind.connectionLost(port, reason)

                    port.connectionLost = note
                    peer = socket.create_connection(("127.0.0.1", port.getHost().port))
                    self.addCleanup(peer.close)
                    loop.until(lambda: lost)
                    loop.turn()
                    return lost, len(self.flushLoggedErrors(ZeroDivisionError))

                found = self.same(scenario)
                self.assertEqual(found, ([expected], int(act is fails)))

    def test_sameSocket(self) -> None:
        """
        What L{acceptor} makes returns what C{accept} returns.
        """
        path = str(new_folder(self) / "socket")
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(path)
        unix.listen()
        for listening in (socket.create_server(("127.0.0.1", 0)), unix):
            with listening:
                found = []
                for accept in (listening.accept, acceptor(listening)):
                    peer = socket.socket(listening.family)
                    self.addCleanup(peer.close)
                    peer.connect(listening.getsockname())
                    accepted, address = accept()
                    self.addCleanup(accepted.close)
                    self.assertEqual(address, peer.getsockname())
                    found.append(
                        (
                            type(accepted),
                            accepted.family,
                            accepted.type,
                            accepted.proto,
                            accepted.get_inheritable(),
                        )
                    )
                self.assertEqual(*found)

    def test_nobodyWaits(self) -> None:
        """
        What L{acceptor} makes raises what C{accept} raises.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            self.assertRaises(BlockingIOError, acceptor(listening))

    def test_described(self) -> None:
        """
        Numbers, addresses and descriptions are those of Twisted's ports, for IPv6 and
        for a client of a UNIX socket that has a path of four characters too.
        """

        def scenario(loop: Loop) -> Any:
            factory = Counted(loop)
            ports = [loop.reactor.listenTCP(0, factory, interface="127.0.0.1")]
            if socket.has_ipv6:
                ports.append(loop.reactor.listenTCP(0, factory, interface="::1"))
            described = []
            for port in ports:
                for _ in range(2):
                    count = len(factory.made)
                    peer = socket.create_connection(
                        (port.interface, port.getHost().port)
                    )
                    self.addCleanup(peer.close)
                    loop.until(lambda count=count: len(factory.made) > count)
                    transport = factory.made[-1].transport
                    own, number = str(peer.getsockname()[1]), str(port.getHost().port)
                    for each in (
                        transport.getPeer(),
                        transport.getHost(),
                        transport,
                        transport.logPrefix(),
                        transport.sessionno,
                        transport.hostname,
                    ):
                        text = repr(each).replace(own, "PEER")
                        described.append(text.replace(number, "PORT"))
                port.stopListening()
            loop.turn()
            return described

        self.same(scenario)


class NestedTests(LoopTestCase):
    """
    On the epoll reactor alone: the loop of asyncio does not nest.
    """

    def test_closedByNestedTurn(self) -> None:
        """
        A port that a nested turn has closed while it accepts says so, as Twisted's.
        """

        def scenario(loop: Loop) -> Any:
            factory = Counted(loop)
            # (So that the share of time does not end the batch before that.)
            self.patch(accepting, "perf_counter", factory.seconds)
            port = loop.reactor.listenTCP(0, factory, interface="127.0.0.1")

            def close() -> None:
                port.stopListening()
                while port.connected:
                    loop.reactor.iterate(0)

            factory.third = close
            for _ in range(5):
                address = ("127.0.0.1", port.getHost().port)
                self.addCleanup(socket.create_connection(address).close)
            loop.until(lambda: len(factory.made) == 3)
            return [repr(each.value) for each in self.flushLoggedErrors(OSError)]

        closed = OSError(EBADF, "Bad file descriptor")
        self.assertEqual(self.same(scenario), [repr(closed)])


class AsyncioAcceptTests(AcceptTests):
    """
    The same on asyncio's loop.
    """

    reactors = ASYNCIO
