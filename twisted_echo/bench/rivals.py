"""
Echo servers to measure: C{python -m twisted_echo.bench.rivals NAME [FOLDER]}, over TLS
with C{key.pem} and C{cert.pem} of C{FOLDER}.

Each is what its library's users would write, with C{TCP_NODELAY} on and a deep
backlog, and says C{listening on HOST:PORT, by LOOP}, as C{twistd echo} does. The
kernel chooses the port.
"""

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineOnlyReceiver, LineReceiver

from twisted_echo import (
    AnsweringLineReceiver,
    FastLineReceiver,
    Session,
    SessionFactory,
)
from twisted_echo.bench.servers import listen_string

HOST = "127.0.0.1"
BACKLOG = 4096
LONGEST = 16 * 1024 * 1024


def say(port: int, loop: object) -> None:
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


class FastLineListEcho(FastLineEcho):
    def linesReceived(self, lines: list[bytes]) -> None:
        self.sendLines(lines)


class AnsweringLineEcho(AnsweringLineReceiver):
    """
    Answers each line at once. The session turns C{TCP_NODELAY} on.
    """

    delimiter = b"\n"
    MAX_LENGTH = LONGEST

    def answer(self, question: bytes) -> bytes:
        return question


class LineReceiverEcho(_LineEcho, LineReceiver):
    pass


class LineOnlyReceiverEcho(_LineEcho, LineOnlyReceiver):
    pass


def run_twisted(protocol: type[Protocol], certificate: str, *, eager: bool) -> None:
    if eager and sys.platform == "linux":
        try:
            from twisted_echo.reactor import install

            install()
        except ImportError as error:
            # As the service does under a Twisted that the reactor does not fit.
            print(f"the eager reactor cannot be used: {error}", file=sys.stderr)
    from twisted.internet import reactor as chosen

    reactor: Any = chosen
    factory: Any
    if issubclass(protocol, Session):
        factory = SessionFactory.forProtocol(protocol)
    else:
        factory = Factory.forProtocol(protocol)
    factory.noisy = False
    description = f"{listen_string(certificate)}:backlog={BACKLOG}"
    endpoint = serverFromString(reactor, description)
    listening: Any = endpoint.listen(factory)
    listening.addCallback(lambda port: say(port.getHost().port, reactor))
    reactor.run()


class RawEcho(asyncio.Protocol):
    """
    Sends back what it receives, and knows nothing of lines.
    """

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # All of the loops turn TCP_NODELAY on.
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


def create_server(
    loop: asyncio.AbstractEventLoop, *arguments: Any, **options: Any
) -> Awaitable[asyncio.Server]:
    return loop.create_server(*arguments, **options)


async def serve(
    protocol: type[asyncio.Protocol] | None,
    certificate: str = "",
    create: Callable[..., Awaitable[asyncio.Server]] = create_server,
) -> None:
    """
    Serve a protocol of asyncio until the process ends.

    @param protocol: C{None} for streams.
    """
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        folder = Path(certificate)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server: asyncio.Server
    if protocol is None:
        server = await asyncio.start_server(
            stream_echo, HOST, 0, backlog=BACKLOG, limit=LONGEST, ssl=context
        )
    else:
        server = await create(loop, protocol, HOST, 0, backlog=BACKLOG, ssl=context)
    say(server.sockets[0].getsockname()[1], loop)
    try:
        # Not serve_forever: rloop's refuses every connection from then on.
        await asyncio.Event().wait()
    finally:
        server.close()


def run_asyncio(protocol: type[asyncio.Protocol] | None, certificate: str) -> None:
    asyncio.run(serve(protocol, certificate))


def run_uvloop(protocol: type[asyncio.Protocol] | None, certificate: str) -> None:
    import uvloop

    uvloop.run(serve(protocol, certificate))


def run_rloop(protocol: type[asyncio.Protocol], certificate: str) -> None:
    import rloop

    with asyncio.Runner(loop_factory=rloop.new_event_loop) as runner:
        runner.run(serve(protocol, certificate))


def run_aiofastnet(protocol: type[asyncio.Protocol], certificate: str) -> None:
    import aiofastnet
    import uvloop

    uvloop.run(serve(protocol, certificate, aiofastnet.create_server))


RUNNERS: dict[str, Callable[[str], None]] = {
    "fast-lines": partial(run_twisted, FastLineEcho, eager=True),
    "fast-line-lists": partial(run_twisted, FastLineListEcho, eager=True),
    "answering-lines": partial(run_twisted, AnsweringLineEcho, eager=True),
    "line-receiver": partial(run_twisted, LineReceiverEcho, eager=False),
    "line-only-receiver": partial(run_twisted, LineOnlyReceiverEcho, eager=False),
    "asyncio-raw": partial(run_asyncio, RawEcho),
    "asyncio-lines": partial(run_asyncio, LineEcho),
    "asyncio-streams": partial(run_asyncio, None),
    "uvloop-raw": partial(run_uvloop, RawEcho),
    "uvloop-lines": partial(run_uvloop, LineEcho),
    "uvloop-streams": partial(run_uvloop, None),
    "rloop-raw": partial(run_rloop, RawEcho),
    "rloop-lines": partial(run_rloop, LineEcho),
    "aiofastnet-raw": partial(run_aiofastnet, RawEcho),
}


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in RUNNERS:
        sys.exit(f"one of these must be named: {', '.join(RUNNERS)}")
    RUNNERS[sys.argv[1]](*sys.argv[2:] or [""])
