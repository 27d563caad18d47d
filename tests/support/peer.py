"""
A client of every kind of endpoint, which is in control of each byte that it sends.
"""

import socket
import ssl
from time import monotonic, sleep
from typing import Any

from tests.support.clients import PATIENCE, connect
from tests.support.tlsclient import TLSClient
from twisted_echo.net.tcp_info import queuedOutput

__all__ = ["PROXY_HEADER", "Peer"]

PROXY_HEADER = b"PROXY TCP4 192.0.2.%d 192.0.2.99 1 2\r\n"
"""
A header of the PROXY protocol, with a place for the number of the client that it
announces.
"""


class Peer:
    """
    A client of one kind of endpoint. Its methods block, if the service has to answer.

    @ivar header: what it sends first, if a proxy is to announce it.
    """

    def __init__(self, address: Any, kind: str, number: int = 1) -> None:
        self.socket = connect(address, receive_buffer=1 << 16)
        self.header = PROXY_HEADER % number if kind.startswith("haproxy") else b""
        self.tls = TLSClient(self.socket) if kind.endswith("ssl") else None
        self.isShaken = False

    @property
    def beginning(self) -> bytes:
        """
        All that it can send before it is answered, and is no line yet.
        """
        return self.header + (b"" if self.tls is None else self.tls.hello())

    @property
    def part(self) -> bytes:
        """
        A part of that, which ends in its last stage.
        """
        return self.beginning[:-5]

    def establish(self) -> "Peer":
        self.socket.sendall(self.header)
        if self.tls is not None:
            self.tls.shake()
            self.isShaken = True
        return self

    def almostEstablish(self) -> bytes:
        """
        @return: what is still to be sent.
        """
        if self.tls is None:
            self.socket.sendall(self.header[:-5])
            return self.header[-5:]
        self.socket.sendall(self.beginning)
        while True:
            self.tls._in.write(self.socket.recv(1 << 16))
            try:
                self.tls.object.do_handshake()
            except ssl.SSLWantReadError:
                continue
            self.isShaken = True
            return b""

    def sealed(self, data: bytes) -> bytes:
        return data if self.tls is None else self.tls.sealed(data)

    def put(self, data: bytes) -> None:
        """
        Send bytes, as they are, until the server's kernel has them. (By a UNIX socket
        that is at once.)
        """
        if data:
            self.socket.sendall(data)
        if self.socket.family != socket.AF_UNIX:
            give_up = monotonic() + PATIENCE
            own: Any = self.socket
            while queuedOutput(own) and monotonic() < give_up:
                sleep(0.001)

    def send(self, data: bytes) -> None:
        self.put(self.sealed(data))

    def finish(self) -> None:
        """
        Send an end-of-file.
        """
        if self.tls is None:
            self.socket.shutdown(socket.SHUT_WR)
            self.put(b"")
        else:
            self.put(self.tls.sealed(farewell=True))

    def read_to_end(self) -> bytes:
        """
        Read to the end, which has to be one. A reset is raised.
        """
        if self.tls is None or not self.isShaken:
            return b"".join(iter(lambda: self.socket.recv(1 << 16), b""))
        data = b"".join(iter(self.tls.read, None))
        assert self.tls.farewell, "no close_notify"
        return data

    def leave(self) -> bytes:
        """
        L{read_to_end}, and close.
        """
        with self.socket:
            return self.read_to_end()
