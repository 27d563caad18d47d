"""
A real HAProxy with the configuration that is shipped, services behind it, and
clients that check every byte.

Only addresses and paths are set here, by the environment, as the configuration
offers it. What must hold is what L{tests.processes} says: nothing that a test started
outlives it.
"""

import csv
import grp
import json
import os
import pwd
import random
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from select import select
from threading import Event, Thread
from urllib.request import urlopen

from tests.processes import DEADLINE, Command, Server, Test, new_folder

HAPROXY = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")

CONFIGURATION = Path(__file__).parents[1] / "docs" / "deploy" / "haproxy.cfg"

NAMES = ("echo1", "echo2", "echo3")

WINDOW = 1 << 18
"""
How much of what a client has sent may still be on its way.
"""


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


class Balancer:
    """
    HAProxy, and three services that can be stopped and started again.

    @ivar notice: the seconds of C{--notice}.
    @ivar services: the last process of each, by the names of the configuration.
    """

    def __init__(self, test: Test, *, notice: float) -> None:
        assert HAPROXY is not None
        self._test = test
        self.notice = notice
        self.folder = new_folder(test)
        self.address = ("127.0.0.1", held_port(test))
        self.ports = {name: held_port(test) for name in NAMES}
        self.adminPorts = {name: held_port(test) for name in NAMES}
        self.services = {name: self.start(name) for name in NAMES}
        self._socket = str(self.folder / "stats.sock")
        self.process = Command(
            test,
            [HAPROXY, "-db", "-f", str(CONFIGURATION)],
            folder=self.folder,
            env=self.environment,
        )
        self.wait(lambda: os.path.exists(self._socket))
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
            "ECHO_STATS": str(self.folder / "stats.sock"),
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

    def ask(self, command: str) -> str:
        """
        Give a command to the stats socket.
        """
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(self._socket)
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

    def servers_of(self, talk: "Talk") -> list[str]:
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


# Clients


@dataclass
class Talk:
    """
    What became of a connection.

    @ivar source: the client's own address.
    @ivar port: and its port.
    @ivar began: when it was about to connect, by the monotonic clock.
    @ivar whole: whether all that was sent came back, and then end-of-file.
    @ivar error: what went wrong; not an end-of-file after whole lines.
    """

    source: str
    port: int
    began: float
    whole: bool = False
    error: str = ""


class _Stream:
    """
    Lines to be sent, and the check of what comes back.
    """

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._unsent = b""
        self._due = bytearray()
        self.endsLine = True

    @property
    def isEmpty(self) -> bool:
        return not self._unsent and not self._due

    @property
    def isFull(self) -> bool:
        return len(self._due) >= WINDOW

    def send(self, more: Callable[[], bytes]) -> None:
        self._unsent = self._unsent or more()
        sent = self._client.send(self._unsent)
        self._due += self._unsent[:sent]
        self._unsent = self._unsent[sent:]

    def receive(self) -> bool:
        """
        @return: whether anything came; if not, it is the end of file.
        @raise ValueError: if it is not what was sent.
        """
        chunk = self._client.recv(1 << 16)
        if self._due[: len(chunk)] != chunk:
            raise ValueError(f"got {chunk[:200]!r} for {bytes(self._due[:200])!r}")
        del self._due[: len(chunk)]
        if chunk:
            self.endsLine = chunk.endswith(b"\n")
        return bool(chunk)


def lines(chance: random.Random, name: str) -> Iterator[bytes]:
    """
    Batches of lines that are like no others.
    """
    number = 0
    while True:
        batch = []
        for _ in range(chance.randrange(1, 200)):
            number += 1
            batch.append(b"%s %d %s\n" % (name.encode(), number, b"x" * (number % 150)))
        yield b"".join(batch)


def talk(
    address: tuple[str, int],
    source: str,
    batches: Iterator[bytes],
    pause: Callable[[], object],
) -> Talk:
    """
    Send batches of lines and compare what comes back with them, to the end of them
    or of the connection, whatever comes first. The client that was sent an
    end-of-file sends on for a while, for it may not have noticed.

    @param pause: called after each batch.
    """
    client = socket.socket()
    outcome = Talk(source, 0, time.monotonic())
    with client:
        try:
            client.settimeout(DEADLINE)
            client.bind((source, 0))
            client.connect(address)
            outcome.port = client.getsockname()[1]
            _talk(client, outcome, batches, pause)
        except (OSError, ValueError) as error:
            outcome.error = f"{type(error).__name__}: {error}"
    return outcome


def _talk(
    client: socket.socket,
    outcome: Talk,
    batches: Iterator[bytes],
    pause: Callable[[], object],
) -> None:
    client.setblocking(False)
    stream = _Stream(client)
    finished = False

    def more() -> bytes:
        pause()
        return next(batches)

    while True:
        sending = [] if finished or stream.isFull else [client]
        readable, writable, _ = select([client], sending, [], DEADLINE)
        if not readable and not writable:
            raise TimeoutError("the other side neither sends nor takes anything")
        if readable and not stream.receive():
            break
        if writable:
            try:
                stream.send(more)
            except StopIteration:
                client.shutdown(socket.SHUT_WR)
                finished = True
    outcome.whole = finished and stream.isEmpty
    if not stream.endsLine:
        raise ValueError("end of file within a line")
    if not finished:
        client.settimeout(DEADLINE)
        for batch, _ in zip(batches, range(20), strict=False):
            client.sendall(batch)
        client.shutdown(socket.SHUT_WR)
        if client.recv(1):
            raise ValueError("something came after the end of file")


class Crowd:
    """
    Clients that go on until they are told to finish: some hold long talks, with
    much on its way, and connect again when their connection was ended; others
    connect, say a little, and leave.

    @ivar long: the long talks that have ended.
    @ivar brief: the short ones.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._enough = Event()
        self._threads: list[Thread] = []
        self.long: list[Talk] = []
        self.brief: list[Talk] = []

    @property
    def size(self) -> int:
        return len(self._threads)

    def _add(self, target: Callable[[str, random.Random], None]) -> None:
        number = self.size + 1
        # By which the clients can be told apart, wherever their lines come out.
        source = f"127.0.1.{number}"
        thread = Thread(target=target, args=(source, random.Random(number)))
        self._threads.append(thread)
        thread.start()

    def _until_enough(self, batches: Iterator[bytes]) -> Iterator[bytes]:
        for batch in batches:
            if self._enough.is_set():
                return
            yield batch

    def add_talker(self, pause: float) -> None:
        """
        @param pause: seconds between two batches of lines.
        """

        def run(source: str, chance: random.Random) -> None:
            while not self._enough.is_set():
                outcome = talk(
                    self._address,
                    source,
                    self._until_enough(lines(chance, source)),
                    lambda: self._enough.wait(pause),
                )
                self.long.append(outcome)

        self._add(run)

    def add_visitor(self) -> None:
        def run(source: str, chance: random.Random) -> None:
            while not self._enough.wait(0.01):
                few = zip(
                    range(chance.randrange(1, 4)), lines(chance, source), strict=False
                )
                batches = (batch for _, batch in few)
                outcome = talk(self._address, source, batches, lambda: None)
                self.brief.append(outcome)

        self._add(run)

    def finish(self) -> None:
        """
        Have all send their last line and wait for its answer.
        """
        self._enough.set()
        for thread in self._threads:
            thread.join(DEADLINE)
            if thread.is_alive():
                raise AssertionError("a client does not end")
