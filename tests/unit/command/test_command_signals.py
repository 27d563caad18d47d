"""
L{twisted_echo.command.command_signals}: which signal does what, and when.
"""

import os
import signal

from twisted.logger import capturedLogs

from tests.support.command_service import (
    CommandServiceTestCase,
    FakeServed,
    FakeTerminal,
    noHangUp,
)
from twisted_echo.command import command_signals


class CommandSignalsTests(CommandServiceTestCase):
    def test_reload(self) -> None:
        """
        SIGHUP reloads, and the manager is told before and after.
        """
        self.running()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.told, ["reloading", "reload", ("ready", "listening")])

    def test_reloadAdmin(self) -> None:
        """
        The admin port reloads, too, whether or not there is something else to reload.
        """
        self.admin.canReload = True
        self.running()
        for self.served.canReload, told in (
            (True, ["reload", "admin reload"]),
            (False, ["admin reload"]),
        ):
            self.told.clear()
            os.kill(os.getpid(), signal.SIGHUP)
            self.assertEqual(self.told, ["reloading", *told, ("ready", "listening")])

    def test_reloadWhileNotReady(self) -> None:
        """
        While it starts or stops it reloads, and does not say that it is ready.
        """
        service = self.service()
        service.privilegedStartService()
        service.startService()
        self.told.clear()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.told, ["reload"])
        self.served.listen()
        service.stopService()
        self.told.clear()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.told, ["reload"])

    def test_nothingToReload(self) -> None:
        """
        Where there is nothing to reload the log says so, and the manager what it waits
        for.
        """
        self.served.canReload = False
        self.running()
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.told, ["reloading", ("ready", "listening")])
        self.assertEqual([each["event"] for each in events], ["nothing-to-reload"])

    def test_nothingToRotate(self) -> None:
        """
        SIGUSR1 is twistd's, where there is a log file. Else it ends nothing.
        """
        before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        service = self.running()
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGUSR1)
        self.assertEqual([each["event"] for each in events], ["nothing-to-rotate"])
        self.served.stopped.callback(None)
        self.successResultOf(service.stopService())
        self.assertEqual(signal.getsignal(signal.SIGUSR1), signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, noHangUp)
        self.served = FakeServed(self.told)
        self.running()
        self.assertIs(signal.getsignal(signal.SIGUSR1), noHangUp)

    def test_ignored(self) -> None:
        """
        SIGHUP that was ignored stays so.
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.running()
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_terminalGone(self) -> None:
        """
        When the terminal is gone, it stops as by SIGTERM; a stop that has begun goes on
        as it would.
        """
        stops: list[object] = []
        signal.signal(signal.SIGTERM, lambda *_: stops.append(1))
        self.patch(command_signals, "Terminal", FakeTerminal)
        service = self.running()
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(stops, [1])
        self.assertEqual([each["event"] for each in events], ["terminal-gone"])
        self.assertEqual(self.told, [])
        service.stopService()
        self.told.clear()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual((stops, self.told), ([1], []))
