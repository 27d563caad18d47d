"""
What a kind of program is: a factory for the server, and a client for the load.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

HOST = "127.0.0.1"


class Client(Protocol):
    """
    One connection of the load.
    """

    async def converse(self, turns: Iterator[None]) -> None:
        """
        Do one operation for each turn, and return when the last one is done.

        @raise BrokenServer: if a reply is not what it should be.
        """

    def leave(self) -> None:
        """
        Close the connection.
        """


class Program(ABC):
    """
    One kind of program. Libraries that only the server needs are imported by
    C{factory}, when the reactor is installed.
    """

    @abstractmethod
    def factory(self) -> Any:
        """
        Make the server's factory.
        """

    @abstractmethod
    async def connect(self, port: int) -> Client:
        """
        Connect a client, ready for its first operation.

        @raise BrokenServer: if the server does not greet it as it should.
        """
