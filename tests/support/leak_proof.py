"""
The leak proof: C{twistd -n echo} under Valgrind, after few sessions and after many::

    python -m tests.support.leak_proof
    python -m tests.support.leak_proof --one-by-one

It needs Valgrind (Debian's package C{valgrind}) and Linux, and ends with status 0 if
the proof holds, 1 if it does not, and 2 if it cannot be tried.

What it shows: the bytes that are definitely lost are equal, and those in use at the
end do not grow with the sessions. One by one they differ by less than a byte for each
session more: whatever a session left would be more than that. (In most runs they are
equal. In one of a few there is a block of 62 bytes more, whatever it is.)
With sessions at once the order in which things happen differs from run to run, and
with it what tables have grown to, so L{SLACK} bytes are allowed for.

One by one there are L{MOST} sessions in a run at most, for Python has the integers up
to 256 once and for all. A larger count is an object of 28 bytes, and how long sessions
last, which is counted too, differs from run to run.

How the runs are made comparable:

  - all memory of Python is C{malloc}'s, and hashes are the same in each run;
  - each run begins with the same sessions, which end in every way, so that what is
    made once is made; has as many at once; and ends by SIGTERM with as many alive;
  - what Twisted's reactor and Python's method cache hold for a while, and which
    needs no session, is waited for, or emptied: see L{account} and L{empty_caches};
  - Twisted's commands end by the signal that stopped them, so Python does not tidy
    up first: what is in use at the end is what the server had when it stopped.

An object of Python's that nobody can reach any more is still in the garbage
collector's list, and so not lost for Valgrind: it is the bytes in use that show it.
"""

import argparse
import gc
import os
import re
import shutil
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import ILogObserver, LogEvent, textFileLogObserver
from zope.interface import provider

from tests.support.paths import PROJECT
from tests.support.processes import (
    DEADLINE,
    Server,
    echo_command,
    new_folder,
    read_exactly,
    read_to_end,
    wait_until,
)
from twisted_echo.session.factory import DEFAULT_ABORT_AFTER
from twisted_echo.testing.command_process import Books

SLACK = 16 * 1024
"""
Bytes by which runs with sessions at once may differ: less than 19 for each of 900
sessions more, where an empty session has over 1,000.
"""

MOST = 150
"""
Sessions that are counted in a run of one by one. The others are fewer than 100.
"""

_SUPPRESSIONS = """\
{
  lost while a module was imported
  Memcheck:Leak
  match-leak-kinds: definite
  ...
  fun:PyImport_ImportModuleLevelObject
}
"""
"""
What extension modules lose when they are imported (those of C{cryptography} and
C{cffi} do, 2 KiB) has nothing to do with sessions, and is not always noticed: what
looks like a pointer to it may be left somewhere.
"""

_MAX_LENGTH = 65536


# Clients. Each has had its lines echoed when it ends.


def _closes(client: socket.socket) -> None:
    client.close()


