"""
Start the process of a worker.

What must hold: the worker inherits nothing that is meant for its parent alone, and no
signal ends it before it has installed its handlers.
"""

import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from twisted.internet.interfaces import (
    IProcessProtocol,
    IReactorProcess,
    IReactorSocket,
    IReactorTime,
)

from twisted_echo.command.workers.channel import CHANNEL, HELD_SIGNALS

__all__ = ["IWorkerReactor", "launch", "workerEnvironment"]

# What is meant for this process alone: sockets and notices of systemd.
_NOT_HANDED_ON = ("LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_")


class IWorkerReactor(IReactorProcess, IReactorSocket, IReactorTime):
    """
    What worker processes need of the reactor of their parent. No reactor declares it by
    this name.
    """


def launch(
    reactor: IReactorProcess,
    worker: IProcessProtocol,
    number: int,
    sockets: Sequence[socket.socket],
    environment: Mapping[str, str],
    folder: str | None,
) -> None:
    """
    Start a process, with a duplicate of each socket.

    @param number: which worker it is.
    @param sockets: the worker's end of the channel, and what it is to listen on.
    @param folder: where relative paths begin; this process's, if None.
    @raise OSError: if it cannot be started.
    """
    descriptors: dict[int, int | str] = {0: "w", 1: "r", 2: "r"}
    for descriptor, each in enumerate(sockets, CHANNEL):
        descriptors[descriptor] = each.fileno()
    module = "twisted_echo.command.workers.worker"
    with _held(HELD_SIGNALS):
        reactor.spawnProcess(
            worker,
            sys.executable,
            [sys.executable, "-P", "-m", module, str(number)],
            env=environment,
            path=folder,
            childFDs=descriptors,
        )


def workerEnvironment() -> dict[str, str]:
    """
    This process's environment, without what is not meant for workers.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_HANDED_ON)
    }
    # What this process finds, its workers find.
    path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
    return {**kept, "PYTHONPATH": path}


@contextmanager
def _held(signals: Iterable[int]) -> Iterator[None]:
    """
    Block signals, here for a while and in a process that is started meanwhile until it
    unblocks them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
