"""
L{twisted_echo.net.sockets}: what is set on a socket, and on which.
"""

import socket
import sys
from copy import copy
from dataclasses import asdict
from unittest import skipUnless

from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import ServedTestCase, tls_endpoint
from twisted_echo import EchoProtocol, KeepAlive, SessionFactory
from twisted_echo.net.sockets import tuneSocket
from twisted_echo.net.transport_queries import bottomTransport

NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)
KEEP_ALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)


class Handle(socket.socket):
    """
    A socket that remembers what was set, and may refuse it.
    """

    error: OSError | None = None

    def setsockopt(self, *option: object) -> None:
        self.options = [*getattr(self, "options", []), option]
        if self.error is not None:
            raise self.error


class Transport(StringTransport):
    """
    A transport with a socket.
    """

    def __init__(self, handle: object) -> None:
        super().__init__()
        self.handle = handle

    def getHandle(self) -> object:
        return self.handle


class KeepAliveTests(SynchronousTestCase):
    """
    L{KeepAlive} is what the kernel accepts, or is not made.
    """

    def test_defaults(self) -> None:
        """
        A dead peer is noticed after two minutes.
        """
        default = KeepAlive()
        self.assertEqual(default.idle + default.interval * default.count, 120)

    def test_bounds(self) -> None:
        """
        The least and the greatest number are legal; those beside them are
        refused, with what was given and what is allowed.
        """
        for name, most in (("idle", 32767), ("interval", 32767), ("count", 127)):
            for value in (1, most):
                self.assertEqual(getattr(KeepAlive(**{name: value}), name), value)
            for value in (0, -1, most + 1, 1.5, "60", None):
                error = self.assertRaises(ValueError, KeepAlive, **{name: value})
                self.assertEqual(
                    str(error),
                    f"keep-alive {name} must be a whole number from 1 to {most},"
                    f" got {value!r}",
                )

    def test_fields(self) -> None:
        """
        What it is made of is what makes it: its options are no field.
        """
        value = KeepAlive(idle=11)
        before = repr(value)
        self.assertEqual(asdict(value), {"idle": 11, "interval": 10, "count": 6})
        for same in (KeepAlive(**asdict(value)), copy(value)):
            self.assertEqual((same, same.options), (value, value.options))
        self.assertEqual(asdict(value), {"idle": 11, "interval": 10, "count": 6})
        self.assertEqual(repr(value), before)
        self.assertIs(value.options, value.options)


class TuneTests(SynchronousTestCase):
    """
    L{tuneSocket} on sockets of every kind.
    """

    def handle(self, family: int, kind: int = socket.SOCK_STREAM) -> Handle:
        handle = Handle(family, kind)
        self.addCleanup(handle.close)
        handle.options = []
        return handle

    def test_tcp(self) -> None:
        """
        A TCP socket of either family gets both.
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            handle = self.handle(family)
            tuneSocket(Transport(handle), KeepAlive())
            self.assertIn((*NO_DELAY, 1), handle.options)
            self.assertIn((*KEEP_ALIVE, 1), handle.options)

    def test_noKeepAlive(self) -> None:
        """
        Without keep-alive it gets C{TCP_NODELAY}, and keep-alive is turned off: its
        listening socket may have handed it down.
        """
        handle = self.handle(socket.AF_INET)
        tuneSocket(Transport(handle), None)
        self.assertEqual(handle.options, [(*NO_DELAY, 1), (*KEEP_ALIVE, 0)])

    def test_others(self) -> None:
        """
        Sockets that are not TCP, and transports without one, are left alone.
        """
        unix = self.handle(socket.AF_UNIX)
        datagram = self.handle(socket.AF_INET, socket.SOCK_DGRAM)
        for transport in (
            Transport(unix),
            Transport(datagram),
            Transport(None),
            Transport("no socket"),
            StringTransport(),
        ):
            tuneSocket(transport, KeepAlive())
        self.assertEqual((unix.options, datagram.options), ([], []))

    def test_refused(self) -> None:
        """
        A kernel that refuses an option, as some do when the peer is gone, is no
        error.
        """
        handle = self.handle(socket.AF_INET)
        handle.error = OSError(22, "Invalid argument")
        tuneSocket(Transport(handle), KeepAlive())
        self.assertEqual(handle.options, [(*NO_DELAY, 1)])

    def test_throughWrappers(self) -> None:
        """
        The socket under two layers is found.
        """
        handle = self.handle(socket.AF_INET)
        bottom = Transport(handle)
        outer = bottom
        for _ in range(2):
            wrapper = ProtocolWrapper(WrappingFactory(None), None)  # type: ignore[arg-type]
            wrapper.transport = outer
            outer = wrapper
        self.assertIs(bottomTransport(outer), bottom)
        self.assertIs(bottomTransport(bottom), bottom)
        tuneSocket(outer, None)
        self.assertEqual(handle.options, [(*NO_DELAY, 1), (*KEEP_ALIVE, 0)])


class AcceptedTests(ServedTestCase):
    """
    What the kernel says of an accepted connection.
    """

    keepAlive = KeepAlive(idle=11, interval=12, count=13)

    async def accepted(self, keepAlive, *endpoints):
        factory = SessionFactory.forProtocol(EchoProtocol, keepAlive=keepAlive)
        session, _ = await self.session(self.serve(factory, *endpoints))
        return bottomTransport(session.transport).getHandle()

    async def assertTuned(self, *endpoints):
        handle = await self.accepted(self.keepAlive, *endpoints)
        self.assertTrue(handle.getsockopt(*NO_DELAY))
        self.assertTrue(handle.getsockopt(*KEEP_ALIVE))
        if sys.platform == "linux":
            for option, value in (
                (socket.TCP_KEEPIDLE, 11),
                (socket.TCP_KEEPINTVL, 12),
                (socket.TCP_KEEPCNT, 13),
            ):
                self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, option), value)

    async def test_tcp(self) -> None:
        """
        No delay, and the keep-alive that was asked for.
        """
        await self.assertTuned()

    async def test_tls(self) -> None:
        """
        Likewise under TLS.
        """
        await self.assertTuned(tls_endpoint())

    async def test_noKeepAlive(self) -> None:
        """
        No keep-alive, if none was asked for.
        """
        handle = await self.accepted(None)
        self.assertTrue(handle.getsockopt(*NO_DELAY))
        self.assertFalse(handle.getsockopt(*KEEP_ALIVE))

    @skipUnless(hasattr(socket, "AF_UNIX"), "no UNIX sockets")
    async def test_unix(self) -> None:
        """
        A UNIX socket is served as it is.
        """
        handle = await self.accepted(self.keepAlive, f"unix:{self.mktemp()}")
        self.assertEqual(handle.family, socket.AF_UNIX)
        self.assertFalse(handle.getsockopt(*KEEP_ALIVE))
