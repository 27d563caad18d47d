"""
Commands in processes of their own, seen from outside: what they print, which resources
they use, what they log at their end.

What must hold: a wait ends when its condition holds, or L{DEADLINE} fails the test. No
wait has a fixed time. Nothing here needs Twisted.
"""

import os
import re
import resource
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from typing import IO

__all__ = [
    "DEADLINE",
    "EXEC",
    "EXEC_WITH_PARENT",
    "RESTORE_SIGNALS",
    "Books",
    "Command",
    "Vitals",
    "echo_command",
    "environment",
    "ports_in",
    "script",
]

DEADLINE = 30.0
"""
Seconds for what takes a fraction of one. That is far too long for a machine that is
only busy, so a test that waits longer has found a bug.
"""


RESTORE_SIGNALS = """\
import signal
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
"""
"""
Goes before a launcher. A shell's background job ignores SIGINT, and what C{nohup}
starts ignores SIGHUP; so would everything that is started from it.
"""

EXEC = """\
import os, sys
os.execv(sys.argv[1], sys.argv[1:])
"""
"""
Becomes the command of its arguments.
"""

EXEC_WITH_PARENT = """\
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(os.environ.pop("PARENT")):
    sys.exit("the parent is gone")
os.execv(sys.argv[1], sys.argv[1:])
"""
"""
Becomes the command of its arguments, which ends when the thread does that started it,
whatever ends that. For Linux.
"""


def script(name: str) -> str:
    """
    The path of a command that is installed beside this Python.
    """
    return str(Path(sysconfig.get_path("scripts"), name))


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    This process's environment, without what would change how a command behaves.
    """
    unwanted = re.compile(
        "COV_|COVERAGE_|LISTEN_|PYTHON(?!HOME|PATH|DONTWRITE)"
        "|TWISTED_ECHO_(?!COMPILED$)"
    )
    kept = {
        name: value for name, value in os.environ.items() if not unwanted.match(name)
    }
    return {**kept, **(more or {})}


class Command:
    """
    A running command. The caller must call L{end} when it is done with it.

    @cvar deadline: seconds after which what it does not do fails the test.
    """

    deadline = DEADLINE

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str] | None = None,
        launcher: str = EXEC,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.folder = folder
        self.name = " ".join([Path(arguments[0]).name, *arguments[1:]])
        self._printed = {"stdout": "", "stderr": ""}
        self._more = Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-c", RESTORE_SIGNALS + launcher, *arguments],
            cwd=folder,
            env=environment(env),
            pass_fds=pass_fds,
            # Ctrl-C is for the test, which waits for the command, not for the command.
            process_group=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            Thread(target=self._read, args=("stdout", self.process.stdout)),
            Thread(target=self._read, args=("stderr", self.process.stderr)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                with self._more:
                    self._printed[name] += line.decode()
                    self._more.notify_all()

    @property
    def stdout(self) -> str:
        """
        What it has printed so far; all of it, after it has ended.
        """
        return self._printed["stdout"]

    @property
    def stderr(self) -> str:
        return self._printed["stderr"]

    def report(self, what: str) -> AssertionError:
        """
        An error with the return code and all that was printed.
        """
        return AssertionError(
            f"{self.name}: {what}; return code {self.process.poll()}\n"
            f"--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"
        )

    def wait_for(self, pattern: str) -> re.Match[str]:
        """
        Wait until its standard output has C{pattern}.
        """
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(re.finditer(pattern, self.stdout))
            return bool(found) or self.process.poll() is not None

        # An end makes no line, so it is looked for now and then.
        deadline = time.monotonic() + self.deadline
        with self._more:
            while not look() and time.monotonic() < deadline:
                self._more.wait(0.1)
        if not found:
            raise self.report(f"no {pattern!r}")
        return found[0]

    def wait(self) -> int:
        """
        Wait for its end.

        @return: its return code, negative for a signal.
        """
        try:
            code = self.process.wait(self.deadline)
        except subprocess.TimeoutExpired:
            raise self.report("did not end") from None
        for reader in self._readers:
            reader.join(self.deadline)
        return code

    def signal(self, number: int) -> int:
        """
        Send it a signal and wait for its end.
        """
        self.process.send_signal(number)
        return self.wait()

    def end(self) -> None:
        """
        Kill it if it still runs, and wait for its end.
        """
        self.process.kill()
        self.wait()


def echo_command(
    command: Sequence[str], listen: Iterable[str], options: Sequence[str] = ()
) -> list[str]:
    """
    The command line of C{twistd echo} or C{twist echo}.
    """
    program, *before = command
    if program == "twist":
        # Else it is JSON, where standard output is no terminal.
        before = [*before, "--log-format=text"]
    endpoints = [part for each in listen for part in ("--listen", each)]
    return [script(program), *before, "echo", *endpoints, *options]


def ports_in(log: str) -> list[int]:
    """
    The TCP ports that a service says in its log that it listens on.
    """
    line = re.search(r"listening on (.*), by .*\n", log)
    if line is None:
        raise AssertionError(f"it does not say that it listens:\n{log}")
    addresses = line[1].split(", ")
    return [
        int(address.rpartition(":")[2])
        for address in addresses
        if not address.startswith("unix:")
    ]


class Vitals:
    """
    The resources that a process uses.
    """

    def __init__(self, command: Command) -> None:
        self._folder = Path(f"/proc/{command.process.pid}")

    def runs(self) -> bool:
        """
        Whether its reactor runs: the last thing that a reactor sets up is the handler
        of SIGCHLD.
        """
        caught = re.search(r"SigCgt:\s*(\w+)", (self._folder / "status").read_text())
        assert caught is not None
        return bool(int(caught[1], 16) & 1 << (signal.SIGCHLD - 1))

    def descriptors(self) -> int:
        return len(os.listdir(self._folder / "fd"))

    def names(self) -> list[str]:
        """
        What its descriptors are.
        """
        names = []
        for each in sorted((self._folder / "fd").iterdir(), key=lambda e: int(e.name)):
            with suppress(OSError):
                names.append(f"{each.name} {os.readlink(each)}")
        return names

    def memory(self) -> int:
        """
        Bytes resident.
        """
        pages = int((self._folder / "statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def cpu(self) -> float:
        """
        Seconds of processor time.
        """
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Books:
    """
    The sessions and refusals that a server logs when it stops.

    @ivar sessions: the sessions that were open at the stop.
    @ivar served: all sessions.
    @ivar ended: why sessions ended. One that was half-closed counts as closed by its
        peer: which it was depends on what the server saw first.
    @ivar refused: all connections that did not become sessions.
    @ivar refusals: why.
    """

    sessions: int
    served: int
    ended: "Counter[str]"
    refused: int
    refusals: "Counter[str]"

    @classmethod
    def of(cls, log: str) -> "Books":
        line = re.search(
            r"stopped after [\d.a-z]+: (\d+|no) sessions? (?:was|were) open;"
            r" since the start: served (\d+)(?: \(([^)]*)\))?,"
            r" refused (\d+)(?: \(([^)]*)\))?",
            log,
        )
        if line is None:
            raise AssertionError(f"its log does not say what it served:\n{log[-5000:]}")

        def counts(text: str | None) -> "Counter[str]":
            each = re.findall(r"([\w-]+) (\d+)", text or "")
            counted: Counter[str] = Counter()
            for name, number in each:
                counted[name.replace("half-closed", "peer-closed")] += int(number)
            return counted

        return cls(
            0 if line[1] == "no" else int(line[1]),
            int(line[2]),
            counts(line[3]),
            int(line[4]),
            counts(line[5]),
        )
