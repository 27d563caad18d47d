"""
A blocking socket to a TCP address or a path.
"""

import socket

from twisted_echo.testing.command_process import DEADLINE

__all__ = ["Address", "dial"]

Address = tuple[str, int] | str
"""
A host and a port, or the path of a UNIX socket.
"""


def dial(
    address: Address, *, source: str | None = None, buffer: int = 0
) -> socket.socket:
    """
    Connect to a TCP address, or to a path.

    @param source: the address to come from.
    @param buffer: the size of the receive buffer, if not 0.
    """
    if isinstance(address, str):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    client = socket.socket(family)
    try:
        client.settimeout(DEADLINE)
        if family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if source is not None:
            client.bind((source, 0))
        client.connect(address)
    except BaseException:
        client.close()
        raise
    return client
