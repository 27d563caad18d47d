"""
C{twistd echo --workers N} as real processes, over loopback.
"""

import contextlib
import os
import random
import re
import signal
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import (
    Server,
    connect,
    round_trip,
    wait_until,
)

MARK = "ECHO_TEST_MARK"

EXEC_IN_GROUP = """\
import os, sys
os.setpgrp()
os.execv(sys.argv[1], sys.argv[1:])
"""
"""
Becomes the command of its arguments, in a process group of its own, as a job
of a shell is.
"""

FAILS_TO_START = """\
import os, sys
if "twisted_echo.command.workers.worker" in sys.orig_argv:
    print("broken on purpose", file=sys.stderr, flush=True)
    os._exit(3)
"""
"""
A C{sitecustomize} with which no worker can start.
"""


def marked(mark: str) -> dict[int, str]:
    """
    The processes that were started with a mark in their environment, or by such ones:
    their command lines by their numbers.
    """
    found = {}
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                found[int(folder.name)] = b" ".join(words).decode().strip()
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def freeze(pid: int) -> None:
    """
    Stop a process until SIGCONT, and wait until C{proc_pid_stat(5)} shows that it has
    stopped.
    """
    os.kill(pid, signal.SIGSTOP)

    def hasStopped() -> bool:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    wait_until(hasStopped)


class Workers:
    """
    A service of many processes, all of which are gone when the test ends.
    """

    def __init__(self, test: SynchronousTestCase) -> None:
        self.mark = uuid.uuid4().hex
        self.env = {MARK: self.mark}
        # Before the parent is started, so that it is called after the parent's end.
        test.addCleanup(self._end)

    def _end(self) -> None:
        for pid in marked(self.mark):
            kill(pid)
        wait_until(lambda: not marked(self.mark))

    @property
    def pids(self) -> dict[int, int]:
        """
        The workers' processes by the workers' numbers; the latest, if there are two.
        """
        found = {}
        for pid, command in sorted(marked(self.mark).items()):
            match = re.search(r"twisted_echo\.command\.workers\.worker (\d+)$", command)
            if match is not None:
                found[int(match[1])] = pid
        return found

    def successor(self, number: int, pid: int) -> int:
        """
        Wait until a worker has another process.
        """
        wait_until(lambda: self.pids.get(number, pid) != pid)
        return self.pids[number]


def free_low_port() -> int:
    """
    A port below 1024 that is not in use.
    """
    for port in random.sample(range(512, 1024), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("all are in use")


def owners(clients: Sequence[socket.socket], pids: Sequence[int]) -> list[int | None]:
    """
    Which of some processes have the other ends of loopback connections; None for one
    that waits in a backlog.
    """
    ends = {
        (f"{each.getpeername()[1]:04X}", f"{each.getsockname()[1]:04X}"): number
        for number, each in enumerate(clients)
    }
    inodes = {}
    if not pids:
        return [None] * len(clients)
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        # "0: 0100007F:1B5F 0100007F:C350 01 ...", and the tenth word is the inode.
        _, local, remote, rest = line.split(None, 3)
        number = ends.get((local[-4:], remote[-4:]))
        if number is not None:
            inodes[f"socket:[{rest.split()[6]}]"] = number
    found: list[int | None] = [None] * len(clients)
    for pid in pids:
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    number = inodes.get(os.readlink(file))
                    if number is not None:
                        found[number] = pid
    return found


class WorkersTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clients: list[socket.socket] = []

    def connect(self, address: tuple[str, int] | str) -> socket.socket:
        """
        A client that is closed at the end of the test, or of the service.
        """
        self.clients.append(connect(self, address))
        return self.clients[-1]

    def start(
        self, *options: str, workers: int = 2, **more: Any
    ) -> tuple[Server, Workers]:
        service = Workers(self)
        env = {**service.env, **more.pop("env", {})}
        server = Server.start(
            self, "--workers", str(workers), *options, env=env, **more
        )
        server.wait_for(rf"listening on .*, by {workers} workers ")
        return server, service

    def assert_stops(
        self, server: Server, service: Workers, number: int = signal.SIGTERM
    ) -> None:
        """
        It ends by a signal, leaving nothing behind, and had nothing to complain about.
        """
        for client in self.clients:
            client.close()
        self.assertEqual(server.signal(number), -number, server.report("ended"))
        self.assertEqual(marked(service.mark), {})
        self.assertEqual(server.stderr, "")
        for word in ("Traceback", "Unhandled", "#critical", "#error"):
            self.assertNotIn(word, server.stdout)
        self.assertEqual(list(server.folder.glob("*.pid")), [])
        self.assertEqual(list(server.folder.glob("*.sock*")), [])

    def clients_of_each(
        self, server: Server, service: Workers, each: int = 1
    ) -> dict[int, list[socket.socket]]:
        """
        Clients that have been served, by the processes that serve them: so many of each
        or more.
        """
        pids = list(service.pids.values())
        found: dict[int, list[socket.socket]] = {pid: [] for pid in pids}
        # Until then, others serve what is for it.
        for pid in pids:
            server.wait_for(rf"worker \d listens \(process {pid}\)\n")

        def enough() -> bool:
            client = self.connect(server.address)
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
            (pid,) = owners([client], pids)
            assert pid is not None
            found[pid].append(client)
            return all(len(clients) >= each for clients in found.values())

        wait_until(enough)
        return found
