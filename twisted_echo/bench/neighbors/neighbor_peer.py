"""
The peer of a neighbor, a process:
C{python -m twisted_echo.bench.neighbors.neighbor_peer}.

Reads what to do, a line of JSON, from standard input; connects; says C{connected};
waits for a line; reads as fast as it can, and says C{begun} with the first bytes and
C{read BYTES} when it is done. C{broken MESSAGE} is for a server that sends what it
should not, or too little.

What must hold: it ends when time is up, whatever the server does.
"""

import os
import socket
import ssl
import sys
import time
from collections.abc import Callable
from typing import TextIO

from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.neighbors.neighbor import PeerOrder
from twisted_echo.bench.neighbors.neighbor_servers import (
    ANSWER,
    PAGE,
    PATTERN,
    REQUEST,
    SEQUENCE,
)

PATIENCE = 20.0
"""
Seconds without a byte after which the server is given up.
"""

IN_FLIGHT = 64
"""
Requests of a flood that are not answered yet, at most.
"""

SPACE = 1 << 20
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Peer:
    """
    One connection, until time is up.
    """

    def __init__(self, order: PeerOrder, begun: Callable[[], None]) -> None:
        self._order = order
        self._begun = begun
        self._buffer = bytearray(SPACE)
        self._view = memoryview(self._buffer)
        self.read = 0
        self.connection = self._connect()

    def _connect(self) -> socket.socket:
        order = self._order
        if order.transport == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(order.address)
        else:
            host, _, port = order.address.rpartition(":")
            connection = socket.create_connection((host, int(port)), PATIENCE)
        connection.settimeout(PATIENCE)
        if order.transport == "tls":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = context.wrap_socket(connection)
        return connection

    def run(self) -> None:
        """
        Carry out the order.

        @raise BrokenServer: if the server does not.
        """
        self._end = time.monotonic() + self._order.seconds
        parts = {
            "read": self._read,
            "descriptors": self._descriptors,
            "flood": self._flood,
            "ask": self._ask,
            "get": self._get,
        }
        with self.connection:
            parts[self._order.peer]()

    @property
    def _goes_on(self) -> bool:
        return time.monotonic() < self._end and self.read < self._order.most

    def _read(self) -> None:
        """
        Read an endless producer.
        """
        self.connection.sendall(REQUEST)
        while self._goes_on:
            self._take(self.connection.recv_into(self._buffer))

    def _descriptors(self) -> None:
        self.connection.sendall(REQUEST)
        while self._goes_on:
            data, descriptors, _, _ = socket.recv_fds(self.connection, SPACE, 250)
            for each in descriptors:
                os.close(each)
            self._buffer[: len(data)] = data
            self._take(len(data))

    def _flood(self) -> None:
        """
        Send requests so that many are unanswered at any time.
        """
        asked = 0
        while self._goes_on:
            answered = self.read // len(ANSWER)
            if asked - answered <= IN_FLIGHT // 2:
                more = IN_FLIGHT - (asked - answered)
                self.connection.sendall(REQUEST * more)
                asked += more
            self._take(self.connection.recv_into(self._buffer))

    def _ask(self) -> None:
        """
        Ask for a long answer, again and again.
        """
        size = sum(map(len, SEQUENCE))
        while self._goes_on:
            self.connection.sendall(REQUEST)
            end = self.read + size
            while self.read < end and time.monotonic() < self._end:
                self._take(self.connection.recv_into(self._buffer))

    def _get(self) -> None:
        """
        Get the page of twisted.web, whole.
        """
        self.connection.sendall(GET)
        head = b""
        while b"\r\n\r\n" not in head:
            more = self.connection.recv(1000)
            if not more:
                raise BrokenServer(f"no response, but {head!r}")
            head += more
        if rest := head.partition(b"\r\n\r\n")[2]:
            self._buffer[: len(rest)] = rest
            self._take(len(rest))
        while self.read < PAGE:
            self._take(self.connection.recv_into(self._buffer))
            if time.monotonic() > self._end + PATIENCE:
                raise BrokenServer(f"{self.read} of {PAGE} bytes came in time")

    def _take(self, count: int) -> None:
        """
        Verify that what was read goes on where the last ended.
        """
        if not count:
            raise BrokenServer(f"the server has closed, after {self.read} bytes")
        if not self.read:
            self._begun()
        first, last = self._view[0], self._view[count - 1]
        expected = self.read % len(PATTERN), (self.read + count - 1) % len(PATTERN)
        if (first, last) != expected:
            raise BrokenServer(f"wrong bytes after {self.read} that were right")
        self.read += count


def main(commands: TextIO, answers: TextIO) -> None:
    def say(*words: object) -> None:
        print(*words, file=answers, flush=True)

    order = PeerOrder.from_json(commands.readline())
    try:
        peer = Peer(order, begun=lambda: say("begun"))
        say("connected")
        commands.readline()
        peer.run()
    except (BrokenServer, OSError) as error:
        say("broken", error)
    else:
        say("read", peer.read)


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
