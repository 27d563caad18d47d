"""
The sending half of the eager transports.

What is written is sent when the turn of the reactor ends: see
L{twisted_echo.eager.write_queue}. Only what C{dataReceived} writes is sent
earlier: it is gathered, and sent when C{dataReceived} returns.

What must hold, so that nothing else changes:

  - bytes leave in the order in which they were written: nothing is sent past bytes that
    wait in a buffer;
  - everything else than one C{send} is left to the inherited C{doWrite};
  - an error of C{send} leaves the bytes in the buffer. The inherited C{doWrite} meets
    the error again and reports it where Twisted does.
"""

from collections.abc import Iterable
from enum import Enum
from errno import ENOBUFS, EPIPE, EWOULDBLOCK
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet import main, tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProducer, ITLSTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_echo.eager.log_context import OwnLogContext
from twisted_echo.eager.optional_interfaces import IOutputObserver, IProtocolWithTLS

__all__ = ["EagerMixin", "Sending", "WritingMixin"]

if TYPE_CHECKING:
    _Base = tcp.Connection
else:
    _Base = object


class Sending(Enum):
    """
    The states of the bytes that are written to a connection::

        INHERITED --connected--> QUEUED --doRead has data--> GATHERING
                                  ^  ^                         |  |
                                  |  +--the protocol returns---+  |
             pull producer is gone|                               |
                                  v  a pull producer comes        |
                                PULLED <--------------------------+

        any --TLS, a descriptor, half-closed, lost--> INHERITED, for good
        any --the program stops the writing of what waits--> INHERITED, for good

    In all of them the write queue sends at the end of the turn.

    @cvar INHERITED: Twisted's C{write} takes them.
    @cvar QUEUED: they are noted.
    @cvar GATHERING: the same, within C{dataReceived}.
    @cvar PULLED: as INHERITED. The write queue asks a pull producer for more whenever
        everything is sent.
    """

    INHERITED = "inherited"
    QUEUED = "queued"
    GATHERING = "gathering"
    PULLED = "pulled"


# As globals of this module they are found without a look into the class.
_INHERITED, _QUEUED, _GATHERING, _PULLED = Sending

_FULL = (EWOULDBLOCK, ENOBUFS)  # The kernel takes nothing now.


def _isReset(problem: OSError) -> bool:
    return problem.errno != EPIPE and problem.errno not in _FULL


class _Reactor(Protocol):
    """
    The methods of a reactor that a connection uses.
    """

    def watchForWriting(self, connection: "WritingMixin") -> None: ...


