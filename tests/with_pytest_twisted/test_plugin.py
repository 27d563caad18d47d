"""
The fixtures of twisted-echo's own plugin, in a process where pytest-twisted's reactor
runs: they neither use it nor disturb it.
"""

from collections.abc import Callable

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from twisted_echo import EchoProtocol
from twisted_echo.testing import EchoServer, FaultProxy, ServiceThread

ServiceThreads = Callable[..., ServiceThread]


def test_service_thread(echo_service_thread: ServiceThreads) -> None:
    """
    A service in a thread has a reactor of its own.
    """
    server = echo_service_thread(EchoProtocol)
    assert server.call(lambda: server.service.factory.clock) is not reactor
    with server.connect() as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"hello\n"


def test_echo_server(echo_server: EchoServer) -> None:
    with echo_server.connect() as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"hello\n"


def test_fault_proxy(
    echo_server: EchoServer, echo_fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = echo_fault_proxy(echo_server)
    proxy.to_client.cut_after = 3
    with proxy.connect() as client:
        client.sendall(b"hello\n")
        assert client.makefile("rb").read() == b"hel"


@pytest_twisted.ensureDeferred
async def test_both_reactors(echo_service_thread: ServiceThreads) -> None:
    """
    A coroutine waits on one reactor while a service is called in the other.
    """
    server = echo_service_thread(EchoProtocol)
    client = server.connect()
    client.sendall(b"hello\n")
    while not server.call(lambda: server.service.snapshot().bytesSent):
        await deferLater(reactor, 0.001)
    assert client.recv(100) == b"hello\n"
    client.close()
