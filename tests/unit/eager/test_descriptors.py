"""
L{twisted_echo.eager.unix_transports}: descriptors that are passed along.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import error

from tests.support.loop import (
    ASYNCIO,
    TURNS,
    UNIX,
    Loop,
    LoopTestCase,
    Producer,
)
from tests.support.processes import read_exactly


class DescriptorTests(LoopTestCase):
    """
    Descriptors over UNIX connections.
    """

    def passed(self, act: Callable[[Any, int], Any], inside: bool) -> None:
        """
        Run C{act} with a transport and a descriptor, and compare what arrives.
        """
        for kind in UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                own, other = os.pipe()
                os.write(other, b"from the pipe")
                os.close(other)
                self.addCleanup(os.close, own)

                def do(data: bytes = b"") -> None:
                    act(protocol.transport, own)
                    protocol.transport.write(b"end")

                if inside:
                    protocol.onReceived = do
                    peer.sendall(b"x")
                else:
                    do()
                data, contents = b"", []
                peer.setblocking(False)
                for _ in range(TURNS):
                    if data.endswith(b"end") or protocol.reason:
                        break
                    try:
                        more, got, _, _ = socket.recv_fds(peer, 4096, 8)
                    except BlockingIOError:
                        loop.turn(0.001)
                        continue
                    data += more
                    for each in got:
                        contents.append(os.read(each, 100))
                        os.close(each)
                protocol.transport.write(b"goes on")
                return data, contents, loop.take(peer, 7), protocol.reason

            data, contents, rest, reason = self.same(scenario)
            self.assertEqual(contents[:1], [b"from the pipe"])
            self.assertEqual((data[-3:], rest, reason), (b"end", b"goes on", None))

    def test_beforeWrite(self) -> None:
        def act(transport: Any, own: int) -> None:
            transport.sendFileDescriptor(own)
            transport.write(b"with")

        for inside in (False, True):
            self.passed(act, inside)

    def test_betweenWrites(self) -> None:
        def act(transport: Any, own: int) -> None:
            transport.write(b"before")
            transport.sendFileDescriptor(own)
            transport.write(b"after")

        for inside in (False, True):
            self.passed(act, inside)

    def test_several(self) -> None:
        def act(transport: Any, own: int) -> None:
            for _ in range(3):
                transport.write(b"before")
                transport.sendFileDescriptor(own)
            transport.writeSequence([b"a", b"b", b"c"])

        for inside in (False, True):
            self.passed(act, inside)

    def written(self, inside: bool) -> None:
        """
        C{IUNIXTransport.sendFileDescriptor} asks for as many writes as
        descriptors, and not for an order.
        """
        for kind in UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                own, other = os.pipe()
                os.write(other, b"from the pipe")
                os.close(other)
                self.addCleanup(os.close, own)

                def do(data: bytes = b"") -> None:
                    protocol.transport.write(b"x")
                    protocol.transport.sendFileDescriptor(own)

                if inside:
                    protocol.onReceived = do
                    peer.sendall(b"x")
                else:
                    do()
                peer.setblocking(False)
                data, contents = b"", []
                for _ in range(20):
                    with contextlib.suppress(BlockingIOError):
                        more, got, _, _ = socket.recv_fds(peer, 4096, 8)
                        data += more
                        for each in got:
                            contents.append(os.read(each, 100))
                            os.close(each)
                    loop.turn(0.001)
                return data, contents, protocol.reason

            self.assertEqual(self.same(scenario), (b"x", [b"from the pipe"], None))

    def test_afterWrite(self) -> None:
        """
        A descriptor after the byte that it travels with.
        """
        self.written(inside=False)

    def test_afterWriteInDataReceived(self) -> None:
        self.written(inside=True)

    def test_afterWriteAndLose(self) -> None:
        """
        One that is the last thing before the end of the connection.
        """
        for kind in UNIX:
            for inside in (False, True):

                def scenario(
                    loop: Loop, kind: str = kind, inside: bool = inside
                ) -> Any:
                    protocol, peer = loop.link(kind)
                    own, other = os.pipe()
                    self.addCleanup(os.close, own)
                    self.addCleanup(os.close, other)

                    def do(data: bytes = b"") -> None:
                        protocol.transport.write(b"x")
                        protocol.transport.sendFileDescriptor(own)
                        protocol.transport.loseConnection()

                    if inside:
                        protocol.onReceived = do
                        peer.sendall(b"x")
                    else:
                        do()
                    loop.until(lambda: protocol.reason)
                    data, passed, _, _ = socket.recv_fds(peer, 10, 8)
                    for each in passed:
                        os.close(each)
                    return data, len(passed), protocol.reason

                self.assertEqual(self.same(scenario)[:2], (b"x", 1))

    def test_tooMany(self) -> None:
        """
        More descriptors than bytes are Twisted's error.
        """
        for kind in UNIX:
            for inside in (False, True):

                def scenario(
                    loop: Loop, kind: str = kind, inside: bool = inside
                ) -> Any:
                    protocol, peer = loop.link(kind)
                    own, other = os.pipe()
                    self.addCleanup(os.close, own)
                    self.addCleanup(os.close, other)

                    def do(data: bytes = b"") -> None:
                        protocol.transport.write(b"x")
                        protocol.transport.sendFileDescriptor(own)
                        protocol.transport.sendFileDescriptor(own)

                    if inside:
                        protocol.onReceived = do
                        peer.sendall(b"x")
                    else:
                        do()
                    loop.until(lambda: protocol.reason)
                    return protocol.reason

                self.assertIs(self.same(scenario), error.FileDescriptorOverrun)

    def test_fromPullProducer(self) -> None:
        """
        A pull producer that sends a descriptor and is gone.
        """

        def act(transport: Any, own: int) -> None:
            producer = Producer([])

            def resume() -> None:
                producer.onResume = lambda: None
                transport.sendFileDescriptor(own)

            transport.registerProducer(producer, False)
            resume()
            transport.unregisterProducer()
            transport.write(b"with")

        for inside in (False, True):
            self.passed(act, inside)

    def test_received(self) -> None:
        """
        What a peer sends along is received, and answered.
        """
        for kind in UNIX:
            loop = self.eager()
            protocol, peer = loop.link(kind)
            protocol.onReceived = protocol.transport.write
            own, other = os.pipe()
            self.addCleanup(os.close, own)
            os.close(other)
            socket.send_fds(peer, [b"x"], [own])
            loop.read(protocol.transport.getHandle())
            self.assertEqual(read_exactly(peer, 1), b"x")


class AsyncioDescriptorTests(DescriptorTests):
    reactors = ASYNCIO
