"""
Real C{twistd} and C{twist} processes, and sockets to talk to them.

What must hold: whatever a test does, each process that it started is gone when it
ends; and nothing is waited for by the clock, but until it happens, or until
L{DEADLINE} fails the test.
"""

import contextlib
import errno
import functools
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Protocol

DEADLINE = 30.0
"""
Seconds for what takes a fraction of one: far too long for a machine that is only
busy, so that who waits for it in vain has found a bug.
"""

EXEC = """\
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""
Becomes the command of its arguments. A shell's background job ignores SIGINT, and
so would everything that is started from it.
"""

EXEC_WITHOUT_LOW_PORTS = """\
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE = 24, 10
# Root keeps at an exec only what is in the bounding set; others have it not at all.
ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""
Becomes the command of its arguments, which may not listen below port 1024.
"""

EXEC_ACTIVATED = """\
import os, sys
os.dup2(int(os.environ.pop("SOCKET")), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[1], sys.argv[1:])
"""
"""
Becomes the command of its arguments, activated the way systemd does it:
C{sd_listen_fds(3)}.
"""


class Test(Protocol):
    """
    What is needed of a test case.
    """

    def addCleanup(self, function: object, /, *args: object) -> None: ...


def new_folder(test: Test) -> Path:
    """
    A folder of the test's own, with a path that is short enough for a socket.
    """
    path = tempfile.mkdtemp(prefix="echo-")
    test.addCleanup(functools.partial(shutil.rmtree, path, ignore_errors=True))
    return Path(path)


def script(name: str) -> str:
    """
    The path of a command that is installed beside this Python.
    """
    return str(Path(sysconfig.get_path("scripts"), name))


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    This process's environment, without what would change how a command behaves.
    """
    unwanted = re.compile("COV_|COVERAGE_|LISTEN_|PYTHON(?!HOME|PATH|DONTWRITE)")
    kept = {
        name: value for name, value in os.environ.items() if not unwanted.match(name)
    }
    return {**kept, **(more or {})}


class Command:
    """
    A running command, killed at the end of the test at the latest.

    @cvar deadline: seconds after which what it does not do fails the test.
    """

    deadline = DEADLINE

    def __init__(
        self,
        test: Test,
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
            [sys.executable, "-c", launcher, *arguments],
            cwd=folder,
            env=environment(env),
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        test.addCleanup(self.end)
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
        An error with what a person needs to see why.
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
        Make sure that it is gone.
        """
        self.process.kill()
        self.wait()


class Server(Command):
    """
    A running C{twistd -n echo} or C{twist echo} that listens.
    """

    @classmethod
    def start(
        cls,
        test: Test,
        *options: str,
        listen: Iterable[str] = ("tcp:0:interface=127.0.0.1",),
        command: Sequence[str] = ("twistd", "-n"),
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
        launcher: str = EXEC,
        pass_fds: Sequence[int] = (),
    ) -> "Server":
        server = cls(
            test,
            echo_command(command, listen, options),
            folder=folder or new_folder(test),
            env=env,
            launcher=launcher,
            pass_fds=pass_fds,
        )
        server.wait_for(r"listening on .*, by .*\n")
        return server

    @property
    def ports(self) -> list[int]:
        """
        The ports that it listens on, in the order of C{listen}.
        """
        return ports_in(self.stdout)

    @property
    def address(self) -> tuple[str, int]:
        """
        Its first address.
        """
        return "127.0.0.1", self.ports[0]


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


def finished(
    test: Test,
    arguments: Sequence[str],
    *,
    folder: Path | None = None,
    launcher: str = EXEC,
    env: Mapping[str, str] | None = None,
) -> Command:
    """
    Run a command to its end.
    """
    command = Command(
        test, arguments, folder=folder or new_folder(test), launcher=launcher, env=env
    )
    command.wait()
    return command


class Daemon:
    """
    C{twistd echo} as a daemon, known by its pid file.

    @ivar parent: what C{twistd} itself printed before it left the daemon alone.
    @ivar log: the path of the log file.
    """

    def __init__(
        self,
        test: Test,
        *options: str,
        listen: Iterable[str] = ("tcp:0:interface=127.0.0.1",),
        folder: Path | None = None,
    ) -> None:
        folder = folder or new_folder(test)
        self.pidfile = folder / "echo.pid"
        self.log = folder / "echo.log"
        # First, so that a parent which hangs leaves nothing behind either.
        test.addCleanup(self._kill)
        twistd = ("twistd", f"--pidfile={self.pidfile}", f"--logfile={self.log}")
        self.parent = finished(
            test, echo_command(twistd, listen, options), folder=folder
        )

    def send(self, number: int) -> int:
        """
        Send it a signal.

        @return: a handle that can be read when it has ended, for L{gone}.
        """
        pid = int(self.pidfile.read_text())
        # Unlike its number, this never means another process.
        handle = os.pidfd_open(pid)
        signal.pidfd_send_signal(handle, number)
        return handle

    @staticmethod
    def gone(handle: int) -> bool:
        """
        Wait for the end of what L{send} gave a handle of.
        """
        try:
            return bool(select.select([handle], [], [], DEADLINE)[0])
        finally:
            os.close(handle)

    def stop(self, number: int) -> bool:
        """
        Send it a signal and wait for its end.
        """
        return self.gone(self.send(number))

    def _kill(self) -> None:
        # Without a pid file it has ended by itself. With one that is stale,
        # another process may have its number by now.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int(self.pidfile.read_text())
            if os.fsencode(self.pidfile) in Path(f"/proc/{pid}/cmdline").read_bytes():
                self.stop(signal.SIGKILL)


# Sockets


def connect(
    test: Test,
    address: tuple[str, int] | str,
    *,
    receive_buffer: int | None = None,
) -> socket.socket:
    """
    Connect to a TCP address, or to a path.
    """
    if isinstance(address, str):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    client = socket.socket(family, socket.SOCK_STREAM)
    test.addCleanup(client.close)
    client.settimeout(DEADLINE)
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect(address)
    return client


def read_exactly(client: socket.socket, size: int) -> bytes:
    """
    Read C{size} bytes, or less before end-of-file.
    """
    data = bytearray()
    while len(data) < size:
        chunk = client.recv(min(size - len(data), 1 << 16))
        if not chunk:
            break
        data += chunk
    return bytes(data)


def read_to_end(client: socket.socket) -> bytes:
    """
    Read until end-of-file, which a reset is not.
    """
    return read_exactly(client, sys.maxsize)


def round_trip(client: socket.socket, line: bytes) -> bytes:
    """
    Send a line and read as many bytes.
    """
    client.sendall(line)
    return read_exactly(client, len(line))


def wait_until(true: Callable[[], bool]) -> None:
    """
    Wait for what cannot be heard of but by asking.
    """
    deadline = time.monotonic() + DEADLINE
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true")
        time.sleep(0.01)


def is_refused(address: tuple[str, int]) -> bool:
    """
    Whether nobody listens there.
    """
    with socket.socket() as client:
        client.settimeout(DEADLINE)
        return client.connect_ex(address) == errno.ECONNREFUSED
