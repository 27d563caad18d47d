"""
C{twistd echo --workers N} as real processes, over loopback.
"""

import contextlib
import os
import random
import re
import select
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Semaphore, Thread
from typing import Any
from unittest import SkipTest

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.processes import (
    DEADLINE,
    EXEC_ACTIVATED,
    Command,
    Daemon,
    Server,
    connect,
    echo_command,
    environment,
    is_refused,
    new_folder,
    read_to_end,
    round_trip,
    wait_until,
)
from twisted_echo.tap import Options

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
            server.wait_for(rf"worker \d listens, as process {pid}\n")

        def enough() -> bool:
            client = self.connect(server.address)
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
            (pid,) = owners([client], pids)
            assert pid is not None
            found[pid].append(client)
            return all(len(clients) >= each for clients in found.values())

        wait_until(enough)
        return found


class ServingTests(WorkersTestCase):
    """
    Many processes look like one service.
    """

    @slow
    def test_distribution(self) -> None:
        """
        Of 1,000 connections each of two workers gets 40 to 60 %. The kernel throws a
        coin for each: fewer than 400 or more than 600 of 1,000 heads have a
        probability of 1.4e-10.
        """
        server, service = self.start("--log-sessions", "all")
        # The first that listens serves for both until then.
        self.clients_of_each(server, service)
        for _ in range(1000):
            with socket.create_connection(server.address, DEADLINE) as client:
                self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")

        def served() -> Counter[str]:
            line = r"\[worker (\d)\] session of .* ended: peer-closed, 6 bytes"
            return Counter(re.findall(line, server.stdout))

        wait_until(lambda: served().total() == 1000)
        self.assertEqual(set(served()), {"0", "1"})
        for count in served().values():
            self.assertTrue(400 <= count <= 600, served())
        self.assert_stops(server, service)

    def test_logTellsTheWorker(self) -> None:
        """
        What a worker logs is in the parent's log, with its level, its namespace, its
        time and the worker's number.
        """
        server, service = self.start("--max-length", "10")
        for pid, (client, *_) in self.clients_of_each(server, service).items():
            client.sendall(b"x" * 12)
            self.assertEqual(read_to_end(client), b"")
            client.close()
            (number,) = [n for n, each in service.pids.items() if each == pid]
            server.wait_for(
                r"\n\S+ \[twisted_echo\.session\.session_log\.Journal#warn\]"
                rf" \[worker {number}\] session of .* ended: line-too-long"
                r" \(a line of 12 bytes.*\), 18 bytes received, 6 sent, [\d.a-z]+\n"
            )
        self.assert_stops(server, service)

    def test_signalsToWorkers(self) -> None:
        """
        What a terminal or an operator may send to every process does a worker no harm.
        """
        server, service = self.start()
        found = self.clients_of_each(server, service)
        for pid in found:
            for number in ("SIGHUP", "SIGINT", "SIGUSR1", "SIGUSR2"):
                kill(pid, getattr(signal, number))
        for client, *_ in found.values():
            self.assertEqual(round_trip(client, b"still\n"), b"still\n")
        self.assertEqual(set(service.pids.values()), set(found))
        self.assert_stops(server, service)

    def test_unix(self) -> None:
        """
        A UNIX socket is shared. It stays when a worker ends, and goes when all do.
        """
        folder = new_folder(self)
        path = folder / "echo.sock"
        server, service = self.start(
            listen=[f"unix:{path}:mode=600"], folder=folder, workers=2
        )
        before = service.pids
        kill(before[0], signal.SIGTERM)
        server.wait_for(r"worker 0 drains, another one takes its place")
        service.successor(0, before[0])
        wait_until(lambda: server.stdout.count("worker 0 listens") == 2)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        clients = [self.connect(str(path)) for _ in range(20)]
        for client in clients:
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        self.assert_stops(server, service)

    def test_systemd(self) -> None:
        """
        A socket that was inherited is shared. After the stop it belongs to whoever
        handed it down: who connects then waits for the next service.
        """
        given = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(given.close)
        server, service = self.start(
            listen=["systemd:domain=INET:name=echo"],
            env={
                "SOCKET": str(given.fileno()),
                "LISTEN_FDS": "1",
                "LISTEN_FDNAMES": "echo",
            },
            launcher=EXEC_ACTIVATED,
            pass_fds=[given.fileno()],
        )
        client = self.connect(given.getsockname())
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        client.close()
        self.assert_stops(server, service)
        client = self.connect(given.getsockname())
        client.sendall(b"later\n")
        given.settimeout(DEADLINE)
        accepted, _ = given.accept()
        with accepted:
            self.assertEqual(accepted.recv(100), b"later\n")

    def test_ssl(self) -> None:
        """
        Every worker has the key; SIGHUP to the parent has all of them load it anew.
        """
        folder, before = new_folder(self), new_folder(self)
        make_certificate(folder)
        shutil.copy(folder / "cert.pem", before)
        server, service = self.start(
            listen=["ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"],
            folder=folder,
        )

        def assert_trusted(folder: Path) -> None:
            context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
            # Two of a million times one worker gets them all.
            for _ in range(20):
                plain = socket.create_connection(server.address, DEADLINE)
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
                    self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")

        assert_trusted(before)
        make_certificate(folder)
        server.process.send_signal(signal.SIGHUP)
        for number in (0, 1):
            server.wait_for(rf"\[worker {number}\] reloaded key.pem, cert.pem\n")
        assert_trusted(folder)
        self.assert_stops(server, service)

    def test_uid(self) -> None:
        """
        Sockets are bound before privileges are shed, and a worker that is killed later
        needs none.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become another user")
        try:
            subprocess.run(
                [sys.executable, "-c", "import twisted_echo"],
                user=65534,
                group=65534,
                extra_groups=[],
                env=environment(),
                cwd="/",
                capture_output=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            raise SkipTest("another user cannot run this Python") from None
        folder = new_folder(self)
        os.chown(folder, 65534, 65534)
        server, service = self.start(
            listen=[f"tcp:{free_low_port()}:interface=127.0.0.1"],
            command=("twistd", "-n", "--uid=65534", "--gid=65534"),
            folder=folder,
        )
        before = service.pids
        for number, pid in before.items():
            self.assertEqual(os.stat(f"/proc/{pid}").st_uid, 65534)
            kill(pid)
            service.successor(number, pid)
            wait_until(
                lambda number=number: (
                    server.stdout.count(f"worker {number} listens") == 2
                )
            )
        for _ in range(20):
            with socket.create_connection(server.address, DEADLINE) as client:
                self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        self.assert_stops(server, service)

    @slow
    def test_daemon(self) -> None:
        """
        With a pid file; SIGTERM to the number in it ends all processes.
        """
        service = Workers(self)
        os.environ.update(service.env)
        self.addCleanup(os.environ.pop, MARK)
        daemon = Daemon(self, "--workers", "2")
        self.assertEqual(daemon.parent.process.returncode, 0, daemon.parent.stderr)

        def listening() -> re.Match[str] | None:
            text = daemon.log.read_text() if daemon.log.exists() else ""
            return re.search(r"listening on 127.0.0.1:(\d+), by 2 workers .*\n", text)

        wait_until(lambda: listening() is not None)
        found = listening()
        assert found is not None
        client = self.connect(("127.0.0.1", int(found[1])))
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        self.assertEqual(len(service.pids), 2)
        client.close()
        self.assertTrue(daemon.stop(signal.SIGTERM))
        self.assertEqual(marked(service.mark), {})
        self.assertFalse(daemon.pidfile.exists())


class RefusalTests(WorkersTestCase):
    """
    It does not start, and says why.
    """

    def refused(self, *options: str, listen: Sequence[str], **more: Any) -> Command:
        service = Workers(self)
        env = {**service.env, **more.pop("env", {})}
        command = Command(
            self,
            echo_command(("twistd", "-n"), listen, ["--workers", "2", *options]),
            folder=new_folder(self),
            env=env,
            **more,
        )
        command.wait()
        self.assertEqual(command.process.returncode, 1, command.report("ended"))
        self.assertEqual(marked(service.mark), {})
        self.assertEqual(list(command.folder.glob("*.pid")), [])
        return command

    def test_portInUse(self) -> None:
        """
        By another service of many processes too, whose sockets allow to be shared.
        """
        server, _ = self.start()
        command = self.refused(listen=[f"tcp:{server.ports[0]}:interface=127.0.0.1"])
        self.assertIn("Address already in use", command.stdout)

    def test_cannotBeShared(self) -> None:
        for options, words in (
            (["--workers", "2", "--listen", "stdio:"], ("stdio", "tcp:")),
            (["--workers", "0"], ("from 1 up", "0")),
            (["--workers", "many"], ("whole number", "many")),
        ):
            error = self.assertRaises(UsageError, Options().parseOptions, options)
            for word in words:
                self.assertIn(word, str(error))

    def test_noWorkerCanStart(self) -> None:
        """
        Then the command fails; what the workers print on their way out is in the log.
        """
        folder = new_folder(self)
        (folder / "sitecustomize.py").write_text(FAILS_TO_START)
        command = self.refused(
            listen=["tcp:0:interface=127.0.0.1"], env={"PYTHONPATH": str(folder)}
        )
        self.assertEqual(
            command.stderr, "echo: no worker can start; the log says why\n"
        )
        for number in (0, 1):
            self.assertIn(f"[worker {number}] broken on purpose\n", command.stdout)
            for delay in (100, 200):
                self.assertIn(
                    f"worker {number} could not start: with status 3; another one"
                    f" starts in {delay}ms",
                    command.stdout,
                )

    def test_unreadableKey(self) -> None:
        """
        A key that workers have no right to read: one line says so, before any starts.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become another user")
        folder = new_folder(self)
        make_certificate(folder)
        (folder / "key.pem").chmod(0o600)
        os.chown(folder, 65534, 65534)
        for command in ("twistd", "-n", "--uid=65534"), ("twistd", "--uid=65534"):
            service = Workers(self)
            tried = Command(
                self,
                echo_command(
                    command,
                    ["ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"],
                    ["--workers", "2"],
                ),
                folder=folder,
                env=service.env,
            )
            tried.wait()
            self.assertEqual(tried.process.returncode, 1, tried.report("ended"))
            self.assertRegex(
                tried.stderr,
                r"\Aecho: cannot start: \S+/key\.pem cannot be read by the user"
                r" that workers run as, number 65534\n\Z",
            )
            self.assertNotIn("critical", tried.stdout)
            self.assertEqual(marked(service.mark), {})
            self.assertEqual(list(folder.glob("*.pid")), [])


