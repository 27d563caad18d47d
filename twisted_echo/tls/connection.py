"""
One connection's TLS: its handshake, its two ends, and what a protocol may ask of it.

What must hold:

  - the end of input and the end of output are told apart, as they are over TCP: a peer
    that has sent its close_notify, or just an end-of-file, still gets every answer;
  - close_notify is sent after all that was written, and when all that came was read:
    else OpenSSL would fail at it, and lose what came;
  - no reference leads from an error, or from what has ended, back to the connection.
"""

from collections.abc import Iterable
from contextlib import suppress
from ssl import SSLContext, SSLError, SSLObject, SSLWantReadError, SSLZeroReturnError
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, INegotiated
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_echo.net.transport_queries import BufferingLayer, abort
from twisted_echo.tls.records import RECORD, Records, Stage
from twisted_echo.tls.x509 import Certificate

__all__ = ["TLSConnection", "words"]


def words(error: SSLError) -> str:
    """
    What went wrong in OpenSSL's own words, of which none are the peer's.
    """
    if error.reason == "CALLBACK_FAILED":
        # (No other callback of a server fails.)
        return "unknown name"
    verification: str = getattr(error, "verify_message", "") or ""
    # (Only OpenSSL's own errors have a reason.)
    reason = getattr(error, "reason", "") or type(error).__name__
    reason = reason.replace("_", " ").lower()
    return f"{reason}: {verification}" if verification else reason


