"""
Addresses in few words, for logs and for people.
"""

import os
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

__all__ = ["escaped", "readable"]

_LONGEST = 120


def readable(address: IAddress | Any) -> str:
    """
    An address as people write it: C{127.0.0.1:7007}, C{[::1]:7007},
    C{unix:/run/echo.sock}.
    """
    if isinstance(address, (IPv4Address, IPv6Address)):
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{host}:{address.port}"
    if isinstance(address, UNIXAddress):
        # A client's has no name, as a rule.
        return "unix:" + os.fsdecode(address.name or b"")
    return str(address)


def escaped(address: IAddress | Any) -> str:
    """
    L{readable}, for a peer's: in ASCII without control characters, and cut, for the
    path in a PROXY header is the peer's choice.
    """
    return ascii(readable(address))[1:-1][:_LONGEST]
