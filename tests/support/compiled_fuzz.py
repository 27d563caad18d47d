"""
Random walks of an eager connection, written down: C{python -m
tests.support.compiled_fuzz FIRST LAST}.

Each walk has a seed, and prints what happened to the connection, as the protocol, its
producer and its peer saw it. With the compiled part and without it the same must be
printed: see L{tests.unit.compiled.test_speedups}.
"""

import gc
import select
import socket
import sys
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.python import log
from zope.interface import implementer

from tests.support.loop import Loop, Recorder, close_with_reset
from twisted_echo.reactor import EagerEPollReactor

KINDS = ("accepted TCP", "connected TCP", "adopted TCP", "adopted UNIX")
STEPS = 60
RARE = 0.02


class Cleanups:
    """
    What L{Loop} asks of a test.
    """

    def __init__(self) -> None:
        self._cleanups: list[Callable[[], object]] = []

    def addCleanup(self, call: Callable[..., object], *args: Any) -> None:
        self._cleanups.append(lambda: call(*args))

    def cleanUp(self) -> None:
        while self._cleanups:
            self._cleanups.pop()()


@implementer(IPushProducer, IPullProducer)
class Producer:
    """
    Notes what it is told, and gives a pull consumer three pieces.
    """

    def __init__(self, walk: "Walk") -> None:
        self.walk = walk
        self.left = 3

    def pauseProducing(self) -> None:
        self.walk.note("pause")

    def resumeProducing(self) -> None:
        self.walk.note("resume")
        if self.left:
            self.left -= 1
            self.walk.transport.write(b"produced")
        elif not self.walk.transport.streamingProducer:
            self.walk.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.walk.note("stop")


class Walk:
    """
    One connection, on which random things are done.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.events: list[tuple[Any, ...]] = []
        self.cleanups = Cleanups()
        self.loop = Loop(self.cleanups, EagerEPollReactor)  # type: ignore[arg-type]
        self.protocol = Recorder()
        self.protocol.events = self.events
        self.protocol.onReceived = lambda data: self.act_often(5)
        self.taken = bytearray()
        self.kind = self.random.choice(KINDS)
        _, self.peer = self.loop.link(self.kind, self.protocol)
        self.peer.setblocking(False)
        self.transport: Any = self.protocol.transport

    def note(self, *event: Any) -> None:
        self.events.append(event)

    # What the program does

    def act_often(self, most: int) -> None:
        for _ in range(self.random.randrange(most)):
            self.act()

    def act(self) -> None:
        name = self.random.choice(RARELY if self.random.random() < RARE else OFTEN)
        try:
            getattr(self, name)()
        except (AttributeError, OSError, RuntimeError, TypeError) as problem:
            # (The words of some have an address in them.)
            self.note(name, type(problem).__name__)
        else:
            self.note(name)

    def bytes(self) -> bytes:
        return self.random.randbytes(self.random.choice((1, 20, 300, 5000)))

    def write(self) -> None:
        self.transport.write(self.bytes())

    def write_much(self) -> None:
        self.transport.write(b"x" * 70_000)

    def write_nothing(self) -> None:
        self.transport.write(b"")

    def write_wrong(self) -> None:
        self.transport.write(self.random.choice((bytearray(b"x"), "text", None)))

    def write_sequence(self) -> None:
        self.transport.writeSequence([self.bytes(), b"", self.bytes()])

    def write_later(self) -> None:
        self.loop.reactor.callLater(0, self.write)

    def lose(self) -> None:
        self.transport.loseConnection()

    def lose_write(self) -> None:
        self.transport.loseWriteConnection()

    def abort(self) -> None:
        self.transport.abortConnection()

    def pause(self) -> None:
        self.transport.pauseProducing()

    def resume(self) -> None:
        self.transport.resumeProducing()

    def stop_writing(self) -> None:
        self.transport.stopWriting()

    def do_write(self) -> None:
        self.note(repr(self.transport.doWrite()))

    def push(self) -> None:
        self.transport.registerProducer(Producer(self), True)

    def pull(self) -> None:
        self.transport.registerProducer(Producer(self), False)

    def unregister(self) -> None:
        self.transport.unregisterProducer()

    def buffer_size(self) -> None:
        self.transport.bufferSize = self.random.choice((1, 100, 65536, 1 << 20))

    def send_limit(self) -> None:
        self.transport.SEND_LIMIT = self.random.choice((10, 1000, 1 << 17))

    def replace_read(self) -> None:
        read = self.transport.doRead

        def doRead() -> object:
            self.note("own doRead")
            return read()

        self.transport.doRead = doRead

    def turn(self) -> None:
        self.loop.reactor.iterate(0)

    def fail(self) -> None:
        raise self.random.choice((ValueError, SystemExit, KeyboardInterrupt))()

    # What its peer does

    def step(self) -> None:
        if self.random.random() < 0.3:
            try:
                self.act()
            except BaseException as problem:
                self.note(type(problem).__name__)
        else:
            isRare = self.random.random() < RARE
            name = self.random.choice(PEER_RARELY) if isRare else "send"
            try:
                getattr(self, name)()
            except OSError as problem:
                self.note(name, problem.errno)
        self.settle()
        self.note_state()

    def send(self) -> None:
        self.peer.sendall(self.bytes())
        if self.transport.connected:
            select.select([self.transport], [], [], 20)

    def half_close(self) -> None:
        self.peer.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        close_with_reset(self.peer)

    def settle(self) -> None:
        """
        Turn until everything is sent and read that will be.
        """
        for _ in range(200):
            before = len(self.events), len(self.taken)
            self.loop.turn()
            self.take()
            if before == (len(self.events), len(self.taken)) and not self.waits():
                return

    def waits(self) -> bool:
        transport = self.transport
        return transport.connected and bool(
            transport in self.loop.reactor.getWriters()
            or len(self.taken) < transport.bytesSent
        )

    def take(self) -> None:
        try:
            while data := self.peer.recv(1 << 16):
                self.taken += data
        except BlockingIOError:
            return
        except OSError:
            self.peer.close()

    def note_state(self) -> None:
        transport = self.transport
        self.note(
            *(transport._sending.name, bool(transport.connected)),
            *(len(transport._tempDataBuffer), transport._tempDataLen),
            *(len(transport.dataBuffer), transport.bytesSent, len(self.taken)),
            *(transport.producerPaused, bool(transport.disconnecting)),
        )

    def run(self) -> None:
        for _ in range(STEPS):
            self.step()
            if not self.transport.connected:
                break
        self.note(hash(bytes(self.taken)))
        self.cleanups.cleanUp()


OFTEN = (
    *("write", "write", "write", "write_much", "write_nothing", "write_wrong"),
    *("write_sequence", "write_later", "pause", "resume", "resume", "push"),
    *("unregister", "buffer_size", "send_limit", "turn"),
)
# After these little is left of the rule.
RARELY = (
    *("lose", "lose_write", "abort", "stop_writing", "do_write", "pull"),
    *("replace_read", "fail"),
)
PEER_RARELY = ("half_close", "close")


def main(first: int, last: int) -> None:
    # CPython's imports leave a value that valgrind takes for uninitialised. It says so
    # whenever the collector meets it, also while the compiled part is on the stack.
    gc.freeze()
    for seed in range(first, last):
        walk = Walk(seed)

        def observe(event: dict[str, Any], walk: Walk = walk) -> None:
            if event.get("isError") and "failure" in event:
                walk.note("logged", event["failure"].type.__name__)

        log.addObserver(observe)
        walk.run()
        log.removeObserver(observe)
        for event in walk.events:
            print(seed, *event)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
