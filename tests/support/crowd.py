"""
Clients in threads that talk to a line server all the time, check every byte of its
answers, and remember what became of each connection.
"""

import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from select import select
from threading import Event, Thread

from tests.support.processes import DEADLINE

WINDOW = 1 << 18
"""
How much of what a client has sent may still be on its way.
"""


@dataclass
class Talk:
    """
    What became of a connection.

    @ivar source: the client's own address.
    @ivar port: and its port.
    @ivar began: when it was about to connect, by the monotonic clock.
    @ivar whole: whether all that was sent came back, and then end-of-file.
    @ivar error: what went wrong; not an end-of-file after whole lines.
    """

    source: str
    port: int
    began: float
    whole: bool = False
    error: str = ""


class _Stream:
    """
    Lines to be sent, and the check of what comes back.
    """

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._unsent = b""
        self._due = bytearray()
        self.endsLine = True

    @property
    def isEmpty(self) -> bool:
        return not self._unsent and not self._due

    @property
    def isFull(self) -> bool:
        return len(self._due) >= WINDOW

    def send(self, more: Callable[[], bytes]) -> None:
        self._unsent = self._unsent or more()
        sent = self._client.send(self._unsent)
        self._due += self._unsent[:sent]
        self._unsent = self._unsent[sent:]

    def receive(self) -> bool:
        """
        @return: whether anything came; if not, it is the end of file.
        @raise ValueError: if it is not what was sent.
        """
        chunk = self._client.recv(1 << 16)
        if self._due[: len(chunk)] != chunk:
            raise ValueError(f"got {chunk[:200]!r} for {bytes(self._due[:200])!r}")
        del self._due[: len(chunk)]
        if chunk:
            self.endsLine = chunk.endswith(b"\n")
        return bool(chunk)


def lines(chance: random.Random, name: str) -> Iterator[bytes]:
    """
    Batches of lines that are like no others.
    """
    number = 0
    while True:
        batch = []
        for _ in range(chance.randrange(1, 200)):
            number += 1
            batch.append(b"%s %d %s\n" % (name.encode(), number, b"x" * (number % 150)))
        yield b"".join(batch)


def talk(
    address: tuple[str, int],
    source: str,
    batches: Iterator[bytes],
    pause: Callable[[], object],
) -> Talk:
    """
    Send batches of lines and compare what comes back with them, to the end of them
    or of the connection, whatever comes first. The client that was sent an
    end-of-file sends on for a while, for it may not have noticed.

    @param pause: called after each batch.
    """
    client = socket.socket()
    outcome = Talk(source, 0, time.monotonic())
    with client:
        try:
            client.settimeout(DEADLINE)
            client.bind((source, 0))
            client.connect(address)
            outcome.port = client.getsockname()[1]
            _talk(client, outcome, batches, pause)
        except (OSError, ValueError) as error:
            outcome.error = f"{type(error).__name__}: {error}"
    return outcome


def _talk(
    client: socket.socket,
    outcome: Talk,
    batches: Iterator[bytes],
    pause: Callable[[], object],
) -> None:
    client.setblocking(False)
    stream = _Stream(client)
    finished = False

    def more() -> bytes:
        pause()
        return next(batches)

    while True:
        sending = [] if finished or stream.isFull else [client]
        readable, writable, _ = select([client], sending, [], DEADLINE)
        if not readable and not writable:
            raise TimeoutError("the other side neither sends nor takes anything")
        if readable and not stream.receive():
            break
        if writable:
            try:
                stream.send(more)
            except StopIteration:
                client.shutdown(socket.SHUT_WR)
                finished = True
    outcome.whole = finished and stream.isEmpty
    if not stream.endsLine:
        raise ValueError("end of file within a line")
    if not finished:
        client.settimeout(DEADLINE)
        for batch, _ in zip(batches, range(20), strict=False):
            client.sendall(batch)
        client.shutdown(socket.SHUT_WR)
        if client.recv(1):
            raise ValueError("something came after the end of file")


class Crowd:
    """
    Clients that go on until they are told to finish: some hold long talks, with
    much on its way, and connect again when their connection was ended; others
    connect, say a little, and leave.

    @ivar long: the long talks that have ended.
    @ivar brief: the short ones.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._enough = Event()
        self._threads: list[Thread] = []
        self.long: list[Talk] = []
        self.brief: list[Talk] = []

    @property
    def size(self) -> int:
        return len(self._threads)

    def _add(self, target: Callable[[str, random.Random], None]) -> None:
        number = self.size + 1
        # By which the clients can be told apart, wherever their lines come out.
        source = f"127.0.1.{number}"
        thread = Thread(target=target, args=(source, random.Random(number)))
        self._threads.append(thread)
        thread.start()

    def _until_enough(self, batches: Iterator[bytes]) -> Iterator[bytes]:
        for batch in batches:
            if self._enough.is_set():
                return
            yield batch

    def add_talker(self, pause: float) -> None:
        """
        @param pause: seconds between two batches of lines.
        """

        def run(source: str, chance: random.Random) -> None:
            while not self._enough.is_set():
                outcome = talk(
                    self._address,
                    source,
                    self._until_enough(lines(chance, source)),
                    lambda: self._enough.wait(pause),
                )
                self.long.append(outcome)

        self._add(run)

    def add_visitor(self) -> None:
        def run(source: str, chance: random.Random) -> None:
            while not self._enough.wait(0.01):
                few = zip(
                    range(chance.randrange(1, 4)), lines(chance, source), strict=False
                )
                batches = (batch for _, batch in few)
                outcome = talk(self._address, source, batches, lambda: None)
                self.brief.append(outcome)

        self._add(run)

    def finish(self) -> None:
        """
        Have all send their last line and wait for its answer.
        """
        self._enough.set()
        for thread in self._threads:
            thread.join(DEADLINE)
            if thread.is_alive():
                raise AssertionError("a client does not end")
