"""
TLS for one connection: the handshake, the input and the end.

What must hold:

  - the end of input and the end of output are told apart, as they are over TCP: a peer
    that has sent its close_notify, or just an end-of-file, still gets every answer;
  - no reference leads from an error, or from what has ended, back to the connection.
"""

from ssl import SSLContext, SSLError, SSLWantReadError, SSLZeroReturnError

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from twisted_echo.tls.error_text import withoutFrames
from twisted_echo.tls.output import TLSOutput
from twisted_echo.tls.records import RECORD, Output, Records
from twisted_echo.tls.stage import Stage

__all__ = ["TLSConnection"]


class TLSConnection(TLSOutput):
    """
    The protocol that speaks TLS on a transport, and the transport of the protocol
    behind it.

    A subclass calls L{_startTLS} when it is connected, and says what
    L{_handshakeDone} and L{_handshakeFailed} do.
    """

    # What OpenSSL found wrong.
    _error: SSLError | None = None

    # The handshake

    def _startTLS(self, context: SSLContext, below: Output | None = None) -> None:
        """
        Begin TLS as the server.

        @param below: what to write to, if not the transport.
        """
        self._records = Records(context, below or self.transport, self)
        # In the instance, where they are found first.
        records = self._records
        vars(self).update(dataReceived=records.dataReceived, write=records.write)

    def _handshakeDone(self) -> None:
        """
        Begin the protocol above: the handshake is done.
        """
        raise NotImplementedError

    def _handshakeFailed(self, error: SSLError) -> None:
        """
        End the connection: the handshake has failed.
        """
        raise NotImplementedError

    def _continueHandshake(self) -> None:
        """
        Take the next step of the handshake, now. A subclass may put it off.
        """
        self._stepHandshake()

    def _stepHandshake(self) -> None:
        """
        Take the next step of the handshake, and read the input behind it.
        """
        records = self._records
        try:
            records.handshake()
        except SSLWantReadError:
            self._sendHandshake()
        except SSLError as error:
            # The alert, which says why.
            self._sendHandshake()
            records.enter(Stage.OVER)
            self._handshakeFailed(withoutFrames(error))
        else:
            records.enter(Stage.OPEN)
            # What the protocol writes now goes with the last of the handshake.
            records.gather(self._beginProtocol)
            self._readBuffered()
            self._finishIfDone()

    def _beginProtocol(self) -> None:
        self._records.encryptWaiting()
        self._registerHeldProducer()
        self._handshakeDone()
        self._records.protocol = self.wrappedProtocol

    def _sendHandshake(self) -> None:
        """
        Send what OpenSSL has to send for the handshake.
        """
        if self._records.hasOutgoing:
            self._records.enter(Stage.HANDSHAKE)
            self._records.flush()

    # Input

    def receive(self, data: bytes) -> None:
        """
        Decrypt input and deliver it, in every stage.
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
            self._continueHandshake()
        else:
            self._readBuffered()

    def _readBuffered(self) -> None:
        records = self._records
        if Stage.OPEN <= records.stage < Stage.OVER and records.incoming.pending:
            self.readRest(b"")

    def readRest(self, plain: bytes) -> None:
        """
        Read what is left in the BIO, and deliver it as one piece.

        @param plain: what was read before.
        """
        pieces, error, records = [plain], None, self._records
        try:
            while records.incoming.pending:
                pieces.append(records.read(RECORD))
                if not pieces[-1]:
                    break
        except SSLError as problem:
            error = withoutFrames(problem)
        # An empty piece is close_notify.
        hasEnded = not pieces[-1] and error is None
        plain = b"".join(pieces)
        if plain and not self.disconnecting:
            records.gather(lambda: self.wrappedProtocol.dataReceived(plain))
        if hasEnded:
            self._endInput()
        elif error is not None:
            self.readFailed(error)
        self._finishIfDone()

    def readFailed(self, error: SSLError) -> None:
        """
        Wait for more input, or end the connection if it is broken.
        """
        records = self._records
        if records.stage is Stage.OVER:
            return
        # Reading may have made OpenSSL answer: with new keys, or an alert.
        records.flush()
        if isinstance(error, SSLWantReadError):
            records.encryptWaiting()
            self._finishIfDone()
        elif isinstance(error, SSLZeroReturnError):
            self._endInput()
        else:
            self.connectionFailed(error)

    def connectionFailed(self, error: SSLError) -> None:
        """
        Close the connection, which is broken.
        """
        self._records.enter(Stage.OVER)
        self._error = withoutFrames(error)
        self.transport.loseConnection()

    def _endInput(self) -> None:
        """
        Handle the end of input, by close_notify or by an end-of-file.
        """
        if self._inputEnded:
            return
        self._inputEnded = True
        # It must not be kept.
        vars(self)["dataReceived"] = _discard
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
        Handle the end-of-file of the connection below. Without a close_notify before
        it, somebody may have cut off what followed; what came is genuine, and is
        answered.
        """
        self._endInput()

    # The end

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell the protocol. If OpenSSL has found an error, that is the reason.
        """
        self._records.enter(Stage.OVER)
        self._heldProducer = None
        if self._error is not None:
            reason = Failure(self._error)
        try:
            super().connectionLost(reason)
        finally:
            self.wrappedProtocol = None  # type: ignore[assignment]
            vars(self)["dataReceived"] = _discard
            self._records.end()


def _discard(data: bytes) -> None:
    """
    Ignore input. (A function and not a method, so that a connection which has it for
    its C{dataReceived} does not refer to itself.)
    """
