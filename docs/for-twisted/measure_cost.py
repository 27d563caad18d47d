"""
Measure what the patches save, and print the tables of the page::

    python docs/for-twisted/measure_cost.py time
    python docs/for-twisted/measure_cost.py calls
    python docs/for-twisted/measure_cost.py instructions

C{time} is the server's processor time for an operation, in microseconds. It needs a
machine that does nothing else. C{calls} counts system calls by C{strace}, and
C{instructions} counts the user's by C{valgrind}: other programs do not change these.
A number after the word, 1 by default, makes the runs so many times as long. Linux only.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from copies import VARIANTS, copy_of_twisted

ROUNDS, CONNECTIONS = 10, 50
CALLS = ("epoll_wait", "epoll_ctl", "recvfrom", "sendto")
LINE = b"x" * 62 + b"\r\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
# For each server: a request, the end of its answer, and operations in a measured run.
SERVERS = {
    "line echo": (LINE, LINE, 40000),
    "web, 20 writes an answer": (GET, b"\r\n0\r\n\r\n", 10000),
    "ten writes in a timer": (LINE, b"<end>", 20000),
}

SERVER = """
import os, sys
from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineReceiver
from twisted.web import resource, server

class Echo(LineReceiver):
    def lineReceived(self, line):
        self.sendLine(line)

class Page(resource.Resource):
    isLeaf = True

    def render_GET(self, request):
        for _ in range(20):
            request.write(b"twenty bytes of text")
        request.finish()
        return server.NOT_DONE_YET

class Later(Protocol):
    def dataReceived(self, data):
        reactor.callLater(0, self.answer)

    def answer(self):
        for _ in range(9):
            self.transport.write(b"one of ten")
        self.transport.write(b"<end>")

factory = {
    "line echo": Factory.forProtocol(Echo),
    "web, 20 writes an answer": server.Site(Page()),
    "ten writes in a timer": Factory.forProtocol(Later),
}[sys.argv[1]]
port = reactor.listenTCP(0, factory, interface="127.0.0.1")
print(os.getpid(), port.getHost().port, flush=True)
reactor.run()
"""


class Clients:
    """
    Connections to a server, which all send a request, and then all read the answer.
    """

    def __init__(self, name: str, port: int, count: int) -> None:
        self._request, self._end, _ = SERVERS[name]
        self._sockets = [
            socket.create_connection(("127.0.0.1", port), 30) for _ in range(count)
        ]

    def operate(self, operations: int) -> None:
        for _ in range(operations // len(self._sockets)):
            for each in self._sockets:
                each.sendall(self._request)
            for each in self._sockets:
                answer = b""
                while not answer.endswith(self._end):
                    chunk = each.recv(65536)
                    if not chunk:
                        raise SystemExit("the server closed a connection")
                    answer += chunk

    def close(self) -> None:
        for each in self._sockets:
            each.close()


@contextmanager
def serving(
    name: str, environment: dict[str, str], connections: int, tool: Sequence[str] = ()
) -> Iterator[tuple[int, Clients]]:
    """
    Run a server, below a tool that watches it, and connect to it.

    @return: the server's process id, and the clients.
    """
    process = subprocess.Popen(
        [*tool, sys.executable, "-c", SERVER, name],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        pid, port = map(int, process.stdout.readline().split())
        clients = Clients(name, port, connections)
        try:
            yield pid, clients
        finally:
            clients.close()
            os.kill(pid, signal.SIGTERM)
            process.wait(60)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def processor_time(name: str, environment: dict[str, str], operations: int) -> float:
    """
    How many microseconds of the server's processor time an operation takes.
    """
    with serving(name, environment, CONNECTIONS) as (pid, clients):

        def nanoseconds() -> int:
            return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])

        clients.operate(operations // 10)
        before = nanoseconds()
        clients.operate(operations)
        return (nanoseconds() - before) / operations / 1000


def system_calls(name: str, environment: dict[str, str], operations: int) -> list[str]:
    """
    How many of each of the L{CALLS} an operation takes, of one connection.
    """
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table")
        tool = ["strace", "-f", "-c", "-o", str(table)]
        with serving(name, environment, 1, tool) as (_, clients):
            clients.operate(operations)
        columns = [line.split() for line in table.read_text().splitlines()]
    counts = {each[-1]: int(each[3]) for each in columns if each and each[-1] in CALLS}
    return [f"{counts.get(each, 0) / operations:.1f}" for each in CALLS]


def instructions(name: str, environment: dict[str, str], operations: int) -> int:
    """
    How many instructions of the server an operation takes, of one connection.
    """
    with serving(name, environment, 1) as (_, clients):
        # So that none of the two that follow compiles a module.
        clients.operate(1)
    counts = []
    for total in (operations, 2 * operations):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log")
            tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no"]
            tool += [f"--log-file={log}", "--cachegrind-out-file=/dev/null"]
            with serving(name, environment, 1, tool) as (_, clients):
                clients.operate(total)
            refs = re.search(r"I +refs: +([\d,]+)", log.read_text())
        if refs is None:
            raise SystemExit("valgrind has not counted: is it installed?")
        counts.append(int(refs[1].replace(",", "")))
    return (counts[1] - counts[0]) // operations


def print_row(*cells: object) -> None:
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def print_times(environments: dict[str, dict[str, str]], times: int) -> None:
    print_row("server", *(f"{each}, µs" for each in environments), "both / stock")
    print_row(*["---"] * (len(environments) + 2))
    for name, (_, _, operations) in SERVERS.items():
        found: dict[str, list[float]] = {each: [] for each in environments}
        for round_number in range(ROUNDS):
            # In turns, and in either order: what drifts does so for all.
            order = list(environments)
            for each in order if round_number % 2 else reversed(order):
                found[each].append(
                    processor_time(name, environments[each], operations * times)
                )
        pairs = zip(found["both"], found["stock"], strict=True)
        ratios = sorted(both / stock for both, stock in pairs)
        print_row(
            name,
            *(f"{median(found[each]):.1f}" for each in environments),
            f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        )


def print_counts(
    what: str, environments: dict[str, dict[str, str]], times: int
) -> None:
    names = CALLS if what == "calls" else ("instructions",)
    print_row("server", "Twisted", *(f"`{each}`" for each in names))
    print_row(*["---"] * (len(names) + 2))
    for name in SERVERS:
        for variant, environment in environments.items():
            if what == "calls":
                counts = system_calls(name, environment, 1000 * times)
            else:
                counts = [f"{instructions(name, environment, 1000 * times):,}"]
            print_row(name, variant, *counts)


def main(arguments: list[str]) -> None:
    what, times = [*arguments, "1"][:2] if arguments else ("nothing", "1")
    if what not in {"time", "calls", "instructions"}:
        raise SystemExit(f"say time, calls or instructions, not {what}")
    with ExitStack() as stack:
        environments = {
            name: stack.enter_context(copy_of_twisted(patches))
            for name, patches in VARIANTS.items()
        }
        if what == "time":
            print_times(environments, int(times))
        else:
            print_counts(what, environments, int(times))


if __name__ == "__main__":
    main(sys.argv[1:])
