"""
Base class of protocols that say how much input they hold.

A L{Session<twisted_echo.session.session.Session>} and this package's receivers both
inherit from L{HeldInput}. In C{class Upper(Session, FastLineReceiver)} the receiver's
methods come before the defaults; in a session over any other protocol the defaults
answer. So every caller may ask, and none needs C{getattr}.

What must hold: no name of Twisted's receivers is a method here, or it would hide theirs
in C{class Upper(Session, LineReceiver)}. So C{clearLineBuffer} is not here;
C{forgetInput} is.
"""

from twisted_echo.twisted_internals.check import require

__all__ = ["HeldInput"]

require(__name__)


class HeldInput:
    """
    Defaults for a protocol that does not know how much input it holds.

    A protocol that keeps input in a buffer of its own overrides them.
    """

    # Twisted's LineReceiver sets it, too, under this name.
    _busyReceiving = False

    @property
    def isReceiving(self) -> bool:
        """
        Whether the protocol is inside its C{dataReceived}, so that more lines of the
        same chunk may follow. A protocol that cannot tell says that it is not.
        """
        return self._busyReceiving

    def heldInput(self) -> tuple[int, int | None] | None:
        """
        Return how many of the peer's bytes are held.

        @return: how many bytes wait, and where in the stream a line (or frame) begins
            that the peer has not finished, or None if there is no such line. None
            instead of both, which is the default, if the protocol cannot tell.
        """
        return None

    def hasUndeliveredLines(self) -> bool:
        """
        Tell whether whole lines (or frames) wait, as they do after a pause. The default
        is True: a protocol that cannot tell may hold some until it resumes.
        """
        return True

    def undeliveredLines(self) -> int:
        """
        Count the lines (or frames) that are in C{lineCount}, but have not reached the
        protocol. The default is 0.
        """
        return 0

    def forgetInput(self) -> None:
        """
        Forget all input that has been received and not been delivered. By default there
        is none.
        """
