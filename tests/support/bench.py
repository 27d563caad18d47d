"""
What tests of the benchmarks share: real servers, broken ones, and the command in this
process.
"""

import asyncio
import importlib.util
import io
import json
import selectors
import socket
import struct
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.processes import (
    DEADLINE,
    Server,
    new_folder,
)
from twisted_echo.bench import cli

__all__ = [
    "RESET",
    "Answer",
    "FakeTransport",
    "LinuxCase",
    "LoadCase",
    "MisbehavingServer",
    "bench",
    "need_extra",
    "serve_both",
    "until_closed",
]

Answer = Callable[[int, bytes], bytes | None]
"""
Takes how many lines a connection has sent before, and a line; gives what to send
back, or C{None} to close. C{RESET} is for a reset.
"""

RESET = b"RESET"


class MisbehavingServer:
    """
    A server with one thread and an answer of the test's own for each line.
    """

    def __init__(self, test: SynchronousTestCase, answer: Answer) -> None:
        self._answer = answer
        self._stack = ExitStack()
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        self._listener = self._stack.enter_context(
            socket.create_server(("127.0.0.1", 0), backlog=100)
        )
        self._wake, self._waker = socket.socketpair()
        for each in (self._wake, self._waker):
            self._stack.enter_context(each)
        self._lines: dict[socket.socket, tuple[int, bytes]] = {}
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self.target = "{}:{}".format(*self._listener.getsockname())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        test.addCleanup(self._end)

    def _end(self) -> None:
        self._waker.send(b"end")
        self._thread.join(DEADLINE)
        self._stack.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake:
                    for client in list(self._lines):
                        self._close(client)
                    return
                if key.fileobj is self._listener:
                    client, _ = self._listener.accept()
                    self._lines[client] = 0, b""
                    self._selector.register(client, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    self._serve(key.fileobj)

    def _serve(self, client: socket.socket) -> None:
        try:
            data = client.recv(1 << 16)
        except ConnectionError:
            data = b""
        count, rest = self._lines[client]
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            answer = self._answer(count, line + b"\n")
            count += 1
            if answer == RESET:
                linger = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            if answer in (None, RESET):
                data = b""
                break
            try:
                client.sendall(answer or b"")
            except ConnectionError:
                data = b""
                break
        self._lines[client] = count, rest
        if not data:
            self._close(client)

    def _close(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._lines[client]
        client.close()


def bench(*arguments: str) -> tuple[int, str, str]:
    """
    Run a command in this process.

    @return: its status, its standard output and its standard error.
    """
    output, problems = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(problems):
        try:
            status = cli.main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
    return status, output.getvalue(), problems.getvalue()


class LoadCase(SynchronousTestCase):
    def setUp(self) -> None:
        need_extra()

    def load(self, *arguments: str) -> dict[str, object]:
        """
        A load that succeeds.
        """
        status, output, problems = bench("load", *arguments, "--json")
        self.assertEqual((status, problems), (0, ""))
        found: dict[str, object] = json.loads(output)
        self.assertEqual(found["failures"], [])
        return found

    def refused(self, *arguments: str) -> str:
        """
        A command that cannot be carried out.
        """
        status, output, problems = bench("load", *arguments)
        self.assertEqual((status, output), (2, ""), problems)
        self.assertNotIn("Traceback", problems)
        return problems


def need_extra() -> None:
    for module in ("hdrh", "rich", "matplotlib", "uvloop"):
        if importlib.util.find_spec(module) is None:
            raise SkipTest(f"the extra 'bench' is not installed: {module}")


class LinuxCase(SynchronousTestCase):
    def setUp(self) -> None:
        need_extra()
        if sys.platform != "linux":
            raise SkipTest("Linux only")


class FakeTransport(asyncio.Transport):
    """
    Keeps what is written.
    """

    def __init__(self, *, eof: bool = True) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.calls: list[str] = []
        self._eof = eof

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def can_write_eof(self) -> bool:
        return self._eof

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


def serve_both(test: SynchronousTestCase) -> tuple[str, str, Path]:
    """
    Start the service.

    @return: what to connect to, in the clear and over TLS, and the folder of its
        certificate and of a UNIX socket, C{echo.sock}.
    """
    folder = new_folder(test)
    make_certificate(folder)
    server = Server.start(
        test,
        listen=(
            "tcp:0:interface=127.0.0.1",
            "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem",
            "unix:echo.sock",
        ),
        folder=folder,
    )
    plain, tls = (f"127.0.0.1:{port}" for port in server.ports)
    return plain, f"tls:{tls}", folder


@inlineCallbacks
def until_closed(reactor: Any) -> Generator[Deferred[Any], Any, None]:
    """
    Wait until a reactor has no stream connection any more.
    """
    while any(
        isinstance(each, Connection)
        for each in (*reactor.getReaders(), *reactor.getWriters())
    ):
        yield deferLater(reactor, 0.001)
