"""
Read the input that has arrived for a session before the session ends.

When a service stops, the kernel has acknowledged what has arrived by then: the peer is
entitled to its answers. It is read chunk by chunk, in the next turns of the reactor, as
fast as the peer takes the answers.

What must hold: after C{READING} a session has been given all that had arrived when it
began, or it was closed by its protocol or its peer.
"""

from twisted.internet.interfaces import IReadDescriptor

from twisted_echo.net.receive_queue import readArrived, unreadBytes
from twisted_echo.net.transport_queries import bottomTransport
from twisted_echo.session.input_pause import PausesInput
from twisted_echo.session.state import DRAINING, FINISHED, OPEN, READING

__all__ = ["ReadsArrived"]


class ReadsArrived(PausesInput):
    """
    A session that reads what has arrived for it.
    """

    # How many bytes are still to be read, in `READING`. 0: only an end-of-file is.
    _unread = 0

    def readArrived(self) -> None:
        """
        Read what has arrived for it by now, unless it takes no input at the moment.
        """
        readArrived(self._connection, self._takesInput)

    def _takesInput(self) -> bool:
        # (After its own end-of-file it reads, and discards.)
        state = self._sessionState
        return not self.paused and (state <= OPEN or state is FINISHED)

    def _canReadArrived(self) -> bool:
        return bool(IReadDescriptor.providedBy(bottomTransport(self.transport)))

    def _beginReading(self) -> None:
        self._unread = unreadBytes(self.transport)
        if self._sessionState is not READING:
            self._enter(READING)
        self._readOnLater()

    def _readOnLater(self) -> None:
        # Not now, when the protocol perhaps is being given something.
        bottomTransport(self.transport).reactor.callLater(0, self._readOn)

    def _readOn(self) -> None:
        factory = self.factory
        if self._unread and factory is not None and factory.fairClock.isLate:
            # What others were given took its time.
            self._readOnLater()
            return
        try:
            self._readChunk()
        except Exception:
            self.hookFailed("read what had arrived")

    def _isReading(self) -> bool:
        return self._sessionState is READING and not self.paused

    def _readChunk(self) -> None:
        """
        Read one chunk, or an end-of-file behind the last one.
        """
        if not self._isReading() or self.isGone:
            return
        transport, left = self.transport, self._unread
        most = min(left, bottomTransport(transport).bufferSize)
        count = readArrived(transport, self._isReading, atMost=most)
        if self._sessionState is not READING:
            # It has been closed meanwhile, by either side.
            return
        self._unread = max(0, left - count) if count else 0
        if self.paused:
            return
        if self._unread:
            self._readOnLater()
            return
        self._enter(DRAINING)
        if not transport.disconnecting:
            self.finishWhenAnswered()

    def inputStarted(self) -> None:
        super().inputStarted()
        if self._sessionState is READING:
            self._readOnLater()

    def finishWhenAnswered(self) -> None:
        """
        Close after what has been written, once there is nothing to wait for.
        """
        raise NotImplementedError
