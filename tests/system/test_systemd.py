"""
Under systemd: what it is told, its unit files, and its sockets, which outlive us.
"""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from configparser import ConfigParser
from pathlib import Path
from select import select
from threading import Event, Lock, Thread
from typing import Any
from unittest import SkipTest

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from tests.support.paths import DOCS
from tests.support.processes import (
    DEADLINE,
    EXEC_ACTIVATED,
    Command,
    Server,
    connect,
    connect_when_listening,
    environment,
    new_folder,
    read_to_end,
    round_trip,
    script,
    wait_until,
)
from twisted_echo.command import systemd_notify as notify
from twisted_echo.command.options.environment import fromEnvironment, variableOf
from twisted_echo.command.options.option_table import OPTIONS
from twisted_echo.command.systemd_notify import Notifier
from twisted_echo.echo import EchoConfig

DEPLOY = DOCS / "deploy"


def program(name: str) -> str:
    """
    The path of a program of systemd's.
    """
    path = shutil.which(name)
    if path is None:
        raise SkipTest(f"there is no {name} here")
    return path


class Manager:
    """
    The end of a service manager's that is told how the service is.

    @ivar address: what C{NOTIFY_SOCKET} says.
    """

    def __init__(self, test: SynchronousTestCase, *, isAbstract: bool = False) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        test.addCleanup(self.socket.close)
        self.socket.setblocking(False)
        path = str(new_folder(test) / "notify")
        self.address = ("@" if isAbstract else "") + path
        self.socket.bind("\0" + path if isAbstract else path)

    def next(self, name: str = "") -> str:
        """
        The next message that begins with something, waited for.
        """
        # (Of all messages together: the status is told every few seconds.)
        deadline = time.monotonic() + DEADLINE
        while True:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select([self.socket], [], [], left)
            assert ready, f"it is told no {name!r}"
            message = self.socket.recv(4096).decode()
            if message.startswith(name):
                return message

    def told(self) -> list[str]:
        """
        What waits to be read, without waiting.
        """
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


