"""
A real C{twistd echo} for tests of clients, in any language or framework.

What must hold: after L{EchoServer.stop} the process is gone, whatever the test did. If
it has left something behind, or has logged an error, the test fails and names that.
"""

import os
import re
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Sequence
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from twisted_echo.testing.client_socket import Address, dial
from twisted_echo.testing.command_process import (
    EXEC,
    EXEC_WITH_PARENT,
    Command,
    Vitals,
    echo_command,
    ports_in,
)
from twisted_echo.testing.self_signed import make_certificate
from twisted_echo.testing.server_checks import complaints, leakedDescriptors, waitFor
from twisted_echo.validation.extras import MissingPackage, install_extra

__all__ = ["EchoServer"]

_ENDPOINTS = {
    "tcp": "tcp:0:interface=127.0.0.1",
    "tls": "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem",
    "unix": "unix:echo.sock",
}


class EchoServer:
    """
    A C{twistd echo} that listens, on loopback or on a UNIX socket, when it is made. It
    is stopped and checked at the end::

        with EchoServer("--max-length", "100") as server:
            client = server.connect()

    @ivar address: the host and the port, or the path of the UNIX socket.
    @ivar certificate: the file of the authority that a client has to trust; None
        without TLS.
    @ivar folder: its working directory, which goes with it.
    @ivar process: the process; a C{subprocess.Popen}.
    """

    address: Address

    def __init__(
        self,
        *options: str,
        unix: bool = False,
        tls: bool = False,
        metrics: bool = False,
    ) -> None:
        """
        @param options: more of C{twistd echo --help}.
        @param unix: whether to listen on a UNIX socket, instead of a port of the
            kernel's choice.
        @param tls: whether to speak TLS, with a certificate made for the occasion.
        @param metrics: whether L{metrics} will be asked for.
        @raise MissingPackage: if that needs a package which is not installed.
        @raise AssertionError: if it does not start; with what it has printed.
        """
        if unix and tls:
            raise ValueError("either unix or tls can be true, got both")
        if metrics and find_spec("prometheus_client") is None:
            raise MissingPackage("prometheus-client", install_extra("metrics"))
        self.folder = Path(tempfile.mkdtemp(prefix="echo-"))
        self._command: Command | None = None
        self._log = ""
        self._admin: str | None = None
        self.certificate: Path | None = None
        kind = "unix" if unix else "tls" if tls else "tcp"
        try:
            if tls:
                make_certificate(self.folder)
                self.certificate = self.folder / "cert.pem"
            if metrics:
                self._admin = str(self.folder / "admin.sock")
                options = (*options, "--admin", f"unix:{self._admin}")
            self._start(kind, options)
        except BaseException:
            self.kill()
            raise

    def _start(self, kind: str, options: Sequence[str]) -> None:
        # If the test is killed, the server ends with it. (But not with a thread that
        # has only started it.)
        isTied = (
            sys.platform == "linux"
            and threading.current_thread() is threading.main_thread()
        )
        # A client that the test has left open is not waited for as long.
        options = ("--abort-after=1", *options)
        self._command = command = Command(
            echo_command(("twistd", "-n"), [_ENDPOINTS[kind]], options),
            folder=self.folder,
            launcher=EXEC_WITH_PARENT if isTied else EXEC,
            env={"PARENT": str(os.getpid())},
        )
        self.process = command.process
        command.wait_for(r"listening on .*, by .*\n")
        if kind == "unix":
            self.address = str(self.folder / "echo.sock")
        else:
            self.address = ("127.0.0.1", ports_in(command.stdout)[0])
        # Only Linux shows what a process has open.
        self._vitals = Vitals(command) if os.path.isdir("/proc/self/fd") else None
        self._atStart = 0
        if self._vitals is not None:
            waitFor(command, self._vitals.runs, "does not run")
            self._atStart = self._vitals.descriptors()

    def __enter__(self) -> "EchoServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.stop()
        else:
            # The test fails by that error, and needs no other one.
            self.kill()

    @property
    def host(self) -> str:
        """
        The host of the port where the server listens.

        @raise ValueError: if it listens on a UNIX socket.
        """
        return self._tcp()[0]

    @property
    def port(self) -> int:
        """
        The port where the server listens.

        @raise ValueError: if it listens on a UNIX socket.
        """
        return self._tcp()[1]

    def _tcp(self) -> tuple[str, int]:
        if isinstance(self.address, str):
            raise ValueError(f"it listens on a UNIX socket, {self.address}")
        return self.address

    @property
    def path(self) -> str:
        """
        The path of the UNIX socket where the server listens.

        @raise ValueError: if it listens on a port.
        """
        if not isinstance(self.address, str):
            raise ValueError(f"it listens on a port, {self.address}")
        return self.address

    @property
    def log(self) -> str:
        """
        What the server has logged so far.
        """
        return self._log if self._command is None else self._command.stdout

    def wait_for(self, pattern: str) -> re.Match[str]:
        """
        Wait until the log of the server matches a regular expression.

        @raise AssertionError: if it does not within half a minute.
        """
        assert self._command is not None
        return self._command.wait_for(pattern)

    def connect(self) -> socket.socket:
        """
        Connect a client, with TLS if the server has a certificate. The caller closes
        the connection.
        """
        connected = dial(self.address)
        if self.certificate is None:
            return connected
        try:
            context = ssl.create_default_context(cafile=str(self.certificate))
            return context.wrap_socket(connected, server_hostname="127.0.0.1")
        except BaseException:
            connected.close()
            raise

    def metrics(self) -> dict[str, float]:
        """
        What the server exports to Prometheus, by name and labels, such as
        C{twisted_echo_sessions_ended_total{reason="idle"}}.

        @raise ValueError: if it was made without C{metrics}.
        """
        if self._admin is None:
            raise ValueError("it was made without metrics=True")
        from prometheus_client.parser import text_string_to_metric_families

        connection = HTTPConnection("localhost")
        connection.sock = dial(self._admin)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        numbers = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{k}="{v}"' for k, v in sample.labels.items())
                numbers[sample.name + f"{{{labels}}}" * bool(labels)] = sample.value
        return numbers

    # The end

    def stop(self) -> None:
        """
        Stop the server by SIGTERM, and check it. A second call does nothing.

        @raise AssertionError: if it had more descriptors open than its sessions need,
            did not end by that signal in time, logged an error, lost count of its
            sessions, or left a socket behind; with what that was, and its log.
        """
        command, wrong = self._command, []
        if command is None:
            return
        try:
            if self._vitals is not None and command.process.poll() is None:
                wrong += leakedDescriptors(command, self._vitals, self._atStart)
            code = command.signal(signal.SIGTERM)
            if code != -signal.SIGTERM:
                wrong.append(f"it ended with {code}, not by SIGTERM")
            wrong += complaints(command.stdout, command.stderr)
            wrong += [f"{each.name} is left" for each in self.folder.glob("*.sock*")]
            if wrong:
                raise command.report("; ".join(wrong))
        finally:
            self.kill()

    def kill(self) -> None:
        """
        End the server at once, without any check. A second call does nothing.
        """
        command, self._command = self._command, None
        if command is not None:
            command.end()
            self._log = command.stdout
        shutil.rmtree(self.folder, ignore_errors=True)
