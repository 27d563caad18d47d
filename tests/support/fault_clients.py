"""
Clients that behave badly, plain and over TLS.

What must hold: nothing here uses Twisted or the package, so that a mistake of theirs
is not repeated; and what a client got is told apart exactly: data, end-of-file (in
TLS: C{close_notify}), and a reset (an C{OSError}).
"""

import contextlib
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterable
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

from tests.support.processes import DEADLINE

__all__ = [
    "Background",
    "Client",
    "Flood",
    "Stopwatch",
    "TLSClient",
    "exchange",
    "is_cut_off",
]

_T = TypeVar("_T")


class Background(Thread, Generic[_T]):
    """
    A function that runs beside the test.
    """

    def __init__(self, function: Callable[[], _T]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error

    def result(self, patience: float = DEADLINE) -> _T:
        """
        Wait for its end.

        @raise Exception: what it raised.
        """
        self.join(patience)
        if self.is_alive():
            raise AssertionError(f"{self._function} does not end")
        if self._error is not None:
            raise self._error
        return self._result


class Client:
    """
    A connection without TLS. One thread may send while another one receives.

    @ivar port: its own port, by which a log knows it; 0 on a UNIX socket.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        name = connected.getsockname()
        self.port = name[1] if isinstance(name, tuple) else 0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def handshake(self) -> None:
        """
        There is none.
        """

    def send(self, data: bytes, *, finish: bool = False) -> None:
        """
        Send all of it.

        @param finish: whether to send end-of-file, at once.
        """
        self.socket.sendall(data)
        if finish:
            self.socket.shutdown(socket.SHUT_WR)

    def receive(self) -> bytes:
        """
        What there is, at least a byte, or nothing at the end-of-file.
        """
        return self.socket.recv(1 << 17)

    def read_exactly(self, size: int) -> bytes:
        """
        Read C{size} bytes, or less before end-of-file.

        @raise AssertionError: if there are more.
        """
        data = bytearray()
        while len(data) < size:
            chunk = self.receive()
            if not chunk:
                break
            data += chunk
        if len(data) > size:
            raise AssertionError(f"{len(data) - size} bytes too many")
        return bytes(data)

    def read_to_end(self) -> bytes:
        """
        Read until end-of-file, which a reset is not.
        """
        return self.read_exactly(sys.maxsize)

    def round_trip(self, line: bytes) -> bytes:
        """
        Send a line and read as many bytes.
        """
        self.send(line)
        return self.read_exactly(len(line))

    def leave(self) -> None:
        """
        End in order, which under TLS takes more than to close.
        """
        self.send(b"", finish=True)
        rest = self.read_to_end()
        self.close()
        if rest:
            raise AssertionError(f"{len(rest)} bytes too many")

    def wait_for_reset(self) -> None:
        """
        Wait until the connection is gone in both directions, reading nothing.
        """
        poll = select.poll()
        poll.register(self.socket, 0)
        if not poll.poll(DEADLINE * 1000):
            raise AssertionError("it is not reset")

    def reset(self) -> None:
        """
        Close with a reset.
        """
        with contextlib.suppress(OSError):
            self.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


class TLSClient(Client):
    """
    A connection with TLS, which can end its own direction and go on reading, as
    Python's C{SSLSocket} cannot.

    @ivar piece: how many bytes to give the socket at once; 0 for all.
    """

    def __init__(
        self, connected: socket.socket, context: ssl.SSLContext, piece: int = 0
    ) -> None:
        super().__init__(connected)
        self.piece = piece
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="127.0.0.1"
        )
        self._plain = bytearray()
        self._ended = False
        # Of the state of TLS, and of the order of what is sent. A thread that
        # sends must not keep another one from receiving.
        self._state, self._sending = Lock(), Lock()

    @property
    def certificate(self) -> bytes:
        """
        The server's certificate, in DER.
        """
        return self._tls.getpeercert(binary_form=True) or b""

    def hello(self) -> bytes:
        """
        A C{ClientHello}, for who does not shake hands.
        """
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    def _put(self, data: bytes) -> None:
        step = self.piece or len(data) or 1
        for start in range(0, len(data), step):
            self.socket.sendall(data[start : start + step])

    def handshake(self) -> None:
        """
        @raise ssl.SSLError: if there is no agreement.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._put(self._outgoing.read())
                data = self.socket.recv(1 << 16)
                if not data:
                    raise EOFError("end of file in the handshake") from None
                self._incoming.write(data)
            else:
                self._put(self._outgoing.read())
                return

    def send(self, data: bytes, *, finish: bool = False) -> None:
        with self._sending:
            with self._state:
                view = memoryview(data)
                while view:
                    view = view[self._tls.write(view[: 1 << 18]) :]
                if finish:
                    # All that came in has been decrypted, so this reads nothing
                    # and only writes the alert.
                    with contextlib.suppress(ssl.SSLWantReadError):
                        self._tls.unwrap()
                out = self._outgoing.read()
            self._put(out)

    def _decrypt(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        with contextlib.suppress(ssl.SSLWantReadError):
            try:
                while chunk := self._tls.read(1 << 16):
                    self._plain += chunk
            except ssl.SSLZeroReturnError:
                pass
            self._ended = True

    def receive(self) -> bytes:
        """
        @raise ssl.SSLEOFError: at an end-of-file without C{close_notify}.
        """
        while not self._plain and not self._ended:
            data = self.socket.recv(1 << 17)
            with self._state:
                self._decrypt(data)
        data = bytes(self._plain)
        self._plain.clear()
        return data


def exchange(client: Client, pieces: Iterable[bytes]) -> bytes:
    """
    Send and read at once. End-of-file is sent together with the last piece.
    """

    def send() -> None:
        last = b""
        for piece in pieces:
            if last:
                client.send(last)
            last = piece
        client.send(last, finish=True)

    sender = Background(send)
    try:
        return client.read_to_end()
    finally:
        sender.result()


class Flood:
    """
    A client that sends numbered lines without waiting for the replies, until the
    server ends it. A subclass may send something else.

    @ivar busy: set when there are enough replies to be in the middle of it.
    """

    ENOUGH = 1 << 18

    def __init__(self, client: Client, name: str) -> None:
        self.busy = Event()
        self._client = client
        self._name = name.encode()
        self._sent = bytearray()
        self._received = bytearray()
        self._ended = Event()
        self._threads = [Background(self._send), Background(self._receive)]

    def line(self, number: int) -> bytes:
        """
        What to send, one by one.
        """
        return b"%s line %d %s\n" % (self._name, number, b"." * (number % 97))

    def is_whole(self, received: bytes) -> bool:
        """
        Whether there is nothing in it but whole lines.
        """
        return received.endswith(b"\n")

    def _send(self) -> None:
        line = 0
        while not self._ended.is_set():
            batch = b"".join([self.line(each) for each in range(line, line + 100)])
            line += 100
            self._sent += batch
            self._client.send(batch)
        self._client.send(b"", finish=True)

    def _receive(self) -> None:
        try:
            while data := self._client.receive():
                self._received += data
                if len(self._received) >= self.ENOUGH:
                    self.busy.set()
        finally:
            self._ended.set()

    def close(self) -> None:
        self._client.close()

    def check(self) -> None:
        """
        Wait for its end, which must be end-of-file after whole lines, the first
        of those that it sent.

        @raise OSError: if it was reset, in either direction.
        """
        errors = []
        for thread in reversed(self._threads):
            try:
                thread.result()
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        received = bytes(self._received)
        assert self._sent.startswith(received), received[-200:]
        assert self.is_whole(received), received[-200:]


def is_cut_off(client: Client) -> bool:
    """
    Wait for the end of a connection, by end-of-file or by a reset.

    @return: whether not a byte came before it.
    """
    try:
        return client.socket.recv(1) == b""
    except TimeoutError:
        raise
    except OSError:
        return True


class Stopwatch:
    """
    Tells the seconds since it was made.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self._began
