"""
L{twisted_echo.admin.admin_service}: the admin port in an application of Twisted's.
"""

from twisted.application.service import MultiService
from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock

from tests.support.admin import AdminTestCase
from tests.support.clients import FakeEndpoint, until
from twisted_echo import (
    AdminService,
    EchoProtocol,
    SessionFactory,
    SessionService,
    State,
)

LOOPBACK = "tcp:0:interface=127.0.0.1"


class ApplicationTests(AdminTestCase):
    """
    On a real port, beside its service in a parent.
    """

    def made(self, *, adminFirst: bool = False) -> MultiService:
        """
        Make a service whose stop waits for its clients, and its admin port.
        """
        factory = SessionFactory.forProtocol(EchoProtocol)
        self.service = SessionService(LOOPBACK, factory, grace=30)
        self.pages = AdminService(LOOPBACK, self.service)
        parent = MultiService()
        both = [self.service, self.pages]
        for each in reversed(both) if adminFirst else both:
            each.setServiceParent(parent)
        self.addCleanup(self.end, self.service)
        self.addCleanup(parent.stopService)
        return parent

    def start(self, parent: MultiService) -> None:
        parent.privilegedStartService()
        self.address = self.pages.address
        self.assertIsInstance(self.address, IPv4Address)
        parent.startService()
        self.assertEqual(self.pages.address, self.address)

    async def test_pages(self) -> None:
        """
        It serves the numbers of the service, with the lateness of the reactor.
        """
        self.start(self.made())
        await self.session(self.service)
        text = (await self.ask("/metrics")).text
        self.assertIn("\ntwisted_echo_sessions 1.0\n", text)
        self.assertIn("\ntwisted_echo_reactor_lateness_seconds_count ", text)
        self.assertEqual((await self.ask("/readyz")).code, 200)

    async def stopped(self, *, adminFirst: bool) -> None:
        parent = self.made(adminFirst=adminFirst)
        self.start(parent)
        _, client = await self.session(self.service)
        stopped = parent.stopService()
        draining = await self.ask("/readyz")
        self.assertEqual((draining.code, draining.text), (503, "draining\n"))
        self.assertFalse(stopped.called)
        client.close()
        await stopped
        self.assertIsNone(self.pages.address)
        self.assertIs(self.service.state, State.STOPPED)

    async def test_drain(self) -> None:
        """
        While clients finish, the pages are still there, and say so.
        """
        await self.stopped(adminFirst=False)

    async def test_drainOfTheSecond(self) -> None:
        """
        Likewise if the service was given to its parent after the pages.
        """
        await self.stopped(adminFirst=True)

    async def test_alone(self) -> None:
        """
        It stops without its service, and starts again.
        """
        parent = self.made()
        self.start(parent)
        await self.pages.stopService()
        self.assertIsNone(self.pages.address)
        self.assertIs(self.service.state, State.LISTENING)
        self.pages.startService()
        self.address = self.pages.address
        self.assertEqual((await self.ask("/readyz")).code, 200)

    async def test_taken(self) -> None:
        """
        A port that is taken is an error of the start.
        """
        parent = self.made()
        self.start(parent)
        other = AdminService(
            f"tcp:{self.address.port}:interface=127.0.0.1", self.service
        )
        with self.assertRaises(CannotListenError):
            other.startService()
        await other.stopService()

    async def test_late(self) -> None:
        """
        What an endpoint fails with later is logged; one that opens too late is closed.
        """
        self.made()
        endpoint = FakeEndpoint(later=True, error=OSError("no luck"))
        pages = AdminService(endpoint, self.service)
        pages.startService()
        endpoint.settle()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        await pages.stopService()
        endpoint.error = None
        pages.startService()
        stopped = pages.stopService()
        await until(lambda: stopped.called)
        endpoint.settle()
        self.assertEqual([port.closed for port in endpoint.ports], [1])
        self.assertIsNone(pages.address)


class EndpointTests(AdminTestCase):
    def test_clock(self) -> None:
        """
        A string's endpoint is one of the reactor that the service has.
        """
        clock = MemoryReactorClock()
        factory = SessionFactory.forProtocol(EchoProtocol, clock=clock)
        pages = AdminService("tcp:9100", SessionService("tcp:7008", factory))
        pages.startService()
        self.assertEqual([port for port, *_ in clock.tcpServers], [9100])

    def test_wrong(self) -> None:
        """
        What is not an endpoint string string is refused.
        """
        service = SessionService(LOOPBACK, SessionFactory.forProtocol(EchoProtocol))
        with self.assertRaisesRegex(ValueError, "Unknown endpoint type: 'nonsense'"):
            AdminService("nonsense:1", service)
