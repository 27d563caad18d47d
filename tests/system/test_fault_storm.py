"""
Many sessions at once, good ones and faulty ones in random order, over TCP, TLS and a
UNIX socket, after which the books balance; and the same for minutes.

What every session does follows from C{STORM_SEED} and its number, so that a failure,
which tells both, can be had again.
"""

import contextlib
import functools
import os
import random
import signal
import ssl
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock

import pytest

from tests.support.certificates import make_certificate
from tests.support.fault_clients import (
    Background,
    Client,
    TLSClient,
    exchange,
    is_cut_off,
)
from tests.support.faults import EPOLL, MIB, FaultTestCase
from tests.support.marks import slow
from tests.support.processes import DEADLINE, Server, new_folder, wait_until
from twisted_echo.testing.client_socket import dial
from twisted_echo.testing.command_process import Books, Vitals

MAX_LENGTH = 5_000

LISTEN = (
    "tcp:0:interface=127.0.0.1",
    "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem",
    "unix:echo.sock",
)

OPTIONS = (
    f"--max-length={MAX_LENGTH}",
    # No client of the storm may meet these unless it means to.
    "--idle-timeout=0",
    "--line-timeout=0",
    # Those that do nothing for so long, do so for ever.
    "--write-timeout=1",
    "--handshake-timeout=1",
    "--abort-after=1",
)


def lines(chance: random.Random, size: int) -> bytes:
    """
    About C{size} random bytes with legal lines, the last one perhaps unfinished.
    """
    made = bytearray()
    while len(made) < size:
        made += chance.randbytes(chance.randrange(200)).replace(b"\n", b"-")
        made += b"\n" * chance.randrange(1, 3)
    return bytes(made[:size])


def cut(chance: random.Random, data: bytes) -> list[bytes]:
    """
    Cut somewhere, a few times.
    """
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randrange(20)))
    return [
        data[start:end]
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
    ]


# Sessions in which nothing is wrong: they check what they get.


def pipelined(client: Client, chance: random.Random) -> None:
    sent = lines(chance, chance.choice([1, 100, 10_000, 300_000]))
    assert exchange(client, cut(chance, sent)) == sent


def in_turns(client: Client, chance: random.Random) -> None:
    for _ in range(chance.randrange(20)):
        line = b"x" * chance.randrange(MAX_LENGTH) + b"\n"
        assert client.round_trip(line) == line
    client.send(b"", finish=True)
    assert client.read_to_end() == b""


def one_byte_at_a_time(client: Client, chance: random.Random) -> None:
    sent = lines(chance, chance.randrange(100))
    assert exchange(client, [sent[n : n + 1] for n in range(len(sent))]) == sent


def all_before_reading(client: Client, chance: random.Random) -> None:
    sent = lines(chance, chance.randrange(20_000))
    client.send(sent, finish=True)
    assert client.read_to_end() == sent


# Sessions that end badly, or that somebody else must end.


def reset_somewhere(client: Client, chance: random.Random) -> None:
    for _ in range(chance.randrange(3)):
        client.send(lines(chance, chance.randrange(50_000)) + b"\n")
        if chance.randrange(2):
            client.receive()
    client.reset()


def closed_unread(client: Client, chance: random.Random) -> None:
    client.send(lines(chance, chance.randrange(1, 50_000)))


def writes_and_never_reads(client: Client, chance: random.Random) -> None:
    client.socket.settimeout(0.1)
    # On a busy machine the server's patience may end first.
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            client.send(lines(chance, 50_000))
    if chance.randrange(2):
        client.reset()


def endless_line(client: Client, chance: random.Random) -> None:
    before = lines(chance, 500) + b"\n"
    # It is an error to send to who has closed, or to read what was reset then.
    with contextlib.suppress(ConnectionError):

        def send() -> None:
            client.send(before)
            client.send(b"x" * 200_000)

        sender = Background(send)
        received = client.read_to_end()
        sender.result()
        assert received == before, received[-100:]