class KilledTests(WorkersTestCase):
    """
    A worker that dies takes nobody with it, and comes back.
    """

    def test_brokenCertificate(self) -> None:
        """
        While a worker cannot start, for its certificate has been broken since, no
        client waits for it, and the service is ready.
        """
        folder = new_folder(self)
        make_certificate(folder)
        server, service = self.start(
            "--admin",
            "0",
            listen=["ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"],
            folder=folder,
        )
        found = server.wait_for(r"admin on (127\.0\.0\.1:\d+);")
        good = (folder / "cert.pem").read_bytes()
        (folder / "cert.pem").write_bytes(b"broken")
        kill(service.pids[1])
        server.wait_for(r"worker 1 could not start: with status 1; another one starts")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

        def assert_served() -> None:
            for _ in range(24):
                plain = socket.create_connection(server.address, DEADLINE)
                with context.wrap_socket(plain) as client:
                    self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")

        assert_served()
        with urllib.request.urlopen(f"http://{found[1]}/readyz", timeout=20) as answer:
            self.assertEqual(answer.status, 200)
        (folder / "cert.pem").write_bytes(good)
        wait_until(lambda: server.stdout.count("worker 1 listens") == 2)
        assert_served()

    def test_stopWhileOneComesBack(self) -> None:
        """
        When the stop has begun, nothing starts any more, nor is said to.
        """
        server, service = self.start()
        pid = service.pids[0]
        kill(pid)
        server.wait_for(r"another one starts")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        _, _, after = server.stdout.partition("another one starts")
        self.assertIn("stopped, all 2 workers", after)
        for word in ("start", "takes its place"):
            self.assertNotIn(word, after)
        self.assertEqual(marked(service.mark), {})

    def test_othersDoNotNotice(self) -> None:
        """
        Only the killed worker's own connections end.
        """
        server, service = self.start(workers=3)
        found = self.clients_of_each(server, service, 3)
        before = service.pids
        kill(before[1])
        for client in found.pop(before[1]):
            # A reset, or end-of-file if everything had been read.
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(read_to_end(client), b"")
        for clients in found.values():
            for client in clients:
                self.assertEqual(round_trip(client, b"still\n"), b"still\n")
        server.wait_for(
            # At once, if it had lived five seconds by then.
            r"worker 1 has ended: by SIGKILL; another one starts (in 100ms|at once)\n"
        )
        service.successor(1, before[1])
        self.clients_of_each(server, service)
        for clients in found.values():
            for client in clients:
                self.assertEqual(round_trip(client, b"there\n"), b"there\n")
        self.assertEqual({**service.pids, 1: 0}, {**before, 1: 0})

    def test_queueWaits(self) -> None:
        """
        Connections that wait for a worker when it is killed are served: by the other
        one, or by its successor.
        """
        server, service = self.start()
        parent, pid, other = server.process.pid, service.pids[0], service.pids[1]
        clients: list[socket.socket] = []
        waiting: list[socket.socket] = []

        def settled() -> bool:
            served = select.select(clients, [], [], 0)[0]
            waiting[:] = [each for each in clients if each not in served]
            return set(owners(waiting, [other])) <= {None}

        def someWait() -> bool:
            # The parent has the other one serve in place of one that does not answer.
            freeze(parent)
            freeze(pid)
            clients[:] = [self.connect(server.address) for _ in range(50)]
            for number, client in enumerate(clients):
                client.sendall(b"%d\n" % number)
            wait_until(settled)
            # Each serves its part, none of all 50 once in a thousand million million
            # times. But the first that listens serves for both, until the parent has
            # told it otherwise.
            if 0 < len(waiting) < 50:
                return True
            kill(pid, signal.SIGCONT)
            kill(parent, signal.SIGCONT)
            return False

        wait_until(someWait)
        kill(pid)
        kill(parent, signal.SIGCONT)
        for number, client in enumerate(clients):
            line = b"%d\n" % number
            self.assertEqual(client.recv(len(line), socket.MSG_WAITALL), line)
            self.assertEqual(round_trip(client, b"more\n"), b"more\n")
        server.wait_for(r"worker 0 has ended: by SIGKILL")

    def test_backOff(self) -> None:
        """
        A worker that dies again and again as soon as it has started comes back later
        and later.
        """
        server, service = self.start()
        (client, *_) = self.clients_of_each(server, service)[service.pids[0]]
        pid = service.pids[1]
        kill(pid)
        # At once, if it had lived five seconds by then.
        found = server.wait_for(
            r"worker 1 has ended: by SIGKILL; another one starts (in (\d+)ms|at once)\n"
        )
        delay = int(found[2] or 50)
        pid = service.successor(1, pid)
        for _ in range(3):
            delay *= 2
            kill(pid)
            server.wait_for(
                rf"worker 1 (has ended|could not start): by SIGKILL;"
                rf" another one starts in {delay}ms\n"
            )
            pid = service.successor(1, pid)
        self.assertEqual(round_trip(client, b"still\n"), b"still\n")
        client.close()

    @slow
    def test_rollingRestart(self) -> None:
        """
        A worker that is told to end lets its clients finish, while its successor
        serves new ones.
        """
        server, service = self.start("--drain", "60")
        before = service.pids
        old, *others = self.clients_of_each(server, service)[before[0]]
        for client in others:
            client.close()
        kill(before[0], signal.SIGTERM)
        server.wait_for(r"worker 0 drains, another one takes its place")
        successor = service.successor(0, before[0])
        self.assertIn(before[0], marked(service.mark))
        clients = self.clients_of_each(server, service)
        self.assertEqual(set(clients), {successor, before[1]})
        self.assertEqual(round_trip(old, b"still\n"), b"still\n")
        old.close()
        wait_until(lambda: before[0] not in marked(service.mark))
        for client, *_ in clients.values():
            self.assertEqual(round_trip(client, b"still\n"), b"still\n")
        self.assert_stops(server, service)


