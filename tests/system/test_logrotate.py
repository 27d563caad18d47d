"""
docs/deploy/echo.logrotate, by the real C{logrotate}, with a real daemon.
"""

import grp
import gzip
import os
import pwd
import shutil
import signal
import socket
import subprocess
from threading import Event, Thread
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.marks import slow
from tests.support.paths import DOCS
from tests.support.processes import DEADLINE, Daemon, new_folder, wait_until
from twisted_echo.testing.client_socket import dial

SNIPPET = DOCS / "deploy" / "echo.logrotate"


class Visitors:
    """
    Clients that come and go one after the other, each of which is a line in the log.

    @ivar count: how many there have been.
    """

    def __init__(self, address: str) -> None:
        self.count = 0
        self._address = address
        self._ended = Event()
        self._thread = Thread(target=self._visit)
        self._thread.start()

    def _visit(self) -> None:
        while not self._ended.is_set():
            with dial(self._address) as client:
                client.sendall(b"hello\n")
                client.shutdown(socket.SHUT_WR)
                while client.recv(100):
                    pass
            self.count += 1

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


class LogrotateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.program = shutil.which("logrotate", path=os.environ["PATH"] + ":/usr/sbin")
        if self.program is None:
            raise SkipTest("logrotate is not installed")
        self.folder = new_folder(self)
        self.logs = self.folder / "logs"
        self.logs.mkdir(0o755)
        # The daemon has files named like those in the snippet, in folders of its own.
        self.daemon = Daemon(
            self,
            "--log-sessions=all",
            listen=["unix:echo.sock"],
            folder=self.logs,
        )
        text = SNIPPET.read_text()
        user = pwd.getpwuid(os.getuid()).pw_name
        group = grp.getgrgid(os.getgid()).gr_name
        for name, ours in (
            ("/var/log/echo", str(self.logs)),
            ("/run/echo", str(self.logs)),
            ("su echo echo", f"su {user} {group}" if os.geteuid() == 0 else ""),
            ("create 0640 echo echo", f"create 0640 {user} {group}"),
        ):
            self.assertIn(name, text)
            text = text.replace(name, ours)
        self.configuration = self.folder / "logrotate.conf"
        self.configuration.write_text(text)
        self.configuration.chmod(0o644)

    def rotate(self) -> None:
        assert self.program is not None
        run = subprocess.run(
            [
                self.program,
                *("--force", "--state", str(self.folder / "state")),
                str(self.configuration),
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "", ""))

    def told(self) -> str:
        """
        All that is in the log and in what has become of it.
        """
        texts = []
        for path in self.logs.glob("echo.log*"):
            data = path.read_bytes()
            texts.append(gzip.decompress(data) if path.suffix == ".gz" else data)
        return b"".join(texts).decode()

    @slow
    def test_nothingIsLost(self) -> None:
        """
        The daemon logs all the time. Every line is in one of the files, new ones in the
        new file, and the old ones are compressed.
        """
        visitors = Visitors(str(self.logs / "echo.sock"))
        self.addCleanup(visitors.end)
        live = self.logs / "echo.log"
        for number in range(4):
            before = visitors.count
            wait_until(lambda before=before: visitors.count > before + 20)
            if number % 2:
                # As twistd does it by itself, when it has written enough.
                inode = live.stat().st_ino
                os.kill(int(self.daemon.pidfile.read_text()), signal.SIGUSR1)
                wait_until(
                    lambda inode=inode: live.exists() and live.stat().st_ino != inode
                )
            self.rotate()
            # Into the one that it has made itself.
            wait_until(lambda: live.exists() and "session of" in live.read_text())
            # Their names are of seconds.
            second = os.stat(live).st_mtime_ns // 10**9
            wait_until(lambda second=second: live.stat().st_mtime_ns // 10**9 > second)
        visitors.end()
        self.assertTrue(self.daemon.stop(signal.SIGTERM))
        names = sorted(each.name for each in self.logs.glob("echo.log*"))
        self.assertGreaterEqual(len([n for n in names if n.endswith(".gz")]), 3, names)
        told = self.told()
        self.assertEqual(told.count(" ended: "), visitors.count, names)
        self.assertNotIn("\0", told)
        self.assertEqual(told.count("stopped after "), 1)
        # What twistd made of the empty files that logrotate makes: the last one.
        empty = [n for n in names if not (self.logs / n).stat().st_size]
        self.assertLessEqual(len(empty), 1, names)
