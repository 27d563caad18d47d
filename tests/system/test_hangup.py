"""
SIGHUP as terminals, operators and C{nohup} mean it, on real processes.
"""

import errno
import os
import pty
import re
import signal
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.processes import (
    Command,
    Server,
    connect,
    connect_when_listening,
    echo_command,
    new_folder,
    read_to_end,
    round_trip,
    wait_until,
)
from twisted_echo.command import terminal
from twisted_echo.command.terminal import Terminal

EXEC_NOHUP = """\
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""
Becomes the command of its arguments as C{nohup} does.
"""

EXEC_ON_TERMINAL = """\
import ctypes, fcntl, os, signal, sys, termios
if os.fork():
    # Whoever leads a group of processes cannot begin a session.
    _, status = os.wait()
    sys.exit(os.waitstatus_to_exitcode(status) % 256)
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
os.setsid()
terminal = int(os.environ.pop("TERMINAL"))
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for each in range(3) if os.environ.pop("ALL", "") else (0,):
    os.dup2(terminal, each)
os.close(terminal)
if os.environ.pop("SHELL_LEADS", ""):
    # It takes the process along when it ends, as the shell of a login does.
    os.execv("/bin/sh", ["sh", "-c", '"$@"; exit $?', "sh", *sys.argv[1:]])
os.execv(sys.argv[1], sys.argv[1:])
"""
"""
Becomes the command of its arguments, in a session of its own on a terminal.
"""


class TerminalTests(SynchronousTestCase):
    def test_other(self) -> None:
        """
        What has no terminal has none that is gone; nor is one that cannot be opened for
        another reason, such as for want of descriptors.
        """
        errors: list[int] = []
        self.patch(terminal, "_errorOfOpening", lambda: errors.pop(0))
        for before, after, isGone in (
            (0, errno.EIO, True),
            (0, errno.ENXIO, True),
            (0, 0, False),
            (0, errno.EMFILE, False),
            (errno.ENXIO, errno.ENXIO, False),
            (errno.ENOENT, errno.ENXIO, False),
        ):
            errors[:] = [before, after]
            self.assertEqual(Terminal().isGone, isGone, (before, after))


class RunTests(SynchronousTestCase):
    def test_underNohup(self) -> None:
        """
        Where the tests run under C{nohup}, or in the background of a shell, the
        commands that they start have the default actions all the same.
        """
        for number in signal.SIGHUP, signal.SIGINT:
            before = signal.signal(number, signal.SIG_IGN)
            try:
                command = Command(
                    self, ["/bin/sh", "-c", f"kill -{int(number)} $$"], folder=Path("/")
                )
            finally:
                signal.signal(number, before)
            self.assertEqual(command.wait(), -number)


class KilledTests(SynchronousTestCase):
    """
    C{kill -HUP}.
    """

    @slow
    def test_goesOn(self) -> None:
        """
        Where nothing is to be loaded again it is one line in the log.
        """
        for command, more in (
            (("twistd", "-n"), ()),
            (("twist",), ("--workers=2",)),
        ):
            server = Server.start(self, *more, command=command)
            client = connect(self, server.address)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("SIGHUP: there are no certificates to reload")
            self.assertEqual(round_trip(client, b"still\n"), b"still\n")
            client.close()
            self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)

    def test_nohup(self) -> None:
        """
        Where it was ignored it stays so, with certificates, too.
        """
        folder = new_folder(self)
        make_certificate(folder)
        tls = "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"
        server = Server.start(self, listen=[tls], launcher=EXEC_NOHUP, folder=folder)
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        found = re.search(r"SigIgn:\s*(\w+)", status)
        assert found is not None
        self.assertTrue(int(found[1], 16) & 1 << (signal.SIGHUP - 1))
        server.process.send_signal(signal.SIGHUP)
        # What comes after it has been heard: so has it, if it was going to be.
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for("status: listening")
        heard = server.stdout.partition("listening on")[2]
        self.assertNotIn("load", heard)
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)


class HangUpTests(SynchronousTestCase):
    """
    The terminal that a command was started on goes away.
    """

    def assert_stops(
        self,
        *options: str,
        command: tuple[str, ...] = ("twistd", "-n", "--logfile=echo.log"),
        listen: str = "tcp:0:interface=127.0.0.1",
        env: dict[str, str] | None = None,
        folder: Path | None = None,
    ) -> str:
        """
        A session is ended in order, and the process as by SIGTERM, with nothing left
        behind.

        @return: the log.
        """
        folder = folder or new_folder(self)
        log = folder / "echo.log"
        master, slave = pty.openpty()
        echo = Command(
            self,
            echo_command(command, [listen], ["--listen=unix:echo.sock", *options]),
            folder=folder,
            launcher=EXEC_ON_TERMINAL,
            env={"TERMINAL": str(slave), **(env or {})},
            pass_fds=[slave],
        )
        os.close(slave)
        self.addCleanup(self.kill, folder / "twistd.pid")
        client = connect_when_listening(self, folder / "echo.sock")
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        os.close(master)
        self.assertEqual(read_to_end(client), b"")
        client.close()
        if env and "SHELL_LEADS" in env:
            # Whose end is not that of the command.
            echo.wait()
            wait_until(lambda: not (folder / "twistd.pid").exists())
        else:
            self.assertEqual(echo.wait(), self.status, echo.report("ended"))
        self.assertEqual(list(folder.glob("*.pid")), [])
        self.assertEqual(list(folder.glob("*.sock*")), [])
        return log.read_text() if log.exists() else ""

    def kill(self, pidfile: Path) -> None:
        """
        End what the shell has left behind, if it is still there.
        """
        if pidfile.exists():
            os.kill(int(pidfile.read_text()), signal.SIGKILL)

    # That of the launcher, which has not ended by a signal itself.
    status = -signal.SIGTERM % 256

    def test_leads(self) -> None:
        """
        The process leads its session, as one that C{ssh -t} starts.
        """
        for command in (
            ("twistd", "-n", "--logfile=echo.log"),
            ("twist", "--log-file=echo.log", "--log-format=text"),
        ):
            log = self.assert_stops(command=command)
            self.assertIn("the terminal is gone; the service stops", log)
            self.assertIn("1 session was open", log)
            self.assertNotIn("second stop signal", log)
            self.assertNotIn("Traceback", log)

    def test_shell(self) -> None:
        """
        The session is that of a shell, which the terminal takes along.
        """
        log = self.assert_stops(env={"SHELL_LEADS": "1"})
        self.assertIn("the terminal is gone; the service stops", log)
        self.assertNotIn("Traceback", log)

    @slow
    def test_workers(self) -> None:
        """
        The kernel sends it to every process of the session; workers drain.
        """
        log = self.assert_stops("--workers=2")
        self.assertIn("the terminal is gone; the service stops", log)
        self.assertIn("stopped all 2 workers: served 1", log)
        self.assertNotIn("Traceback", log)

    def test_certificates(self) -> None:
        """
        With certificates it is a stop as well, and no reload.
        """
        folder = new_folder(self)
        make_certificate(folder)
        log = self.assert_stops(
            listen="ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem",
            folder=folder,
        )
        self.assertIn("the terminal is gone; the service stops", log)
        self.assertNotIn("reloaded", log)

    def test_logIsGone(self) -> None:
        """
        The log went to the terminal, too.
        """
        self.assert_stops(command=("twistd", "-n"), env={"ALL": "1"})
