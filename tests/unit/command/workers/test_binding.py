"""
The sockets of many processes.
"""

import os
import socket
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.command.command_service import explain
from twisted_echo.command.workers.binding import BoundEndpoint, bind, checkShareable

TCP = "tcp:0:interface=127.0.0.1"


class BindingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory(prefix="echo-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "echo.sock")

    def bind(self, *bottoms: str, workers: int = 3) -> list[BoundEndpoint]:
        bound = bind(bottoms, workers)
        for each in bound:
            self.addCleanup(each.close)
        return bound

    def client(self, address: object) -> socket.socket:
        name = address if isinstance(address, str) else ""
        client = socket.socket(socket.AF_UNIX if name else socket.AF_INET)
        self.addCleanup(client.close)
        client.settimeout(10)
        client.connect(address)  # type: ignore[arg-type]
        return client


class TCPTests(BindingTestCase):
    """
    One socket for each worker.
    """

    def test_onePort(self) -> None:
        """
        Of port 0 the kernel makes one number for all.
        """
        (bound,) = self.bind(TCP)
        names = {each.getsockname() for each in bound.sockets}
        self.assertEqual(len(bound.sockets), 3)
        self.assertEqual(len(names), 1)
        self.assertTrue(bound.isOurs)
        self.assertEqual(bound.address, IPv4Address("TCP", *names.pop()))

    def test_divided(self) -> None:
        """
        The kernel divides connections among them: all 60 to one, or none to one of
        three, once in a thousand million times.
        """
        (bound,) = self.bind(TCP)
        clients = [self.client(bound.sockets[0].getsockname()) for _ in range(60)]
        counts = []
        for each in bound.sockets:
            counts.append(0)
            while True:
                try:
                    accepted, _ = each.accept()
                except BlockingIOError:
                    break
                accepted.close()
                counts[-1] += 1
        self.assertEqual(sum(counts), len(clients))
        self.assertNotIn(0, counts)

    def test_secondService(self) -> None:
        """
        Another service of this kind is refused, though its sockets can be shared.
        """
        (bound,) = self.bind(TCP)
        port = bound.sockets[0].getsockname()[1]
        error = self.assertRaises(
            CannotListenError, bind, [f"tcp:{port}:interface=127.0.0.1"], 3
        )
        self.assertIn(f"127.0.0.1:{port}: Address already in use", explain(error))

    def test_allOrNone(self) -> None:
        """
        If one endpoint cannot listen, those before it are given up.
        """
        with socket.create_server(("127.0.0.1", 0)) as used:
            port = used.getsockname()[1]
            self.assertRaises(
                CannotListenError,
                bind,
                [f"unix:{self.path}", f"tcp:{port}:interface=127.0.0.1"],
                2,
            )
        self.assertEqual(os.listdir(self.path.parent), [])

    def test_backlog(self) -> None:
        """
        As deep as the kernel allows, unless the endpoint names one.
        """
        (deep,) = self.bind(TCP, workers=1)
        for _ in range(200):
            self.client(deep.sockets[0].getsockname())
        (named,) = self.bind(f"{TCP}:backlog=1", workers=1)
        address = named.sockets[0].getsockname()
        with self.assertRaises(TimeoutError):
            for _ in range(10):
                client = socket.socket()
                self.addCleanup(client.close)
                client.settimeout(0.2)
                client.connect(address)

    def test_shut(self) -> None:
        """
        No connection is begun any more; what waits can be accepted.
        """
        (bound,) = self.bind(TCP, workers=1)
        address = bound.sockets[0].getsockname()
        self.client(address)
        bound.shut()
        late = socket.socket()
        self.addCleanup(late.close)
        late.settimeout(0.2)
        self.assertRaises(TimeoutError, late.connect, address)
        accepted, _ = bound.sockets[0].accept()
        accepted.close()
        self.assertRaises(BlockingIOError, bound.sockets[0].accept)

    def test_noSuchAddress(self) -> None:
        error = self.assertRaises(
            CannotListenError, bind, ["tcp:0:interface=192.0.2.1"], 2
        )
        self.assertIn("192.0.2.1:0: Cannot assign requested address", explain(error))

    def test_tcp6(self) -> None:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            self.skipTest("this machine has no IPv6 loopback address")
        (bound,) = self.bind(r"tcp6:0:interface=\:\:1")
        names = {each.getsockname() for each in bound.sockets}
        self.assertEqual(len(names), 1)
        self.assertEqual(bound.address.host, "::1")  # type: ignore[attr-defined]


class SharedTests(BindingTestCase):
    """
    One socket for all.
    """

    def test_unix(self) -> None:
        (bound,) = self.bind(f"unix:{self.path}:mode=600")
        self.assertEqual(len(bound.sockets), 1)
        self.assertEqual(bound.address, UNIXAddress(str(self.path)))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.client(str(self.path))
        accepted, _ = bound.sockets[0].accept()
        accepted.close()
        bound.close()
        self.assertEqual(os.listdir(self.path.parent), [])

    def test_unixInUse(self) -> None:
        self.bind(f"unix:{self.path}")
        error = self.assertRaises(CannotListenError, bind, [f"unix:{self.path}"], 2)
        self.assertIn(f"unix:{self.path}: Address already in use", explain(error))
        # What is there was not touched.
        self.client(str(self.path))

    def test_unixLeftOver(self) -> None:
        """
        The file of a service that was killed is no hindrance.
        """
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(self.path))
        os.symlink("999999999", f"{self.path}.lock")
        self.bind(f"unix:{self.path}")
        self.client(str(self.path))

    def test_noFolder(self) -> None:
        error = self.assertRaises(OSError, bind, [f"unix:{self.path}/x/y"], 2)
        self.assertIn(f"unix:{self.path}/x/y: ", explain(error))

    def test_otherKinds(self) -> None:
        """
        What was given, and what is allowed.
        """
        for kind in ("stdio", "tls", "udp", ""):
            error = self.assertRaises(ValueError, checkShareable, f"{kind}:x")
            for word in (repr(kind), "tcp", "tcp6", "unix", "systemd"):
                self.assertIn(word, str(error))
        for bottom in ("tcp:7007", "tcp6:7007", "unix:/x", "systemd:domain=INET"):
            checkShareable(bottom)
