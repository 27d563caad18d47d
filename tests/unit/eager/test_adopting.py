"""
L{twisted_echo.eager.epoll_reactor}: ports and connections that are adopted.
"""

import re
import socket
from typing import Any

from twisted.internet import error
from twisted.internet.protocol import Factory

from tests.support.loop import (
    ASYNCIO,
    Loop,
    LoopTestCase,
    Recorder,
)
from tests.support.processes import new_folder


class FactoryTests(LoopTestCase):
    def test_port(self) -> None:
        """
        Connections of an adopted port are ours, too, with the same descriptions.
        """

        def scenario(loop: Loop) -> Any:
            described = []
            path = str(new_folder(self) / "socket")
            unix = socket.socket(socket.AF_UNIX)
            unix.bind(path)
            unix.listen()
            for listener in (socket.create_server(("127.0.0.1", 0)), unix):
                with listener:
                    listener.setblocking(False)
                    address = listener.getsockname()
                    protocols = []
                    factory = Factory.forProtocol(Recorder)
                    build = factory.buildProtocol

                    def keep(
                        addr: Any, build: Any = build, kept: Any = protocols
                    ) -> Any:
                        kept.append(build(addr))
                        loop._protocols.append(kept[-1])
                        return kept[-1]

                    factory.buildProtocol = keep
                    port = loop.reactor.adoptStreamPort(
                        listener.fileno(), listener.family, factory
                    )
                peer = socket.socket(listener.family)
                self.addCleanup(peer.close)
                peer.connect(address)
                loop.until(lambda protocols=protocols: protocols)
                port.stopListening()
                loop.turn()
                transport = protocols[0].transport
                transport.write(b"hello")
                self.assertEqual(loop.take(peer, 5), b"hello")
                described.append(
                    [
                        str(text).replace(str(number), "PORT")
                        for text in (
                            transport,
                            transport.logPrefix(),
                            transport.getPeer(),
                            transport.getHost(),
                        )
                        for number in [_port(address)]
                    ]
                )
            # The peers' ports and paths are the kernel's choice.
            return [[_nameless(text) for text in each] for each in described]

        self.same(scenario)


class AdoptTests(LoopTestCase):
    def test_unsupportedFamily(self) -> None:
        """
        It is refused as Twisted refuses it, and the descriptor stays open.
        """

        def scenario(loop: Loop) -> Any:
            said = []
            with socket.socket() as handle:
                for adopt in (
                    loop.reactor.adoptStreamPort,
                    loop.reactor.adoptStreamConnection,
                ):
                    for family in (2**16, socket.AF_NETLINK, None, "AF_INET"):
                        problem = self.assertRaises(
                            error.UnsupportedAddressFamily,
                            adopt,
                            handle.fileno(),
                            family,
                            Factory(),
                        )
                        said.append(str(problem))
                handle.getsockname()
            return said

        self.same(scenario)

    def test_notASocket(self) -> None:
        def scenario(loop: Loop) -> Any:
            with open("/dev/null") as file:
                raised = []
                for adopt in (
                    loop.reactor.adoptStreamPort,
                    loop.reactor.adoptStreamConnection,
                ):
                    for family in (socket.AF_INET, socket.AF_UNIX):
                        problem = self.assertRaises(
                            OSError, adopt, file.fileno(), family, Factory()
                        )
                        raised.append((type(problem), problem.errno))
            return raised

        self.same(scenario)


def _port(address: Any) -> Any:
    return address if isinstance(address, str) else address[1]


def _nameless(text: str) -> str:
    return re.sub(r"port=\d+", "port=ANY", text)


class AsyncioFactoryTests(FactoryTests):
    reactors = ASYNCIO


class AsyncioAdoptTests(AdoptTests):
    reactors = ASYNCIO
