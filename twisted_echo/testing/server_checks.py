"""
Checks of an echo server that is stopped: its descriptors, its log and its count of
sessions.

What must hold: a check names what is wrong, and never fails because a client comes or
goes while it looks.
"""

import re
import signal
import time
from collections.abc import Callable

from twisted_echo.testing.command_process import DEADLINE, Books, Command, Vitals

__all__ = ["complaints", "leakedDescriptors", "waitFor"]

_COMPLAINTS = ("Traceback", "Unhandled", "#critical", "#error")
_STATUS = r"status: \w+; sessions (\d+), paused \d+, handshakes (\d+),"


def waitFor(
    command: Command,
    condition: Callable[[], bool],
    problem: str,
    *,
    orEnd: bool = False,
) -> None:
    """
    Wait until a condition holds.

    @param orEnd: whether the end of the process will do.
    @raise AssertionError: C{problem}, with what the command has printed.
    """
    deadline = time.monotonic() + DEADLINE
    while not condition():
        hasEnded = command.process.poll() is not None
        if hasEnded and orEnd:
            return
        if hasEnded or time.monotonic() > deadline:
            raise command.report(problem)
        time.sleep(0.01)


def leakedDescriptors(command: Command, vitals: Vitals, atStart: int) -> list[str]:
    """
    Name the descriptors that no connection accounts for.

    @param atStart: how many there were when the server began to run.
    """
    open_ = expected = connections = 0
    # Between the two looks a client may come or go; what leaks stays.
    for _ in range(20):
        counts = _askStatus(command)
        if counts is None:
            # It has ended by itself, which its return code will show.
            return []
        connections = sum(counts)
        expected, open_ = atStart + connections, vitals.descriptors()
        if open_ <= expected:
            return []
        time.sleep(0.05)
    return [
        f"it has {open_ - expected} descriptors more than its {connections} connections"
        f" need: {', '.join(vitals.names())}"
    ]


def _askStatus(command: Command) -> tuple[int, int] | None:
    """
    Ask for the numbers of sessions and of handshakes, by SIGUSR2.
    """
    seen = len(re.findall(_STATUS, command.stdout))
    command.process.send_signal(signal.SIGUSR2)
    waitFor(
        command,
        lambda: len(re.findall(_STATUS, command.stdout)) > seen,
        "it does not answer SIGUSR2",
        orEnd=True,
    )
    if command.process.poll() is not None:
        return None
    sessions, handshakes = re.findall(_STATUS, command.stdout)[-1]
    return int(sessions), int(handshakes)


def complaints(log: str, stderr: str) -> list[str]:
    """
    List the errors in the log of a server that has stopped, and what the log lacks.
    """
    wrong = [f"{each!r} in its log" for each in _COMPLAINTS if each in log]
    if stderr:
        wrong.append("it wrote to standard error")
    try:
        books = Books.of(log)
    except AssertionError:
        return [*wrong, "it did not say what it served"]
    if books.served != sum(books.ended.values()):
        wrong.append(
            f"of {books.served} sessions only {sum(books.ended.values())} ended"
        )
    return wrong
