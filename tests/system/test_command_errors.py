"""
How C{twistd echo} and C{twist echo} say that they cannot start.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import SkipTest

from tests.support.command_case import (
    LOW_PORT,
    TWIST,
    TWISTD,
    CommandTestCase,
    low_ports_are_free,
)
from tests.support.marks import slow
from tests.support.processes import (
    EXEC,
    EXEC_WITHOUT_LOW_PORTS,
    Command,
    Daemon,
    Server,
    connect,
    echo_command,
    finished,
    new_folder,
    round_trip,
    script,
)


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

    def test_environment(self) -> None:
        """
        So it is with a variable, which is named.
        """
        env = {"TWISTED_ECHO_DRAIN": "5x"}
        told = ("TWISTED_ECHO_DRAIN", "'5x'", "5m")
        self.assert_refused("twistd", 1, "--admin=0", *told, env=env)
        self.assert_refused("twist", os.EX_USAGE, "--admin=0", *told, env=env)

    @slow
    def test_othersAreRefused(self) -> None:
        self.assert_refused(
            "twistd", 1, "--admin=99999", "--admin '99999'", "from 0 to 65535"
        )
        self.assert_refused("twist", os.EX_USAGE, "tcp:7007", "tcp:7007", "--listen")

    def assert_refused(
        self,
        program: str,
        status: int,
        option: str,
        *told: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        echo = finished(self, [script(program), "echo", option], env=env)
        self.assertEqual(echo.process.returncode, status, echo.report("ended"))
        self.assertEqual(echo.stdout, "")
        (line,) = echo.stderr.splitlines()
        for each in (*told, f"'{program} echo --help'"):
            self.assertIn(each, line)
        self.assertEqual(list(echo.folder.iterdir()), [])
