"""
The fixtures of pytest: C{echo_server}, C{start_echo_server}, C{echo_service_thread},
C{echo_fault_proxy}.

Every pytest in this environment imports this module when it starts. So it imports only
what pytest has imported already, and each fixture imports the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from twisted_echo.testing import (
        EchoServer,
        FaultProxy,
        ServiceThread,
        StartEchoServer,
        StartFaultProxy,
        StartServiceThread,
    )

_MARK = (
    "echo_server(*options, unix=False, tls=False, metrics=False): what the fixture"
    " echo_server is to be: see twisted_echo.testing.EchoServer"
)


def pytest_configure(config: pytest.Config) -> None:
    """
    Declare the mark, so that C{--strict-markers} knows it.
    """
    config.addinivalue_line("markers", _MARK)


@pytest.fixture
def start_echo_server() -> Iterator[StartEchoServer]:
    """
    Start as many echo servers as are needed, each as EchoServer(...) takes it. At the
    end all are stopped, and checked for what they have left behind.
    """
    from twisted_echo.testing import EchoServer

    with ExitStack() as servers:

        def start(*options: str, **how: Any) -> EchoServer:
            server = EchoServer(*options, **how)
            servers.callback(server.stop)
            return server

        yield start


@pytest.fixture
def echo_server(
    request: pytest.FixtureRequest, start_echo_server: StartEchoServer
) -> EchoServer:
    """
    A real `twistd echo` in a process of its own, on a free port; the mark
    echo_server(...) tells what else it is to be.
    """
    mark = request.node.get_closest_marker("echo_server")
    if mark is None:
        return start_echo_server()
    return start_echo_server(*mark.args, **mark.kwargs)


@pytest.fixture
def echo_service_thread() -> Iterator[StartServiceThread]:
    """
    Serve a protocol, or what a function of a reactor makes, in a thread, as
    ServiceThread(...) takes it. At the end all are stopped, and checked for what they
    have left behind.
    """
    from twisted_echo.testing import ServiceThread

    with ExitStack() as threads:

        def start(what: Any, /, **factory: Any) -> ServiceThread:
            thread = ServiceThread(what, **factory)
            threads.callback(thread.stop)
            return thread

        yield start


@pytest.fixture
def echo_fault_proxy() -> Iterator[StartFaultProxy]:
    """
    Put a FaultProxy before a server: its address, or what has one.
    """
    from twisted_echo.testing import FaultProxy

    with ExitStack() as proxies:

        def start(target: Any, **how: Any) -> FaultProxy:
            proxy = FaultProxy(getattr(target, "address", target), **how)
            proxies.callback(proxy.stop)
            return proxy

        yield start
