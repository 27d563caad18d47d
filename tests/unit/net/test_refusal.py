"""
L{twisted_echo.net.refusal}: who is refused sees an end, and no reset.
"""

from typing import Any

from twisted.internet import reactor, tcp
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol

from tests.support.clients import ServedTestCase, connect, in_thread, read_to_end, until
from twisted_echo import EchoConfig, EchoFactory, EndReason, Limits
from twisted_echo.net.refusal import RefusesInOrder
from twisted_echo.session.bounds.limits import WhenFull

TCP = "tcp:0:interface=127.0.0.1"


class RefusalTests(ServedTestCase):
    """
    Over real ports.
    """

    async def refused(self, endpoint: str, data: bytes) -> Any:
        """
        Have clients refused who have sent something before they are accepted.
        """
        limits = Limits(sessions=1, whenFull=WhenFull.REFUSE)
        factory = EchoFactory(EchoConfig(limits=limits))
        service = self.serve(factory, endpoint)
        self.client(service)
        await until(lambda: factory.sessions)
        for _ in range(5):
            client = self.client(service)
            client.sendall(data)
            self.assertEqual(await in_thread(read_to_end, client), b"")
        self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 5})
        return service

    async def test_tcp(self) -> None:
        await self.refused(TCP, b"a line\n")

    async def test_unix(self) -> None:
        await self.refused(f"unix:{self.mktemp()}", b"a line\n")

    async def test_much(self) -> None:
        """
        As much as the kernel holds is read away.
        """
        await self.refused(TCP, b"a line\n" * 5000)
        await self.refused(f"unix:{self.mktemp()}", b"a line\n" * 5000)

    async def test_nothingLeft(self) -> None:
        """
        Nothing of it is left in the reactor.
        """
        service = await self.refused(TCP, b"a line\n")
        (port,) = service._listeners.ports
        (session,) = service.factory.sessions
        left = [*reactor.getReaders(), *reactor.getWriters()]
        served = {each for each in left if isinstance(each, (tcp.Port, tcp.Server))}
        self.assertEqual(served, {port, session.transport})

    async def test_factory(self) -> None:
        """
        Whatever a factory makes is what is served.
        """
        made = Protocol()
        calls = []

        class Making(Factory):
            def doStart(self) -> None:
                calls.append("start")

            def doStop(self) -> None:
                calls.append("stop")

            def buildProtocol(self, addr: Any) -> Any:
                return None if calls[1:] else made

        factory = RefusesInOrder(Making())
        port = await serverFromString(reactor, TCP).listen(factory)
        self.addCleanup(port.stopListening)
        first = connect(port.getHost())
        await until(lambda: made.connected)
        calls.append("refuse")
        second = connect(port.getHost())
        self.assertEqual(await in_thread(read_to_end, second), b"")
        first.close()
        await until(lambda: not made.transport.connected)
        await port.stopListening()
        self.assertEqual(calls, ["start", "refuse", "stop"])
