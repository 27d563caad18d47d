"""
A real HAProxy with the configuration that is shipped, and services behind it.

Only addresses and paths are set here, by the environment, as the configuration
offers it. What must hold is what L{tests.support.processes} says: nothing that a test
started outlives it.
"""

import csv
import grp
import json
import os
import pwd
import re
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from urllib.request import urlopen

from tests.support.crowd import Talk
from tests.support.paths import DOCS
from tests.support.processes import (
    DEADLINE,
    Command,
    Server,
    Test,
    connect_when_listening,
    new_folder,
)

HAPROXY = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")

CONFIGURATION = DOCS / "deploy" / "haproxy.cfg"

STATS_SOCKET = "stats.sock"

NAMES = ("echo1", "echo2", "echo3")


def held_port(test: Test) -> int:
    """
    A port of the kernel's choice, on which servers may listen one after the other.

    While the test lasts a socket that does not listen holds it: while no server
    does, no connection may get it for its own end.
    """
    holder = socket.socket()
    test.addCleanup(holder.close)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    return port


class HAProxy:
    """
    HAProxy that runs, and tells how the servers of its backend are.

    @ivar process: its process.
    """

    def __init__(
        self,
        test: Test,
        configuration: Path,
        *,
        folder: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """
        @param configuration: it has a backend C{echoes}, and the socket
            L{STATS_SOCKET} in the folder.
        """
        assert HAPROXY is not None
        self._socket = folder / STATS_SOCKET
        self.process = Command(
            test, [HAPROXY, "-db", "-f", str(configuration)], folder=folder, env=env
        )
        connect_when_listening(test, self._socket).close()

    def ask(self, command: str) -> str:
        """
        Give a command to the stats socket.
        """
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(str(self._socket))
            client.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: client.recv(1 << 16), b"")).decode().strip()

    def figures(self, name: str) -> dict[str, str]:
        """
        What HAProxy says of a service.
        """
        rows = list(csv.DictReader(StringIO(self.ask("show stat"))))
        for row in rows:
            if (row["# pxname"], row["svname"]) == ("echoes", name):
                return row
        raise AssertionError(f"{name} is not among {rows}")

    def wait(self, true: Callable[[], object]) -> None:
        """
        Wait for what can only be asked for.
        """
        deadline = time.monotonic() + DEADLINE
        while not true():
            if self.process.process.poll() is not None:
                raise self.process.report("has ended")
            if time.monotonic() > deadline:
                raise self.process.report("it did not come true")
            time.sleep(0.01)

    def wait_for_state(self, name: str, state: str) -> None:
        """
        Wait until HAProxy says so of a service. (C{UP 1/2} is another state.)
        """
        self.wait(lambda: self.figures(name)["status"] == state)


class Balancer(HAProxy):
    """
    HAProxy, and three services that can be stopped and started again.

    @ivar notice: the seconds of C{--notice}.
    @ivar services: the last process of each, by the names of the configuration.
    """

    def __init__(self, test: Test, *, notice: float) -> None:
        self._test = test
        self.notice = notice
        self.folder = new_folder(test)
        self.address = ("127.0.0.1", held_port(test))
        self.ports = {name: held_port(test) for name in NAMES}
        self.adminPorts = {name: held_port(test) for name in NAMES}
        self.services = {name: self.start(name) for name in NAMES}
        super().__init__(test, CONFIGURATION, folder=self.folder, env=self.environment)
        for name in NAMES:
            self.wait_for_state(name, "UP")

    @property
    def environment(self) -> dict[str, str]:
        """
        The addresses of this test, as C{haproxy.cfg} takes them.
        """
        addresses = {"ECHO_BIND": f"127.0.0.1:{self.address[1]}"}
        for number, name in enumerate(NAMES, 1):
            addresses[f"ECHO_{number}"] = f"127.0.0.1:{self.ports[name]}"
            addresses[f"ECHO_{number}_ADMIN"] = str(self.adminPorts[name])
        return {
            **addresses,
            "ECHO_STATS": str(self.folder / STATS_SOCKET),
            "ECHO_LOG": "stdout",
            "ECHO_USER": pwd.getpwuid(os.getuid()).pw_name,
            "ECHO_GROUP": grp.getgrgid(os.getgid()).gr_name,
        }

    def start(self, name: str) -> Server:
        """
        Start a service on its own port, where it may have been before.
        """
        return Server.start(
            self._test,
            "--proxy-from",
            "127.0.0.1",
            "--admin",
            f"tcp:{self.adminPorts[name]}:interface=127.0.0.1",
            f"--notice={self.notice}",
            listen=[f"haproxy:tcp:{self.ports[name]}:interface=127.0.0.1"],
        )

    def servers_of(self, talk: Talk) -> list[str]:
        """
        Who served a connection that has ended, by HAProxy's log; more than one, if
        the client had its port more than once.
        """
        line = rf" {re.escape(talk.source)}:{talk.port} \[.* echo echoes/(\w+) "
        self.wait(lambda: re.search(line, self.process.stdout))
        return re.findall(line, self.process.stdout)

    def peers(self, name: str) -> list[tuple[str, int]]:
        """
        The addresses of the peers, as a service itself tells them.
        """
        url = f"http://127.0.0.1:{self.adminPorts[name]}/sessions"
        with urlopen(url, timeout=DEADLINE) as answer:
            sessions = json.load(answer)["sessions"]
        hosts = [session["peer"].rpartition(":") for session in sessions]
        return [(host, int(port)) for host, _, port in hosts]
