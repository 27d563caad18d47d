"""
SSH with conch: some words through an open channel, and the same words back.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

from twisted.conch.avatar import ConchUser
from twisted.conch.interfaces import IConchUser
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from zope.interface import implementer

from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.programs.kind import HOST, Program

TEXT = b"some words to the other side"
USER, PASSWORD = b"user", b"password"
CHANNEL = b"echo"
KEY = b"ssh-ed25519"


class EchoChannel(SSHChannel):
    def dataReceived(self, data: bytes) -> None:
        self.write(data)


@implementer(IRealm)
class EchoRealm:
    """
    Gives every user the channel C{echo}.
    """

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        user = ConchUser()
        user.channelLookup[CHANNEL] = EchoChannel
        return IConchUser, user, lambda: None


class ConchClient(SSHClientTransport):
    """
    One connection, whose channel is ready when C{opened} fires.
    """

    def __init__(self) -> None:
        self.opened: Deferred[CallerChannel] = Deferred()

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        return succeed(True)

    def connectionSecure(self) -> None:
        self.requestService(PasswordAuth(USER, ChannelConnection(self.opened)))


class PasswordAuth(SSHUserAuthClient):
    def getPublicKey(self) -> None:
        return None

    def getPassword(self, prompt: Any = None) -> Deferred[bytes]:
        return succeed(PASSWORD)


class ChannelConnection(SSHConnection):
    def __init__(self, opened: "Deferred[CallerChannel]") -> None:
        super().__init__()
        self._opened = opened

    def serviceStarted(self) -> None:
        super().serviceStarted()
        self.openChannel(CallerChannel(self._opened, conn=self))


class CallerChannel(SSHChannel):
    """
    The client's side: sends the text, and waits until it is back.
    """

    name = CHANNEL

    def __init__(self, opened: "Deferred[CallerChannel]", **channel: Any) -> None:
        super().__init__(**channel)
        self._opened = opened
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None

    def channelOpen(self, specificData: bytes) -> None:
        self._opened.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) >= len(TEXT) and self._answer is not None:
            answer, self._answer = self._answer, None
            answer.set_result(self._received)

    async def converse(self, turns: Iterator[None]) -> None:
        loop = asyncio.get_running_loop()
        for _ in turns:
            self._received = b""
            self._answer = loop.create_future()
            self.write(TEXT)
            answer = await self._answer
            if answer != TEXT:
                raise BrokenServer(f"wrong answer: expected {TEXT!r}, got {answer!r}")

    def leave(self) -> None:
        connection: Any = self.conn
        connection.transport.loseConnection()


class ConchProgram(Program):
    def factory(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric import ed25519

        key = Key(ed25519.Ed25519PrivateKey.generate())
        factory: Any = SSHFactory()
        factory.publicKeys = {KEY: key.public()}
        factory.privateKeys = {KEY: key}
        users = InMemoryUsernamePasswordDatabaseDontUse()
        users.addUser(USER, PASSWORD)
        factory.portal = Portal(EchoRealm(), [users])
        return factory

    async def connect(self, port: int) -> CallerChannel:
        from twisted.internet import reactor

        loop = asyncio.get_running_loop()
        client = await connectProtocol(
            TCP4ClientEndpoint(reactor, HOST, port), ConchClient()
        ).asFuture(loop)
        channel: CallerChannel = await client.opened.asFuture(loop)
        return channel


program = ConchProgram()
