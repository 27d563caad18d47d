"""
Input that came in the clear behind the command that begins TLS.

Whoever sits between a client and a server can put commands behind the client's
C{STARTTLS}. A server that finds them in its buffer when TLS is on would take them for
the client's own (CVE-2011-0411).

What must hold: from the beginning of TLS to the end of its handshake, no input reaches
a receiver of Twisted's or of this package's, and nothing that came before is left in it
afterwards.
"""

from collections.abc import Callable
from typing import Any

from twisted.protocols.basic import (
    IntNStringReceiver,
    LineOnlyReceiver,
    LineReceiver,
    NetstringReceiver,
)

from twisted_echo.twisted_internals import require

__all__ = ["PlainInput"]

require(__name__)

# The hooks by which receivers hand on what they have found, perhaps in a loop over what
# they alone know.
_MESSAGES = ("lineReceived", "stringReceived")
_BYTES = ("dataReceived", "rawDataReceived")
_MISSING = object()


def _forget(protocol: Any) -> int:
    """
    Have a protocol forget the input that it holds.

    @return: how many bytes that was, as far as it is known.
    """
    held = 0
    if isinstance(protocol, LineReceiver):
        held = len(protocol.clearLineBuffer())
    elif isinstance(protocol, LineOnlyReceiver):
        held = len(protocol._buffer)
        protocol._buffer = b""
    elif isinstance(protocol, IntNStringReceiver):
        held = len(protocol.recvd)
        # (Of these three, this package's have but the first.)
        protocol.recvd = protocol._unprocessed = b""
        protocol._compatibilityOffset = 0
    elif isinstance(protocol, NetstringReceiver):
        held = len(protocol._remainingData)
        protocol._remainingData = b""
        protocol._state = protocol._PARSING_LENGTH
    heldInput = getattr(protocol, "heldInput", None)
    if heldInput is not None:
        held += heldInput()[0]
    forgetInput = getattr(protocol, "forgetInput", None)
    if forgetInput is not None:
        forgetInput()
    return held


class PlainInput:
    """
    Drops the input of one protocol, until L{end} or L{restore}.
    """

    __slots__ = ("_before", "_protocol", "_tell")

    def __init__(self, protocol: Any, tell: Callable[[], object]) -> None:
        """
        @param tell: called when the first of it is dropped.
        """
        self._protocol = protocol
        self._tell: Callable[[], object] | None = tell
        held = _forget(protocol)
        # The instance's own hooks, as they were.
        self._before: dict[str, object] = {}
        for names, drop in ((_MESSAGES, self._dropMessage), (_BYTES, self._dropBytes)):
            for name in names:
                if hasattr(protocol, name):
                    self._before[name] = vars(protocol).get(name, _MISSING)
                    setattr(protocol, name, drop)
        if held:
            self.dropped()

    def _dropBytes(self, data: bytes) -> None:
        if data:
            self.dropped()

    def _dropMessage(self, message: bytes) -> None:
        self.dropped()

    def dropped(self) -> None:
        """
        Something was dropped.
        """
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    def end(self) -> None:
        """
        Forget what is left of it. What comes from now on is for the protocol again.
        """
        # It may have been in a loop when this began, and have put the rest back since.
        if _forget(self._protocol):
            self.dropped()
        # (It was for the loop of Twisted's receivers of frames.)
        vars(self._protocol).pop("recvd", None)
        self.restore()

    def restore(self) -> None:
        """
        Give the protocol its hooks back, and forget it. A second call does nothing.
        """
        protocol, self._protocol, self._tell = self._protocol, None, None
        before, self._before = self._before, {}
        drops = (self._dropBytes, self._dropMessage)
        for name, hook in before.items():
            # (If it is another one, the session has been closed meanwhile.)
            if vars(protocol).get(name) in drops:
                if hook is _MISSING:
                    delattr(protocol, name)
                else:
                    setattr(protocol, name, hook)
