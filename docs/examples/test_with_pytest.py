"""
Tests of a server of your own, and of a client of any kind, with pytest.

    pytest test_with_pytest.py

The fixtures come with twisted-echo. `echo_service_thread` runs a protocol in a thread,
with a reactor of its own. `echo_server` is a real `twistd echo` in a process of its
own. `echo_fault_proxy` stands before either. At the end all of them are stopped, and
the test fails if they have left anything behind.
"""

import pytest

from twisted_echo import FastLineReceiver, Limits, Session
from twisted_echo.testing import EchoServer, StartFaultProxy, StartServiceThread


class Upper(Session, FastLineReceiver):
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


def test_upper(echo_service_thread: StartServiceThread) -> None:
    server = echo_service_thread(Upper)
    with server.connect() as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"HELLO\n"
    assert server.call(lambda: server.service.snapshot().opened) == 1


def test_one_client_too_many(echo_service_thread: StartServiceThread) -> None:
    server = echo_service_thread(Upper, limits=Limits(sessionsPerPeer=1))
    with server.connect() as first, server.connect() as second:
        assert second.recv(100) == b""
        first.sendall(b"hello\n")
        assert first.recv(100) == b"HELLO\n"


@pytest.mark.parametrize("size", [1, 3])
def test_lines_in_pieces(
    echo_service_thread: StartServiceThread,
    echo_fault_proxy: StartFaultProxy,
    size: int,
) -> None:
    proxy = echo_fault_proxy(echo_service_thread(Upper))
    proxy.to_server.pieces = size
    with proxy.connect() as client, client.makefile("rb") as replies:
        client.sendall(b"hello\nthere\n")
        assert [next(replies), next(replies)] == [b"HELLO\n", b"THERE\n"]


@pytest.mark.echo_server("--max-length", "100", tls=True)
def test_a_client(echo_server: EchoServer) -> None:
    with echo_server.connect() as client:
        client.sendall(b"x" * 101 + b"\n")
        assert client.recv(100) == b""
    echo_server.wait_for("ended: line-too-long")
