"""
A real C{twistd echo} with few descriptors: however many clients come at once, some are
left for what is not a session.
"""

import os
import re
import signal
import urllib.request

from twisted.trial.unittest import SynchronousTestCase

from tests.support.faults import EXEC_WITH_LIMIT
from tests.support.marks import slow
from tests.support.processes import Server, connect, wait_until
from twisted_echo.command.file_limit import mostSessions
from twisted_echo.testing.command_process import Vitals


class ReserveTests(SynchronousTestCase):
    """
    The reserve at a low limit of open files.
    """

    def serve(self, files: int, *options: str, ports: int = 1) -> Server:
        server = Server.start(
            self,
            *("--admin", "0", *options),
            listen=["tcp:0:interface=127.0.0.1"] * ports,
            launcher=EXEC_WITH_LIMIT,
            env={"FILES": str(files)},
        )
        (admin,) = server.wait_for(r"admin on 127\.0\.0\.1:(\d+);").groups()
        self.admin = ("127.0.0.1", int(admin))
        return server

    def kept(self, files: int, *options: str, ports: int = 1) -> None:
        """
        A burst of clients and of slow ones of the admin port leaves what a log, a
        certificate or a module needs.
        """
        server = self.serve(files, *options, ports=ports)
        vitals = Vitals(server)
        wait_until(vitals.runs)
        # All of them are in the backlog before one is accepted.
        os.kill(server.process.pid, signal.SIGSTOP)
        clients = [
            connect(self, ("127.0.0.1", port))
            for port in server.ports[:ports]
            for _ in range(2 * files)
        ]
        watchers = [connect(self, self.admin) for _ in range(40)]
        os.kill(server.process.pid, signal.SIGCONT)

        def sessions() -> int:
            seen = len(re.findall("status: listening", server.stdout))
            server.process.send_signal(signal.SIGUSR2)
            wait_until(
                lambda: len(re.findall("status: listening", server.stdout)) > seen
            )
            return int(re.findall(r"listening; sessions (\d+)", server.stdout)[-1])

        wait_until(lambda: sessions() == mostSessions(files, ports))
        self.assertLessEqual(vitals.descriptors(), files - 8)
        for each in watchers:
            each.close()
        wait_until(self.isHealthy)
        for each in clients:
            each.close()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertNotRegex(server.stdout, "Traceback|Unhandled|EMFILE|cannot accept")

    def isHealthy(self) -> bool:
        # Perhaps the admin port has not noticed yet that its slow clients are gone.
        try:
            with urllib.request.urlopen(
                "http://{}:{}/healthz".format(*self.admin), timeout=20
            ) as page:
                return bool(page.status == 200)
        except OSError:
            return False

    def test_few(self) -> None:
        self.kept(64)

    def test_lowered(self) -> None:
        """
        Also if more sessions are asked for than there is room for.
        """
        self.kept(64, "--max-sessions=1000")

    @slow
    def test_others(self) -> None:
        for files in (32, 128, 256):
            self.kept(files)

    @slow
    def test_manyPorts(self) -> None:
        """
        Ports have descriptors of their own.
        """
        self.kept(64, ports=12)
