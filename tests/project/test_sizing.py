"""
The sums in C{docs/sizing.md} are those of its tables.
"""

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.support.pages import PAGES

TEXT = PAGES["docs/sizing.md"]
FLOWING = " ".join(TEXT.split()).replace("\N{MULTIPLICATION SIGN}", "x")
CLOSE = 0.08
"""
How far a rounded number may be from what it stands for.
"""


def row(name: str) -> list[str]:
    """
    The medians in a row of the tables, as they are written.
    """
    (cells,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", TEXT, re.M)
    return [str(each).partition(" ")[0] for each in cells.split(" | ")]


def rate(microseconds: str) -> float:
    """
    How many a second.
    """
    return 1e6 / float(microseconds)


class SumsTests(SynchronousTestCase):
    """
    @ivar line: the microseconds for a line, one in flight; C{many}: 64 in flight;
        C{short}: for a connection of one line. They are of the service that clients
        reach directly, of the one behind HAProxy, and of HAProxy.
    @ivar idle: the same order: KiB of the process for an idle connection.
    """

    def setUp(self) -> None:
        self.line = row("a line of 64 bytes, one in flight")
        self.many = row("a line of 64 bytes, 64 in flight")
        self.short = row("connect, one line, close")
        self.idle = row("memory of the process, KiB")
        self.kernel = row("memory of the kernel for each socket, KiB")[0]
        self.empty = self.said("A service starts with # MiB, HAProxy with #.")

    def said(self, sentence: str) -> list[float]:
        """
        The numbers in the only part of the page that is like this, where C{#} stands
        for a number.
        """
        pattern = re.escape(sentence).replace(r"\#", r"(\d[\d,]*(?:\.\d+)?)")
        (found,) = re.finditer(pattern, FLOWING)
        return [float(each.replace(",", "")) for each in found.groups()]

    def check(self, sentence: str, *expected: float) -> None:
        for number, wanted in zip(self.said(sentence), expected, strict=True):
            self.assertApproximates(number, wanted, CLOSE * wanted, sentence)

    def test_process(self) -> None:
        """
        What one process carries.
        """
        line, many = self.line[0], self.many[0]
        self.check(f"1 s / {line} µs = # a second with one in flight", rate(line))
        self.check(
            f"1 s / {many} µs = # million of 64 bytes a second with 64 in flight, which"
            " is # Gbit/s",
            rate(many) / 1e6,
            rate(many) * 64 * 8 / 1e9,
        )
        direct, behind, _, _ = self.short
        self.check(
            f"1 s / {direct} µs = # new ones a second with a line each, # behind",
            rate(direct),
            rate(behind),
        )
        idle, empty = self.idle[0], self.empty[0]
        self.check(
            f"need {empty:g} MiB + 100,000 x {idle} KiB = # MiB of the process, # MiB"
            " of the kernel, and # % of the processor",
            empty + 1e5 * float(idle) / 1024,
            1e5 * float(self.kernel) / 1024,
            10 * float(row("10,000 of them, % of a processor")[0]),
        )

    def test_machine(self) -> None:
        """
        What one machine carries, without HAProxy and with it.
        """
        direct, behind, balanced, _ = self.line
        self.check(
            "C x # lines a second one in flight, or C x # new connections",
            rate(direct),
            rate(self.short[0]),
        )
        both = float(behind) + float(balanced)
        self.check(f"costs {behind} + {balanced} µs, so C x # lines", 1e6 / both)
        self.said(f"Then come memory, ({self.idle[0]} + {self.kernel}) KiB for each")

    def test_balancer(self) -> None:
        """
        What one HAProxy carries.
        """
        _, behind, balanced, _ = self.line
        self.check(
            f"T x 1 s / {balanced} µs = T x # a second with one in flight. It keeps"
            " # x T services busy",
            rate(balanced),
            float(behind) / float(balanced),
        )
        short = self.short[2]
        self.check(f"T x 1 s / {short} µs = T x # new ones", rate(short))
        self.check(
            "need 200,100 descriptors, # MiB of the process and # MiB of the kernel",
            self.empty[1] + 1e5 * float(self.idle[2]) / 1024,
            2e5 * float(self.kernel) / 1024,
        )
        first, last = self.said("`net.ipv4.ip_local_port_range` (# to #)")
        ports = last - first + 1
        self.said(f"these are {ports:,.0f} for each pair")
        self.check(f"{ports:,.0f} / 60 = # new connections a second", ports / 60)

    def test_services(self) -> None:
        """
        How many services, and how many threads, at half of a processor.
        """
        _, behind, balanced, _ = self.line
        self.said(f"2 + L x {behind} µs / 0.5")
        self.check("a second: 2 + #, so four", 1e5 * float(behind) / 5e5)
        self.check(
            f"100,000 x {balanced} µs / 0.5 = #, so four", 1e5 * float(balanced) / 5e5
        )
