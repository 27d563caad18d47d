"""
Twisted's perspective broker: a remote call with a text, which comes back.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

from twisted.spread import pb

from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.programs.kind import HOST, Program

TEXT = "some words"


class EchoRoot(pb.Root):
    def remote_echo(self, text: str) -> str:
        return text


class BrokerClient:
    """
    Calls the root of a server again and again.
    """

    def __init__(self, factory: pb.PBClientFactory, root: Any) -> None:
        self._factory = factory
        self._root = root

    async def converse(self, turns: Iterator[None]) -> None:
        loop = asyncio.get_running_loop()
        for _ in turns:
            answer = await self._root.callRemote("echo", TEXT).asFuture(loop)
            if answer != TEXT:
                raise BrokenServer(f"wrong answer: expected {TEXT!r}, got {answer!r}")

    def leave(self) -> None:
        self._factory.disconnect()


class BrokerProgram(Program):
    def factory(self) -> Any:
        return pb.PBServerFactory(EchoRoot())

    async def connect(self, port: int) -> BrokerClient:
        from twisted.internet import reactor as installed

        reactor: Any = installed
        factory = pb.PBClientFactory()
        reactor.connectTCP(HOST, port, factory)
        loop = asyncio.get_running_loop()
        return BrokerClient(factory, await factory.getRootObject().asFuture(loop))


program = BrokerProgram()
