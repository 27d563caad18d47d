"""
A proxy between a client and a server that does to their connections what networks do:
delays, pieces, cuts, stalls, resets, ends that never arrive.

One thread and plain sockets; no Twisted. What must hold: of each connection 64 KiB are
held per direction at most, and after L{FaultProxy.stop} neither thread nor socket is
left.
"""

import asyncio
import contextlib
import select
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from twisted_echo.testing.client_socket import Address, dial
from twisted_echo.testing.command_process import DEADLINE
from twisted_echo.validation.checks import Checked, seconds, whole

__all__ = ["FaultProxy", "Flow"]

_CHUNK = 1 << 16
_LOOK = 0.02
"""
Seconds between two looks at a side that has sent its end-of-file: whether it is gone.
"""


class _Cut(Exception):
    """
    Raised to reset both sides of a connection.
    """


def _pieces(name: str, value: int) -> int:
    return whole(name, value, " of bytes, 0 (as they come) or more")


def _cut_after(name: str, value: int | None) -> int | None:
    return None if value is None else whole(name, value, " of bytes, or None")


def _cut_by(name: str, value: str) -> str:
    if value not in ("end", "reset"):
        raise ValueError(f"{name} must be 'end' or 'reset', got {value!r}")
    return value


class Flow:
    """
    One direction of all connections of a proxy. What is set here holds for the next
    piece of every open connection, and for later connections.

    @ivar delay: seconds to wait before each piece.
    @ivar pieces: the most bytes of a piece; 0 for as they come.
    @ivar cut_after: the bytes after which this direction of a connection ends; None
        for never.
    @ivar cut_by: C{"end"}: by end-of-file, and what is still sent is thrown away;
        C{"reset"}: the whole connection is reset.
    @ivar drop_fin: whether to hold back the sender's end-of-file.
    @ivar forwarded: bytes that were passed on, of all connections.
    """

    delay = Checked(seconds)
    pieces = Checked(_pieces)
    cut_after = Checked(_cut_after)
    cut_by = Checked(_cut_by)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.delay = 0.0
        self.pieces = 0
        self.cut_after = None
        self.cut_by = "end"
        self.drop_fin = False
        self.forwarded = 0
        self._loop = loop
        self._is_stalled = False
        self._released = asyncio.Event()

    def stall(self) -> None:
        """
        Pass nothing on until L{release}: nothing of what is sent from now on, and of
        what was sent before only what is being passed on just now.
        """
        # Not by the loop: it may read what is sent next before it comes to a call.
        self._is_stalled = True

    def release(self) -> None:
        """
        Pass on what has waited, and all that follows.
        """
        self._is_stalled = False
        _call(self._loop, self._released.set)

    async def _until_released(self) -> None:
        while self._is_stalled:
            self._released.clear()
            # Its event may have been set before.
            if self._is_stalled:
                await self._released.wait()

    async def pump(self, source: socket.socket, sink: socket.socket) -> None:
        """
        Pass on what C{source} sends, to its end.
        """
        loop, passed = self._loop, 0
        while self.cut_after is None or passed < self.cut_after:
            data = memoryview(await loop.sock_recv(source, _CHUNK))
            if not data:
                await self._until_released()
                if not self.drop_fin:
                    _finish(sink)
                return
            while data and (self.cut_after is None or passed < self.cut_after):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._until_released()
                size = self.pieces or len(data)
                if self.cut_after is not None:
                    size = min(size, self.cut_after - passed)
                piece, data = data[:size], data[size:]
                await loop.sock_sendall(sink, piece)
                passed += len(piece)
                self.forwarded += len(piece)
        if self.cut_by == "reset":
            raise _Cut
        _finish(sink)
        while await loop.sock_recv(source, _CHUNK):
            pass


