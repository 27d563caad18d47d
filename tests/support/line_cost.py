"""
What one line costs the server's process: instructions, and misses of a cache::

    python -m tests.support.line_cost
    python -m tests.support.line_cost --connections 50,2000

It needs Valgrind (Debian's package C{valgrind}) and Linux. A busy machine does not
change what is counted.

Each connection of an L{EchoFactory} has a line of 64 bytes, and one poll serves all of
them. The clients are in a process of their own, which is not counted. Callgrind counts
some rounds, after others that have filled the cache, which has 2 MiB. What the kernel
does is not counted. (Misses of the first cache, of 32 KiB, differ from run to run.)
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence

from tests.support.paths import PROJECT

__all__ = ["cost", "main"]

COMMAND = "tests.support.line_cost"
CONNECTIONS = "50,2000,10000"
LINE = b"x" * 63 + b"\n"
ROUNDS = 4
BATCH = 100
"""
Connections that wait in the backlog at a time.
"""
CACHES = ("--cache-sim=yes", "--D1=32768,8,64", "--LL=2097152,16,64")
"""
Two caches, as one processor of a server has them.
"""
COUNTED = r"(?:I +refs|LLd misses): +([\d,]+)"


def serve(connections: int) -> None:
    """
    The server's process.
    """
    # Imported here, since the command itself needs no reactor.
    from twisted_echo import EchoFactory
    from twisted_echo.reactor import EagerEPollReactor

    reactor = EagerEPollReactor()
    factory = EchoFactory()
    with (
        socket.create_server(("127.0.0.1", 0), backlog=BATCH) as listener,
        subprocess.Popen(
            [
                *(sys.executable, "-m", COMMAND, "clients"),
                *(str(listener.getsockname()[1]), str(os.getpid())),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdin and process.stdout
        to, of = process.stdin.fileno(), process.stdout.fileno()

        def tell(what: bytes) -> None:
            os.write(to, what)
            assert os.read(of, 1) == b"."

        for first in range(0, connections, BATCH):
            batch = min(BATCH, connections - first)
            tell(b"connect %d\n" % batch)
            for _ in range(batch):
                with listener.accept()[0] as accepted:
                    accepted.setblocking(False)
                    descriptor = accepted.fileno()
                    reactor.adoptStreamConnection(descriptor, socket.AF_INET, factory)
        for command in (b"count instrumentation on\n", b"count zero\n"):
            tell(command)
            for _ in range(ROUNDS):
                tell(b"send\n")
                reactor.doPoll(1)
                tell(b"receive\n")
        tell(b"count instrumentation off\n")


def follow_commands(port: int, server: int) -> None:
    """
    The clients' process. It connects, sends a line by each client, receives them, and
    switches the counting, as the server says.
    """
    clients: list[socket.socket] = []
    for command in sys.stdin:
        match command.split():
            case ["connect", number]:
                clients += [
                    socket.create_connection(("127.0.0.1", port))
                    for _ in range(int(number))
                ]
            case ["send"]:
                for client in clients:
                    client.sendall(LINE)
            case ["receive"]:
                for client in clients:
                    assert client.recv(len(LINE), socket.MSG_DONTWAIT) == LINE
            case ["count", *what]:
                subprocess.run(
                    ["vgdb", f"--pid={server}", *what],
                    stdout=subprocess.DEVNULL,
                    check=True,
                )
        os.write(1, b".")


def cost(connections: int, compiled: str) -> list[float]:
    """
    What one line costs: instructions, and misses of the larger cache.

    @param compiled: C{yes} or C{no}.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise SystemExit("line_cost: this needs valgrind on the PATH")
    run = subprocess.run(
        [
            *(valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"),
            *("--instr-atstart=no", *CACHES),
            *(sys.executable, "-m", COMMAND, "server", str(connections)),
        ],
        cwd=PROJECT,
        env={**os.environ, "PYTHONHASHSEED": "0", "TWISTED_ECHO_COMPILED": compiled},
        capture_output=True,
        text=True,
        check=False,
    )
    counted = re.findall(COUNTED, run.stderr)
    if run.returncode or len(counted) != 2:
        raise SystemExit(f"line_cost: with {connections} connections:\n{run.stderr}")
    lines = ROUNDS * connections
    return [int(each.replace(",", "")) / lines for each in counted]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="line_cost", description="Count what one line costs the server."
    )
    parser.add_argument(
        "--connections", default=CONNECTIONS, help=f"how many, in turn ({CONNECTIONS})"
    )
    options = parser.parse_args(arguments)
    print("connections  compiled  instructions  misses of 2 MiB")
    for connections in map(int, options.connections.split(",")):
        for compiled in ("yes", "no"):
            instructions, misses = cost(connections, compiled)
            print(
                f"{connections:11,}  {compiled:>8}  {instructions:12,.0f}"
                f"  {misses:15.1f}",
                flush=True,
            )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["server", number]:
            serve(int(number))
        case ["clients", port, server]:
            follow_commands(int(port), int(server))
        case arguments:
            main(arguments)
