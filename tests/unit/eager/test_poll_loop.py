"""
L{twisted_echo.eager.epoll_reactor}: what its poll loop does.
"""

import errno
import os
import select
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IReactorFDSet, IReactorSocket, IReactorUNIX
from zope.interface.verify import verifyObject

from tests.support.descriptors import FakePoller, Readable, Unreadable
from tests.support.loop import (
    ASYNCIO,
    TCP,
    UNIX,
    Loop,
    LoopTestCase,
    OneProtocol,
    Producer,
    Recorder,
    wait_for_event,
)
from tests.support.processes import (
    read_exactly,
)


class PollTests(LoopTestCase):
    def test_interfaces(self) -> None:
        loop = self.eager()
        for interface in (IReactorFDSet, IReactorSocket, IReactorUNIX):
            verifyObject(interface, loop.reactor)

    def test_several(self) -> None:
        """
        In one poll each connection that has something is served, once.
        """
        loop = self.eager()
        links = [loop.link("accepted TCP") for _ in range(5)]
        for protocol, peer in links:
            protocol.onReceived = protocol.transport.write
            peer.sendall(b"ab")
        for protocol, _ in links:
            wait_for_event(protocol.transport, select.POLLIN)
        loop.turn()
        for protocol, peer in links:
            self.assertEqual(read_exactly(peer, 2), b"ab")
            self.assertEqual(protocol.events[1:], [("received", b"ab")])

    def test_goneInTheSameTurn(self) -> None:
        """
        A connection that another one aborts or closes before its event is
        dispatched hears nothing more.
        """

        def scenario(loop: Loop) -> Any:
            pairs = [loop.link("accepted TCP") for _ in range(2)]
            (first, _), (second, _) = pairs
            for one, other in ((first, second), (second, first)):
                one.onReceived = lambda data, other=other: (
                    other.transport.abortConnection()
                )
            for _, peer in pairs:
                peer.sendall(b"x")
            for protocol, _ in pairs:
                select.select([protocol.transport.getHandle()], [], [], 20)
            loop.until(lambda: first.reason or second.reason)
            loop.turn()
            return sorted((each.received, str(each.reason)) for each, _ in pairs)

        self.assertEqual([each[0] for each in self.same(scenario)], [b"", b"x"])

    def test_tooManyFiles(self) -> None:
        """
        Without a free descriptor, Twisted's reserve is used: the client is
        disconnected, and the port goes on.
        """

        def scenario(loop: Loop) -> Any:
            protocol = Recorder()
            loop._protocols.append(protocol)
            port = loop.reactor.listenTCP(
                0, OneProtocol(protocol), interface="127.0.0.1"
            )
            refused = socket.create_connection(("127.0.0.1", port.getHost().port))
            self.addCleanup(refused.close)
            real, full = port.socket, []

            class Full:
                def __getattr__(self, name: str) -> Any:
                    return getattr(real, name)

                def accept(self) -> Any:
                    # (As from the kernel: until the reserve is given up.)
                    if not full:
                        if tcp._reservedFD.available():
                            raise OSError(errno.EMFILE, "fake")
                        full.append(True)
                    return real.accept()

            port.socket = Full()
            outcome = loop.drain(refused)
            accepted = socket.create_connection(("127.0.0.1", port.getHost().port))
            self.addCleanup(accepted.close)
            loop.until(lambda: protocol.transport)
            return outcome, full

        self.assertEqual(self.same(scenario)[0], (b"", "end of file"))

    def test_pausedWhileReading(self) -> None:
        """
        A protocol that pauses its transport hears no more until it resumes it.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                transport = protocol.transport

                def pause(data: bytes) -> None:
                    transport.write(data)
                    transport.pauseProducing()

                protocol.onReceived = pause
                heard = []
                for n in range(3):
                    peer.sendall(b"%d" % n)
                    heard.append(loop.take(peer, 1))
                    peer.sendall(b"-")
                    for _ in range(3):
                        loop.turn()
                    heard.append(protocol.received)
                    protocol.onReceived = lambda data: None
                    transport.resumeProducing()
                    loop.until(lambda: protocol.received.endswith(b"-"))
                    protocol.onReceived = pause
                return heard

            self.same(scenario)


class EventTests(LoopTestCase):
    """
    What the poller gives.
    """

    def test_unknownDescriptor(self) -> None:
        """
        Events for descriptors that nobody has are ignored, and the others are
        dispatched.
        """
        loop = self.eager()
        protocol, peer = loop.link("accepted TCP")
        number = protocol.transport.fileno()
        peer.sendall(b"x")
        loop.reactor._poller = FakePoller(
            loop.reactor._poller,
            [
                (99_999, select.EPOLLIN),
                (99_998, select.EPOLLHUP),
                (number, select.EPOLLIN),
            ],
        )
        loop.turn()
        self.assertEqual(protocol.received, b"x")

    def test_interrupted(self) -> None:
        """
        C{EINTR} ends a turn, any other error is raised.
        """

        def scenario(loop: Loop) -> Any:
            raised = []
            for number in (errno.EINTR, errno.EBADF):
                poller = loop.reactor._poller
                loop.reactor._poller = FakePoller(poller, OSError(number, "fake"))
                try:
                    loop.turn()
                except OSError as problem:
                    raised.append(problem.errno)
                loop.reactor._poller = poller
            return raised

        self.assertEqual(self.same(scenario), [errno.EBADF])

    def test_otherDescriptors(self) -> None:
        """
        What is none of our connections is dispatched as ever.
        """
        for problem in (ZeroDivisionError(), KeyboardInterrupt()):

            def scenario(loop: Loop, problem: BaseException = problem) -> Any:
                one, other = socket.socketpair()
                self.addCleanup(one.close)
                self.addCleanup(other.close)
                other.send(b"x")
                reader = Unreadable(one, problem)
                loop.reactor.addReader(reader)
                loop.until(lambda: reader.lost)
                return reader.lost, len(self.flushLoggedErrors(type(problem)))

            self.same(scenario)

    def descriptor(self, loop: Loop, readable: socket.socket) -> "Readable":
        reader = Readable(readable)
        loop.reactor.addReader(reader)
        self.addCleanup(loop.reactor.removeReader, reader)
        return reader

    def pair(self) -> tuple[socket.socket, socket.socket]:
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        return one, other

    def stale(self, isNested: bool) -> Any:
        """
        A descriptor closes another one, of whom an event is still to come, and a third
        one gets its number.
        """

        def scenario(loop: Loop) -> Any:
            (one, _), (two, _), (three, peer) = (self.pair() for _ in range(3))
            first = self.descriptor(loop, one)
            second = self.descriptor(loop, two)
            number = two.fileno()
            thirds = []

            def replace() -> None:
                loop.reactor.removeReader(second)
                two.close()
                new = socket.socket(fileno=os.dup2(three.fileno(), number))
                self.addCleanup(new.close)
                thirds.append(self.descriptor(loop, new))

            def turn_reactor() -> None:
                loop.reactor.callLater(0, replace)
                loop.turn()

            first.onRead = turn_reactor if isNested else replace
            events = [(first.fileno(), select.EPOLLIN), (number, select.EPOLLIN)]
            real = loop.reactor._poller
            loop.reactor._poller = FakePoller(real, events)
            loop.turn()
            loop.reactor._poller = real
            struck = thirds[0].reads
            # Its own events it gets.
            peer.send(b"x")
            loop.until(lambda: thirds[0].reads > struck)
            return struck, first.reads, second.reads

        stock, eager = (
            scenario(Loop(self, each))
            for each in (self.reactors.stock, self.reactors.eager)
        )
        return stock, eager

    def test_stale(self) -> None:
        """
        An event does not strike a descriptor that has been registered since with the
        same number, as it does on Twisted's.
        """
        for isNested in (False, True):
            stock, eager = self.stale(isNested)
            self.assertEqual((stock, eager), ((1, 1, 0), (0, 1, 0)))

    def test_registeredAgain(self) -> None:
        """
        A descriptor that another one removes and adds whenever it is read gets its
        events, and does not have to wait.
        """

        def scenario(loop: Loop) -> Any:
            (one, _), (two, _) = (self.pair() for _ in range(2))
            first = self.descriptor(loop, one)
            second = self.descriptor(loop, two)

            def toggle() -> None:
                loop.reactor.removeReader(second)
                loop.reactor.addReader(second)

            first.onRead = toggle
            events = [(each.fileno(), select.EPOLLIN) for each in (first, second)]
            loop.reactor._poller = FakePoller(loop.reactor._poller, events)
            loop.turn()
            return first.reads, second.reads

        self.assertEqual(self.same(scenario), (1, 1))

    def test_timeout(self) -> None:
        """
        After an end of turn that has called the program the reactor does not wait, for
        the program may have scheduled calls. After others it waits as long as before.
        """

        def scheduled(reactor: Any) -> None:
            reactor.callLater(0, lambda: None)

        def stopped(reactor: Any) -> None:
            reactor.callLater(0, reactor.crash)

        for act in (scheduled, stopped):
            for kind in TCP + UNIX:
                loop = self.eager()
                protocol, _ = loop.link(kind)
                poller = FakePoller(loop.reactor._poller)
                loop.reactor._poller = poller
                protocol.transport.write(b"x")
                loop.turn(7.0)
                loop.turn(7.0)
                protocol.onLost = lambda act=act, loop=loop: act(loop.reactor)
                protocol.transport.loseConnection()
                loop.turn(7.0)
                self.assertEqual(
                    [each[0] for each in poller.asked], [7.0, 7.0, 0], kind
                )


class NestedTests(LoopTestCase):
    """
    A protocol that turns the reactor in C{dataReceived}.
    """

    def test_question(self) -> None:
        """
        What it has written goes out meanwhile, and the answer comes in.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                transport = protocol.transport

                def ask(data: bytes) -> None:
                    protocol.onReceived = lambda data: transport.write(b"good, ")
                    transport.write(b"ques")
                    transport.write(b"tion, ")
                    protocol.events.append(("heard", loop.take(peer, 10)))
                    peer.sendall(b"answer")
                    loop.until(lambda: protocol.received == b"xanswer")
                    transport.write(b"bye")

                protocol.onReceived = ask
                peer.sendall(b"x")
                loop.until(lambda: protocol.received)
                return loop.take(peer, 9), protocol.events

            self.assertEqual(self.same(scenario)[0], b"good, bye")

    def test_writable(self) -> None:
        """
        Likewise when the connection could be written to in the same turn.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                transport = protocol.transport

                def ask(data: bytes) -> None:
                    # The second when there is nothing more to tell epoll of.
                    for question in (b"first", b"second"):
                        transport.write(question)
                        heard = loop.take(peer, len(question))
                        protocol.events.append(("heard", heard))

                protocol.onReceived = ask
                peer.sendall(b"x")
                select.select([transport.getHandle()], [], [], 20)
                transport.startWriting()
                loop.turn()
                return protocol.events

            self.assertIn(("heard", b"second"), self.same(scenario))

    def test_two(self) -> None:
        """
        Nested more than once: all that was written goes out.
        """

        def scenario(loop: Loop) -> Any:
            (first, one), (second, two) = (loop.link("accepted TCP") for _ in range(2))

            def outer(data: bytes) -> None:
                first.transport.write(b"first")
                two.sendall(b"x")
                loop.until(lambda: second.received)

            def inner(data: bytes) -> None:
                first.transport.write(b" again")
                second.transport.write(b"second")
                second.events.append((loop.take(one, 11), loop.take(two, 6)))

            first.onReceived, second.onReceived = outer, inner
            one.sendall(b"x")
            loop.until(lambda: first.received)
            return first.events, second.events

        self.assertIn((b"first again", b"second"), self.same(scenario)[1])

    def test_push(self) -> None:
        """
        A producer that is paused meanwhile is resumed meanwhile.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link("accepted TCP")

            def fill(data: bytes) -> None:
                producer = Producer(protocol.events)
                protocol.transport.registerProducer(producer, True)
                protocol.transport.write(b"x" * 100_000)
                protocol.events.append(("heard", len(loop.take(peer, 100_000))))
                loop.until(lambda: not loop.reactor.getWriters())
                protocol.events.append(("returned",))

            protocol.onReceived = fill
            peer.sendall(b"x")
            loop.until(lambda: protocol.received)
            return protocol.events

        events = self.same(scenario)
        self.assertIn(("resume",), events)
        self.assertEqual(events[-1], ("returned",))


class AsyncioPollTests(PollTests):
    reactors = ASYNCIO