def ends_without_farewell(client: Client, chance: random.Random) -> None:
    # For TCP alone that is a farewell, and TLS may say that it misses one.
    client.send(b"hello\n")
    Client(client.socket).send(b"", finish=True)
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        client.read_to_end()


# Connections that never shake hands, though they should.


def speaks_no_tls(client: Client, chance: random.Random) -> None:
    with contextlib.suppress(ConnectionError):
        client.socket.sendall(chance.randbytes(chance.randrange(1, 2_000)))
        is_cut_off(client)


def half_a_hello(client: TLSClient, chance: random.Random) -> None:
    hello = client.hello()
    client.socket.sendall(hello[: chance.randrange(len(hello))])
    if chance.randrange(2):
        client.reset()
    elif chance.randrange(2):
        assert is_cut_off(client)


def hello_and_away(client: TLSClient, chance: random.Random) -> None:
    client.socket.sendall(client.hello())
    if chance.randrange(2):
        client.reset()


CLEAN = (pipelined, in_turns, one_byte_at_a_time, all_before_reading)
FAULTY = (
    reset_somewhere,
    closed_unread,
    writes_and_never_reads,
    endless_line,
    ends_without_farewell,
)
HANDSHAKES = (speaks_no_tls, half_a_hello, hello_and_away)


class Storm:
    """
    Clients of one server.

    @ivar clean: how many sessions have done nothing wrong, and got what they
        sent.
    @ivar attempts: how many connections were made.
    """

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.seed = seed
        self.clean = self.attempts = 0
        self._lock = Lock()
        self._context = ssl.create_default_context(
            cafile=str(server.folder / "cert.pem")
        )

    def connect(self, number: int, handshake: bool = True) -> Client:
        """
        Connect by TCP, TLS or a UNIX socket, whichever is the turn of a number.
        """
        with self._lock:
            self.attempts += 1
        kind = number % 3
        if kind == 2:
            return Client(dial(str(self.server.folder / "echo.sock")))
        connected = dial(("127.0.0.1", self.server.ports[kind]))
        if kind == 0:
            return Client(connected)
        client = TLSClient(connected, self._context)
        if handshake:
            client.handshake()
        return client

    def session(self, number: int) -> None:
        """
        Do what a number means.

        @raise AssertionError: if the server did something wrong, not the client.
        """
        chance = random.Random(f"{self.seed}/{number}")
        act: Callable[..., None] = chance.choice(CLEAN)
        handshake = True
        if chance.randrange(2):
            act = chance.choice(FAULTY)
            if number % 3 == 1 and chance.randrange(2):
                act, handshake = chance.choice(HANDSHAKES), False
        try:
            with self.connect(number, handshake) as client:
                act(client, chance)
        except Exception as error:
            raise AssertionError(
                f"STORM_SEED={self.seed}, session {number}, {act.__name__}: {error!r}"
            ) from error
        if act in CLEAN:
            with self._lock:
                self.clean += 1

    def run(self, numbers: "SimpleQueue[int]", workers: int) -> None:
        """
        Do all of what is in a queue.
        """

        def work() -> None:
            with contextlib.suppress(Empty):
                while True:
                    self.session(numbers.get_nowait())

        for worker in [Background(work) for _ in range(workers)]:
            worker.result(4 * DEADLINE)


def seed() -> int:
    return int(os.environ.get("STORM_SEED") or random.randrange(1 << 32))


