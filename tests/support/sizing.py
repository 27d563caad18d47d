"""
What a line, a connection and a scrape cost the service, with HAProxy in front and
without: the tables of C{docs/sizing.md}, what C{--admin} costs, and how long TLS
clients that come at once hold up an open session::

    python -m tests.support.sizing
    python -m tests.support.sizing --rounds 1 --seconds 0.5 lines

It needs Linux, HAProxy, and the extras C{bench}, C{metrics} and C{test}. The services
have a processor of their own, if there are two or more, and the load has the others.
"""

import argparse
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from urllib.request import urlopen

from tests.support.balancer import Balancer
from tests.support.processes import Server, wait_until
from twisted_echo.bench.spreads import median_interval
from twisted_echo.testing.command_process import Command, Vitals
from twisted_echo.testing.server import EchoServer

__all__ = ["main"]

LINES = (
    ("a line of 64 bytes, one in flight", 1, 64),
    ("a line of 64 bytes, 64 in flight", 64, 64),
    ("a line of 1 KiB, one in flight", 1, 1024),
    ("a line of 1 KiB, 16 in flight", 16, 1024),
)
CONNECTIONS = 50
SHORT = 2000
"""
Connections that come at once, with one line each.
"""
WARM_UP = 10
"""
Idle connections before those that count: they make what is made once.
"""
SETTLES = 0.5
"""
Seconds after a load in which the ends of its connections are seen.
"""
SCRAPED = 1000
"""
Sessions that are open during the second half of the scrapes.
"""


class Cleanups(ExitStack):
    """
    What the helpers of tests take for a test: it ends what they start.
    """

    def addCleanup(self, f: Callable[[], object], /) -> None:
        self.callback(f)


class Bench:
    """
    A service that clients reach directly, and another one behind HAProxy.
    """

    def __init__(self, cleanups: Cleanups) -> None:
        self.direct = start(cleanups)
        balancer = Balancer(cleanups, notice=0)
        self.behind = balancer.services["echo1"]
        for name in ("echo2", "echo3"):
            balancer.services[name].end()
            balancer.wait_for_state(name, "DOWN")
        self.haproxy = balancer.process
        self.front = balancer.address
        cleanups.enter_context(pinned(self.direct, self.behind))


def start(cleanups: Cleanups, *, admin: bool = True) -> Server:
    return Server.start(cleanups, *(["--admin", "0"] if admin else []))


@contextmanager
def pinned(*services: Command) -> Iterator[None]:
    """
    Meanwhile the services have the first processor, and this process the others.
    """
    processors = os.sched_getaffinity(0)
    first, *others = sorted(processors)
    if others:
        for each in services:
            os.sched_setaffinity(each.process.pid, [first])
        os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


