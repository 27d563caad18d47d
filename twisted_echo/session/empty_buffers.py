"""
Empty the input buffers of receivers, Twisted's own included.

Receivers of this package, and protocols with a buffer of their own, override
C{forgetInput} of L{HeldInput<twisted_echo.framing.held_input.HeldInput>}. Twisted's
receivers have no common method for it, so this module knows each kind of them.
"""

from twisted.protocols.basic import (
    IntNStringReceiver,
    LineOnlyReceiver,
    LineReceiver,
    NetstringReceiver,
)

from twisted_echo.framing.held_input import HeldInput
from twisted_echo.twisted_internals.check import require

__all__ = ["emptyBuffers"]

require(__name__)


def emptyBuffers(protocol: HeldInput) -> int:
    """
    Make a protocol forget the input that it holds.

    @return: how many bytes that was, as far as the protocol can tell.
    """
    size = 0
    if isinstance(protocol, LineReceiver):
        size = len(protocol.clearLineBuffer())
    elif isinstance(protocol, LineOnlyReceiver):
        size = len(protocol._buffer)
        protocol._buffer = b""
    elif isinstance(protocol, IntNStringReceiver):
        size = len(protocol.recvd)
        # (Of these three, this package's receivers have the first alone.)
        protocol.recvd = protocol._unprocessed = b""
        protocol._compatibilityOffset = 0
    elif isinstance(protocol, NetstringReceiver):
        size = len(protocol._remainingData)
        protocol._remainingData = b""
        protocol._state = protocol._PARSING_LENGTH
    held = protocol.heldInput()
    if held is not None:
        size += held[0]
    protocol.forgetInput()
    return size
