"""
L{twisted_echo.command.signals}: the limit of open files, and SIGHUP.
"""

import os
import resource
import signal
import subprocess
import sys
from typing import Any
from unittest import skipIf
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import ServedTestCase, until
from twisted_echo.command import signals as process
from twisted_echo.command.signals import (
    OnSignal,
    mostSessions,
    raiseFileLimit,
    sessionsWithin,
    unreadable,
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
            "from twisted_echo.command.signals import raiseFileLimit;"
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
        self.patch(process._log, "warn", lambda *_, **fields: told.append(fields))
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
        self.patch(process._log, "warn", lambda *_, **fields: told.append(fields))
        for asked in (0, 1, 32):
            self.assertEqual(sessionsWithin(asked, 64), asked)
        self.assertEqual(sessionsWithin(200_000, 1 << 20), 200_000)
        self.assertEqual(told, [])
        self.assertEqual(sessionsWithin(33, 64), 32)
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


class OnSignalTests(ServedTestCase):
    """
    L{OnSignal}.
    """

    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))

    async def test_act(self) -> None:
        """
        It is done in the reactor, not inside the signal handler.
        """
        from twisted.internet import reactor

        acts: list[int] = []
        onSignal = OnSignal(signal.SIGHUP, reactor, lambda: acts.append(1))
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(acts, [])
        await until(lambda: acts)
        onSignal.end()
        self.assertEqual(acts, [1])

    def test_restored(self) -> None:
        """
        What was done before is done again, whether it was a function or not.
        """

        def mine(*_: Any) -> None:
            """
            A handler.
            """

        for before in (mine, signal.SIG_IGN, signal.SIG_DFL):
            signal.signal(signal.SIGHUP, before)
            onSignal = OnSignal(signal.SIGHUP, None, lambda: None)
            self.assertIsNot(signal.getsignal(signal.SIGHUP), before)
            onSignal.end()
            self.assertEqual(signal.getsignal(signal.SIGHUP), before)

    def test_notPythons(self) -> None:
        """
        A handler that is none of Python's cannot be had back; the default can.
        """
        self.patch(signal, "signal", lambda *_: None)
        onSignal = OnSignal(signal.SIGHUP, None, lambda: None)
        set_: list[Any] = []
        self.patch(signal, "signal", lambda *handler: set_.append(handler))
        onSignal.end()
        self.assertEqual(set_, [(signal.SIGHUP, signal.SIG_DFL)])


class UnreadableTests(ServedTestCase):
    """
    L{unreadable}.
    """

    def test_missing(self) -> None:
        path = self.mktemp()
        self.assertEqual(unreadable([__file__, path]), [path])

    @skipIf(os.getuid() != 0, "only root can become another user")
    def test_effectiveUser(self) -> None:
        """
        It is the effective user that reads, as after C{twistd --uid --euid}.
        """
        path = self.mktemp()
        os.chmod(os.path.dirname(path), 0o755)
        with open(path, "w"):
            os.chmod(path, 0o600)
        self.assertEqual(unreadable([path]), [])
        os.seteuid(65534)
        self.addCleanup(os.seteuid, 0)
        self.assertEqual(unreadable([path]), [path])
