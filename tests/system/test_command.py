"""
C{twistd echo} and C{twist echo} as real processes, over loopback.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from threading import Event, Thread
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.processes import (
    DEADLINE,
    EXEC,
    EXEC_ACTIVATED,
    EXEC_WITHOUT_LOW_PORTS,
    Command,
    Daemon,
    Server,
    connect,
    echo_command,
    environment,
    finished,
    is_refused,
    new_folder,
    ports_in,
    read_exactly,
    read_to_end,
    round_trip,
    script,
    wait_until,
)

TWISTD = ("twistd", "-n")
TWIST = ("twist",)

LOW_PORT = 81


def low_ports_are_free() -> bool:
    """
    Whether any user may listen on a low port, as in some containers.
    """
    path = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    return path.exists() and int(path.read_text()) <= LOW_PORT


class CommandTestCase(SynchronousTestCase):
    def assert_clean(self, server: Command) -> None:
        """
        It had nothing to complain about.
        """
        self.assertEqual(server.stderr, "")
        for word in ("Traceback", "Unhandled", "rror", "#warn", "#critical"):
            self.assertNotIn(word, server.stdout)

    def assert_stops(self, server: Server, number: int = signal.SIGTERM) -> None:
        """
        It ends by a signal, leaving nothing behind.
        """
        self.assertEqual(server.signal(number), -number, server.report("ended"))
        self.assert_clean(server)
        self.assertEqual(list(server.folder.glob("*.pid")), [])
        self.assertEqual(list(server.folder.glob("*.sock*")), [])

    def assert_cannot_listen(
        self, command: Command, *expected: str, program: str = "twistd"
    ) -> None:
        """
        It ended with one line for the user and nothing left behind.
        """
        self.assertEqual(command.process.returncode, 1, command.report("ended"))
        lines = command.stderr.splitlines()
        self.assertEqual(len(lines), 1, command.report("more than one line"))
        for each in ("echo: cannot listen on ", *expected):
            self.assertIn(each, lines[0])
        if program != "twistd":
            self.assertNotIn("twistd", lines[0])
        self.assertEqual(lines[0].count("cannot listen"), 1, lines[0])
        self.assertEqual(list(command.folder.glob("*.pid")), [])
        self.assertEqual(list(command.folder.glob("*.sock*")), [])


class EchoTests(CommandTestCase):
    """
    What goes in comes out, whatever the client.
    """

    def test_lines(self) -> None:
        server = Server.start(self)
        client = connect(self, server.address)
        for line in (b"hello\n", b"CRLF\r\n", b"\x00\xff\x80\n", b"\n", b"a\nb\n\nc\n"):
            self.assertEqual(round_trip(client, line), line)
        client.sendall(b"unterminated")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(client), b"unterminated")
        self.assert_stops(server)

    def test_muchAtOnceThenEndOfFile(self) -> None:
        """
        A client that has sent everything before it reads anything gets it all.
        """
        sent = b"".join(b"%d %s\n" % (n, b"x" * (n % 300)) for n in range(50_000))
        server = Server.start(self)
        client = connect(self, server.address)

        def send() -> None:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)

        sender = Thread(target=send)
        sender.start()
        self.addCleanup(sender.join)
        self.assertTrue(read_to_end(client) == sent)
        self.assert_stops(server)

    def assert_program_echoes(self, program: str, *arguments: str) -> None:
        if shutil.which(program) is None:
            raise SkipTest(f"{program} is not installed")
        server = Server.start(self)
        port = str(server.ports[0])
        many = b"".join(b"%d\n" % n for n in range(20_000))
        for sent in (b"hello", b"hello\n", b"", many):
            run = subprocess.run(
                [program, *(each.replace("PORT", port) for each in arguments)],
                input=sent,
                capture_output=True,
                timeout=DEADLINE,
                check=False,
            )
            self.assertEqual(run.stderr, b"")
            self.assertEqual(run.returncode, 0)
            self.assertTrue(run.stdout == sent, run.stdout[-1000:])
        self.assert_stops(server)

    def test_nc(self) -> None:
        """
        C{printf hello | nc -N} prints C{hello}.
        """
        if shutil.which("nc") is not None:
            usage = subprocess.run(["nc", "-h"], capture_output=True, check=False)
            if b"OpenBSD" not in usage.stderr + usage.stdout:
                raise SkipTest("nc is not OpenBSD's, which has -N")
        self.assert_program_echoes("nc", "-N", "127.0.0.1", "PORT")

    def test_socat(self) -> None:
        self.assert_program_echoes("socat", "-t30", "-", "TCP:127.0.0.1:PORT")

    def test_ncat(self) -> None:
        self.assert_program_echoes("ncat", "127.0.0.1", "PORT")

    def test_options(self) -> None:
        """
        The options reach the protocol: a line that is too long ends the connection
        after the lines before it.
        """
        server = Server.start(self, "--delimiter=END", "--max-length=3")
        client = connect(self, server.address)
        client.sendall(b"a\nbENDaaaaEND")
        self.assertEqual(read_to_end(client), b"a\nbEND")
        client.close()
        server.signal(signal.SIGTERM)
        told = [line for line in server.stdout.splitlines() if "#warn" in line]
        self.assertEqual(len(told), 1, server.stdout)
        for part in ("127.0.0.1", "4 bytes", "limit of 3"):
            self.assertIn(part, told[0])


class StopTests(CommandTestCase):
    def test_signals(self) -> None:
        """
        SIGTERM and SIGINT end it as they end any other command.
        """
        for command in (TWISTD, TWIST):
            for number in (signal.SIGTERM, signal.SIGINT):
                server = Server.start(self, command=command)
                idle = connect(self, server.address)
                self.assertEqual(round_trip(idle, b"hello\n"), b"hello\n")
                server.process.send_signal(number)
                self.assertEqual(read_to_end(idle), b"")
                idle.close()
                self.assertEqual(server.wait(), -number, server.report("ended"))
                self.assert_clean(server)
                self.assertIn("1 sessions were open", server.stdout)
                self.assertEqual(list(server.folder.iterdir()), [])

    def test_drainUnderLoad(self) -> None:
        """
        Stopped while clients send as fast as they can, each gets whole lines, in
        order, from the first, and then end-of-file; never a reset.
        """
        server = Server.start(self, "--abort-after=25")
        clients = [Pipeliner(server.address, number) for number in range(4)]
        for client in clients:
            self.addCleanup(client.end)
            client.start()
        for client in clients:
            self.assertTrue(client.busy.wait(DEADLINE))
        began = time.monotonic()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertLess(time.monotonic() - began, 20)
        self.assert_clean(server)
        self.assertIn("4 sessions were open", server.stdout)
        for client in clients:
            client.end()
            self.assertEqual(client.error, None)
            received = bytes(client.received)
            self.assertTrue(client.sent.startswith(received))
            self.assertTrue(received.endswith(b"\n"), received[-80:])
            self.assertGreaterEqual(len(received), Pipeliner.ENOUGH)
        self.assertTrue(is_refused(server.address))

    def test_grace(self) -> None:
        """
        With C{--drain}, a client may go on for a while; a new one may not come.
        """
        server = Server.start(self, "--drain=25")
        client = connect(self, server.address)
        self.assertEqual(round_trip(client, b"before\n"), b"before\n")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(r"\(TCP Port \d+ Closed\)")
        # It says so a moment before it does so.
        wait_until(lambda: is_refused(server.address))
        self.assertEqual(round_trip(client, b"after\n"), b"after\n")
        client.close()
        began = time.monotonic()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assertLess(time.monotonic() - began, 20)
        self.assert_clean(server)

    def test_graceEnds(self) -> None:
        """
        A client that stays gets end-of-file when the grace is over.
        """
        server = Server.start(self, "--drain=0.5", "--abort-after=25")
        client = connect(self, server.address)
        self.assertEqual(round_trip(client, b"before\n"), b"before\n")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(read_to_end(client), b"")
        client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        took = time.monotonic() - began
        self.assertTrue(0.5 <= took < 20, took)
        self.assert_clean(server)

    def test_clientThatNeverReads(self) -> None:
        """
        Nobody holds the process for longer than C{--abort-after}.
        """
        server = Server.start(self, "--abort-after=0.5")
        deaf = connect(self, server.address, receive_buffer=4096)
        deaf.settimeout(0.5)
        lines = b"x" * 1023 + b"\n"
        with self.assertRaises(TimeoutError):
            while True:
                deaf.sendall(lines * 64)
        began = time.monotonic()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        took = time.monotonic() - began
        self.assertTrue(0.5 <= took < 20, took)
        self.assert_clean(server)
        self.assertIn("1 sessions were open", server.stdout)

    def test_clientThatIgnoresEndOfFile(self) -> None:
        server = Server.start(self, "--abort-after=0.5")
        stubborn = connect(self, server.address)
        self.assertEqual(round_trip(stubborn, b"hello\n"), b"hello\n")
        began = time.monotonic()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        took = time.monotonic() - began
        self.assertTrue(0.5 <= took < 20, took)
        self.assert_clean(server)

    def test_secondSignal(self) -> None:
        """
        A second SIGTERM cuts off who is still waited for, and ends the process as
        the first would have.
        """
        server = Server.start(self, "--abort-after=1000")
        stubborn = connect(self, server.address)
        self.assertEqual(round_trip(stubborn, b"hello\n"), b"hello\n")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(read_to_end(stubborn), b"")
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertIn("told to stop again: 1 sessions are cut off", server.stdout)
        self.assertIn("served 1 (aborted-in-drain 1)", server.stdout)
        self.assertNotIn("Traceback", server.stdout)

    def test_notice(self) -> None:
        """
        For the time of notice it accepts and is not ready; then it drains, and the
        admin port says so to the end.
        """
        admin = str(new_folder(self) / "admin.sock")
        server = Server.start(
            self, f"--admin=unix:{admin}", "--notice=1.5", "--abort-after=1000"
        )
        self.assertEqual(self.readiness(admin), (200, b"ready\n"))
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("still accepting for 1.5s")
        self.assertEqual(self.readiness(admin), (503, b"draining\n"))
        client = connect(self, server.address)
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        # End-of-file: it drains.
        self.assertEqual(read_to_end(client), b"")
        self.assertTrue(is_refused(server.address))
        self.assertEqual(self.readiness(admin), (503, b"draining\n"))
        client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assert_clean(server)
        self.assertFalse(Path(admin).exists())

    def readiness(self, path: str) -> tuple[int, bytes]:
        """
        What C{/readyz} says.
        """
        with contextlib.closing(HTTPConnection("localhost")) as http:
            http.sock = connect(self, path)
            http.request("GET", "/readyz")
            response = http.getresponse()
            return response.status, response.read()

    def test_status(self) -> None:
        """
        SIGUSR2 writes a line to the log, under twist too.
        """
        for command in ("twistd", "-n"), ("twist",):
            server = Server.start(self, command=command)
            client = connect(self, server.address)
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
            server.process.send_signal(signal.SIGUSR2)
            server.wait_for(
                "status: listening, 1 sessions, 0 of them paused, .* 1 sessions opened,"
                " ended 0; refused 0; 0 accept errors; 6 bytes received, 6 sent"
            )

    def test_adminInUse(self) -> None:
        """
        Without its admin port it does not serve.
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            command = finished(
                self,
                echo_command(
                    ("twistd", "-n"), ["tcp:0:interface=127.0.0.1"], [f"--admin={port}"]
                ),
            )
        self.assertEqual(command.process.returncode, 1)
        self.assertIn(
            f"echo: cannot listen on 127.0.0.1:{port}: Address already in use",
            command.stderr,
        )

    def test_clientIsReset(self) -> None:
        """
        A client that goes away in mid-line takes nobody along.
        """
        server = Server.start(self)
        other = connect(self, server.address)
        for _ in range(10):
            client = connect(self, server.address)
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
            client.sendall(b"hello\nhel")
            client.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            client.close()
            self.assertEqual(round_trip(other, b"still\n"), b"still\n")
        self.assert_left_alone(server, other)

    def test_clientIsKilled(self) -> None:
        """
        A client that is killed while it writes, without having read, takes nobody
        along.
        """
        server = Server.start(self)
        other = connect(self, server.address)
        for _ in range(3):
            writer = Command(
                self,
                [sys.executable, "-c", ENDLESS_WRITER, str(server.ports[0])],
                folder=server.folder,
            )
            writer.wait_for("writing")
            self.assertEqual(round_trip(other, b"while\n"), b"while\n")
            self.assertEqual(writer.signal(signal.SIGKILL), -signal.SIGKILL)
            self.assertEqual(round_trip(other, b"after\n"), b"after\n")
        self.assert_left_alone(server, other)

    def assert_left_alone(self, server: Server, other: socket.socket) -> None:
        """
        Only one session is left of several, and it works.
        """
        sent = b"".join(b"%d\n" % n for n in range(10_000))
        sender = Thread(target=other.sendall, args=(sent,))
        sender.start()
        self.addCleanup(sender.join)
        self.assertTrue(read_exactly(other, len(sent)) == sent)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(read_to_end(other), b"")
        other.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assert_clean(server)
        self.assertIn("1 sessions were open", server.stdout)