class HangingTests(WorkersTestCase):
    """
    A worker that hangs is replaced, and no other.
    """

    @slow
    def test_hangs(self) -> None:
        """
        New clients do not notice. The metrics say that it was restarted.
        """
        server, service = self.start("--admin", "0")
        found = server.wait_for(r"admin on (127\.0\.0\.1:\d+);")
        before = service.pids
        kill(before[1], signal.SIGSTOP)
        for _ in range(20):
            client = self.connect(server.address)
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        server.wait_for(r"worker 1 has not answered for 15s, and is killed")
        service.successor(1, before[1])
        wait_until(lambda: server.stdout.count("worker 1 listens") == 2)
        self.clients_of_each(server, service)
        self.assertEqual(service.pids[0], before[0])
        with urllib.request.urlopen(f"http://{found[1]}/metrics", timeout=20) as page:
            text = page.read().decode()
        self.assertIn('twisted_echo_worker_restarts_total{cause="hung"} 1.0', text)

    @slow
    def test_allAreStopped(self) -> None:
        """
        A machine that was suspended, or a terminal that stopped all processes: nothing
        is killed, whoever goes on first.
        """
        server, service = self.start()
        before = service.pids
        clients = self.clients_of_each(server, service)
        everybody = [server.process.pid, *before.values()]
        for order in everybody, everybody[::-1]:
            for pid in order:
                kill(pid, signal.SIGSTOP)
            # Longer than a worker may take to answer.
            time.sleep(17)
            for pid in order:
                kill(pid, signal.SIGCONT)
                time.sleep(0.5)
            for each in clients.values():
                for client in each:
                    self.assertEqual(round_trip(client, b"still\n"), b"still\n")
        self.assertEqual(service.pids, before)
        self.assert_stops(server, service)


