"""
L{twisted_echo.command.signal_handlers}.
"""

import signal
from typing import Any

from tests.support.clients import ServedTestCase, until
from twisted_echo.command.signal_handlers import OnSignal


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
        onSignal = OnSignal(signal.SIGHUP, reactor, lambda: acts.append(1))  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(acts, [])
        await until(lambda: acts)
        onSignal.restore()
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
            onSignal = OnSignal(signal.SIGHUP, None, lambda: None)  # type: ignore[arg-type]
            self.assertIsNot(signal.getsignal(signal.SIGHUP), before)
            onSignal.restore()
            self.assertEqual(signal.getsignal(signal.SIGHUP), before)

    def test_notPythons(self) -> None:
        """
        A handler that is none of Python's cannot be had back; the default can.
        """
        self.patch(signal, "signal", lambda *_: None)
        onSignal = OnSignal(signal.SIGHUP, None, lambda: None)  # type: ignore[arg-type]
        set_: list[Any] = []
        self.patch(signal, "signal", lambda *handler: set_.append(handler))
        onSignal.restore()
        self.assertEqual(set_, [(signal.SIGHUP, signal.SIG_DFL)])
