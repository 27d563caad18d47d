"""
L{twisted_echo.net.tcp_info}: what the transport and the kernel know of a connection.
"""

import socket
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from tests.support.clients import ServedTestCase, collect, in_thread, turn, until
from twisted_echo import Session, SessionFactory
from twisted_echo.net import tcp_info
from twisted_echo.net.tcp_info import outputProgress, tcpState
from twisted_echo.net.transport_queries import pendingOutput


class Silent(Session, Protocol):
    """
    Says nothing by itself.
    """


class ProgressTests(ServedTestCase):
    """
    Over real sockets, and one fake.
    """

    async def opened(self, *endpoints: str) -> tuple[Any, socket.socket]:
        factory: Any = SessionFactory.forProtocol(Silent)
        return await self.session(self.serve(factory, *endpoints))

    async def test_acknowledged(self) -> None:
        """
        So many bytes more as the peer has been sent and has acknowledged.
        """
        session, client = await self.opened()
        before = tcpState(session.transport)
        assert before is not None
        session.transport.write(bytes(1000))
        await in_thread(collect, client, 1000)

        def after() -> int:
            state = tcpState(session.transport)
            assert state is not None
            return state.acknowledged - before.acknowledged

        await until(after)
        self.assertEqual(after(), 1000)

    async def test_quiet(self) -> None:
        """
        The time since the last byte, of either direction.
        """
        session, client = await self.opened()

        def quiet() -> float:
            state = tcpState(session.transport)
            assert state is not None
            return state.quiet

        for act in (
            lambda: session.transport.write(b"a"),
            lambda: client.send(b"a"),
        ):
            await until(lambda: quiet() >= 0.1)
            self.assertLess(quiet(), 10)
            act()
            await until(lambda: quiet() < 0.1)

    async def test_ipv6(self) -> None:
        """
        A TCP socket of the other family tells as well.
        """
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            self.skipTest("this machine has no IPv6 loopback address")
        factory: Any = SessionFactory.forProtocol(Silent)
        service = self.serve(factory, "tcp6:0:interface=\\:\\:1")
        client = socket.create_connection(("::1", service.addresses[0].port))
        self.addCleanup(client.close)
        await until(lambda: factory.sessions)
        (session,) = factory.sessions
        self.assertIsNot(tcpState(session.transport), None)

    async def test_unix(self) -> None:
        """
        A UNIX socket tells nothing, but how much its peer has not read: that
        changes when the peer reads.
        """
        session, client = await self.opened("unix:" + self.mktemp())
        self.assertIs(tcpState(session.transport), None)
        session.transport.write(bytes(100))
        await until(lambda: not pendingOutput(session.transport))
        stuck = outputProgress(session.transport)
        await turn()
        self.assertEqual(outputProgress(session.transport), stuck)
        await in_thread(collect, client, 100)
        self.assertNotEqual(outputProgress(session.transport), stuck)

    async def test_layers(self) -> None:
        """
        What is under a wrapper is asked.
        """
        session, _ = await self.opened()
        wrapper: Any = ProtocolWrapper(WrappingFactory(session.factory), session)
        wrapper.transport = session.transport
        self.assertEqual(outputProgress(wrapper), outputProgress(session.transport))
        self.assertIsNot(tcpState(wrapper), None)
        session.transport.write(b"abc")
        self.assertEqual(pendingOutput(wrapper), 3)

    async def test_closedSocket(self) -> None:
        """
        A socket that is closed tells nothing more.
        """
        session, _ = await self.opened()
        handle = session.transport.getHandle()
        transport = type("Transport", (), {"getHandle": lambda self: handle})()
        self.assertIsNot(tcpState(transport), None)
        session.abort()
        await until(lambda: session.end)
        self.assertIs(tcpState(transport), None)

    async def test_tooOld(self) -> None:
        """
        A kernel that says less than is asked for says nothing.
        """

        class Short(socket.socket):
            def getsockopt(self, *args: Any) -> Any:
                return bytes(100)

        with Short(socket.AF_INET, socket.SOCK_STREAM) as short:
            transport = type("Transport", (), {"getHandle": lambda self: short})()
            self.assertIs(tcpState(transport), None)

    async def test_elsewhere(self) -> None:
        """
        On systems without TCP_INFO there is nothing to ask for.
        """
        session, _ = await self.opened()
        self.patch(tcp_info, "_TCP_INFO", None)
        self.assertIs(tcpState(session.transport), None)

    async def test_pending(self) -> None:
        """
        What waits: of the buffer what has not been sent, and all the pieces.
        """
        session, client = await self.opened()
        transport = session.transport
        self.assertEqual(pendingOutput(transport), 0)
        transport.write(bytes(20_000_000))
        transport.write(b"abc")
        self.assertEqual(pendingOutput(transport), 20_000_003)
        await until(lambda: transport.offset)
        kept = 20_000_003 - pendingOutput(transport)
        self.assertGreater(kept, 0)
        self.assertLess(kept, 20_000_003)
        received = await in_thread(collect, client, kept)
        self.assertEqual(len(received), kept)

    def test_noTransportOfTwisteds(self) -> None:
        """
        What shows nothing has nothing, as far as anybody knows.
        """
        transport = StringTransport()
        self.assertEqual(pendingOutput(transport), 0)
        self.assertIs(tcpState(transport), None)
        self.assertEqual(outputProgress(transport), outputProgress(transport))
