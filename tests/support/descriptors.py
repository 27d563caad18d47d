"""
Descriptors and a poller for tests of a reactor's loop.
"""

import socket
from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure


class Unreadable:
    """
    A descriptor that fails when it is asked to read.
    """

    def __init__(self, readable: socket.socket, problem: BaseException) -> None:
        self.fileno = readable.fileno
        self.problem = problem
        self.lost: list[Any] = []

    def logPrefix(self) -> str:
        return "Unreadable"

    def doRead(self) -> None:
        raise self.problem

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason.type)


class Readable(Unreadable):
    """
    A descriptor that counts how often it is asked to read.
    """

    def __init__(self, readable: socket.socket) -> None:
        super().__init__(readable, AssertionError())
        self.reads = 0
        self.onRead: Callable[[], Any] = lambda: None

    def doRead(self) -> None:
        self.reads += 1
        act, self.onRead = self.onRead, lambda: None
        act()


class FakePoller:
    """
    Gives the events it is told to, or fails.
    """

    def __init__(self, poller: Any, *answers: Any) -> None:
        self.poller = poller
        self.answers = list(answers)
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.poller, name)

    def poll(self, *arguments: Any) -> Any:
        self.asked.append(arguments)
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, BaseException):
            raise answer
        return answer
