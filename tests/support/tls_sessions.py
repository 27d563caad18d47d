"""
What tests of sessions over TLS have in common.
"""

import socket
import ssl
from typing import Any

from tests.support.clients import until
from twisted_echo import SessionFactory

__all__ = ["VERSIONS", "ended", "shut", "text"]

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def text(size: int) -> bytes:
    """
    Lines, and a rest without a delimiter.
    """
    return (b"x" * 98 + b"\n") * (size // 99) + b"y" * (size % 99)


async def ended(factory: SessionFactory[Any]) -> None:
    await until(lambda: not factory.sessions and not factory.handshakes)


def shut(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