class Load:
    """
    A client that sends numbered lines and checks every byte that comes back, on one
    connection after the other.

    @ivar broken: the connections that ended before their time, each with the process
        that served it, as far as that is known, and when it began and ended.
    @ivar served: how many connections were served to their end.
    """

    def __init__(
        self, address: tuple[str, int], seed: int, pids: Callable[[], Sequence[int]]
    ) -> None:
        self.address = address
        self.pids = pids
        self.random = random.Random(seed)
        self.broken: list[tuple[int | None, float, float]] = []
        self.wrong: list[str] = []
        self.lines = self.served = 0
        self.stop = Event()
        self.thread = Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self.stop.is_set():
                self._connection()
        except Exception as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def _connection(self) -> None:
        began = time.monotonic()
        pid = None
        # Never refused: the parent has the sockets.
        with socket.create_connection(self.address, DEADLINE) as client:
            for _ in range(self.random.randrange(1, 50)):
                line = b"%d %s\n" % (self.lines, b"x" * self.random.randrange(300))
                self.lines += 1
                try:
                    got = round_trip(client, line)
                except (ConnectionResetError, BrokenPipeError):
                    got = b""
                if got != line:
                    if not line.startswith(got):
                        self.wrong.append(f"{line!r} came back as {got!r}")
                    self.broken.append((pid, began, time.monotonic()))
                    return
                if pid is None:
                    (pid,) = owners([client], self.pids())
        self.served += 1