def load(address: tuple[str, int], *options: object) -> int:
    """
    Put load on a server.

    @return: how many lines came back.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "twisted_echo.bench", "load"),
            *("{}:{}".format(*address), "--warm-up=0", "--json"),
            *map(str, options),
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(json.loads(done.stdout)["lines"])


def spent(
    of: Sequence[Command], address: tuple[str, int], *options: object
) -> list[float]:
    """
    Put load on a server.

    @return: the microseconds of processor time that each process took for a line.
    """
    processes = [Vitals(each) for each in of]
    before = [each.cpu() for each in processes]
    lines = load(address, *options)
    time.sleep(SETTLES)
    return [
        (each.cpu() - was) / lines * 1e6
        for each, was in zip(processes, before, strict=True)
    ]


def summary(values: Sequence[float]) -> str:
    """
    The median, and the least and the most.
    """
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:.3g} ({least:.3g}\N{EN DASH}{most:.3g})"


def print_row(*cells: str) -> None:
    print("|", " | ".join(cells), "|", flush=True)


def print_head(*cells: str) -> None:
    print_row(*cells)
    print_row(*("---" for _ in cells))


def measure_lines(options: argparse.Namespace) -> None:
    cases = [
        (name, ["--connections", CONNECTIONS, "--depth", depth, "--sizes", size])
        for name, depth, size in LINES
    ]
    for _, each in cases:
        each += ["--duration", options.seconds]
    short = ["--connections", SHORT, "--count", SHORT, "--sizes", 64]
    cases.append(("connect, one line, close", short))
    print_head("", "service, direct", "service, behind", "HAProxy", "HAProxy / service")
    with Cleanups() as cleanups:
        bench = Bench(cleanups)
        for name, arguments in cases:
            direct, behind, haproxy = [], [], []
            for _ in range(options.rounds):
                direct += spent([bench.direct], bench.direct.address, *arguments)
                one, other = spent(
                    [bench.behind, bench.haproxy], bench.front, *arguments
                )
                behind.append(one)
                haproxy.append(other)
            ratios = [
                over / (under or 1) for over, under in zip(haproxy, behind, strict=True)
            ]
            print_row(name, *map(summary, (direct, behind, haproxy, ratios)))


def measure_idle(options: argparse.Namespace) -> None:
    """
    Idle connections, and what the processes have before the first of them.
    """
    with Cleanups() as cleanups:
        began = time.monotonic()
        start(cleanups).end()
        seconds = time.monotonic() - began
        bench = Bench(cleanups)
        empty = [Vitals(each).memory() for each in (bench.direct, bench.haproxy)]
        memory, processor = [], []
        for address, service, more in (
            (bench.direct.address, bench.direct, []),
            (bench.front, bench.behind, [bench.haproxy]),
        ):
            vitals = [Vitals(each) for each in (service, *more)]
            connect(cleanups, address, service, WARM_UP)
            before = [each.memory() for each in vitals]
            connect(cleanups, address, service, options.idle)
            after = [each.memory() for each in vitals]
            used = [each.cpu() for each in vitals]
            time.sleep(4 * options.seconds)
            for each, was, now, then in zip(vitals, before, after, used, strict=True):
                memory.append((now - was) / options.idle / 1024)
                share = (each.cpu() - then) / (4 * options.seconds)
                processor.append(100 * share * 10_000 / options.idle)
    print_head("an idle connection", "service, direct", "service, behind", "HAProxy")
    print_row("memory of the process, KiB", *(f"{each:.1f}" for each in memory))
    print_row("10,000 of them, % of a processor", *(f"{x:.1f}" for x in processor))
    one, other = (each >> 20 for each in empty)
    print(f"A service starts with {one} MiB, HAProxy with {other}.")
    print(f"A service listens {seconds:.1f} s after its start.")


def connect(
    cleanups: Cleanups, address: tuple[str, int], service: Server, number: int
) -> None:
    """
    Make connections, until the service has that many more sessions.
    """
    before = sessions(service)
    for _ in range(number):
        cleanups.enter_context(socket.create_connection(address))
    wait_until(lambda: sessions(service) >= before + number)


def scrape(service: Server) -> str:
    port = service.wait_for(r"admin on 127\.0\.0\.1:(\d+);")[1]
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return str(answer.read(), "utf-8")


def sessions(service: Server) -> float:
    (number,) = re.findall(r"^twisted_echo_sessions (\S+)$", scrape(service), re.M)
    return float(number)


def measure_admin(options: argparse.Namespace) -> None:
    """
    What C{--admin} costs with one line in flight on each connection: the processor
    time of a service that is scraped once a second, over that of one without it.
    """
    with Cleanups() as cleanups:
        plain, scraped = start(cleanups, admin=False), start(cleanups)
        cleanups.enter_context(pinned(plain, scraped))
        arguments = ["--connections", CONNECTIONS, "--sizes", 64, "--duration", 1]
        ratios = []
        for number in range(options.pairs):
            took = {}
            for each in (plain, scraped)[:: 1 if number % 2 else -1]:
                before = Vitals(each).cpu()
                if each is scraped:
                    scrape(each)
                lines = load(each.address, *arguments)
                took[each] = (Vitals(each).cpu() - before) / lines
            ratios.append(took[scraped] / took[plain])
    spread = median_interval(ratios)
    print(
        f"--admin, scraped once a second: {spread.median:.3f} of the processor time,"
        f" 95 % interval {spread.least:.3f} to {spread.most:.3f}, {len(ratios)} pairs"
    )


def measure_scrape(options: argparse.Namespace) -> None:
    with Cleanups() as cleanups:
        service = start(cleanups)
        cleanups.enter_context(pinned(service))
        seconds = []
        for number in (0, SCRAPED):
            connect(cleanups, service.address, service, number)
            before = Vitals(service).cpu()
            for _ in range(options.scrapes):
                scrape(service)
            seconds.append((Vitals(service).cpu() - before) / options.scrapes)
    alone, full = seconds
    print(
        f"a scrape: {alone * 1e3:.2f} ms,"
        f" and {(full - alone) / SCRAPED * 1e6:.2f} µs for each session"
    )


def measure_storm(options: argparse.Namespace) -> None:
    """
    What an open session of a TLS server sees beside connections that come at once.
    """
    with EchoServer(tls=True) as server, Cleanups() as cleanups:
        assert server._command is not None
        cleanups.enter_context(pinned(server._command))
        target = f"tls:127.0.0.1:{server.port}"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "twisted_echo.bench", "storm", target),
                *("--insecure", f"--connections={options.storm}"),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    print(done.stdout, end="")


PARTS = {
    "lines": measure_lines,
    "idle": measure_idle,
    "admin": measure_admin,
    "scrape": measure_scrape,
    "storm": measure_storm,
}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="sizing", description="Measure the tables of docs/sizing.md."
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each load (5)")
    parser.add_argument("--seconds", type=float, default=5, help="of each load (5)")
    parser.add_argument("--idle", type=int, default=4000, help="connections (4000)")
    parser.add_argument("--pairs", type=int, default=20, help="of runs, admin (20)")
    parser.add_argument("--scrapes", type=int, default=1000, help="to time (1000)")
    parser.add_argument("--storm", type=int, default=500, help="connections (500)")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all by default")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    for name, measure in PARTS.items():
        if not options.parts or name in options.parts:
            measure(options)


if __name__ == "__main__":
    main(sys.argv[1:])
