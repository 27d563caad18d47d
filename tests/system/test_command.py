"""
C{twistd echo} and C{twist echo} as real processes, over loopback.
"""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from unittest import SkipTest

from tests.support.certificates import make_certificate
from tests.support.command_case import LOW_PORT, TWIST, TWISTD, CommandTestCase
from tests.support.marks import slow
from tests.support.processes import (
    DEADLINE,
    EXEC_ACTIVATED,
    Daemon,
    Server,
    connect,
    echo_command,
    environment,
    finished,
    new_folder,
    ports_in,
    read_exactly,
    read_to_end,
    round_trip,
    script,
)


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

    def test_environment(self) -> None:
        """
        Options come from the environment, too, for both commands, unless the command
        line has them; what Kubernetes puts there is no option.
        """
        env = {
            "TWISTED_ECHO_LISTEN": "tcp:0:interface=127.0.0.1 unix:echo.sock",
            "TWISTED_ECHO_DELIMITER": "END",
            "TWISTED_ECHO_MAX_LENGTH": "1",
            "TWISTED_ECHO_PORT": "tcp://10.96.7.7:7007",
        }
        for command in (TWISTD, TWIST):
            server = Server.start(
                self, "--max-length=3", listen=(), command=command, env=env
            )
            self.assertIn(
                "options from the environment: TWISTED_ECHO_LISTEN,"
                " TWISTED_ECHO_DELIMITER\n",
                server.stdout,
            )
            for address in (server.address, str(server.folder / "echo.sock")):
                client = connect(self, address)
                client.sendall(b"abcENDabcdEND")
                self.assertEqual(read_to_end(client), b"abcEND")
                client.close()

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
                    f"--listen '{listen}': the socket that systemd has passed is a"
                    " socket of UNIX, not of INET",
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
        self.assertIn("stopped after ", log)
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