def _resets(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def _half_closes(client: socket.socket) -> None:
    client.sendall(b"a line\na rest")
    client.shutdown(socket.SHUT_WR)
    _expect(b"a line\na rest", read_to_end(client))
    client.close()


def _sends_too_long_a_line(client: socket.socket) -> None:
    client.sendall(b"a line\n" + b"x" * (_MAX_LENGTH + 1))
    _expect(b"a line\n", read_to_end(client))
    client.close()


def _resets_unread(client: socket.socket) -> None:
    client.sendall(b"a line\n" * 1000)
    _resets(client)


def _never_ends_its_line(client: socket.socket) -> None:
    client.sendall(b"half a line")
    _expect(b"", read_to_end(client))
    client.close()


Way = Callable[[socket.socket], None]

WAYS: tuple[Way, ...] = (
    _closes,
    _resets,
    _half_closes,
    _sends_too_long_a_line,
    _resets_unread,
)
"""
How sessions end: the first in the first way, and so on, in turn.
"""


def in_turn(count: int) -> list[Way]:
    """
    The ways in which so many sessions end.
    """
    return [WAYS[number % len(WAYS)] for number in range(count)]


def _expect(expected: bytes, got: bytes) -> None:
    if got != expected:
        raise AssertionError(f"sent {expected[:40]!r}, got {got[:40]!r}")


def talk(clients: Sequence[socket.socket]) -> None:
    """
    Have each send lines and read them back: short ones, long ones, and some in
    pieces.
    """
    lines = b"short\n" + b"x" * 20_000 + b"\n\n"
    for client in clients:
        client.sendall(lines + b"in ")
    for client in clients:
        _expect(lines, read_exactly(client, len(lines)))
        client.sendall(b"pieces\n")
        _expect(b"in pieces\n", read_exactly(client, len(b"in pieces\n")))


# The server


@dataclass(frozen=True, slots=True)
class Account:
    """
    What Valgrind says of one run.
    """

    sessions: int
    lost: int
    lost_blocks: int
    in_use: int
    blocks: int


class _Scope(ExitStack):
    """
    What starts processes, in place of a test.
    """

    def addCleanup(self, f: Callable[[], object]) -> None:
        self.callback(f)


class _Server(Server):
    # It starts, and searches its memory, some thirty times as slowly.
    deadline = 20 * DEADLINE


def account(
    valgrind: str,
    sessions: int,
    at_once: int,
    *,
    reactor: str | None = None,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Account:
    """
    Run a server for so many sessions.

    The reactor keeps calls that were cancelled, up to 50 of them, until their time
    has come: deadlines of sessions that the server closed. So there are more than
    that before the counted sessions, and at the end the time of all is waited for.
    The guard remembers something of its last two sweeps, which come only if a session
    lasts. So one lasts until its deadline, which takes two.

    @param reactor: what C{twistd --reactor} gets.
    @param options: more of Valgrind's.
    @param env: more of its environment.
    """
    with _Scope() as scope:
        folder = new_folder(scope)
        report = folder / "valgrind.log"
        suppressions = folder / "import.supp"
        suppressions.write_text(_SUPPRESSIONS)
        server = _Server(
            scope,
            [
                *(valgrind, "--leak-check=full", "--show-leak-kinds=definite"),
                # As deep as from a module's code to its import.
                *("--num-callers=60", f"--suppressions={suppressions}"),
                # Whether Python's code looks at memory that it has not written is
                # not asked here, and takes half the time.
                *("--undef-value-errors=no", f"--log-file={report}", *options),
                *_command(reactor),
            ],
            folder=folder,
            env={**_environment(), **(env or {})},
        )
        server.wait_for(r"listening on .*, by .*\n")
        _visit(server, [_never_ends_its_line], at_once)
        _visit(server, [_sends_too_long_a_line] * 60, at_once)
        _visit(server, in_turn(10 * at_once), at_once)
        _visit(server, in_turn(sessions), at_once)
        time.sleep(DEFAULT_ABORT_AFTER + 0.1)
        _stop(scope, server, at_once)
        return _read_account(sessions, report.read_text())


def warm_up(reactor: str | None = None) -> None:
    """
    Run a server without Valgrind, so that every module is compiled.
    """
    with _Scope() as scope:
        server = Server(
            scope, _command(reactor), folder=new_folder(scope), env=_environment()
        )
        server.wait_for(r"listening on .*, by .*\n")
        _visit(server, WAYS, 1)
        _stop(scope, server, 1)


_LISTEN = ("tcp:0:interface=127.0.0.1",)
_OPTIONS = ("--line-timeout=10",)


def _command(reactor: str | None) -> list[str]:
    chosen = () if reactor is None else (f"--reactor={reactor}",)
    twistd = (
        "twistd",
        "-n",
        "--pidfile=",
        "--logger=tests.support.leak_proof.log",
        *chosen,
    )
    return [sys.executable, *echo_command(twistd, _LISTEN, _OPTIONS)]


def _environment() -> dict[str, str]:
    # For the observer of the log, and to prove this checkout.
    path = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONMALLOC": "malloc",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(path),
    }


def log() -> Callable[[LogEvent], None]:
    """
    C{twistd}'s log, which has Python empty its caches after each event, the last of
    which is the end of the server.
    """
    write = textFileLogObserver(sys.stdout)

    @provider(ILogObserver)
    def observer(event: LogEvent) -> None:
        write(event)
        empty_caches()

    return observer


def empty_caches() -> None:
    """
    Give back what Python keeps for later and no session has, never quite the same:

      - its method cache of 4096 places for names of methods. C code that calls one by
        its name, as C{datetime} does for each time in the log, makes a new string for
        it each time, which stays there until another takes its place: up to 200 KiB;
      - its lists of freed floats, tuples, lists and dictionaries, of which there are
        as many as have ever been alive at once. That depends on when timed calls
        come, and one float more is 24 bytes.

    Garbage is not collected: it is something that sessions leave.
    """
    (getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache)()
    # The end of a full collection empties those lists. It does not look at what is
    # frozen, which is everything.
    gc.freeze()
    gc.collect()
    gc.unfreeze()


def _files(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def _visit(server: Server, ways: Sequence[Way], at_once: int) -> None:
    """
    Have a session come and go for each of some ways, and the server notice.
    """
    with socket.create_connection(server.address, 60) as client:
        talk([client])
        # All but those of a session. (When it listens, it is not yet complete.)
        files = _files(server) - 1
    wait_until(lambda: _files(server) == files)
    for first in range(0, len(ways), at_once):
        batch = ways[first : first + at_once]
        clients = [socket.create_connection(server.address, 60) for _ in batch]
        talk(clients)
        for end, client in zip(batch, clients, strict=True):
            end(client)
        wait_until(lambda: _files(server) == files)


def _stop(scope: _Scope, server: Server, live: int) -> None:
    """
    Stop it while some sessions are alive.
    """
    clients = [socket.create_connection(server.address, 60) for _ in range(live)]
    for client in clients:
        scope.addCleanup(client.close)
    talk(clients)
    for client in clients[::2]:
        client.sendall(b"half a line")
    server.process.send_signal(signal.SIGTERM)
    for client in clients:
        _expect(b"", read_to_end(client))
        client.close()
    if server.wait() != -signal.SIGTERM:
        raise server.report("did not end by SIGTERM")
    if Books.of(server.stdout).sessions != live:
        raise server.report(f"not {live} sessions at the stop")


def _read_account(sessions: int, report: str) -> Account:
    numbers = []
    for what in ("in use at exit", "definitely lost"):
        found = re.search(rf"{what}: ([\d,]+) bytes in ([\d,]+) blocks", report)
        if found is None:
            raise AssertionError(f"Valgrind does not tell what is {what}:\n{report}")
        numbers += [int(each.replace(",", "")) for each in found.groups()]
    in_use, blocks, lost, lost_blocks = numbers
    return Account(sessions, lost, lost_blocks, in_use, blocks)


# The proof


def faults(accounts: Sequence[Account], slack: int) -> list[str]:
    """
    What is wrong with the accounts of some runs, in sentences.
    """
    found = []
    if len({each.lost for each in accounts}) > 1:
        found.append("the bytes that are definitely lost are not equal")
    spread = max(each.in_use for each in accounts) - min(
        each.in_use for each in accounts
    )
    if spread > slack:
        found.append(f"the bytes in use differ by {spread}, {slack} bytes are allowed")
    return found


def table(accounts: Sequence[Account]) -> str:
    """
    The runs, one a line.
    """
    rows = [
        ("sessions", "definitely lost", "in blocks", "in use at the end", "in blocks")
    ]
    rows += [
        (
            f"{each.sessions:,}",
            *(f"{each.lost:,}", f"{each.lost_blocks:,}"),
            *(f"{each.in_use:,}", f"{each.blocks:,}"),
        )
        for each in accounts
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.leak_proof",
        description="Show that sessions which ended leave no memory behind.",
    )
    parser.add_argument("--sessions", type=int, nargs="+", metavar="COUNT")
    parser.add_argument("--at-once", type=int, default=10, metavar="COUNT")
    parser.add_argument(
        "--one-by-one",
        action="store_true",
        help="one session at a time, and less than a byte left by each",
    )
    parser.add_argument("--reactor", metavar="NAME", help="for twistd")
    options = parser.parse_args(arguments)
    at_once = 1 if options.one_by_one else options.at_once
    counts = options.sessions or ([50, MOST] if options.one_by_one else [100, 1000])
    if len(counts) < 2 or at_once < 1 or min(counts) < 1:
        parser.error("it takes two counts of sessions, and all at least 1")
    if options.one_by_one and max(counts) > MOST:
        parser.error(f"one by one, {max(counts)} sessions are more than {MOST}")
    valgrind = shutil.which("valgrind")
    if valgrind is None or not Path("/proc/self/fd").is_dir():
        print(
            "leak_proof: needs Valgrind (Debian's package valgrind), and Linux",
            file=sys.stderr,
        )
        return 2
    # The first run in a new checkout compiles the modules, and has them in memory
    # otherwise than the next.
    warm_up(options.reactor)
    accounts = []
    for count in counts:
        print(f"{count} sessions, {at_once} at once ...", file=sys.stderr)
        accounts.append(account(valgrind, count, at_once, reactor=options.reactor))
    print(table(accounts))
    more = max(counts) - min(counts)
    found = faults(accounts, max(0, more - 1) if options.one_by_one else SLACK)
    print("\n".join(f"FAILED: {each}" for each in found) or "holds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
