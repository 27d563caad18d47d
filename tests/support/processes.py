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
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from twisted_echo.testing import command_process as testing
from twisted_echo.testing.client_socket import Address, dial
from twisted_echo.testing.command_process import (
    DEADLINE,
    EXEC,
    Vitals,
    echo_command,
    environment,
    ports_in,
    script,
)

__all__ = [
    "DEADLINE",
    "EXEC",
    "EXEC_ACTIVATED",
    "EXEC_WITHOUT_LOW_PORTS",
    "Command",
    "Daemon",
    "Server",
    "Test",
    "connect",
    "connect_when_listening",
    "echo_command",
    "environment",
    "finished",
    "is_refused",
    "new_folder",
    "ports_in",
    "read_exactly",
    "read_to_end",
    "round_trip",
    "script",
    "wait_until",
]

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

    def addCleanup(self, f: Callable[[], object], /) -> object: ...


def new_folder(test: Test) -> Path:
    """
    A folder of the test's own, with a path that is short enough for a socket.
    """
    path = tempfile.mkdtemp(prefix="echo-")
    test.addCleanup(functools.partial(shutil.rmtree, path, ignore_errors=True))
    return Path(path)


class Command(testing.Command):
    """
    A running command, killed at the end of the test at the latest.
    """

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
        super().__init__(
            arguments, folder=folder, env=env, launcher=launcher, pass_fds=pass_fds
        )
        test.addCleanup(self.end)


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
        # It says so before it handles signals, and one that came in between would end
        # it at once.
        vitals = Vitals(server)
        wait_until(lambda: server.process.poll() is not None or vitals.runs())
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


def finished(
    test: Test,
    arguments: Sequence[str],
    *,
    folder: Path | None = None,
    launcher: str = EXEC,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Command:
    """
    Run a command to its end.
    """
    command = Command(
        test,
        arguments,
        folder=folder or new_folder(test),
        launcher=launcher,
        env=env,
        pass_fds=pass_fds,
    )
    # It may be a whole suite, which takes a third of the usual deadline.
    command.deadline = 10 * DEADLINE
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


def connect(test: Test, address: Address, *, receive_buffer: int = 0) -> socket.socket:
    """
    Connect to a TCP address, or to a path.
    """
    client = dial(address, buffer=receive_buffer)
    test.addCleanup(client.close)
    return client


def connect_when_listening(test: Test, path: Path) -> socket.socket:
    """
    Connect to a path as soon as somebody listens there. It exists before that.
    """
    client = socket.socket(socket.AF_UNIX)
    test.addCleanup(client.close)
    client.settimeout(DEADLINE)
    wait_until(lambda: client.connect_ex(str(path)) == 0)
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
