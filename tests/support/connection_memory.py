"""
What one connection costs C{twistd echo}: the table of C{docs/security.md}, and what
idle connections take of a processor::

    python -m tests.support.connection_memory
    python -m tests.support.connection_memory --seconds 60 idle

Each kind has a server of its own. Its resident memory is read before its clients come,
and when it has nothing left to do. It needs Linux, the extras C{metrics} and C{test},
and for the idle ones a limit of 10,300 open files.
"""

import argparse
import resource
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from select import select

from tests.support.tlsclient import TLSClient
from twisted_echo.testing.client_socket import dial
from twisted_echo.testing.command_process import Vitals
from twisted_echo.testing.server import EchoServer

__all__ = ["KINDS", "Cost", "Kind", "main", "measure"]

_Send = Callable[[TLSClient], None]

FIRST = 10
"""
Connections before those that count: they make what is made once.
"""
OPTIONS = ("--handshake-timeout=1h", "--line-timeout=1h", "--write-timeout=1h")
REST = 0.3
"""
Seconds in which nothing changes once everything is done.
"""
LINE = 60_000
HELLO = 130_000
"""
Bytes of a ClientHello: OpenSSL takes no more than 131,396.
"""


def _nothing(client: TLSClient) -> None:
    """An idle client."""


def _shake(client: TLSClient) -> None:
    client.shake()


def _hello(client: TLSClient) -> None:
    """
    All but the last bytes of a hello, in records as long as may be.
    """
    hello = (b"\1" + HELLO.to_bytes(3, "big")).ljust(HELLO, b"\0")
    for at in range(0, HELLO, 1 << 14):
        piece = hello[at : at + (1 << 14)]
        client.socket.sendall(struct.pack("!BHH", 22, 0x301, len(piece)) + piece)


def _unfinished(client: TLSClient) -> None:
    client.socket.sendall(bytes(LINE))


def _unfinished_tls(client: TLSClient) -> None:
    client.shake()
    client.send(bytes(LINE))


def _line_tls(client: TLSClient) -> None:
    client.shake()
    client.send(bytes(LINE) + b"\n")
    client.collect(LINE + 1)


def _send_on(client: TLSClient, data: bytes) -> None:
    client.socket.setblocking(False)
    while select([], [client.socket], [], REST)[1]:
        data = data[client.socket.send(data) :]
        assert data, "the server reads on"


def _unread(client: TLSClient) -> None:
    _send_on(client, b"0123456789abcde\n" * 2_000_000)


def _unread_tls(client: TLSClient) -> None:
    client.shake()
    _send_on(client, client.sealed(b"0123456789abcde\n" * 2_000_000, farewell=False))


@dataclass(frozen=True)
class Kind:
    """
    @ivar send: what each client does.
    """

    name: str
    connections: int
    send: _Send
    tls: bool = False


KINDS = (
    Kind("idle", 10_000, _nothing),
    Kind("idle, TLS", 400, _shake, tls=True),
    Kind("an unfinished TLS handshake, at worst", 60, _hello, tls=True),
    Kind("idle after a line of 60 KB, TLS", 100, _line_tls, tls=True),
    Kind("an unfinished line of 60 KB", 100, _unfinished),
    Kind("an unfinished line of 60 KB, TLS", 100, _unfinished_tls, tls=True),
    Kind("a client that does not read", 60, _unread),
    Kind("a client that does not read, TLS", 60, _unread_tls, tls=True),
)


@dataclass(frozen=True)
class Cost:
    """
    @ivar memory: KiB of the process for one connection.
    @ivar counted: of these, those that the server counts, as C{--max-buffered} does.
    @ivar processor: per cent of a processor, all connections together.
    """

    memory: float
    counted: float
    processor: float


class _Run:
    """
    A server and its clients.
    """

    def __init__(self, server: EchoServer) -> None:
        assert server._command is not None
        self.server = server
        self.vitals = Vitals(server._command)
        self.clients: list[TLSClient] = []

    def connect(self, number: int, send: _Send) -> tuple[int, float]:
        """
        Have more clients, and wait until the server has nothing left to do.

        @return: the bytes of its process, and those that it counts.
        """
        for _ in range(number):
            self.clients.append(TLSClient(dial(self.server.address)))
            send(self.clients[-1])
        held, before, wanted = 0.0, -1.0, len(self.clients)
        while held != before or wanted:
            before = held
            time.sleep(REST)
            metrics = self.server.metrics()
            held = metrics["twisted_echo_pending_bytes"]
            there = (
                metrics["twisted_echo_sessions"] + metrics["twisted_echo_handshakes"]
            )
            wanted = len(self.clients) - int(there)
        return self.vitals.memory(), held

    def processor(self, seconds: float) -> float:
        """
        Per cent of a processor that it uses meanwhile.
        """
        before = self.vitals.cpu()
        time.sleep(seconds)
        return 100 * (self.vitals.cpu() - before) / seconds

    def end(self) -> None:
        for client in self.clients:
            client.socket.close()
        self.server.kill()


def measure(kind: Kind, connections: int, seconds: float) -> Cost:
    """
    @param seconds: for how long the time of the processor is measured.
    """
    run = _Run(EchoServer(*OPTIONS, tls=kind.tls, metrics=True))
    try:
        memory, held = run.connect(FIRST, kind.send)
        more_memory, more_held = run.connect(connections, kind.send)
        processor = run.processor(seconds)
    finally:
        run.end()
    each = 1024 * connections
    return Cost((more_memory - memory) / each, (more_held - held) / each, processor)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="connection_memory", description="Measure what a connection costs."
    )
    parser.add_argument("--seconds", type=float, default=20, help="of waiting (20)")
    parser.add_argument("names", nargs="*", help="the kinds; all by default")
    chosen = parser.parse_args(arguments)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    print("| connection | memory | of it counted | % of a processor, all |")
    print("|---|--:|--:|--:|")
    for kind in KINDS:
        if not chosen.names or kind.name in chosen.names:
            cost = measure(kind, kind.connections, chosen.seconds)
            print(
                f"| {kind.name} | {cost.memory:.1f} KiB | {cost.counted:.1f} KiB"
                f" | {cost.processor:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
