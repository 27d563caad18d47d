"""
Stop the input of a session while too much of its output waits.
"""

from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from twisted_echo.eager.optional_interfaces import IOutputObserver

__all__ = ["BY_ANSWERS", "BY_PROTOCOL", "BY_TRANSPORT", "Backpressure", "PausableInput"]

# The reasons for which an input is stopped.
BY_PROTOCOL = 1
BY_TRANSPORT = 2
BY_ANSWERS = 4


class PausableInput(Protocol):
    """
    An object whose input can be stopped, for several reasons at once.
    """

    def stopInput(self, reason: int) -> None: ...

    def startInput(self, reason: int) -> None: ...

    def heldMore(self) -> None: ...


@implementer(IPushProducer, IOutputObserver)
class Backpressure:
    """
    The producer that a session registers with its transport. It stops the session's
    input while the transport holds too much output.

    An object of its own, so that what the transport asks for and what the
    protocol asks for (C{session.pauseProducing}) are told apart: the one does
    not undo the other.
    """

    __slots__ = ("_session", "_transport")

    def __init__(self, session: PausableInput, transport: Any) -> None:
        self._session: PausableInput | None = session
        self._transport = transport

    def pauseProducing(self) -> None:
        if self._session is not None:
            self._session.stopInput(BY_TRANSPORT)

    def resumeProducing(self) -> None:
        if self._session is None:
            return
        if self._transport.disconnecting:
            # Called by `loseConnection`, and everything is sent. Twisted would
            # now wait for more from this producer, and never close.
            self._transport.unregisterProducer()
            self.stopProducing()
        else:
            self._session.startInput(BY_TRANSPORT)

    def outputWaits(self) -> None:
        """
        Called by the eager reactors' transports when output begins to wait, and with
        each chunk that comes while it does.
        """
        if self._session is not None:
            self._session.heldMore()

    def stopProducing(self) -> None:
        # TLS keeps its producer for good; it shall not keep the session.
        self._session = self._transport = None
