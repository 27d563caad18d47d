"""
How long one connection holds an eager reactor, as the page of the reactor says: counted
turn by turn, with another connection's echo and a timer beside it.
"""

import socket
from collections.abc import Callable
from typing import Any

from tests.support.loop import (
    ASYNCIO,
    Loop,
    LoopTestCase,
    Producer,
    Recorder,
)

TURNS = 40
PIECE = b"x" * (1 << 20)


def _produces(transport: Any) -> None:
    """
    A push producer that writes until it is paused.
    """
    producer = Producer([])
    paused = False

    def pause() -> None:
        nonlocal paused
        paused = True

    def resume() -> None:
        nonlocal paused
        paused = False
        while not paused:
            transport.write(b"x" * 1024)

    producer.onPause, producer.onResume = pause, resume
    transport.registerProducer(producer, True)
    resume()


def _pulls(transport: Any) -> None:
    """
    A pull producer that always has more.
    """
    producer = Producer([])
    producer.onResume = lambda: transport.write(PIECE)
    transport.registerProducer(producer, False)


def _writes_sequence(transport: Any) -> None:
    transport.writeSequence([PIECE] * 64)


def _answers(transport: Any) -> None:
    """
    All that is received is answered, with more than a turn sends.
    """
    protocol = transport.protocol
    protocol.onReceived = lambda data: transport.write(PIECE)


def _answers_and_writes(transport: Any) -> None:
    """
    So it is, and a timer of each turn writes as much.
    """
    _answers(transport)

    def write() -> None:
        if transport.connected:
            transport.write(PIECE)
            transport.reactor.callLater(0, write)

    write()


GREEDY: tuple[Callable[[Any], None], ...] = (
    _produces,
    _pulls,
    _writes_sequence,
    _answers,
    _answers_and_writes,
)


class Greedy:
    """
    A connection whose peer floods it, and reads all that comes.
    """

    def __init__(self, loop: Loop, kind: str) -> None:
        self.protocol, self.peer = loop.link(kind, tap=True)
        self.peer.setblocking(False)
        self.tap = self.protocol.transport.getHandle()

    def busy(self) -> None:
        """
        Have something to read for the protocol, and room for what it writes.
        """
        for call in (lambda: self.peer.recv(1 << 20), lambda: self.peer.send(PIECE)):
            try:
                while call():
                    pass
            except BlockingIOError:
                continue

    def taken(self) -> tuple[list[int], list[int]]:
        """
        What it has received and sent since the last call, by call of the kernel.
        """
        received = [
            len(event[1]) for event in self.protocol.events if event[0] == "received"
        ]
        sent = list(map(len, self.tap.sent))
        self.protocol.events.clear()
        self.tap.sent.clear()
        return received, sent


class LongestTurnTests(LoopTestCase):
    """
    In a turn, a connection is read once and sends twice, at most, and then the others
    have their turn.
    """

    # One turn of a test is two iterations of asyncio's loop.
    iterations = 1

    def test_greedy(self) -> None:
        for kind in ("adopted TCP", "adopted UNIX"):
            for begin in GREEDY:
                self.beside(kind, begin)

    def beside(self, kind: str, begin: Callable[[Any], None]) -> None:
        loop = self.eager()
        greedy = Greedy(loop, kind)
        transport = greedy.protocol.transport
        other, client = self.echo(loop)
        ticks = self.tick(loop)
        begin(transport)
        received, sent = [], []
        for _ in range(TURNS):
            greedy.busy()
            client.sendall(b"x")
            loop.turn()
            reads, sends = greedy.taken()
            self.assertLessEqual(len(reads), self.iterations, begin)
            self.assertLessEqual(len(sends), 2 * self.iterations, begin)
            received += reads
            sent += sends
        # The other one, and a timer, had each turn.
        loop.take(client, TURNS)
        self.assertGreaterEqual(len(other.events), TURNS // self.iterations, begin)
        self.assertGreaterEqual(len(ticks), TURNS // self.iterations, begin)
        self.assertLessEqual(max(received), transport.bufferSize)
        self.assertLessEqual(max(sent), transport.SEND_LIMIT)
        # It was greedy.
        self.assertGreater(len(received), TURNS // 2, begin)
        self.assertGreater(sum(sent), len(PIECE), begin)

    def tick(self, loop: Loop) -> list[None]:
        """
        Have a timer due in each turn.

        @return: an item for each time.
        """
        ticks: list[None] = []

        def tick() -> None:
            ticks.append(None)
            loop.reactor.callLater(0, tick)

        tick()
        return ticks

    def echo(self, loop: Loop) -> tuple[Recorder, socket.socket]:
        protocol, peer = loop.link("adopted UNIX")
        protocol.events.clear()
        protocol.onReceived = protocol.transport.write
        return protocol, peer


class AsyncioLongestTurnTests(LongestTurnTests):
    reactors = ASYNCIO
    iterations = 2
