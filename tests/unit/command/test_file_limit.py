"""
L{twisted_echo.command.file_limit}: how many sessions the open files leave room for.
"""

import os
import resource
import subprocess
import sys
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.command import file_limit
from twisted_echo.command.file_limit import (
    fittingSessions,
    mostSessions,
    raiseFileLimit,
)


class FileLimitTests(SynchronousTestCase):
    """
    L{raiseFileLimit} and L{mostSessions}.
    """

    def test_raised(self) -> None:
        """
        The soft limit becomes the hard one. (In a process of its own.)
        """
        code = (
            "import resource as r;"
            "from twisted_echo.command.file_limit import raiseFileLimit;"
            "r.setrlimit(r.RLIMIT_NOFILE, (100, 300)); print(raiseFileLimit(),"
            " *r.getrlimit(r.RLIMIT_NOFILE), raiseFileLimit())"
        )
        printed = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        ).stdout
        self.assertEqual(printed.split(), ["300", "300", "300", "300"])

    def test_notAllowed(self) -> None:
        """
        Where the system does not allow what it says, the limit stays, and the log
        says so.
        """

        def refuse(*_: Any) -> None:
            raise ValueError("no")

        told: list[Any] = []
        self.patch(resource, "getrlimit", lambda _: (100, 300))
        self.patch(resource, "setrlimit", refuse)
        self.patch(file_limit._log, "warn", lambda *_, **fields: told.append(fields))
        self.assertEqual(raiseFileLimit(), 100)
        self.assertEqual(
            told, [{"event": "file-limit-kept", "soft": 100, "reason": "no"}]
        )

    def test_unlimited(self) -> None:
        self.patch(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
        self.assertEqual(raiseFileLimit(), 1 << 20)

    def test_unknown(self) -> None:
        """
        Where there is no such limit, it is what is always allowed.
        """
        with patch.dict(sys.modules, {"resource": None}):
            self.assertEqual(raiseFileLimit(), 1024)

    def test_mostSessions(self) -> None:
        """
        Some descriptors are kept; a small process keeps half, but as many as it needs;
        there is a cap, and always one session.
        """
        for files, sessions in (
            (0, 1),
            (1, 1),
            (2, 1),
            (24, 1),
            (32, 8),
            (48, 24),
            (64, 32),
            (100, 50),
            (512, 256),
            (1024, 768),
            (65536, 65280),
            (100_256, 100_000),
            (1 << 20, 100_000),
        ):
            self.assertEqual(mostSessions(files), sessions)
        # Ports have descriptors, too.
        self.assertEqual(mostSessions(64, 5), 24)
        self.assertEqual(mostSessions(1 << 20, 5), 100_000)

    def test_lowered(self) -> None:
        """
        More sessions than leave a reserve are lowered, and the log says so; no limit
        stays none.
        """
        told: list[Any] = []
        self.patch(file_limit._log, "warn", lambda *_, **fields: told.append(fields))
        self.assertEqual(fittingSessions(None, 64), mostSessions(64))
        self.assertEqual(fittingSessions(None, 64, 5), mostSessions(64, 5))
        for asked in (0, 1, 32):
            self.assertEqual(fittingSessions(asked, 64), asked)
        self.assertEqual(fittingSessions(200_000, 1 << 20), 200_000)
        self.assertEqual(told, [])
        self.assertEqual(fittingSessions(33, 64), 32)
        self.assertEqual(
            told,
            [
                {
                    "event": "max-sessions-lowered",
                    "asked": 33,
                    "most": 32,
                    "openFiles": 64,
                }
            ],
        )