ENDLESS_WRITER = """\
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall(b"0123456789\\n" * 10000)
print("writing", flush=True)
while True:
    client.sendall(b"0123456789\\n" * 1000 + b"half a line")
"""


class Pipeliner:
    """
    A client that sends numbered lines without waiting for the replies.

    @ivar sent: what it has sent, or more.
    @ivar received: what came back.
    @ivar busy: set when there are enough replies to be in the middle of it.
    @ivar error: what went wrong.
    """

    ENOUGH = 1 << 18

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self.sent = bytearray()
        self.received = bytearray()
        self.busy = Event()
        self.error: Exception | None = None
        self._number = number
        self._ended = Event()
        self._socket = socket.create_connection(address, DEADLINE)
        self._threads = [Thread(target=self._send), Thread(target=self._receive)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        line = 0
        try:
            while not self._ended.is_set():
                batch = b"".join(
                    b"client %d line %d %s\n" % (self._number, each, b"." * (each % 97))
                    for each in range(line, line + 100)
                )
                line += 100
                self.sent += batch
                self._socket.sendall(batch)
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = self.error or error

    def _receive(self) -> None:
        try:
            while data := self._socket.recv(1 << 16):
                self.received += data
                if len(self.received) >= self.ENOUGH:
                    self.busy.set()
        except OSError as error:
            self.error = self.error or error
        finally:
            self._ended.set()

    def end(self) -> None:
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._socket.close()


class EndpointTests(CommandTestCase):
    """
    C{--listen} takes any endpoint.
    """

    def test_tcp6(self) -> None:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            raise SkipTest("this machine has no IPv6 loopback address") from None
        server = Server.start(self, listen=[r"tcp6:0:interface=\:\:1"])
        client = connect(self, ("::1", server.ports[0]))
        client.sendall(b"hello\nrest")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(client), b"hello\nrest")
        self.assert_stops(server)

    def test_unix(self) -> None:
        """
        Neither the socket's file nor its lock is left.
        """
        server = Server.start(self, listen=["unix:echo.sock"])
        client = connect(self, str(server.folder / "echo.sock"))
        client.sendall(b"hello\nrest")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(client), b"hello\nrest")
        self.assert_stops(server)

    def test_unixAfterKill(self) -> None:
        """
        What a killed server leaves of its socket does not hinder the next.
        """
        folder = new_folder(self)
        server = Server.start(self, listen=["unix:echo.sock"], folder=folder)
        server.signal(signal.SIGKILL)
        self.assertTrue((folder / "echo.sock").exists())
        server = Server.start(self, listen=["unix:echo.sock"], folder=folder)
        client = connect(self, str(folder / "echo.sock"))
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        client.close()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertFalse((folder / "echo.sock").exists())

    def test_ssl(self) -> None:
        folder = new_folder(self)
        make_certificate(folder)
        server = Server.start(
            self,
            listen=["ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"],
            folder=folder,
        )
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        plain = connect(self, server.address)
        client = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.addCleanup(client.close)
        for line in (b"hello\n", b"x" * 20_000 + b"\n"):
            self.assertEqual(round_trip(client, line), line)
        server.process.send_signal(signal.SIGTERM)
        # With close_notify; without, this is an error.
        self.assertEqual(read_to_end(client), b"")
        client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assert_clean(server)

    def test_systemd(self) -> None:
        """
        A socket that is handed over as systemd does it.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            server = Server.start(
                self,
                listen=["systemd:domain=INET:name=echo"],
                env={
                    "SOCKET": str(listener.fileno()),
                    "LISTEN_FDS": "1",
                    "LISTEN_FDNAMES": "echo",
                },
                launcher=EXEC_ACTIVATED,
                pass_fds=[listener.fileno()],
            )
        self.assertEqual(server.address, address)
        client = connect(self, address)
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        client.close()
        self.assert_stops(server)

    @slow
    def test_systemdOtherwise(self) -> None:
        """
        One that is not as the string says is refused at the start, in one line, and
        not at each connection; by one process and by many.
        """
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(new_folder(self) / "echo.sock"))
            listener.listen()
            listen = "systemd:domain=INET:name=echo"
            for command, *options in (
                (TWISTD,),
                (TWISTD, "--workers=2"),
                (TWIST, "--workers=2"),
            ):
                refused = finished(
                    self,
                    echo_command(command, [listen], options),
                    launcher=EXEC_ACTIVATED,
                    env={
                        "SOCKET": str(listener.fileno()),
                        "LISTEN_FDS": "1",
                        "LISTEN_FDNAMES": "echo",
                    },
                    pass_fds=[listener.fileno()],
                )
                self.assertNotEqual(refused.process.returncode, 0)
                told = refused.stdout + refused.stderr
                self.assertIn(
                    f"--listen '{listen}': what systemd has handed down is a socket of"
                    " UNIX, not of INET",
                    told,
                )
                self.assertNotIn("Traceback", told)

    def test_haproxy(self) -> None:
        server = Server.start(self, listen=["haproxy:tcp:0:interface=127.0.0.1"])
        client = connect(self, server.address)
        client.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 7\r\nhello\n")
        self.assertEqual(read_exactly(client, 6), b"hello\n")
        self.assertEqual(round_trip(client, b"again\n"), b"again\n")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(read_to_end(client), b"")
        client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assert_clean(server)

    def test_several(self) -> None:
        tcp = "tcp:0:interface=127.0.0.1"
        server = Server.start(self, listen=[tcp, "unix:echo.sock", tcp])
        first, second = server.ports
        self.assertNotEqual(first, second)
        for address in (
            ("127.0.0.1", first),
            ("127.0.0.1", second),
            str(server.folder / "echo.sock"),
        ):
            client = connect(self, address)
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
            client.close()
        self.assert_stops(server)


class CannotListenTests(CommandTestCase):
    """
    Status 1, no pid file, and one line that says what to do.
    """

    def run_echo(
        self,
        *listen: str,
        command: Sequence[str] = TWISTD,
        launcher: str = EXEC,
        folder: Path | None = None,
    ) -> Command:
        return finished(
            self, echo_command(command, listen), launcher=launcher, folder=folder
        )

    def used_port(self) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        port: int = listener.getsockname()[1]
        return port

    def test_portInUse(self) -> None:
        port = self.used_port()
        for command in (TWISTD, TWIST):
            echo = self.run_echo(f"tcp:{port}:interface=127.0.0.1", command=command)
            self.assert_cannot_listen(
                echo,
                f"127.0.0.1:{port}: Address already in use",
                "--listen elsewhere",
                program=command[0],
            )

    def test_socketInUse(self) -> None:
        server = Server.start(self, listen=["unix:echo.sock"])
        path = server.folder / "echo.sock"
        echo = self.run_echo(f"unix:{path}")
        self.assert_cannot_listen(
            echo, f"unix:{path}: Address already in use", "--listen elsewhere"
        )
        client = connect(self, str(path))
        self.assertEqual(round_trip(client, b"still\n"), b"still\n")

    def test_noFolder(self) -> None:
        path = new_folder(self) / "none" / "echo.sock"
        echo = self.run_echo(f"unix:{path}")
        self.assert_cannot_listen(echo, f"unix:{path}: ", "folder must exist")

    def test_noSuchAddress(self) -> None:
        # TEST-NET-1 of RFC 5737, which no machine has.
        echo = self.run_echo("tcp:0:interface=192.0.2.1")
        self.assert_cannot_listen(echo, "192.0.2.1:0: ", "no such address")

    def test_noPermission(self) -> None:
        if low_ports_are_free():
            raise SkipTest("any user may listen on low ports here")
        for command in (TWISTD, TWIST):
            echo = self.run_echo(
                f"tcp:{LOW_PORT}:interface=127.0.0.1",
                command=command,
                launcher=EXEC_WITHOUT_LOW_PORTS,
            )
            self.assert_cannot_listen(
                echo,
                f"127.0.0.1:{LOW_PORT}: Permission denied",
                "root",
                program=command[0],
            )

    def test_oneOfTwo(self) -> None:
        """
        If one cannot listen, the other does not stay open, in whichever order.
        """
        used = f"tcp:{self.used_port()}:interface=127.0.0.1"
        for listen in ([used, "unix:echo.sock"], ["unix:echo.sock", used]):
            echo = self.run_echo(*listen)
            self.assert_cannot_listen(echo, "Address already in use")

    @slow
    def test_admin(self) -> None:
        """
        Of the admin port it is the option for the admin port that is named.
        """
        port, folder = self.used_port(), new_folder(self)
        (folder / "file").touch()
        for command, admin, *expected in (
            (TWISTD, f"{port}", "Address already in use", "--admin elsewhere"),
            (TWIST, "tcp:0:interface=192.0.2.1", "no such address", "--admin"),
            (TWISTD, f"unix:{folder}/none/a.sock", "folder must exist (--admin)"),
            (TWIST, f"unix:{folder}/file/a.sock", "folder must be one (--admin)"),
        ):
            options = [f"--admin={admin}"]
            echo = finished(
                self, echo_command(command, ["tcp:0:interface=127.0.0.1"], options)
            )
            self.assert_cannot_listen(echo, *expected, program=command[0])
            self.assertNotIn("--listen", echo.stderr)

    def test_log(self) -> None:
        """
        The log has one event of it, and no traceback.
        """
        port = self.used_port()
        echo = self.run_echo(f"tcp:{port}:interface=127.0.0.1")
        told = [line for line in echo.stdout.splitlines() if "#info" not in line]
        self.assertEqual(len(told), 1, echo.report("more than one event"))
        self.assertIn(f"cannot listen on 127.0.0.1:{port}: ", told[0])

    def test_daemon(self) -> None:
        """
        A daemon says it on the terminal that it was started from, whole.
        """
        port, folder = self.used_port(), new_folder(self)
        long = folder / ("x" * 60) / "echo.sock"
        for listen, options, expected in (
            (f"tcp:{port}:interface=127.0.0.1", (), "or --listen elsewhere"),
            ("tcp:0:interface=127.0.0.1", (f"--admin={port}",), "or --admin elsewhere"),
            (f"unix:{long}", (), f"unix:{long}: "),
        ):
            daemon = Daemon(self, *options, listen=[listen])
            self.assert_cannot_listen(daemon.parent, expected)
            # By the time that this is said, all is over.
            self.assertFalse(daemon.pidfile.exists())
            log = daemon.log.read_text()
            told = daemon.parent.stderr.removeprefix("echo: ")
            self.assertEqual(log.count(told), 1, log)
            self.assertEqual(log.count("cannot listen"), 1, log)
            self.assertNotIn("Traceback", log)


class BadOptionTests(CommandTestCase):
    """
    Options that are refused say what was given and what is allowed.
    """

    def test_refused(self) -> None:
        """
        One line on standard error, nothing on standard output, and the status that the
        command has for wrong options.
        """
        self.assert_refused("twistd", 1, "--nonsense", "nonsense", "--help")
        self.assert_refused("twist", os.EX_USAGE, "--drain=5x", "'5x'", "5m")

    @slow
    def test_othersAreRefused(self) -> None:
        self.assert_refused(
            "twistd", 1, "--admin=99999", "--admin '99999'", "from 0 to 65535"
        )
        self.assert_refused("twist", os.EX_USAGE, "tcp:7007", "tcp:7007", "--listen")

    def assert_refused(
        self, program: str, status: int, option: str, *told: str
    ) -> None:
        echo = finished(self, [script(program), "echo", option])
        self.assertEqual(echo.process.returncode, status, echo.report("ended"))
        self.assertEqual(echo.stdout, "")
        (line,) = echo.stderr.splitlines()
        for each in (*told, f"'{program} echo --help'"):
            self.assertIn(each, line)
        self.assertEqual(list(echo.folder.iterdir()), [])


class DaemonTests(CommandTestCase):
    def test_runs(self) -> None:
        """
        It works in the background, with a pid file and a log file, until SIGTERM.
        """
        daemon = Daemon(self)
        parent = daemon.parent
        self.assertEqual(parent.process.returncode, 0, parent.report("ended"))
        self.assertEqual(parent.stdout + parent.stderr, "")
        client = connect(self, ("127.0.0.1", ports_in(daemon.log.read_text())[0]))
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        client.close()
        self.assertTrue(daemon.stop(signal.SIGTERM))
        self.assertFalse(daemon.pidfile.exists())
        log = daemon.log.read_text()
        self.assertIn("stopped, ", log)
        for word in ("Traceback", "Unhandled", "#error", "#critical"):
            self.assertNotIn(word, log)

    def test_uid(self) -> None:
        """
        Root listens on a low port, and nobody serves it.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become another user")
        folder = new_folder(self)
        os.chown(folder, 65534, 65534)
        server = Server.start(
            self,
            listen=[f"tcp:{LOW_PORT}:interface=127.0.0.1"],
            command=("twistd", "-n", "--uid=65534", "--gid=65534"),
            folder=folder,
        )
        server.wait_for(r"set uid/gid 65534/65534")
        client = connect(self, server.address)
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        self.assertEqual(
            re.findall(r"^Uid:\s+(.*)$", status, re.MULTILINE),
            ["65534\t" * 3 + "65534"],
        )
        client.close()
        self.assert_stops(server)