@implementer(INegotiated)
class TLSConnection(BufferingLayer, ProtocolWrapper):
    """
    The protocol of a transport, and the transport of a protocol.

    A subclass calls L{_startTLS} when it is connected, and says what L{_shaken} and
    L{_notShaken} do.
    """

    transport: Any
    disconnecting = False
    _records: Records
    # Whether the peer has sent its last byte: by close_notify, or by an end-of-file.
    _inputEnded = False
    # What OpenSSL found wrong.
    _error: SSLError | None = None
    # Whether a producer of the protocol's is registered; and the producer, and how,
    # that is to be registered when there is something to write into.
    _produces = False
    _producer: tuple[Any, bool] | None = None

    # The handshake

    def _startTLS(self, context: SSLContext, below: Any = None) -> None:
        """
        Begin, as the server.

        @param below: what to write to, if not the transport.
        """
        self._records = Records(context, below or self.transport, self)
        # In the instance, where they are found first.
        self.dataReceived = self._records.dataReceived  # type: ignore[method-assign]
        self.write = self._records.write  # type: ignore[method-assign]

    def _shaken(self) -> None:
        """
        The handshake is done: begin what is above.
        """
        raise NotImplementedError

    def _notShaken(self, error: SSLError) -> None:
        """
        The handshake has failed.
        """
        raise NotImplementedError

    def _goOnWithHandshake(self) -> None:
        """
        Take the next step of the handshake, now or later; to be overridden.
        """
        self._shake()

    def _shake(self) -> None:
        """
        Go on with the handshake, by what has come, and read what came behind it.
        """
        records = self._records
        try:
            records.handshake()
        except SSLWantReadError:
            self._answer()
        except SSLError as error:
            # The alert, which says why.
            self._answer()
            records.stage = Stage.OVER
            self._notShaken(_forgetful(error))
        else:
            records.stage = Stage.OPEN
            # What the protocol writes now goes with the last of the handshake.
            records.gather(self._open)
            self._readRest()
            self._finishIfDone()

    def _open(self) -> None:
        self._records.sealWaiting()
        self._register()
        self._shaken()
        self._records.protocol = self.wrappedProtocol

    def _answer(self) -> None:
        """
        Send what the handshake has to say.
        """
        if self._records.isAnswering:
            self._records.stage = Stage.SHAKING
            self._records.flush()

    # Input

    def receive(self, data: bytes) -> None:
        """
        Decrypt, and hand on what that gives, in any case.
        """
        if len(data) > RECORD:
            for start in range(0, len(data), RECORD):
                self.dataReceived(data[start : start + RECORD])
            return
        records = self._records
        if records.stage is Stage.OVER:
            return
        records.incoming.write(data)
        if records.stage < Stage.OPEN:
            self._goOnWithHandshake()
        else:
            self._readRest()

    def _readRest(self) -> None:
        records = self._records
        if Stage.OPEN <= records.stage < Stage.OVER and records.incoming.pending:
            self.readOn(b"")

    def readOn(self, plain: bytes) -> None:
        """
        Read what is left in the BIO, and hand it on as one piece.

        @param plain: what was read before.
        """
        pieces, error, records = [plain], None, self._records
        try:
            while records.incoming.pending:
                pieces.append(records.read(RECORD))
                if not pieces[-1]:
                    break
        except SSLError as problem:
            error = _forgetful(problem)
        # An empty piece is close_notify.
        hasEnded = not pieces[-1] and error is None
        plain = b"".join(pieces)
        if plain and not self.disconnecting:
            records.gather(lambda: self.wrappedProtocol.dataReceived(plain))
        if hasEnded:
            self._endInput()
        elif error is not None:
            self.cannotRead(error)
        self._finishIfDone()

    def cannotRead(self, error: SSLError) -> None:
        """
        Wait for more, unless it is broken.
        """
        records = self._records
        if records.stage is Stage.OVER:
            return
        # Reading may have made OpenSSL answer: with new keys, or an alert.
        records.flush()
        if isinstance(error, SSLWantReadError):
            records.sealWaiting()
            self._finishIfDone()
        elif isinstance(error, SSLZeroReturnError):
            self._endInput()
        else:
            self.breakOff(error)

    def breakOff(self, error: SSLError) -> None:
        """
        End it: it is broken.
        """
        self._records.stage = Stage.OVER
        self._error = _forgetful(error)
        self.transport.loseConnection()

    def _endInput(self) -> None:
        """
        The peer has said that it will send nothing more.
        """
        if self._inputEnded:
            return
        self._inputEnded = True
        # It must not be kept.
        self.dataReceived = _discard  # type: ignore[method-assign]
        if self.disconnecting:
            self._finishIfDone()
            return
        half = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if half is None:
            self.loseConnection()
        else:
            half.readConnectionLost()

    def readConnectionLost(self) -> None:
        """
        The connection's own end-of-file. Without a close_notify before it somebody
        may have cut off what followed; what came is genuine, and is answered.
        """
        self._endInput()

    # Output

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    @property
    def bytesSent(self) -> int:
        """
        How many bytes have been encrypted so far.
        """
        return self._records.bytesSent

    def ownBytes(self) -> int:
        """
        How many bytes it holds itself.
        """
        return self._records.ownBytes()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Register a producer with the transport below, whose buffer has what is
        encrypted; if nothing can be encrypted yet, when it can.
        """
        if self._records.stage >= Stage.OPEN:
            # It may refuse: the session's backpressure is a producer, too.
            self.transport.registerProducer(producer, streaming)
            self._produces = True
            return
        self._produces = True
        self._producer = producer, streaming
        if streaming:
            producer.pauseProducing()

    def _register(self) -> None:
        if self._producer is not None:
            (producer, streaming), self._producer = self._producer, None
            self.transport.registerProducer(producer, streaming)
            if streaming:
                producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._produces = False
        if self._producer is not None:
            self._producer = None
        else:
            self.transport.unregisterProducer()
        self._finishIfDone()

    # The end

    def loseConnection(self) -> None:
        """
        Send what has been written, and close_notify; wait for the peer's; close.
        """
        self.disconnecting = True
        records = self._records
        if records.stage is Stage.OVER or (
            records.stage < Stage.OPEN and not records.isWaiting
        ):
            self.transport.loseConnection()
            return
        if records.stage is Stage.OPEN:
            records.stage = Stage.CLOSING
        if not self._inputEnded:
            # The peer's farewell is to be read, though the protocol has paused itself.
            self.transport.resumeProducing()
        self._finishIfDone()

    def pauseProducing(self) -> None:
        """
        Take no more input. A connection that is closed hands on none anyway.
        """
        if not self.disconnecting:
            self.transport.pauseProducing()

    def stopProducing(self) -> None:
        """
        As over TCP: L{loseConnection}.
        """
        self.loseConnection()

    def _finishIfDone(self) -> None:
        """
        Send close_notify, if the connection or its own half is closed and nothing else
        is to be sent; close it, if nothing is to be received.
        """
        records = self._records
        isClosing = self.disconnecting or records.stage is Stage.CLOSING
        if not isClosing or not Stage.OPEN <= records.stage < Stage.OVER:
            return
        records.sealGathered()
        isBeingRead = records.incoming.pending and not self._inputEnded
        if self._produces or records.isWaiting or isBeingRead:
            return
        self._finish()
        if self._inputEnded and self.disconnecting:
            records.stage = Stage.OVER
            self.transport.loseConnection()

    def _finish(self) -> None:
        records = self._records
        if records.stage >= Stage.FINISHED:
            return
        records.stage = Stage.FINISHED
        # SSLWantReadError: the peer's own is still to come.
        with suppress(SSLError):
            records.tls.unwrap()
        records.flush()

    def loseWriteConnection(self) -> None:
        """
        Send what has been written, and close_notify; go on receiving.
        """
        if self._records.stage is Stage.OPEN:
            self._records.stage = Stage.CLOSING
            self._finishIfDone()

    def abortConnection(self) -> None:
        """
        Cut it off.
        """
        self._records.stage = Stage.OVER
        self._records.forgetWaiting()
        self.disconnecting = True
        abort(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell the protocol, with what OpenSSL found wrong, if anything.
        """
        self._records.stage = Stage.OVER
        self._producer = None
        if self._error is not None:
            reason = Failure(self._error)
        try:
            super().connectionLost(reason)
        finally:
            self.wrappedProtocol = None  # type: ignore[assignment]
            self.dataReceived = _discard  # type: ignore[method-assign]
            self._records.end()

    # What has been agreed upon

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """
        The protocol that was chosen by ALPN.
        """
        name = self._records.tls.selected_alpn_protocol()
        return None if name is None else name.encode()

    def getPeerCertificate(self) -> Certificate | None:
        """
        The certificate that the peer has shown, if one was asked for.
        """
        if self._records.stage < Stage.OPEN:
            return None
        der = self._records.tls.getpeercert(binary_form=True)
        return None if der is None else Certificate(der)

    def getHandle(self) -> SSLObject:
        """
        What else is to be known of the connection, such as its C{cipher()}.
        """
        return self._records.tls


def _discard(data: bytes) -> None:
    """
    Take no notice of what comes. (A function of no connection, so that one which has it
    for its C{dataReceived} does not refer to itself.)
    """


def _forgetful(error: SSLError) -> SSLError:
    """
    An error without the frames that it has come through.
    """
    error.__traceback__ = error.__context__ = None
    return error
