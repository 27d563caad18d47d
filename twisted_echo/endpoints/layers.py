"""
The layers between a connection and its session: TLS and the PROXY header. They
finish with the peer before the session begins.

What must hold:

  - a session begins when every layer between it and its connection is ready, and not
    before; its peer is the one that they announce;
  - until then the connection is in the factory's record of handshakes: it is counted,
    it has a deadline, and a stop ends it;
  - a connection that does not become a session is counted as refused, once.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_echo.net.receive_queue import readArrived
from twisted_echo.net.refusal import readAway
from twisted_echo.net.transport_queries import (
    BufferingLayer,
    abort,
    bottomTransport,
    canHalfClose,
    isClosing,
    provideAs,
)
from twisted_echo.session.ends.end_reason import EndReason
from twisted_echo.session.factory import SessionFactory

__all__ = ["Layer", "LayerState"]

_ABORTED = (EndReason.ABORTED, EndReason.ABORTED_IN_DRAIN)
"""
The reasons for which a connection is aborted even while it ends in order.
"""


class LayerState(Enum):
    """
    The state of a layer::

        NEGOTIATING -+---------> READY
                     |            ^ |
                     +-> ENDING --+ |
                     |     |        |
                     +-----+--------+--> GONE
    """

    NEGOTIATING = "negotiating"
    """It waits for the peer."""
    ENDING = "ending"
    """A stop ends it in order; the peer may still finish the negotiation."""
    READY = "ready"
    """The session, or the layer above, has begun."""
    GONE = "gone"
    """The connection is lost before it was ready."""


@implementer(IHalfCloseableProtocol)
class Layer(BufferingLayer, ProtocolWrapper):
    """
    The layer of one connection. Its wrapped protocol is a stand-in until it is ready.

    @cvar failureReason: the reason for which the connection is counted as refused if
        the peer leaves before the layer is ready.
    @ivar began: when the connection began, by the factory's C{fairClock}.
    """

    factory: Any
    transport: Any
    failureReason: EndReason
    began = 0.0
    _peer: IAddress | None = None
    _state = LayerState.NEGOTIATING
    # Why it ends before it is ready: the first reason, and a detail for the log.
    _failure: tuple[EndReason, str] | None = None
    # The next step of its end at a stop.
    _step: IDelayedCall | None = None

    def makeConnection(self, transport: ITransport) -> None:
        self._provideFor(transport)
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self._begin(transport)

    def _provideFor(self, transport: ITransport) -> None:
        provideAs(self, transport)

    def _begin(self, transport: ITransport) -> None:
        factory = self._sessionFactory
        # A layer below began when the connection did.
        self.began = (
            transport.began
            if isinstance(transport, Layer)
            else factory.fairClock.seconds()
        )
        factory.handshakeStarted(self, self.countsFor())
        if factory.isStopping:
            # Not now, while it is being made.
            self._stopLater()

    @property
    def _sessionFactory(self) -> SessionFactory[Any]:
        factory: SessionFactory[Any] = self.factory.sessionFactory
        return factory

    @property
    def _isNegotiating(self) -> bool:
        """
        Whether the connection is neither ready nor lost.
        """
        return self._state in (LayerState.NEGOTIATING, LayerState.ENDING)

    def getPeer(self) -> IAddress:
        """
        The address at the other end. It is kept: it is asked for six times on the way
        to a session, and Twisted's transports make it again each time.
        """
        if self._peer is None:
            self._peer = super().getPeer()
        return self._peer

    def countsFor(self) -> IAddress | None:
        """
        The peer for which the connection is counted; None if it is not known yet.
        """
        return self.getPeer()

    # The session begins

    def becomeReady(self) -> None:
        """
        Begin the session, or the layer above.
        """
        self._state = LayerState.READY
        self._cancelStep()
        factory = self._sessionFactory
        began = factory.handshakeDone(self)
        try:
            self._beginWrapped()
        finally:
            # There may be no session instead of it: that may have failed.
            factory.countChanged()
            began()

    def _beginWrapped(self) -> None:
        try:
            protocol = self.factory.wrappedFactory.buildProtocol(self.getPeer())
        except Exception:
            self._sessionFactory.countRefused(self.getPeer(), EndReason.ERROR)
            raise
        if protocol is not None:
            self.wrappedProtocol = protocol
            protocol.makeConnection(self)
            return
        # It was refused, and counted. No deadline watches the connection any more, so
        # it does not wait for the peer's farewell.
        self.loseConnection()
        readAway(self.transport)
        self.transport.loseConnection()

    # It ends before

    def fail(self, reason: EndReason, detail: str = "") -> None:
        """
        End the connection before it is a session. When the service stops
        (L{EndReason.STOPPED}), input that has arrived may still finish the negotiation,
        and the connection ends in order; for any other reason it is aborted.
        """
        if reason is EndReason.STOPPED:
            self._stop()
        elif self._isNegotiating and (self._canFail or reason in _ABORTED):
            if self._failure is None:
                self._failure = reason, detail
            abort(self.transport)

    @property
    def _canFail(self) -> bool:
        """
        Whether the layer may fail: no end has begun.
        """
        return self._state is LayerState.NEGOTIATING and self._failure is None

    def _stopLater(self) -> None:
        # It reads nothing until then.
        bottom = bottomTransport(self.transport)
        bottom.pauseProducing()
        bottom.reactor.callLater(0, self.fail, EndReason.STOPPED)

    def _stop(self) -> None:
        if not self._canEndInOrder():
            return
        if self._sessionFactory.fairClock.isLate:
            # The ends of others took the time of this turn.
            self._stopLater()
            return
        self._readArrived()
        if self._canEndInOrder():
            wait = self._timeToFinish()
            if wait:
                self._callLater(wait, self._endInOrder)
            else:
                self._endInOrder()

    def _readArrived(self) -> None:
        """
        Read what has arrived, which may make it ready.
        """
        bottomTransport(self.transport).resumeProducing()
        readArrived(self.transport, lambda: self._isNegotiating)

    def _canEndInOrder(self) -> bool:
        """
        Whether no other end has begun.
        """
        return (
            self._state is LayerState.NEGOTIATING
            and (self._failure is None or self._failure[0] is EndReason.STOPPED)
            and not isClosing(bottomTransport(self.transport))
        )

    def _timeToFinish(self) -> float:
        """
        Return how many seconds a peer may take to finish a handshake that was answered.
        This layer answers no peer.
        """
        return 0

    def _endInOrder(self) -> None:
        """
        Send an end-of-file; read and forget what the peer still sends, up to its own.
        """
        factory = self._sessionFactory
        if self._failure is None:
            self._failure = EndReason.STOPPED, ""
        bottom = bottomTransport(self.transport)
        if not canHalfClose(bottom):
            bottom.loseConnection()
            return
        self._callLater(factory.abortAfter, self._expire)
        bottom.loseWriteConnection()
        bottom.resumeProducing()
        factory.endSent(self)

    def _callLater(self, seconds: float, step: Callable[[], object]) -> None:
        """
        Schedule the next step of its end.
        """
        self._state = LayerState.ENDING
        self._cancelStep()
        self._step = self._sessionFactory.fairClock.callLater(seconds, step)

    def _cancelStep(self) -> None:
        step, self._step = self._step, None
        if step is not None and step.active():
            step.cancel()

    def _expire(self) -> None:
        # The peer's end-of-file may have arrived.
        readArrived(self.transport)
        self.fail(EndReason.ABORTED_IN_DRAIN)

    # What the connection reports

    def readConnectionLost(self) -> None:
        """
        Handle the end-of-file of the peer.
        """
        if self._isNegotiating:
            if self._failure is None:
                self._failure = self.failureReason, "the client left"
            self.transport.loseConnection()
            return
        half = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if half is not None:
            half.readConnectionLost()
        else:
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        Wait for the peer: the end-of-file to it is sent.
        """
        half = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if half is not None:
            half.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._cancelStep()
        if self._isNegotiating:
            self._state = LayerState.GONE
            factory = self._sessionFactory
            default = self.failureReason, type(reason.value).__name__
            why, detail = self._failure or default
            # First: what waits for the last handshake reports the sum.
            factory.countRefused(self.getPeer(), why, detail)
            factory.handshakeEnded(self)
            factory.countChanged()
        super().connectionLost(reason)
