"""
Echo servers to measure: C{python -m twisted_echo.bench.rivals NAME}.

Used by: C{compare}, as a process; nothing imports it.

Each is what its library's users would write, with C{TCP_NODELAY} on and a deep
backlog, and says C{listening on HOST:PORT, by LOOP}, as C{twistd echo} does. The
kernel chooses the port.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineOnlyReceiver, LineReceiver

from twisted_echo import FastLineReceiver

HOST = "127.0.0.1"
BACKLOG = 4096
LONGEST = 16 * 1024 * 1024


def _say(port: int, loop: object) -> None:
    print(f"listening on {HOST}:{port}, by {type(loop).__name__}", flush=True)


class _LineEcho:
    delimiter = b"\n"
    MAX_LENGTH = LONGEST
    transport: Any
    sendLine: Callable[[bytes], object]

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


class FastLineEcho(_LineEcho, FastLineReceiver):
    pass


class LineReceiverEcho(_LineEcho, LineReceiver):
    pass


class LineOnlyReceiverEcho(_LineEcho, LineOnlyReceiver):
    pass


def run_twisted(protocol: type[Protocol], *, eager: bool) -> None:
    if eager and sys.platform == "linux":
        try:
            from twisted_echo.reactor import install

            install()
        except ImportError as error:
            # As the service does under a Twisted that the reactor does not fit.
            print(f"the eager reactor cannot be used: {error}", file=sys.stderr)
    from twisted.internet import reactor as chosen

    reactor: Any = chosen
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    port = reactor.listenTCP(0, factory, BACKLOG, HOST)
    _say(port.getHost().port, reactor)
    reactor.run()


class RawEcho(asyncio.Protocol):
    """
    Knows nothing of lines.
    """

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Both loops turn TCP_NODELAY on.
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class LineEcho(RawEcho):
    """
    Splits each chunk once and answers line by line.
    """

    _rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.line_received(line)

    def line_received(self, line: bytes) -> None:
        self.transport.write(line + b"\n")


async def stream_echo(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve(protocol: type[asyncio.Protocol] | None) -> None:
    """
    @param protocol: C{None} for streams.
    """
    loop = asyncio.get_running_loop()
    server: asyncio.Server
    if protocol is None:
        server = await asyncio.start_server(
            stream_echo, HOST, 0, backlog=BACKLOG, limit=LONGEST
        )
    else:
        server = await loop.create_server(protocol, HOST, 0, backlog=BACKLOG)
    _say(server.sockets[0].getsockname()[1], loop)
    await server.serve_forever()


def run_asyncio(protocol: type[asyncio.Protocol] | None) -> None:
    asyncio.run(serve(protocol))


def run_uvloop(protocol: type[asyncio.Protocol] | None) -> None:
    import uvloop

    uvloop.run(serve(protocol))


RUNNERS: dict[str, Callable[[], None]] = {
    "fast-lines": lambda: run_twisted(FastLineEcho, eager=True),
    "line-receiver": lambda: run_twisted(LineReceiverEcho, eager=False),
    "line-only-receiver": lambda: run_twisted(LineOnlyReceiverEcho, eager=False),
    "asyncio-raw": lambda: run_asyncio(RawEcho),
    "asyncio-lines": lambda: run_asyncio(LineEcho),
    "asyncio-streams": lambda: run_asyncio(None),
    "uvloop-raw": lambda: run_uvloop(RawEcho),
    "uvloop-lines": lambda: run_uvloop(LineEcho),
    "uvloop-streams": lambda: run_uvloop(None),
}


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in RUNNERS:
        sys.exit(f"one of these must be named: {', '.join(RUNNERS)}")
    RUNNERS[sys.argv[1]]()
