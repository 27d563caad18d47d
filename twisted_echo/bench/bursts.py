"""
The load that C{compare} puts on one server, in bursts: C{python -m
twisted_echo.bench.bursts}.

Reads an L{Order}, a line of JSON, from standard input, connects, and says C{ready}.
Each further line is a number of seconds: it loads the server for so long, and says
C{done} with a L{Burst} as JSON. C{broken MESSAGE} is for what the server has done
wrong, and is the last word. It ends with its input.

Blocking sockets, without an event loop. In a I{volley} all connections send, and then
all answers are taken. This process sleeps until the answer that it wants is there, and
it wants that of the connection that was last to send: so the server has many lines in
one turn, and pays only once for waking the load.

What must hold: every byte is verified; a burst ends, and none waits longer than
L{PATIENCE} seconds for a server.
"""

import contextlib
import json
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TextIO

from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.latency import Latencies, Recorder
from twisted_echo.bench.load_lines import Exchange, LineSource
from twisted_echo.bench.plan import Target
from twisted_echo.bench.schedule import SECOND
from twisted_echo.bench.wire import allow_files, tls_context

__all__ = ["Burst", "Order", "VolleyLoad", "main", "new_load"]

PATIENCE = 10.0
"""
Seconds for an answer: many times what a slow server needs.
"""

AT_ONCE = 20
"""
Connections that are made before a line from each has shown that they were accepted:
below every backlog.
"""

RECORD = 16_384
"""
The most bytes of a TLS record. What is left of one is not in the kernel, where a poll
would see it.
"""


@dataclass(frozen=True)
class Order:
    """
    What load to put on which server, in the words of a
    L{case<twisted_echo.bench.cases.Case>}.
    """

    host: str
    port: int
    connections: int
    size: int
    depth: int = 1
    rate: int = 0
    churn: bool = False
    tls: bool = False


class Burst(NamedTuple):
    """
    The result of one burst of load.

    @ivar lines: how many came back: all that were sent.
    @ivar latency_us: percentiles, by name, if lines were due at a rate; else empty.
    """

    lines: int
    latency_us: dict[str, float]