class StormTests(FaultTestCase):
    """
    By the eager reactor.
    """

    SESSIONS = 150
    LIVE = 9

    def test_storm(self) -> None:
        self.folder = new_folder(self)
        make_certificate(self.folder)
        server = Server.start(
            self,
            *OPTIONS,
            listen=LISTEN,
            command=("twistd", "-n", *self.reactor),
            folder=self.folder,
        )
        vitals = Vitals(server)
        wait_until(vitals.runs)
        storm = Storm(server, seed())
        print(f"STORM_SEED={storm.seed}")
        start = vitals.descriptors()

        live = [storm.connect(number) for number in range(self.LIVE)]
        for client in live:
            self.addCleanup(client.close)
            self.assertEqual(client.round_trip(b"before\n"), b"before\n")
        numbers: SimpleQueue[int] = SimpleQueue()
        for number in range(self.SESSIONS):
            numbers.put(number)
        storm.run(numbers, 24)
        for client in live:
            self.assertEqual(client.round_trip(b"after\n"), b"after\n")
        wait_until(lambda: vitals.descriptors() == start + self.LIVE)

        server.process.send_signal(signal.SIGTERM)
        for client in live:
            self.assertEqual(client.read_to_end(), b"")
            client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        self.assert_calm(server)
        books = Books.of(server.stdout)
        told = f"STORM_SEED={storm.seed}: {books}"
        self.assertEqual(books.sessions, self.LIVE, told)
        self.assertEqual(books.ended["stopped"], self.LIVE, told)
        self.assertEqual(books.served, sum(books.ended.values()), told)
        self.assertEqual(books.refused, sum(books.refusals.values()), told)
        self.assertEqual(books.served + books.refused, storm.attempts, told)
        self.assertGreaterEqual(books.ended["peer-closed"], storm.clean, told)
        self.assertEqual(books.ended["error"], 0, told)
        self.assertGreater(storm.clean, self.SESSIONS / 4, told)


@slow
class StormByEPollTests(StormTests):
    """
    By Twisted's epoll reactor.
    """

    SESSIONS = 400
    reactor = EPOLL


class _Test:
    """
    What a process needs of a test case, for a test that trial is not to run.
    """

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def addCleanup(self, f: Callable[[], object]) -> None:
        self._request.addfinalizer(f)


@pytest.mark.soak
@pytest.mark.parametrize("reactor", [(), EPOLL], ids=["eager", "epoll"])
def test_soak(request: pytest.FixtureRequest, reactor: tuple[str, ...]) -> None:
    """
    For C{SOAK_SECONDS} (120) clients of all kinds come and go. After a third of
    it, neither memory nor descriptors grow.
    """
    seconds = float(os.environ.get("SOAK_SECONDS", "120"))
    test = _Test(request)
    folder = new_folder(test)
    make_certificate(folder)
    server = Server.start(
        test,
        *OPTIONS,
        # What is printed is kept here.
        "--log-sessions=none",
        listen=LISTEN,
        command=("twistd", "-n", *reactor),
        folder=folder,
    )
    vitals = Vitals(server)
    wait_until(vitals.runs)
    start = vitals.descriptors()
    storm = Storm(server, seed())
    print(f"STORM_SEED={storm.seed}")
    began, end = time.monotonic(), time.monotonic() + seconds

    def churn(number: int) -> None:
        while time.monotonic() < end:
            storm.session(number)
            number += 8

    workers = [Background(functools.partial(churn, number)) for number in range(8)]
    samples: list[tuple[float, int]] = []
    while any(worker.is_alive() for worker in workers):
        samples.append((time.monotonic() - began, vitals.memory()))
        workers[0].join(0.25)
        workers[-1].join(0.25)
    for worker in workers:
        worker.result()
    wait_until(lambda: vitals.descriptors() == start)
    # The highest of the second third, and of the last one: what is flat comes
    # back to where it was.
    second = max(size for when, size in samples if seconds / 3 < when < seconds * 2 / 3)
    third = max(size for when, size in samples if when > seconds * 2 / 3)
    print(f"{storm.attempts} connections, {second / MIB:.1f}, {third / MIB:.1f} MiB")
    assert third - second < 4 * MIB, (second, third)
    assert server.signal(signal.SIGTERM) == -signal.SIGTERM
    assert "Traceback" not in server.stdout
    books = Books.of(server.stdout)
    assert books.served == sum(books.ended.values())
    assert books.served + books.refused == storm.attempts
    assert books.ended["peer-closed"] >= storm.clean > 0
