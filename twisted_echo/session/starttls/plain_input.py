"""
Input that came in the clear behind the command that begins TLS.

An attacker between a client and a server can put commands behind the client's
C{STARTTLS}. A server that finds them in its buffer when TLS is on would take them for
the client's own (CVE-2011-0411).

What must hold: from the beginning of TLS to the end of its handshake, no input reaches
a receiver of Twisted's or of this package's, and nothing that came before is left in it
afterwards.
"""

from collections.abc import Callable

from twisted.protocols.basic import IntNStringReceiver

from twisted_echo.framing.held_input import HeldInput
from twisted_echo.session.empty_buffers import emptyBuffers
from twisted_echo.session.starttls.diversion import Methods, divert, restore

__all__ = ["PlainInput"]

# The hooks by which receivers hand on what they have found, perhaps in a loop over what
# they alone know.
_MESSAGES = ("lineReceived", "stringReceived")
_BYTES = ("dataReceived", "rawDataReceived")


class PlainInput:
    """
    Drops the input of one protocol, until L{end} or L{restore}.
    """

    __slots__ = ("_before", "_diverted", "_onDrop", "_protocol")

    def __init__(self, protocol: HeldInput, onDrop: Callable[[], object]) -> None:
        """
        @param onDrop: called when the first of it is dropped.
        """
        self._protocol: HeldInput | None = protocol
        self._onDrop: Callable[[], object] | None = onDrop
        held = emptyBuffers(protocol)
        self._diverted: Methods = {
            name: drop
            for names, drop in (
                (_MESSAGES, self._dropMessage),
                (_BYTES, self._dropBytes),
            )
            for name in names
            if hasattr(protocol, name)
        }
        self._before = divert(protocol, self._diverted)
        if held:
            self.dropped()

    def _dropBytes(self, data: bytes) -> None:
        if data:
            self.dropped()

    def _dropMessage(self, message: bytes) -> None:
        self.dropped()

    def dropped(self) -> None:
        """
        Report that something was dropped, the first time.
        """
        onDrop, self._onDrop = self._onDrop, None
        if onDrop is not None:
            onDrop()

    def end(self) -> None:
        """
        Drop what is left, and let the protocol have its input again.
        """
        protocol = self._protocol
        if protocol is None:
            return
        # It may have been in a loop when this began, and have put the rest back since.
        if emptyBuffers(protocol):
            self.dropped()
        if isinstance(protocol, IntNStringReceiver):
            # `emptyBuffers` has set it for the loop of Twisted's receivers.
            vars(protocol).pop("recvd", None)
        self.restore()

    def restore(self) -> None:
        """
        Give the protocol its hooks back, and forget it. A second call does nothing.
        """
        protocol, self._protocol, self._onDrop = self._protocol, None, None
        if protocol is not None:
            restore(protocol, self._diverted, self._before)
        self._diverted, self._before = {}, {}