class LoadClient:
    """
    One connection.
    """

    def __init__(self, order: Order, exchange: Exchange) -> None:
        self._order = order
        self._exchange = exchange
        self._most = max(order.size * order.depth, RECORD)
        self.socket = socket.socket()
        self.send = self.socket.sendall

    def connect(self) -> None:
        plain, order = self.socket, self._order
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel keeps the time: Python would ask before every call whether it may.
        limit = struct.pack("ll", int(PATIENCE), round(PATIENCE % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            plain.setsockopt(socket.SOL_SOCKET, option, limit)
        plain.connect((order.host, order.port))
        if order.tls:
            context = tls_context(Target(tls=True, insecure=True))
            assert context is not None
            self.socket = context.wrap_socket(plain)
            self.send = self.socket.sendall

    def next_lines(self, count: int) -> bytes:
        """
        Take the next lines of the connection.

        @return: the bytes to send now.
        """
        return self._exchange.send(count, time.monotonic_ns())

    def send_due(self, due: int) -> None:
        """
        Send a line that was to be sent earlier.
        """
        self.send(self._exchange.send(1, due))

    def take(self) -> None:
        """
        Wait until some bytes are there, and check them.

        @raise BrokenServer: if they are not what was sent, or there are none.
        """
        data = self.socket.recv(self._most)
        if not data:
            raise BrokenServer(
                f"closed by the server; {self._exchange.outstanding} lines were in"
                " flight"
            )
        self._exchange.receive(data, time.monotonic_ns())

    def take_all(self) -> None:
        """
        Wait until all that was sent is back.
        """
        while self._exchange.outstanding:
            self.take()

    def finish(self) -> None:
        """
        Say that no more lines come.
        """
        if isinstance(self.socket, ssl.SSLSocket):
            # Waits for the server's own close_notify.
            self.socket = self.socket.unwrap()
        self.socket.shutdown(socket.SHUT_WR)

    def await_end(self) -> None:
        """
        Wait until the server has closed, too.

        @raise BrokenServer: if it sends more than it got.
        """
        if data := self.socket.recv(self._most):
            raise BrokenServer(f"more came back than was sent: {data[:24]!r}")
        self.close()

    def close(self) -> None:
        self.socket.close()


class VolleyLoad:
    """
    Connections that stay, with volleys of lines.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._recorder = Recorder()
        self._sources = [
            LineSource(number, order.size, order.depth)
            for number in range(order.connections)
        ]
        self._clients: list[LoadClient] = []

    def connect(self) -> None:
        for at in range(0, len(self._sources), AT_ONCE):
            self._volley(
                [self._connect(each) for each in self._sources[at : at + AT_ONCE]], 1
            )

    def _connect(self, source: LineSource) -> LoadClient:
        client = LoadClient(self._order, Exchange(source, self._record))
        self._clients.append(client)
        client.connect()
        return client

    def close(self) -> None:
        for each in self._clients:
            each.close()

    def _record(self, due: int, now: int, lines: int) -> None:
        self._recorder.record(due, now, lines)

    def _volley(self, clients: Sequence[LoadClient], count: int) -> int:
        """
        Send lines on all connections, and then read all answers.

        @return: how many lines there were.
        """
        # Made before, so that they go out as fast as they can.
        ready = [(each.send, each.next_lines(count)) for each in clients]
        for send, lines in ready:
            send(lines)
        for each in reversed(clients):
            each.take_all()
        return count * len(clients)

    def burst(self, seconds: float) -> Burst:
        """
        Load the server for some seconds.

        @raise BrokenServer: if it breaks a line or a connection.
        """
        end = time.monotonic() + seconds
        lines = self._volley_of_all()
        while time.monotonic() < end:
            lines += self._volley_of_all()
        return Burst(lines, {})

    def _volley_of_all(self) -> int:
        return self._volley(self._clients, self._order.depth)


class VolleyChurn(VolleyLoad):
    """
    A connection for each line: in a volley all connect and send, then all get their
    answer, half-close (over TLS: close_notify) and wait for the server's end.
    """

    def connect(self) -> None:
        pass

    def _volley_of_all(self) -> int:
        self._clients.clear()
        for source in self._sources:
            client = self._connect(source)
            client.send(client.next_lines(1))
        for step in (LoadClient.take_all, LoadClient.finish, LoadClient.await_end):
            # In the same order as they were made, except where it waits.
            waits = step is not LoadClient.finish
            for each in reversed(self._clients) if waits else self._clients:
                step(each)
        return len(self._clients)


class SteadyLoad(VolleyLoad):
    """
    Lines that are due at a fixed rate, whatever the server does; a line's latency
    counts from when it was due. The processor of this process is used whole, since no
    timer is exact enough.
    """

    def burst(self, seconds: float) -> Burst:
        self._recorder = recorder = Recorder()
        with select.epoll() as poll:
            by_descriptor = {each.socket.fileno(): each for each in self._clients}
            for descriptor in by_descriptor:
                poll.register(descriptor, select.EPOLLIN)
            gap = SECOND // self._order.rate
            due = heard = time.monotonic_ns()
            wanted = max(1, round(seconds * self._order.rate))
            sent = 0
            while recorder.lines < wanted:
                now = time.monotonic_ns()
                if sent < wanted and due <= now:
                    self._clients[sent % len(self._clients)].send_due(due)
                    sent += 1
                    due += gap
                for descriptor, _ in poll.poll(0):
                    by_descriptor[descriptor].take()
                    heard = now
                if now - heard > PATIENCE * SECOND:
                    raise BlockingIOError
        return Burst(wanted, Latencies.of(recorder).percentiles())


def new_load(order: Order) -> VolleyLoad:
    if order.churn:
        return VolleyChurn(order)
    return SteadyLoad(order) if order.rate else VolleyLoad(order)


def main(commands: TextIO, answers: TextIO) -> None:
    def say(*words: object) -> None:
        print(*words, file=answers, flush=True)

    order = Order(**json.loads(commands.readline()))
    allow_files(order.connections)
    try:
        with contextlib.closing(new_load(order)) as load:
            load.connect()
            say("ready")
            for seconds in commands:
                say("done", json.dumps(load.burst(float(seconds))))
    except (BlockingIOError, ssl.SSLWantReadError, TimeoutError):
        say("broken", f"nothing came back for {PATIENCE:g} s")
    except (BrokenServer, OSError) as error:
        say("broken", error)


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
