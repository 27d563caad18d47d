"""
Addresses as text, for logs and for people.
"""

import os

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

__all__ = ["escaped", "readable"]

_LONGEST = 120


def readable(address: IAddress | None) -> str:
    """
    Format an address as people write it: C{127.0.0.1:7007}, C{[::1]:7007},
    C{unix:/run/echo.sock}.
    """
    if isinstance(address, (IPv4Address, IPv6Address)):
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{host}:{address.port}"
    if isinstance(address, UNIXAddress):
        # The address of a client usually has no name.
        return "unix:" + os.fsdecode(address.name or b"")
    return str(address)


def escaped(address: IAddress | None) -> str:
    """
    Format the address of a peer, in ASCII without control characters, and cut: the peer
    chooses the path in a PROXY header.
    """
    return ascii(readable(address))[1:-1][:_LONGEST]
