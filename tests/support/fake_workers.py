"""
Worker processes that are none, for a reactor that starts them.
"""

import signal
from typing import Any

from twisted.internet.error import (
    ProcessExitedAlready,
)
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport


class FakeProcess:
    """
    What C{spawnProcess} gives to a protocol.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.signals: list[str] = []
        self.written = b""
        self.isAlive = True

    def write(self, data: bytes) -> None:
        self.written += data

    def closeStdin(self) -> None:
        """
        It has read all.
        """

    def signalProcess(self, name: str) -> None:
        if not self.isAlive:
            raise ProcessExitedAlready()
        self.signals.append(name)


class FakeReactor(Clock):
    """
    Starts processes that do nothing.

    @ivar processes: the protocols of all that were started, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Any] = []
        self.descriptors: list[dict[int, Any]] = []
        self.environments: list[dict[str, str]] = []
        self.failure: Exception | None = None
        self.cannotAdopt = False
        self.masks: list[set[Any]] = []

    def spawnProcess(
        self, protocol: Any, executable: str, args: Any, **more: Any
    ) -> None:
        if self.failure is not None:
            raise self.failure
        self.masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        self.descriptors.append(more["childFDs"])
        self.environments.append(more["env"])
        self.processes.append(protocol)
        protocol.makeConnection(FakeProcess(len(self.processes)))

    def adoptStreamConnection(self, descriptor: int, family: Any, factory: Any) -> None:
        if self.cannotAdopt:
            raise OSError("no more descriptors")
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.processes[-1].end = protocol
