"""
What tests of faults stand on: a real C{twistd echo}, looked at from outside while its
clients misbehave.
"""

import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.fault_clients import Client, Stopwatch, TLSClient
from tests.support.processes import EXEC, Server, connect, new_folder, wait_until
from twisted_echo.testing.client_socket import dial
from twisted_echo.testing.command_process import Books, Vitals
from twisted_echo.testing.fault_proxy import FaultProxy

__all__ = [
    "EAGER_ASYNCIO",
    "EPOLL",
    "EXEC_WITH_LIMIT",
    "HEADER_V1",
    "HEADER_V2",
    "MIB",
    "NO_DEADLINES",
    "SLACK",
    "FaultTestCase",
    "numbered",
    "only",
    "write_until_cut_off",
]

MIB = 1 << 20

SLACK = 1.5
"""
Seconds that a machine which is only busy may add to a deadline and its lateness.
"""

EPOLL = ("--reactor=epoll",)
EAGER_ASYNCIO = ("--reactor=eager-asyncio",)

HEADER_V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 7\r\n"
HEADER_V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n"
    b"\x21\x11\x00\x0c"
    + socket.inet_aton("192.0.2.1")
    + socket.inet_aton("192.0.2.2")
    + struct.pack("!HH", 40000, 7)
)

EXEC_WITH_LIMIT = """\
import os, resource, sys
limit = int(os.environ.pop("FILES"))
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""
Becomes the command of its arguments, with C{FILES} descriptors and no more.
"""

NO_DEADLINES = (
    "--idle-timeout=0",
    "--line-timeout=0",
    "--write-timeout=0",
    "--handshake-timeout=0",
)


def only(name: str, seconds: float) -> tuple[str, ...]:
    """
    The options for one deadline and no other, so that its lateness is its own.
    """
    others = (each for each in NO_DEADLINES if not each.startswith(f"--{name}="))
    return (*others, f"--{name}={seconds}")


def numbered(size: int) -> bytes:
    """
    C{size} bytes of lines that all differ, the last one perhaps without its end.
    """
    # Made by doubling: a join of a million lines takes longer than their echo.
    step = b"".join(b"%07d %s\n" % (n, b"x" * (n % 90)) for n in range(20_000))
    return (step * (size // len(step) + 1))[:size]


def write_until_cut_off(client: Client, data: bytes, limit: int) -> tuple[int, float]:
    """
    Send and never read, until that is an error.

    @return: how many bytes were taken, and how many seconds passed between the
        last of them and the error.
    """
    sent, last = 0, Stopwatch()
    try:
        while sent < limit:
            if not isinstance(client, TLSClient):
                sent += client.socket.send(data)
            else:
                client.send(data)
                sent += len(data)
            last = Stopwatch()
    except TimeoutError:
        raise
    except OSError:
        return sent, last()
    raise AssertionError(f"{sent} bytes were taken of a client that does not read")


class FaultTestCase(SynchronousTestCase):
    """
    Starts a server and its clients, and looks at the server from outside.

    @cvar reactor: arguments for C{twistd}, before C{echo}.
    @cvar tls: whether clients and server talk TLS.
    """

    reactor: tuple[str, ...] = ()
    tls = False
    timeout = 120

    def serve(
        self,
        *options: str,
        listen: Sequence[str] = (),
        proxy: bool = False,
        launcher: str = EXEC,
        files: int = 0,
    ) -> Server:
        """
        Start a server.

        @param listen: other endpoints than the one of the class.
        @param proxy: whether clients send a PROXY header first.
        @param files: the descriptors that it may have; 0 for no special limit.
        """
        self.folder = new_folder(self)
        if self.tls:
            make_certificate(self.folder)
        server = Server.start(
            self,
            *options,
            listen=listen or [self.endpoint(proxy)],
            command=("twistd", "-n", *self.reactor),
            folder=self.folder,
            launcher=EXEC_WITH_LIMIT if files else launcher,
            env={"FILES": str(files)} if files else None,
        )
        self.vitals = Vitals(server)
        wait_until(self.vitals.runs)
        self.start = self.vitals.descriptors()
        return server

    def endpoint(self, proxy: bool = False) -> str:
        kind = "ssl" if self.tls else "tcp"
        files = ":privateKey=key.pem:certKey=cert.pem" if self.tls else ""
        before = "haproxy:" if proxy else ""
        return f"{before}{kind}:0:interface=127.0.0.1{files}"

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "cert.pem"))

    def client(
        self,
        server: Server,
        *,
        header: bytes = b"",
        handshake: bool = True,
        source: str | None = None,
        buffer: int = 0,
        context: ssl.SSLContext | None = None,
        piece: int = 0,
        through: FaultProxy | None = None,
    ) -> Any:
        """
        Connect, and close when the test has ended.

        @param through: what stands before the server.
        @param header: what to send before all else, in the clear.
        @param handshake: whether to shake hands, if this is TLS.
        """
        address = server.address if through is None else through.address
        connected = dial(address, source=source, buffer=buffer)
        self.addCleanup(connected.close)
        if header:
            connected.sendall(header)
        if not self.tls:
            return Client(connected)
        client = TLSClient(connected, context or self.context(), piece)
        if handshake:
            client.handshake()
        return client

    def proxy(self, server: Server) -> FaultProxy:
        """
        Stand between a server and those who connect to it.
        """
        proxy = FaultProxy(server.address)
        self.addCleanup(proxy.stop)
        return proxy

    def raw(self, server: Server) -> Client:
        """
        Connect without TLS even to what expects it.
        """
        return Client(connect(self, server.address))

    def wait_for_end(self, server: Server, client: Client, reason: str) -> None:
        """
        Wait until the log says why the session of a client ended.
        """
        server.wait_for(rf"session of [^\n]*\b{client.port}\b[^\n]* ended: {reason}\b")

    def wait_for_no_one(self, others: int = 0) -> None:
        """
        Wait until the server has no more descriptors than at its start, and those
        of so many connections.
        """
        wait_until(lambda: self.vitals.descriptors() <= self.start + others)

    def assert_on_time(self, took: float, deadline: float) -> None:
        """
        A deadline struck not early, and not later than it may.
        """
        lateness = min(4.0, max(0.1, deadline / 4))
        self.assertGreaterEqual(took, deadline - 0.01)
        self.assertLess(took, deadline + lateness + SLACK)

    def assert_calm(self, server: Server) -> None:
        """
        Whatever happened was no surprise, and not more than told in single lines.
        """
        self.assertEqual(server.stderr, "")
        for word in ("Traceback", "Unhandled", "#critical", "#error"):
            self.assertNotIn(word, server.stdout, server.report(word))
        for line in server.stdout.splitlines():
            self.assertRegex(line, r"\A\d{4}-\d\d-\d\dT[\d:]+[-+]\d{4} \[")
            self.assertTrue(line.isprintable(), repr(line))

    def books(self, server: Server) -> Books:
        """
        Stop it when all have gone, and see that nothing is left of them, and
        nothing missing from its books.
        """
        self.wait_for_no_one()
        self.assertEqual(server.signal(15), -15, server.report("ended"))
        self.assert_calm(server)
        books = Books.of(server.stdout)
        self.assertEqual(books.served, sum(books.ended.values()), str(books))
        self.assertEqual(books.refused, sum(books.refusals.values()), str(books))
        self.assertEqual(list(server.folder.glob("*.sock*")), [])
        return books
