"""
L{twisted_echo.session.bounds.limits}: the numbers, validated, and whom a connection
counts for.
"""

from dataclasses import fields
from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.address import UNIXAddress as UNIX
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo import Deadlines, Limits, WhenFull
from twisted_echo.session.bounds.limits import peerKey
from twisted_echo.validation.checks import InvalidSetting


def _key(host: str) -> str | None:
    kind = IPv6Address if ":" in host else IPv4Address
    return peerKey(kind("TCP", host, 7))


class DeadlinesTests(SynchronousTestCase):
    """
    L{Deadlines}.
    """

    def test_defaults(self) -> None:
        each = Deadlines()
        self.assertEqual(
            (each.idle, each.line, each.write, each.handshake), (300, 60, 60, 10)
        )

    def test_refused(self) -> None:
        """
        Each is a finite number, not below 0, or is refused by its name.
        """
        for field in fields(Deadlines):
            for bad in (-1, -0.001, float("nan"), float("inf"), "1", None):
                wrong: dict[str, Any] = {field.name: bad}
                error = self.assertRaises(InvalidSetting, Deadlines, **wrong)
                self.assertEqual(error.field, field.name)
                self.assertIn(f"the {field.name} deadline", str(error))
                self.assertIn(repr(bad), str(error))
            good: dict[str, Any] = {field.name: 0}
            self.assertEqual(getattr(Deadlines(**good), field.name), 0)

    def test_sweep(self) -> None:
        """
        Two sweeps are a quarter of the shortest deadline, four seconds at most and
        a tenth at least; 0 is none.
        """
        for numbers, sweep in (
            ((0, 0, 0, 0), 2),
            ((0, 0, 0, 8), 1),
            ((100, 8, 50, 0), 1),
            ((8, 9, 9, 9), 1),
            ((9, 9, 8, 9), 1),
            ((99, 99, 99, 99), 2),
            ((99, 99, 99, 0.1), 0.05),
        ):
            names = ("idle", "line", "write", "handshake")
            deadlines = Deadlines(**dict(zip(names, numbers, strict=True)))
            self.assertAlmostEqual(deadlines.sweep, sweep)


class LimitsTests(SynchronousTestCase):
    """
    L{Limits}.
    """

    def test_defaults(self) -> None:
        each = Limits()
        self.assertEqual((each.sessions, each.sessionsPerPeer), (0, 0))
        self.assertEqual(each.buffered, 268_435_456)
        self.assertIs(each.whenFull, WhenFull.WAIT)

    def test_refused(self) -> None:
        for name in ("sessions", "sessionsPerPeer", "buffered"):
            for bad in (-1, 1.5, "1", None):
                wrong: dict[str, Any] = {name: bad}
                error = self.assertRaises(InvalidSetting, Limits, **wrong)
                self.assertEqual(error.field, name)
                self.assertTrue(str(error).startswith(name + " must be"), str(error))
        wrong = {"whenFull": "wait"}
        error = self.assertRaises(InvalidSetting, Limits, **wrong)
        self.assertEqual(error.field, "whenFull")
        self.assertIn("whenFull must be", str(error))


class PeerKeyTests(SynchronousTestCase):
    """
    L{peerKey}.
    """

    def test_ipv4(self) -> None:
        """
        By the whole address, whatever the port.
        """
        self.assertEqual(_key("192.0.2.1"), "192.0.2.1")
        self.assertNotEqual(_key("192.0.2.1"), _key("192.0.2.2"))
        self.assertEqual(peerKey(IPv4Address("TCP", "192.0.2.1", 8)), "192.0.2.1")

    def test_ipv6(self) -> None:
        """
        By the /64 network, however it is written.
        """
        same = {
            _key("2001:db8:0:1::"),
            _key("2001:db8:0:1::1"),
            _key("2001:0db8:0000:0001:ffff:ffff:ffff:ffff"),
            _key("2001:DB8:0:1:8000::"),
        }
        self.assertEqual(len(same), 1)
        others = {
            _key("2001:db8:0:2::1"),
            _key("2001:db8:0:3::1"),
            _key("2001:db8:1:1::1"),
            _key("::1"),
        }
        self.assertEqual(len(same | others), 5)

    def test_zone(self) -> None:
        """
        A link-local address comes with its interface.
        """
        self.assertEqual(_key("fe80::1%eth0"), _key("fe80::2"))

    def test_mapped(self) -> None:
        """
        An IPv4 client of a port for both counts as an IPv4 client.
        """
        self.assertEqual(_key("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertNotEqual(_key("::ffff:192.0.2.2"), _key("::ffff:192.0.2.1"))

    def test_unix(self) -> None:
        """
        By the path, which is no host, whatever it says; also in the abstract namespace.
        """
        self.assertEqual(peerKey(UNIX("/x")), peerKey(UNIX(b"/x")))
        paths = (b"/x", b"/y", b"192.0.2.1", b"\0x")
        keys = {peerKey(UNIX(path)) for path in paths}
        self.assertEqual(len(keys | {_key("192.0.2.1")}), 5)
        self.assertNotIn(None, keys)

    def test_nobody(self) -> None:
        """
        Who has no address counts for nobody.
        """
        for address in (UNIX(b""), UNIX(None), HostnameAddress(b"a", 7), None):
            self.assertIs(peerKey(address), None)