class ReloadTests(CommandTestCase):
    """
    SIGHUP, which loads keys and certificates anew.
    """

    LISTEN = "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"

    def shaken(self, server: Server, folder: Path) -> ssl.SSLSocket:
        """
        A client that trusts the certificate in C{folder} only.
        """
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        plain = connect(self, server.address)
        client = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.addCleanup(client.close)
        return client

    def test_reload(self) -> None:
        """
        New connections get the new certificate, those that are open live on, and
        files that are broken change nothing.
        """
        folder, before = new_folder(self), new_folder(self)
        make_certificate(folder)
        shutil.copy(folder / "cert.pem", before)
        server = Server.start(self, listen=[self.LISTEN], folder=folder)
        old = self.shaken(server, before)
        make_certificate(folder)
        still = self.shaken(server, before)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"reloaded key\.pem, cert\.pem\n")
        new = self.shaken(server, folder)
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.shaken(server, before)
        after = new_folder(self)
        shutil.copy(folder / "cert.pem", after)
        (folder / "key.pem").write_bytes(b"no key")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(
            r"#warn\] cannot reload key\.pem, cert\.pem, so what was loaded before"
            r" stays: cannot use key\.pem: it holds no private key: .*\n"
        )
        newest = self.shaken(server, after)
        (folder / "key.pem").unlink()
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"stays: cannot read key\.pem: No such file or directory\n")
        for client in old, still, new, newest, self.shaken(server, after):
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
            client.close()
        make_certificate(folder)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"(?s)reloaded key.*reloaded key")
        last = self.shaken(server, folder)
        self.assertEqual(round_trip(last, b"hello\n"), b"hello\n")
        last.close()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertEqual(server.stderr, "")
        for word in "Traceback", "Unhandled", "cannot be read", "#critical":
            self.assertNotIn(word, server.stdout)
        self.assertEqual(server.stdout.count("cannot reload"), 2)

    def test_severalListeners(self) -> None:
        """
        A listener whose files are broken does not keep the others from theirs.
        """
        folder, other = new_folder(self), new_folder(self)
        make_certificate(folder)
        make_certificate(other)
        for name in "key.pem", "cert.pem":
            shutil.copy(other / name, folder / f"other-{name}")
        second = "haproxy:ssl:0:other-key.pem:other-cert.pem:interface=127.0.0.1"
        listen = [second, self.LISTEN, "tcp:0:interface=127.0.0.1"]
        server = Server.start(self, listen=listen, folder=folder)
        (folder / "other-key.pem").write_bytes(b"")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"cannot reload other-key\.pem, other-cert\.pem")
        server.wait_for(r"reloaded key\.pem, cert\.pem")
        server.signal(signal.SIGTERM)

    def test_whileDraining(self) -> None:
        """
        A stop that lets clients finish minds it too: it does not kill them.
        """
        folder = new_folder(self)
        make_certificate(folder)
        server = Server.start(
            self, "--drain", "600", listen=[self.LISTEN], folder=folder
        )
        client = self.shaken(server, folder)
        self.assertEqual(round_trip(client, b"before\n"), b"before\n")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(r"Received SIGTERM")
        server.wait_for(r"Port \d+ Closed")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"reloaded key\.pem, cert\.pem\n")
        self.assertEqual(round_trip(client, b"after\n"), b"after\n")
        client.close()
        self.assertEqual(server.process.wait(10), -signal.SIGTERM)

    def as_nobody(self, mode: int) -> Server:
        """
        A server that gives root up, with a key that root owns.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become another user")
        folder = new_folder(self)
        make_certificate(folder)
        os.chown(folder, 65534, 65534)
        (folder / "key.pem").chmod(mode)
        return Server.start(
            self,
            listen=[self.LISTEN],
            command=("twistd", "-n", "--uid=65534", "--gid=65534"),
            folder=folder,
        )

    def test_keyNotReadable(self) -> None:
        """
        A key that only root may read is served, with a warning at the start, and
        one at the reload that fails.
        """
        server = self.as_nobody(0o600)
        server.wait_for(
            r"#warn\] key\.pem cannot be read any more by this user, so SIGHUP will"
            r" not be able to reload it\n"
        )
        client = self.shaken(server, server.folder)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"cannot reload .*Permission denied")
        for each in client, self.shaken(server, server.folder):
            self.assertEqual(round_trip(each, b"hello\n"), b"hello\n")
            each.close()
        self.assertNotIn("cert.pem cannot be read", server.stdout)
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertNotIn("Traceback", server.stdout)

    def test_keyReadable(self) -> None:
        """
        No warning where there is nothing to warn of.
        """
        server = self.as_nobody(0o644)
        server.wait_for(r"set uid/gid 65534/65534")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"reloaded key\.pem, cert\.pem\n")
        self.assert_stops(server)


class HelpTests(CommandTestCase):
    def printed(self, *arguments: str) -> str:
        run = subprocess.run(
            [script(arguments[0]), *arguments[1:]],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env=environment(),
            cwd=new_folder(self),
            check=True,
        )
        self.assertEqual(run.stderr, "")
        return run.stdout

    def test_listed(self) -> None:
        for program in ("twistd", "twist"):
            text = " ".join(self.printed(program, "--help").split())
            self.assertIn(" echo Send every line back", text)

    def test_options(self) -> None:
        for program in ("twistd", "twist"):
            text = self.printed(program, "echo", "--help")
            for option in (
                "listen",
                "delimiter",
                "max-length",
                "drain",
                "abort-after",
                "keepalive",
                "version",
            ):
                self.assertIn(f"--{option}", text)
            self.assertIn("tcp:7007:interface=127.0.0.1", text)

    def test_version(self) -> None:
        """
        Ours beside Twisted's.
        """
        expected = (
            f"twisted-echo {version('twisted-echo')}, Twisted {version('twisted')}\n"
        )
        for program in ("twistd", "twist"):
            self.assertEqual(self.printed(program, "echo", "--version"), expected)
