"""
The reasons for which a session's input is paused.

There are three: the protocol asks for it, the transport holds too much output, or
enough answers are in flight.

What must hold: the input goes on when the last reason has gone, and not before.
"""

from twisted_echo.session.backpressure import BY_PROTOCOL, BY_TRANSPORT
from twisted_echo.session.state import FINISHED, StatefulSession

__all__ = ["PausesInput"]


class PausesInput(StatefulSession):
    """
    A session whose input may be paused.
    """

    def pauseProducing(self) -> None:
        """
        Stop the input, because the protocol asks for it.
        """
        self.stopInput(BY_PROTOCOL)

    def resumeProducing(self) -> None:
        """
        Take input again, unless the transport is full.
        """
        self.startInput(BY_PROTOCOL)

    def stopProducing(self) -> None:
        """
        Take no more input, and close.
        """
        if self.isGone:
            return
        self.paused = True
        # (Here and below: a receiver's own method, if it has one.)
        getattr(super(), "stopProducing", self.transport.loseConnection)()

    def stopInput(self, reason: int) -> None:
        """
        Stop reading, for one of the reasons that may stop it.

        @param reason: one of those in L{twisted_echo.session.backpressure}.
        """
        if self.isGone:
            return
        self._pausedFor |= reason
        if reason == BY_TRANSPORT and self.factory is not None:
            self.factory.inputStopped(self)
        if not self.paused:
            self.paused = True
            getattr(super(), "pauseProducing", self.transport.pauseProducing)()

    def startInput(self, reason: int) -> None:
        """
        Remove a reason. When the last one is removed, start the input.
        """
        if self.isGone:
            return
        self._pausedFor &= ~reason
        if reason == BY_TRANSPORT and self.factory is not None:
            self.factory.inputStarted(self)
        if self._pausedFor or self._sessionState >= FINISHED:
            return
        self.paused = False
        try:
            getattr(super(), "resumeProducing", self.transport.resumeProducing)()
        except BaseException:
            # The caller may be a timer or an answer, which would not end the session.
            self.hookFailed("resume its input")
            return
        self.inputStarted()

    def inputStarted(self) -> None:
        """
        Do what has waited for the input to go on.
        """
