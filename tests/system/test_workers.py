"""
C{twistd echo --workers N} as real processes, over loopback.
"""

import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.python.usage import UsageError

from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.processes import (
    DEADLINE,
    EXEC_ACTIVATED,
    Command,
    Daemon,
    echo_command,
    environment,
    new_folder,
    read_to_end,
    round_trip,
    wait_until,
)
from tests.support.workers_case import (
    FAILS_TO_START,
    MARK,
    Workers,
    WorkersTestCase,
    free_low_port,
    kill,
    marked,
)
from twisted_echo.tap import Options


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
                r"\n\S+ \[twisted_echo\.session\.session_log\.SessionLog#warn\]"
                rf" \[worker {number}\] session of .* ended: line-too-long"
                r" \(a line of 12 bytes.*\), 18 bytes received, 6 sent,"
                r" after [\d.a-z]+\n"
            )
        self.assert_stops(server, service)

    def test_environment(self) -> None:
        """
        Workers have the options of their parent. They do not read them again from the
        environment, where the command line does not count.
        """
        env = {"TWISTED_ECHO_MAX_LENGTH": "1", "TWISTED_ECHO_DELIMITER": "END"}
        server, service = self.start("--max-length", "3", env=env)
        wait_until(lambda: len(service.pids) == 2)
        for _ in range(2):
            client = self.connect(server.address)
            self.assertEqual(round_trip(client, b"abcEND"), b"abcEND")
        self.assertEqual(server.stdout.count("options from the environment"), 1)
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
        server.wait_for(r"worker 0 drains; its successor starts")
        service.successor(0, before[0])
        wait_until(lambda: server.stdout.count("worker 0 listens") == 2)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        clients = [self.connect(str(path)) for _ in range(20)]
        for client in clients:
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        self.assert_stops(server, service)

    def test_systemd(self) -> None:
        """
        The workers share an inherited socket. After the stop it stays with the process
        that handed it down: new connections wait in its backlog for the next service.
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
        Every worker has the key; SIGHUP to the parent has all of them load it again.
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
            self.assertIn(
                f"[worker {number}] printed to stderr: broken on purpose\n",
                command.stdout,
            )
            for delay in (100, 200):
                self.assertIn(
                    f"worker {number} could not start (start-failed, status 3); its"
                    f" successor starts in {delay}ms",
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
                r"\Aecho: cannot start: the user of the workers, number 65534, cannot"
                r" read \S+/key\.pem\n\Z",
            )
            self.assertNotIn("critical", tried.stdout)
            self.assertEqual(marked(service.mark), {})
            self.assertEqual(list(folder.glob("*.pid")), [])
