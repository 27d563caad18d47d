"""
Handlers of signals, called in the reactor.
"""

import signal
from collections.abc import Callable, Iterable
from types import FrameType

from twisted.internet.interfaces import IReactorFromThreads

__all__ = [
    "RELOAD_SIGNAL",
    "ROTATE_SIGNAL",
    "STATUS_SIGNAL",
    "STOP_SIGNALS",
    "OnSecondSignal",
    "OnSignal",
]

RELOAD_SIGNAL = getattr(signal, "SIGHUP", None)
ROTATE_SIGNAL = getattr(signal, "SIGUSR1", None)
STATUS_SIGNAL = getattr(signal, "SIGUSR2", None)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_Handler = Callable[[int, FrameType | None], object]


class OnSignal:
    """
    Calls a function in the reactor when a signal comes, until L{restore}.
    """

    def __init__(
        self,
        number: int,
        reactor: IReactorFromThreads,
        act: Callable[[], object],
    ) -> None:
        self._number = number
        self._before = signal.signal(number, lambda *_: reactor.callFromThread(act))

    def restore(self) -> None:
        """
        Restore the previous handler.
        """
        signal.signal(self._number, self._before or signal.SIG_DFL)


class OnSecondSignal:
    """
    Calls a function in the reactor when the second of some signals comes, until
    L{restore}. The first one still has its own handler called.
    """

    def __init__(
        self,
        numbers: Iterable[int],
        reactor: IReactorFromThreads,
        act: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._act = act
        self._hasCome = False
        # An ignored signal stays ignored.
        handlers = {number: signal.getsignal(number) for number in numbers}
        self._before: dict[int, _Handler] = {
            number: each for number, each in handlers.items() if callable(each)
        }
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._hasCome:
            self._reactor.callFromThread(self._act)
        else:
            self._hasCome = True
            self._before[number](number, frame)

    def restore(self) -> None:
        """
        Restore the previous handlers.
        """
        for number, each in self._before.items():
            signal.signal(number, each)