class NotifierTests(SynchronousTestCase):
    """
    L{Notifier} and a real socket.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Any] = []
        self.patch(notify, "_log", Logger(observer=self.events.append))  # type: ignore[arg-type]

    def notifier(self, address: str, **more: str) -> Notifier:
        environ = {"HOME": "/", "NOTIFY_SOCKET": address, **more}
        made = Notifier.fromEnvironment(environ, self.clock)
        assert made is not None
        self.addCleanup(made.close)
        # A child process would speak for this one.
        self.assertEqual(environ, {"HOME": "/"})
        return made

    def test_messages(self) -> None:
        """
        Each thing is told as C{sd_notify(3)} says, on a path and an abstract name.
        """
        for isAbstract in (False, True):
            manager = Manager(self, isAbstract=isAbstract)
            notifier = self.notifier(manager.address)
            notifier.ready("serving")
            notifier.status("2 sessions\nREADY=1")
            notifier.reloading()
            notifier.ready("serving again")
            notifier.stopping(6.5, "2 sessions left")
            first, second, third, fourth, fifth = manager.told()
            self.assertEqual(first, "READY=1\nSTATUS=serving")
            self.assertEqual(second, "STATUS=2 sessions READY=1")
            self.assertRegex(third, r"\ARELOADING=1\nMONOTONIC_USEC=\d+\Z")
            told = int(third.rpartition("=")[2]) / 1e6
            self.assertLess(abs(told - time.monotonic()), DEADLINE)
            self.assertEqual(fourth, "READY=1\nSTATUS=serving again")
            self.assertEqual(
                fifth,
                "STOPPING=1\nEXTEND_TIMEOUT_USEC=6500000\nSTATUS=2 sessions left",
            )
        self.assertEqual(self.events, [])

    def test_nobody(self) -> None:
        """
        Without a manager there is none.
        """
        for environ in ({}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "2000000"}):
            self.assertIsNone(Notifier.fromEnvironment(environ, self.clock))
            self.assertEqual(environ, {})

    def test_watchdog(self) -> None:
        """
        From the start to the end, twice in the time that is allowed.
        """
        manager = Manager(self)
        for pid in ({}, {"WATCHDOG_PID": str(os.getpid())}):
            notifier = self.notifier(manager.address, WATCHDOG_USEC="3000000", **pid)
            self.clock.advance(10)
            self.assertEqual(manager.told(), [])
            notifier.ready("")
            self.assertEqual(manager.told()[1:], ["WATCHDOG=1"])
            for _ in range(3):
                self.clock.advance(1.4)
                self.assertEqual(manager.told(), [])
                self.clock.advance(0.1)
                self.assertEqual(manager.told(), ["WATCHDOG=1"])
            notifier.ready("again")
            self.assertEqual(len(manager.told()), 1)
            notifier.stopping(1, "")
            self.clock.advance(1.5)
            self.assertEqual(manager.told()[1:], ["WATCHDOG=1"])
            notifier.close()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noWatchdog(self) -> None:
        """
        None is kept quiet that is another process's, or is none.
        """
        manager = Manager(self)
        for more in (
            {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getppid())},
            {"WATCHDOG_USEC": "soon"},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_PID": str(os.getpid())},
        ):
            self.notifier(manager.address, **more).ready("")
            self.assertEqual(len(manager.told()), 1)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full(self) -> None:
        """
        A manager that does not read is not waited for; when it reads again, it
        hears what matters.
        """
        manager = Manager(self)
        notifier = self.notifier(manager.address)
        sent = 0
        while not self.clock.getDelayedCalls():
            notifier.status(f"{sent}")
            sent += 1
        notifier.ready("ready")
        self.clock.advance(10)
        notifier.stopping(1, "stopping")
        self.assertEqual(len(manager.told()), sent - 1)
        self.clock.advance(10)
        self.assertEqual(
            manager.told(),
            ["READY=1\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=1000000\nSTATUS=stopping"],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])
        # Closed while it waits to try again.
        while not self.clock.getDelayedCalls():
            notifier.status("more")
        notifier.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.events, [])

    def test_cannotTell(self) -> None:
        """
        A manager that is not there is told of once in the log, and nothing fails.
        """
        missing = str(new_folder(self) / "missing")
        for address in (missing, "@nobody" + missing, "/" + "x" * 200, "vsock:2:1"):
            notifier = self.notifier(address, WATCHDOG_USEC="2000000")
            notifier.ready("")
            notifier.status("")
            self.clock.advance(1)
            notifier.close()
            notifier.status("")
            (event,) = self.events
            self.assertEqual(event["event"], "notify-failed")
            self.events.clear()


class NotifyTests(SynchronousTestCase):
    """
    What a real service tells a manager.
    """

    def test_life(self) -> None:
        """
        When it serves, that it lives, that it loads its configuration again, and that
        it stops.
        """
        for command in (("twistd", "-n"), ("twist",)):
            manager = Manager(self)
            env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
            server = Server.start(self, command=command, env=env)
            self.assertEqual(manager.next(), "READY=1\nSTATUS=listening")
            for _ in range(3):
                self.assertEqual(manager.next(), "WATCHDOG=1")
            server.process.send_signal(signal.SIGHUP)
            self.assertIn("RELOADING=1\n", manager.next("RELOADING"))
            self.assertEqual(manager.next("READY"), "READY=1\nSTATUS=listening")
            self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
            self.assertEqual(
                manager.next("STOPPING"),
                "STOPPING=1\nEXTEND_TIMEOUT_USEC=16000000\nSTATUS=draining",
            )


class UnitTests(SynchronousTestCase):
    """
    The unit files in C{docs/deploy}.
    """

    def units(self) -> tuple[Path, Path]:
        """
        Copies of them, which run the C{twistd} of this environment.
        """
        folder = new_folder(self)
        for name in ("echo.service", "echo.socket"):
            text = (DEPLOY / name).read_text()
            (folder / name).write_text(
                text.replace("/opt/twisted-echo/bin/twistd", script("twistd"))
            )
        return folder / "echo.service", folder / "echo.socket"

    def verified(self, *units: Path) -> str:
        """
        What C{systemd-analyze verify} has to say of them.
        """
        done = subprocess.run(
            [program("systemd-analyze"), "verify", "--man=no", *map(str, units)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env=environment(),
        )
        lines = [line for line in done.stderr.splitlines() if "echo" in line]
        return "\n".join(lines) + ("" if done.returncode == 0 else "\nfailed")

    def test_verify(self) -> None:
        """
        systemd finds nothing wrong with them; with one that is wrong, it does.
        """
        service, listener = self.units()
        self.assertEqual(self.verified(service, listener), "")
        service.write_text(service.read_text().replace("UMask=", "Umasc="))
        self.assertIn("Umasc", self.verified(service, listener))

    def test_security(self) -> None:
        """
        Nor much that is exposed: 1.5 of 10 at most.
        """
        service, _ = self.units()
        analyze = [program("systemd-analyze"), "security", "--offline=true"]
        for threshold, code in (("15", 0), ("1", 1)):
            done = subprocess.run(
                [*analyze, "--no-pager", f"--threshold={threshold}", str(service)],
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                env=environment(),
            )
            self.assertEqual(done.returncode, code, done.stdout + done.stderr)

    def test_times(self) -> None:
        """
        systemd waits longer than a stop may take.
        """
        unit = read_unit("echo.service")
        config = EchoConfig()
        self.assertGreater(
            float(unit["Service"]["TimeoutStopSec"]),
            config.drain + config.abortAfter + 1,
        )

    def test_environmentFile(self) -> None:
        """
        The options of the sample are options, and right; those of the unit are, too. A
        stop with them still ends before systemd loses its patience.
        """
        sample = variables_in("twisted-echo.default")
        self.assertGreater(len(sample), 4)
        self.assertEqual(list(variables_in("echo.service")), ["TWISTED_ECHO_LISTEN"])
        for variables in (sample, variables_in("echo.service")):
            options = fromEnvironment(variables, OPTIONS)
            self.assertEqual({variableOf(each) for each in options}, set(variables))
        given: Any = fromEnvironment(sample, OPTIONS)
        service = read_unit("echo.service")["Service"]
        self.assertEqual(service["EnvironmentFile"], "-/etc/default/twisted-echo")
        self.assertGreater(
            float(service["TimeoutStopSec"]),
            given["notice"] + given["drain"] + EchoConfig().abortAfter + 11,
        )


def read_unit(name: str) -> ConfigParser:
    """
    A unit file, of which a name that is there twice has its last value.
    """
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((DEPLOY / name).read_text())
    return unit


def command_of_unit() -> list[str]:
    """
    The command line of the service's unit, with the C{twistd} of this environment.
    """
    words = read_unit("echo.service")["Service"]["ExecStart"].split()
    return [script(Path(words[0]).name), *words[1:]]


def variables_in(name: str) -> dict[str, str]:
    """
    The variables of the commands that a file for systemd sets, commented out or not.
    """
    found = re.findall(
        r'^#?(?:Environment=)?(TWISTED_ECHO_\w+)="?([^"\n]*)"?$',
        (DEPLOY / name).read_text(),
        re.M,
    )
    return dict(found)


class ActivationTests(SynchronousTestCase):
    """
    The real C{systemd-socket-activate}, and the command line of the unit.
    """

    def activated(self, domain: str, *options: str, **more: Any) -> Command:
        """
        Have it wait for a connection.

        @param domain: of the socket that it gets.
        """
        name = read_unit("echo.socket")["Socket"]["FileDescriptorName"]
        activate = program("systemd-socket-activate")
        (listen,) = variables_in("echo.service").values()
        listen = listen.replace("domain=INET:", f"domain={domain}:")
        return Command(
            self,
            [
                *(activate, f"--fdname={name}", f"-ETWISTED_ECHO_LISTEN={listen}"),
                *options,
                *command_of_unit(),
            ],
            folder=new_folder(self),
            **more,
        )

    def test_tcp(self) -> None:
        """
        The service starts with the first connection, and serves that and others.
        """
        # It takes no port 0, but a socket.
        with socket.create_server(("127.0.0.1", 0)) as kept:
            address = kept.getsockname()
            command = self.activated(
                "INET",
                "-EHOME=/",
                env={"SOCKET": str(kept.fileno()), "LISTEN_FDS": "1"},
                launcher=EXEC_ACTIVATED,
                pass_fds=[kept.fileno()],
            )
        for line in (b"first\n", b"second\n"):
            client = connect(self, address)
            self.assertEqual(round_trip(client, line), line)
            client.close()
        found = command.wait_for(r'"message": "listening on (\S+), by (\w+)')
        self.assertEqual(
            found.groups(), (f"127.0.0.1:{address[1]}", "EagerEPollReactor")
        )
        self.assertEqual(command.signal(signal.SIGTERM), -signal.SIGTERM)

    def test_unix(self) -> None:
        """
        A path stays as it is: its file is systemd's.
        """
        path = str(new_folder(self) / "echo.sock")
        command = self.activated("UNIX", f"--listen={path}")
        wait_until(lambda: os.path.exists(path))
        os.chmod(path, 0o600)
        client = connect_when_listening(self, Path(path))
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        client.close()
        self.assertEqual(command.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)


class Client:
    """
    One connection of the load.

    @ivar sent: the lines that it sends.
    @ivar received: what came back before end-of-file.
    """

    lines = 40

    def __init__(self, address: Any, number: int) -> None:
        self.sent = [b"%d-%d\n" % (number, n) for n in range(self.lines)]
        self.received = b""
        self.ended = 0.0
        self.began = time.monotonic()
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(address)

    def run(self) -> None:
        """
        Send in two halves, the second when the first has come back, and read to the
        end. A reset is an error.
        """
        half = b"".join(self.sent[: self.lines // 2])
        with self.socket:
            self.socket.sendall(half)
            while len(self.received) < len(half):
                chunk = self.socket.recv(1 << 16)
                if not chunk:
                    break
                self.received += chunk
            else:
                # (It may have been told that this is the end.)
                try:
                    self.socket.sendall(b"".join(self.sent[self.lines // 2 :]))
                    self.socket.shutdown(socket.SHUT_WR)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                self.received += read_to_end(self.socket)
        self.ended = time.monotonic()

    @property
    def is_complete(self) -> bool:
        return self.received == b"".join(self.sent)

    @property
    def is_prefix(self) -> bool:
        count = self.received.count(b"\n")
        return self.received == b"".join(self.sent[:count])


class Load:
    """
    Clients that come all the time, some at once.
    """

    threads = 6

    def __init__(self, test: SynchronousTestCase, address: Any) -> None:
        self.address = address
        self.done: list[Client] = []
        self.errors: list[Exception] = []
        self._enough = Event()
        self._lock = Lock()
        self._number = 0
        self._threads = [Thread(target=self._run) for _ in range(self.threads)]
        test.addCleanup(self.end)
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._enough.is_set():
            with self._lock:
                self._number += 1
                number = self._number
            try:
                client = Client(self.address, number)
                client.run()
            except Exception as error:
                self.errors.append(error)
                return
            self.done.append(client)

    def end(self) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(DEADLINE)


class RestartTests(SynchronousTestCase):
    """
    A restart, while the socket stays open in another process, as in systemd.
    """

    rounds = 2
    waiting = 20

    def activate(self, kept: socket.socket, domain: str) -> Server:
        return Server.start(
            self,
            listen=[f"systemd:domain={domain}:name=echo"],
            env={
                "SOCKET": str(kept.fileno()),
                "LISTEN_FDS": "1",
                "LISTEN_FDNAMES": "echo",
            },
            launcher=EXEC_ACTIVATED,
            pass_fds=[kept.fileno()],
        )

    def restart(self, kept: socket.socket, domain: str) -> None:
        address = kept.getsockname()
        server = self.activate(kept, domain)
        load = Load(self, address)
        stops: list[tuple[float, float]] = []
        for _ in range(self.rounds):
            # Some have been served by this one.
            enough = len(load.done) + 5 * load.threads
            wait_until(lambda n=enough: len(load.done) >= n or load.errors)  # type: ignore[arg-type, misc]
            stopping = time.monotonic()
            self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
            stops.append((stopping, time.monotonic()))
            self.assertEqual(load.errors, [])
            # Nobody runs now.
            waiting = [Client(address, -n) for n in range(self.waiting)]
            threads = [Thread(target=each.run) for each in waiting]
            for thread in threads:
                thread.start()
            server = self.activate(kept, domain)
            for thread in threads:
                thread.join(DEADLINE)
            self.assertTrue(all(each.is_complete for each in waiting))
        load.end()
        self.assertEqual(load.errors, [])
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        cut = 0
        for client in load.done:
            self.assertTrue(client.is_prefix, client.received)
            if not client.is_complete:
                # It was open when the stop began, or came before the port was shut.
                cut += 1
                self.assertTrue(
                    any(
                        client.began < end and begin < client.ended
                        for begin, end in stops
                    )
                )
        self.assertLessEqual(cut, self.rounds * load.threads)
        self.assertGreaterEqual(len(load.done) - cut, self.rounds * 4 * load.threads)

    def test_tcp(self) -> None:
        """
        Every connection that is made while nobody serves is served by the next, and
        none is refused or reset; one that was open at a stop gets whole lines, the
        first of its own, and end-of-file.
        """
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as kept:
            self.restart(kept, "INET")

    def test_unix(self) -> None:
        """
        So is it with a path.
        """
        path = str(new_folder(self) / "echo.sock")
        with socket.socket(socket.AF_UNIX) as kept:
            kept.bind(path)
            kept.listen(4096)
            self.restart(kept, "UNIX")
