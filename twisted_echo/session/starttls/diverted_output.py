"""
A transport under TLS that began in the middle of a session.
"""

from collections.abc import Callable, Iterable
from typing import Any

from twisted_echo.session.starttls.diversion import Methods, divert, restore

__all__ = ["DivertedOutput"]


class DivertedOutput:
    """
    Diverts the output of a transport: only TLS writes to it.

    @ivar write: the transport's own method.
    @ivar unregisterProducer: likewise.
    """

    __slots__ = ("_diverted", "_transport", "unregisterProducer", "write")

    def __init__(
        self,
        transport: Any,
        write: Callable[[bytes], object],
        writeSequence: Callable[[Iterable[bytes]], object],
        unregisterProducer: Callable[[], object],
    ) -> None:
        """
        @param write: takes the place of the transport's method; the others likewise.
        """
        self.write: Callable[[bytes], object] = transport.write
        self.unregisterProducer: Callable[[], None] = transport.unregisterProducer
        self._transport = transport
        self._diverted: Methods = {
            "write": write,
            "writeSequence": writeSequence,
            "unregisterProducer": unregisterProducer,
        }
        divert(transport, self._diverted)

    def restore(self) -> None:
        """
        Give the transport its own methods back, and forget the others.
        """
        restore(self._transport, self._diverted)
        self._diverted = {}