class LoadTests(WorkersTestCase):
    @slow
    def test_killedAtRandom(self) -> None:
        """
        Under load, workers are killed at random: only the killed worker's own
        connections end, and no other ever does; no connection is refused, no byte is
        wrong.
        """
        seed = int.from_bytes(os.urandom(4), "big")
        print(f"seed {seed}")
        rng = random.Random(seed)
        server, service = self.start()
        known = set(service.pids.values())
        loads = [
            Load(server.address, seed + n, lambda: sorted(known)) for n in range(8)
        ]
        killed: dict[int, float] = {}
        try:
            for _ in range(8):
                time.sleep(rng.uniform(0.1, 0.6))
                number = rng.randrange(2)
                pid = service.pids.get(number)
                if pid is None:
                    continue
                killed[pid] = time.monotonic()
                kill(pid)
                known.add(service.successor(number, pid))
            # The last successor serves, too.
            served = sum(each.served for each in loads)
            wait_until(lambda: sum(each.served for each in loads) > served + 20)
        finally:
            for load in loads:
                load.stop.set()
            for load in loads:
                load.thread.join(DEADLINE)
        self.assertGreaterEqual(len(killed), 4)
        self.assertEqual([each.wrong for each in loads], [[]] * len(loads))
        broken = [each for load in loads for each in load.broken]
        self.assertTrue(broken)
        for pid, began, ended in broken:
            if pid is not None:
                self.assertLessEqual(killed.get(pid, ended), ended)
                self.assertIn(pid, killed)
            else:
                # Its first line was not answered yet, so one was killed meanwhile.
                self.assertTrue(
                    any(began - 0.1 <= when <= ended for when in killed.values())
                )
        self.assert_stops(server, service)

    @slow
    def test_restartedInTurn(self) -> None:
        """
        Under load, workers are told to end one after the other: with time to finish, no
        connection is broken, none refused.
        """
        server, service = self.start("--drain", "20")
        loads = [Load(server.address, n, lambda: ()) for n in range(8)]
        try:
            for number in (0, 1, 0, 1):
                pid = service.pids[number]
                ended = os.pidfd_open(pid)
                kill(pid, signal.SIGTERM)
                service.successor(number, pid)
                self.assertTrue(Daemon.gone(ended))
            served = sum(each.served for each in loads)
            wait_until(lambda: sum(each.served for each in loads) > served + 20)
        finally:
            for load in loads:
                load.stop.set()
            for load in loads:
                load.thread.join(DEADLINE)
        self.assertEqual([each.wrong for each in loads], [[]] * len(loads))
        self.assertEqual([each.broken for each in loads], [[]] * len(loads))
        self.assert_stops(server, service)

    def test_drain(self) -> None:
        """
        SIGTERM under load: every client gets whole lines, the first of those that it
        sent, then end-of-file; and no process is left.
        """
        # Nobody is waited for so long, so nobody is cut off.
        server, service = self.start("--abort-after=1m")
        results: list[tuple[bytes, bytes, bool]] = []
        streaming = Semaphore(0)

        def stream() -> None:
            sent, got, isReset = bytearray(), bytearray(), False
            client = socket.create_connection(server.address, DEADLINE)
            client.setblocking(False)
            deadline = time.monotonic() + DEADLINE
            with client:
                while time.monotonic() < deadline:
                    with contextlib.suppress(BlockingIOError):
                        line = b"%d\n" % len(sent) * 20
                        # All of it or nothing, so few at a time.
                        if len(sent) - len(got) < 10_000:
                            sent += line[: client.send(line)]
                    try:
                        data = client.recv(1 << 16)
                    except BlockingIOError:
                        time.sleep(0.0005)
                        continue
                    except ConnectionResetError:
                        isReset = True
                        break
                    if not data:
                        break
                    if not got:
                        streaming.release()
                    got += data
            results.append((bytes(sent), bytes(got), isReset))

        threads = [Thread(target=stream) for _ in range(10)]
        for thread in threads:
            thread.start()
        for _ in threads:
            self.assertTrue(streaming.acquire(timeout=DEADLINE))
        self.assert_stops(server, service)
        for thread in threads:
            thread.join(DEADLINE)
        self.assertEqual(len(results), 10)
        for sent, got, isReset in results:
            self.assertFalse(isReset)
            self.assertTrue(got)
            self.assertTrue(sent.startswith(got))
            self.assertTrue(got.endswith(b"\n"))


