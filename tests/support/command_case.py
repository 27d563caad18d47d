"""
C{twistd echo} and C{twist echo} as real processes, over loopback.
"""

import signal
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import (
    Command,
    Server,
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