class FaultProxy:
    """
    A proxy that does what networks do. It listens on loopback, or on a UNIX socket if
    its target does, and passes on what it receives.

    @ivar to_server: the L{Flow} from clients to the target.
    @ivar to_client: the L{Flow} back.
    @ivar address: where it listens.
    """

    def __init__(self, target: Address, *, most: int = 1000) -> None:
        """
        @param target: where the server listens.
        @param most: how many connections there may be; others wait to be accepted.
        """
        if not isinstance(target, (str, tuple)):
            raise TypeError(
                "target must be where a server listens, such as ('127.0.0.1', 7007) or"
                f" '/run/echo.sock', got {target!r}"
            )
        self._most = whole("most", most, " from 1 up", least=1)
        self.target = target
        self._loop = asyncio.new_event_loop()
        self.to_server, self.to_client = Flow(self._loop), Flow(self._loop)
        self._links: dict[asyncio.Task[None], socket.socket] = {}
        self._folder: str | None = None
        if isinstance(target, str):
            self._folder = tempfile.mkdtemp(prefix="echo-")
            self._socket = socket.socket(socket.AF_UNIX)
            self.address: Address = str(Path(self._folder, "proxy.sock"))
            self._socket.bind(self.address)
        else:
            self._socket = socket.create_server(("127.0.0.1", 0))
            self.address = self._socket.getsockname()
        self._socket.listen(128)
        self._socket.setblocking(False)
        self._main = self._loop.create_task(self._accept())
        self._thread = Thread(target=self._run, name="fault-proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> "FaultProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def connections(self) -> int:
        """
        How many connections there are.
        """
        return len(self._links)

    def connect(self) -> socket.socket:
        """
        Connect a client through this proxy. The caller closes the connection.

        @raise OSError: if it is reset before it is there, as with a L{Flow.cut_after}
            of 0.
        """
        return dial(self.address)

    def reset(self) -> None:
        """
        Reset every connection, on both sides; when this returns it is done.
        """
        future = asyncio.run_coroutine_threadsafe(self._reset(), self._loop)
        future.result(DEADLINE)

    def stop(self) -> None:
        """
        Reset all connections, stop listening, and wait for the thread. A second call
        does nothing.
        """
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._main.cancel)
            self._thread.join(DEADLINE)
            if self._thread.is_alive():
                raise AssertionError("the thread of the fault proxy does not end")
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    # In its thread

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main)
        # Who is cancelled before he begins closes nothing.
        self._socket.close()
        self._loop.close()

    async def _accept(self) -> None:
        self._loop.add_reader(self._socket, self._welcome)
        try:
            await self._loop.create_future()
        finally:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            await self._reset()

    def _welcome(self) -> None:
        # Not `sock_accept`: what it has accepted is lost if it is cancelled then.
        try:
            client, _ = self._socket.accept()
        except OSError:
            # It has gone again.
            return
        link = self._loop.create_task(self._link(client))
        self._links[link] = client
        link.add_done_callback(self._gone)
        if len(self._links) >= self._most:
            self._loop.remove_reader(self._socket)

    def _gone(self, link: "asyncio.Task[None]") -> None:
        # A task that is cancelled before it begins closes nothing itself.
        self._links.pop(link).close()
        if self._socket.fileno() != -1:
            self._loop.add_reader(self._socket, self._welcome)

    async def _reset(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _link(self, client: socket.socket) -> None:
        server = socket.socket(
            socket.AF_UNIX
            if isinstance(self.target, str)
            else socket.AF_INET6
            if ":" in self.target[0]
            else socket.AF_INET
        )
        try:
            for each in (client, server):
                each.setblocking(False)
                if each.family != socket.AF_UNIX:
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(server, self.target)
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(_watch(client, server))
                pumps = [
                    group.create_task(self.to_server.pump(client, server)),
                    group.create_task(self.to_client.pump(server, client)),
                ]
                await asyncio.wait(pumps)
                watch.cancel()
        except asyncio.CancelledError:
            _linger(client, server)
        except (OSError, BaseExceptionGroup):
            # One side is gone, or both are to be reset: an orderly end is useless.
            _linger(client, server)
        finally:
            client.close()
            server.close()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    # After the end of the proxy there is nothing to change.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


def _finish(sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _linger(*sockets: socket.socket) -> None:
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _watch(*sockets: socket.socket) -> None:
    """
    Find a side that was reset. A side whose end-of-file was read would not report it.
    """
    poll = select.poll()
    for each in sockets:
        poll.register(each, 0)
    while not any(event & select.POLLERR for _, event in poll.poll(0)):
        await asyncio.sleep(_LOOK)
    raise _Cut