class EndTests(WorkersTestCase):
    """
    However it ends, every process does.
    """

    def test_interrupt(self) -> None:
        """
        A terminal sends SIGINT to all processes: they end as if it were for the parent
        alone.
        """
        server, service = self.start(launcher=EXEC_IN_GROUP)
        clients = self.clients_of_each(server, service)
        os.killpg(server.process.pid, signal.SIGINT)
        for each in clients.values():
            for client in each:
                self.assertEqual(read_to_end(client), b"")
                client.close()
        self.assertEqual(server.wait(), -signal.SIGINT, server.report("ended"))
        self.assertNotIn("Traceback", server.stdout)
        self.assertEqual(marked(service.mark), {})

    def test_termToAll(self) -> None:
        """
        So does systemd with SIGTERM. It is one order, however often a worker hears it:
        clients may finish.
        """
        server, service = self.start("--drain", "60", launcher=EXEC_IN_GROUP)
        clients = self.clients_of_each(server, service)
        os.killpg(server.process.pid, signal.SIGTERM)
        wait_until(lambda: is_refused(server.address))
        for pid in service.pids.values():
            kill(pid, signal.SIGTERM)
        for each in clients.values():
            for client in each:
                self.assertEqual(round_trip(client, b"still\n"), b"still\n")
                client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        self.assertEqual(marked(service.mark), {})

    def test_parentIsKilled(self) -> None:
        """
        Workers whose parent has died drain and end.
        """
        server, service = self.start()
        clients = self.clients_of_each(server, service)
        server.process.kill()
        server.wait()
        for each in clients.values():
            for client in each:
                self.assertEqual(read_to_end(client), b"")
                client.close()
        wait_until(lambda: not marked(service.mark))
        self.assertTrue(is_refused(server.address))

    def test_queueIsServed(self) -> None:
        """
        Who waits in a backlog at the stop gets end-of-file, not a reset, nor does he
        wait for the end of the workers.
        """
        server, service = self.start()
        for pid in service.pids.values():
            kill(pid, signal.SIGSTOP)
        clients = [self.connect(server.address) for _ in range(50)]
        for client in clients:
            client.sendall(b"hello\n")
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            self.assertIn(read_to_end(client), (b"", b"hello\n"))
            client.close()
        for pid in service.pids.values():
            kill(pid, signal.SIGCONT)
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        self.assertEqual(marked(service.mark), {})

    @slow
    def test_workerHangs(self) -> None:
        """
        A worker that does not end is killed.
        """
        server, service = self.start("--abort-after", "0.1")
        kill(service.pids[0], signal.SIGSTOP)
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertEqual(marked(service.mark), {})
