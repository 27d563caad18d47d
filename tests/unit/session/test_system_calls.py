"""
The system calls of one connection's life, counted.
"""

import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from tests.support.compiled import use_python
from tests.support.loop import Loop, LoopTestCase
from tests.support.processes import new_folder
from twisted_echo import EchoConfig, EchoService, Limits
from twisted_echo.session.bounds.limits import WhenFull

CALLS = frozenset(
    (
        "epoll.modify",
        "epoll.register",
        "epoll.unregister",
        "socket._accept",
        "socket.close",
        "socket.getpeername",
        "socket.getsockname",
        "socket.getsockopt",
        "socket.recv",
        "socket.recvmsg",
        "socket.send",
        "socket.setblocking",
        "socket.setsockopt",
        "socket.shutdown",
    )
)
"""
The methods that call the system. (C{epoll_wait} depends on the turns that
a test takes.)
"""


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """
    Count what is called in the block.
    """
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            name = getattr(function, "__qualname__", "")
            if name in CALLS:
                # (UNIX sockets are read by the longer name, for descriptors.)
                calls[name.removesuffix("msg")] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


class LifeTests(LoopTestCase):
    """
    A service on the eager reactor. (The profiler sees the calls of Python code alone.
    The compiled part makes the same: L{tests.unit.compiled.test_speedups}.)
    """

    def setUp(self) -> None:
        super().setUp()
        use_python(self)

    def serve(
        self, endpoint: str, loop: Loop | None = None, **settings: Any
    ) -> tuple[Loop, EchoService]:
        loop = loop or self.eager()
        config = EchoConfig(listen=[endpoint], **settings)
        service = EchoService(config, reactor=loop.reactor)
        loop.serve(service)
        return loop, service

    def client(self, service: EchoService) -> socket.socket:
        (address,) = service.addresses
        if hasattr(address, "port"):
            peer = socket.create_connection((address.host, address.port))
        else:
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(address.name)
        self.addCleanup(peer.close)
        return peer

    def life(self, endpoint: str, header: bytes = b"") -> "list[Counter[str]]":
        """
        Count the calls of a connection: its beginning, a line, and its end.
        """
        loop, service = self.serve(endpoint)
        sessions, ended = service.factory.sessions, service.factory.ended
        # (Of several connections: the first one has a port accept by hundreds.)
        for _ in range(2):
            peer = self.client(service)
            peer.sendall(header)
            found = [self.until(loop, lambda: sessions)]
            peer.sendall(b"hello\n")
            found.append(self.until(loop, partial(self.answered, peer)))
            peer.shutdown(socket.SHUT_WR)
            found.append(self.until(loop, lambda: not sessions))
            self.assertEqual(peer.recv(10), b"")
        self.assertEqual(sum(ended.values()), 2)
        return found

    def until(self, loop: Loop, condition: Callable[[], Any]) -> "Counter[str]":
        with counted() as calls:
            loop.until(condition)
        return calls

    def answered(self, peer: socket.socket) -> bool:
        """
        Whether the client has its line back. (Its own calls are not counted.)
        """
        before = sys.getprofile()
        sys.setprofile(None)
        try:
            return peer.recv(10, socket.MSG_DONTWAIT) == b"hello\n"
        except BlockingIOError:
            return False
        finally:
            sys.setprofile(before)

    def assertLife(self, life: "list[Counter[str]]", reads: int = 0) -> None:
        begin, line, end = life
        # Perhaps it looks for another one.
        self.assertLessEqual(begin.pop("socket._accept"), 2)
        self.assertEqual(begin.pop("socket.recv", 0), reads)
        self.assertEqual(begin, {"socket.setblocking": 1, "epoll.register": 1})
        self.assertEqual(line, {"socket.recv": 1, "socket.send": 1})
        self.assertEqual(
            end,
            {
                "socket.recv": 1,
                "epoll.unregister": 1,
                "socket.shutdown": 1,
                "socket.close": 1,
            },
        )

    def test_tcp(self) -> None:
        """
        Nothing is set that is inherited, and the end sends nothing.
        """
        self.assertLife(self.life("tcp:0:interface=127.0.0.1"))

    def test_stock(self) -> None:
        """
        For a line Twisted's own reactor also tells epoll to watch for room, and to stop
        watching. (Between the two it polls once more.)
        """
        stock = Loop(self, self.reactors.stock)
        loop, service = self.serve("tcp:0:interface=127.0.0.1", stock)
        peer = self.client(service)
        self.until(loop, lambda: service.factory.sessions)
        peer.sendall(b"hello\n")
        line = self.until(loop, partial(self.answered, peer))
        self.assertEqual(line, {"socket.recv": 1, "epoll.modify": 2, "socket.send": 1})

    def test_unix(self) -> None:
        """
        Likewise for a UNIX socket.
        """
        self.assertLife(self.life(f"unix:{new_folder(self)}/socket"))

    def test_proxy(self) -> None:
        """
        Likewise behind a proxy, whose header is read before.
        """
        header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
        self.assertLife(self.life("haproxy:tcp:0:interface=127.0.0.1", header), reads=1)

    def test_refused(self) -> None:
        """
        A connection that a limit refuses is never watched.
        """
        limits = Limits(sessions=1, whenFull=WhenFull.REFUSE)
        loop, service = self.serve("tcp:0:interface=127.0.0.1", limits=limits)
        self.client(service)
        loop.until(lambda: service.factory.sessions)
        refused = self.client(service)
        with counted() as calls:
            loop.until(lambda: sum(service.factory.refused.values()))
        self.assertEqual(refused.recv(10), b"")
        self.assertLessEqual(calls.pop("socket._accept"), 2)
        expected = dict.fromkeys(("setblocking", "shutdown", "recv", "close"), 1)
        self.assertEqual(calls, {f"socket.{name}": n for name, n in expected.items()})
