"""
The transport that a protocol behind TLS has: its methods and its producer.

What must hold:

  - close_notify is sent after all that was written, and when all that came was read:
    else OpenSSL would fail at it, and lose what came;
  - a producer is registered with the transport below, and only when what it writes can
    be encrypted.
"""

from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from ssl import SSLError, SSLObject
from typing import Any

from twisted.internet.interfaces import INegotiated, IPullProducer, IPushProducer
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import implementer

from twisted_echo.net.transport_queries import BufferingLayer, abort
from twisted_echo.tls.records import Records
from twisted_echo.tls.stage import Stage
from twisted_echo.tls.x509 import Certificate

__all__ = ["ProducerState", "TLSOutput"]


class ProducerState(Enum):
    """
    The state of the protocol's producer::

        NONE <--> HELD --> REGISTERED --> NONE
        NONE ------------> REGISTERED
    """

    NONE = "none"
    HELD = "held"
    """It is registered, and is resumed, when the handshake is done."""
    REGISTERED = "registered"
    """It is registered with the transport below."""


@implementer(INegotiated)
class TLSOutput(BufferingLayer, ProtocolWrapper):
    """
    The transport of a protocol.
    """

    transport: Any
    disconnecting = False
    _records: Records
    # Whether the peer has sent its last byte: by close_notify, or by an end-of-file.
    _inputEnded = False
    _producerState = ProducerState.NONE
    # The producer, and whether it is a push producer, while it is held.
    _heldProducer: tuple[IPushProducer | IPullProducer, bool] | None = None

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    @property
    def bytesSent(self) -> int | None:
        """
        How many bytes have been encrypted so far.
        """
        return self._records.bytesSent

    def ownBytes(self) -> int:
        """
        How many bytes this layer holds.
        """
        return self._records.ownBytes()

    # Producers

    def registerProducer(
        self, producer: IPushProducer | IPullProducer, streaming: bool
    ) -> None:
        """
        Register a producer with the transport below, whose buffer has what is
        encrypted; if nothing can be encrypted yet, when it can.
        """
        if self._records.stage >= Stage.OPEN:
            # It may refuse: the session's backpressure is a producer, too.
            self.transport.registerProducer(producer, streaming)
            self._producerState = ProducerState.REGISTERED
            return
        self._producerState = ProducerState.HELD
        self._heldProducer = producer, streaming
        if streaming:
            producer.pauseProducing()  # type: ignore[union-attr]

    def _registerHeldProducer(self) -> None:
        if self._heldProducer is not None:
            (producer, streaming), self._heldProducer = self._heldProducer, None
            self._producerState = ProducerState.REGISTERED
            self.transport.registerProducer(producer, streaming)
            if streaming:
                producer.resumeProducing()

    @property
    def _hasProducer(self) -> bool:
        return self._producerState is not ProducerState.NONE

    def unregisterProducer(self) -> None:
        state, self._producerState = self._producerState, ProducerState.NONE
        if state is ProducerState.HELD:
            self._heldProducer = None
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
            records.stage < Stage.OPEN and not records.hasWaiting
        ):
            self.transport.loseConnection()
            return
        if records.stage is Stage.OPEN:
            records.enter(Stage.CLOSING)
        if not self._inputEnded:
            # The peer's farewell is to be read, though the protocol has paused itself.
            self.transport.resumeProducing()
        self._finishIfDone()

    def pauseProducing(self) -> None:
        """
        Stop reading. After L{loseConnection} this does nothing: the peer's close_notify
        is to be read.
        """
        if not self.disconnecting:
            self.transport.pauseProducing()

    def stopProducing(self) -> None:
        """
        Call L{loseConnection}, as transports over TCP do.
        """
        self.loseConnection()

    def _finishIfDone(self) -> None:
        """
        Send close_notify if the output is to be closed and nothing else waits to be
        sent. Close the connection if the input has ended, too.
        """
        records = self._records
        isClosing = self.disconnecting or records.stage is Stage.CLOSING
        if not isClosing or not Stage.OPEN <= records.stage < Stage.OVER:
            return
        records.encryptGathered()
        isBeingRead = records.incoming.pending and not self._inputEnded
        if self._hasProducer or records.hasWaiting or isBeingRead:
            return
        self._finish()
        if self._inputEnded and self.disconnecting:
            records.enter(Stage.OVER)
            self.transport.loseConnection()

    def _finish(self) -> None:
        records = self._records
        if records.stage >= Stage.FINISHED:
            return
        records.enter(Stage.FINISHED)
        # SSLWantReadError: the peer's own is still to come.
        with suppress(SSLError):
            records.tls.unwrap()
        records.flush()

    def loseWriteConnection(self) -> None:
        """
        Send what has been written, and close_notify; go on receiving.
        """
        if self._records.stage is Stage.OPEN:
            self._records.enter(Stage.CLOSING)
            self._finishIfDone()

    def abortConnection(self) -> None:
        """
        Abort the connection.
        """
        self._records.enter(Stage.OVER)
        self._records.dropWaiting()
        self.disconnecting = True
        abort(self.transport)

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
        The C{SSLObject}, for what else it tells, such as its C{cipher()}.
        """
        return self._records.tls
