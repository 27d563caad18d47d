"""
The attributes of a connection that each line uses, in one piece of memory.
"""

from typing import Any

__all__ = ["Slots", "codeOf"]


class Slots:
    """
    The first base of the eager transports. Its attributes are found in the object
    itself, one after the other, and not in a dictionary: with many connections, each
    line finds less of what it needs in the processor's caches.

    The compiled part knows these slots.
    """

    __slots__ = (
        "SEND_LIMIT",
        "_sending",
        "_tempDataBuffer",
        "_tempDataLen",
        "bufferSize",
        "bytesSent",
        "connected",
        "dataBuffer",
        "disconnecting",
        "producer",
        "producerPaused",
        "protocol",
        "socket",
    )

    def _fillSlots(self, state: object, behind: Any) -> None:
        """
        Set the attributes whose defaults, in Twisted's classes, the slots hide.

        @param behind: the class of Twisted's. A program may have set two of the
            defaults there for all connections, or in a subclass, which hides the slot.
        """
        me: Any = self
        me._sending = state
        me.bytesSent, me.dataBuffer = 0, b""
        me.connected = me.disconnecting = 0
        me.producer, me.producerPaused = None, False
        _bufferSize.__set__(self, behind.bufferSize)
        _SEND_LIMIT.__set__(self, behind.SEND_LIMIT)


_bufferSize: Any = Slots.__dict__["bufferSize"]
_SEND_LIMIT: Any = Slots.__dict__["SEND_LIMIT"]


def codeOf(kind: type[Slots]) -> list[object]:
    """
    List what the compiled part relies on in a class: the slots, which nothing may hide,
    and the methods that it replaces.
    """
    names = (*Slots.__slots__, "_dataReceived", "sendNow")
    reads = [vars(each).get("doRead") for each in kind.__mro__]
    return [getattr(kind, name) for name in names] + reads
