"""
The stages of a connection with TLS.
"""

from enum import IntEnum

__all__ = ["Stage", "Staged"]


class Stage(IntEnum):
    """
    The stage of a connection. It never goes back, and may skip stages::

        HELLO -> HANDSHAKE -> OPEN -> CLOSING -> FINISHED -> OVER
    """

    HELLO = 0
    """Nothing has been answered yet."""
    HANDSHAKE = 1
    """The peer has been sent something of the handshake."""
    OPEN = 2
    """The handshake is done."""
    CLOSING = 3
    """The protocol has closed it, or its own half of it; it may still write."""
    FINISHED = 4
    """The peer has been sent close_notify."""
    OVER = 5
    """It is broken, cut off, or lost: no byte goes through OpenSSL any more."""


class Staged:
    """
    A part of a connection, which knows the stage of the connection.

    @ivar stage: only L{enter} changes it.
    """

    __slots__ = ("stage",)

    def __init__(self) -> None:
        self.stage = Stage.HELLO

    def enter(self, stage: Stage) -> None:
        """
        Go on to a later stage. For any other this does nothing: a deadline may expire
        after an abort, and must not open the connection again.
        """
        if stage > self.stage:
            self.stage = stage