class WritingMixin(OwnLogContext, _Base):
    """
    Collects the bytes that are written to a connection, and sends them.

    @ivar bytesSent: how many bytes the kernel has taken so far.
    """

    bytesSent: int
    # The state is kept, and not worked out of Twisted's flags with each chunk. Every
    # method that changes one of those is overridden in EagerMixin.
    _sending: Sending
    # Whether a send has met a reset. The kernel reports that once: a recv after it sees
    # an end-of-file. (EPIPE is no such report.)
    _metReset = False

    @property
    def isGathering(self) -> bool:
        """
        Whether the connection is inside its own C{doRead}, and gathers what is written.
        """
        return self._sending is _GATHERING

    def write(self, data: bytes) -> None:
        """
        Send bytes when C{dataReceived} returns, or when the turn ends.
        """
        if self._sending is _GATHERING and type(data) is bytes:
            self._tempDataBuffer.append(data)
            if self.producer is not None:
                # (Nothing else waits: see _dataReceived.)
                self._tempDataLen = gathered = self._tempDataLen + len(data)
                if gathered > self.bufferSize:
                    self._maybePauseProducer()
        elif self._sending is _QUEUED and type(data) is bytes and self.connected:
            # (It is not while a client's protocol is being built.)
            if data:
                self._queue(data)
        else:
            super().write(data)

    def _queue(self, data: bytes) -> None:
        """
        Do what Twisted's C{write} does, in one call.
        """
        if not self._tempDataBuffer:
            # (Else it is queued, or watched, already. First: a producer may raise.)
            self.reactor.addWriter(self)
        self._tempDataBuffer.append(data)
        self._tempDataLen += len(data)
        if self.producer is not None:
            self._maybePauseProducer()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        L{write}, for many pieces at once.
        """
        pieces = iovec if isinstance(iovec, (list, tuple)) else list(iovec)
        for piece in pieces:
            if type(piece) is not bytes:
                # Refused, or taken, as Twisted does.
                super().writeSequence(pieces)
                return
        self.write(b"".join(pieces))

    def hasOnlyToSend(self) -> bool:
        """
        Whether L{sendNow} does all that the end of the turn has to do for this
        connection. If not, the inherited C{doWrite} does it.
        """
        return (
            self._sending is _QUEUED
            and bool(self._tempDataBuffer)
            and not self.dataBuffer
            and not self.disconnecting
            and not self.producerPaused
            and not self._writeDisconnecting
        )

    def sendNow(self) -> None:
        """
        Send what has been written, and have the rest sent as soon as the kernel takes
        it. Nothing else may wait to be sent.
        """
        pieces = self._tempDataBuffer
        data = pieces.pop()
        if pieces:
            pieces.append(data)
            data = b"".join(pieces)
            pieces.clear()
        self._tempDataLen = 0
        try:
            if len(data) <= self.SEND_LIMIT:
                sent = self.socket.send(data)
            else:
                sent = self.socket.send(memoryview(data)[: self.SEND_LIMIT])
        except OSError as problem:
            # Full, or broken: doWrite will meet it again, and report it.
            sent = 0
            self._metReset = _isReset(problem)
        self.bytesSent += sent
        if sent < len(data):
            self._keepRest(data, sent)
        elif self.producerPaused:
            # In doRead, then. The write queue resumes it.
            self.startWriting()

    def _keepRest(self, data: bytes, sent: int) -> None:
        """
        Send the rest of what was not all sent as soon as the kernel takes it.
        """
        self.dataBuffer = data
        self.offset = sent
        cast(_Reactor, self.reactor).watchForWriting(self)
        self.reportWaiting()

    def doWrite(self) -> Any:
        """
        Send what waits. (A program that cannot wait may call this in C{dataReceived}.)
        """
        self.stopGathering()
        return super().doWrite()

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """
        Send for C{doWrite}. It also calls the kernel when there are no bytes left, at a
        close: the kernel then reports an error of the connection.
        """
        try:
            sent = self.socket.send(memoryview(data)[: self.SEND_LIMIT])
        except OSError as problem:
            self._metReset = _isReset(problem)
            return 0 if problem.errno in _FULL else main.CONNECTION_LOST
        self.bytesSent += sent
        return sent

    def reportWaiting(self) -> None:
        """
        Tell a producer that wants to know: output waits.
        """
        producer = self.producer
        if producer is not None and IOutputObserver.providedBy(producer):
            producer.outputWaits()

    def stopGathering(self) -> None:
        """
        Leave what has been gathered to the write queue. (The reactor calls this when it
        is turned from within C{doRead}.)
        """
        if self._sending is _GATHERING:
            self._sending = _QUEUED
            self._countGathered()
            if self._tempDataBuffer:
                self.startWriting()

    def writingStopped(self) -> None:
        """
        Go on as Twisted does, if something waits that the reactor no longer knows of:
        a program has called C{stopWriting}. The next write starts it again.
        """
        if self._tempDataBuffer and self._sending is not _INHERITED:
            self._countGathered()
            self._sending = _INHERITED

    def _countGathered(self) -> None:
        """
        Count what has been gathered, which is not done with each piece.
        """
        self._tempDataLen = sum(map(len, self._tempDataBuffer))


@implementer(ITLSTransport)
class EagerMixin(WritingMixin):
    """
    The sending half of a transport. Put it before a subclass of C{tcp.Connection}.
    """

    def _beginSending(self) -> None:
        """
        Begin: the connection is made.
        """
        self._sending = _PULLED if self._hasPullProducer() else _QUEUED

    def _dataReceived(  # type: ignore[override]
        self, data: bytes | None
    ) -> ConnectionDone | ConnectionLost | None:
        """
        Hand on what was received, and send what that made the protocol write.
        """
        if not data:
            return main.CONNECTION_LOST if self._metReset else main.CONNECTION_DONE
        if self._sending is not _QUEUED or self.dataBuffer or self._tempDataBuffer:
            # What is written waits behind what waits already. To do more about it
            # here would cost more with every piece.
            self.protocol.dataReceived(data)
            if self.dataBuffer:
                self.reportWaiting()
            return None
        self._sending = _GATHERING
        try:
            self.protocol.dataReceived(data)
        except BaseException:
            self.stopGathering()
            raise
        if self._sending is _GATHERING:
            self._sending = _QUEUED
            if self._tempDataBuffer:
                self.sendNow()
        return None

    def _writeAsInherited(self) -> None:
        """
        Leave what is written to Twisted's C{write} from now on.
        """
        self.stopGathering()
        self._sending = _INHERITED

    def startTLS(self, ctx: object, normal: bool = True) -> None:
        """
        Begin TLS: by the protocol itself, if it provides L{IProtocolWithTLS}; else by
        Twisted, where pyOpenSSL is installed.
        """
        if IProtocolWithTLS.providedBy(self.protocol):
            self.protocol.startTLSByTransport(ctx, normal)
            return
        self._writeAsInherited()
        super().startTLS(ctx, normal)

    def _closeWriteConnection(self) -> None:
        self._writeAsInherited()
        super()._closeWriteConnection()

    def abortConnection(self) -> None:
        self._writeAsInherited()
        super().abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        self._writeAsInherited()
        super().connectionLost(reason)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if streaming and self._sending is _QUEUED and self.producer is None:
            self.producer, self.streamingProducer = producer, streaming
            return  # (What Twisted does, in one call: each session registers one.)
        if streaming:
            if self._sending is _GATHERING:
                self._countGathered()
        elif self._sending is not _INHERITED:
            self.stopGathering()
            self._sending = _PULLED
        try:
            super().registerProducer(producer, streaming)
        finally:
            # There may be another one, or none any more.
            self._endPulled()

    def unregisterProducer(self) -> None:
        super().unregisterProducer()
        self._endPulled()

    def _endPulled(self) -> None:
        if self._sending is _PULLED and not self._hasPullProducer():
            self._sending = _QUEUED

    def _hasPullProducer(self) -> bool:
        return self.producer is not None and not self.streamingProducer
