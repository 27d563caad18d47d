"""
What stands between a connection and its session, and has first to come to terms
with the peer: TLS, or a PROXY header.

What must hold:

  - a session begins when every layer below it is ready, with the peer that they
    make known, and not before;
  - until then the connection is in the factory's record of handshakes: it is
    counted, it has a deadline, and a stop ends it;
  - what does not become a session is counted as refused, once.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_echo.net.receive_queue import readArrived
from twisted_echo.net.refusal import readAway
from twisted_echo.net.transport_queries import (
    BufferingLayer,
    bottomTransport,
    provideAs,
)
from twisted_echo.session.end_reason import EndReason
from twisted_echo.session.factory import SessionFactory
from twisted_echo.validation.checks import callback

__all__ = ["Layer", "LayerFactory", "LayeredEndpoint"]

# The reasons that cut off a connection which was being ended in order.
_ABORTED = (EndReason.ABORTED, EndReason.ABORTED_IN_DRAIN)


class LayerFactory(WrappingFactory[Any]):
    """
    Puts a layer under the sessions of a L{SessionFactory}.

    @ivar sessionFactory: the factory of the sessions, however many layers are between.
    """

    noisy = False

    def __init__(self, wrappedFactory: IProtocolFactory) -> None:
        # Not `super()`: another base of a subclass wants more arguments.
        WrappingFactory.__init__(self, wrappedFactory)
        sessionFactory: Any = wrappedFactory
        while isinstance(sessionFactory, WrappingFactory):
            sessionFactory = sessionFactory.wrappedFactory
        if not isinstance(sessionFactory, SessionFactory):
            raise TypeError(
                "a layer goes under the sessions of a SessionFactory,"
                f" got {wrappedFactory!r}"
            )
        self.sessionFactory: SessionFactory[Any] = sessionFactory

    def buildProtocol(self, addr: Any) -> Any:
        """
        Make a layer for a connection from C{addr}, or refuse it.
        """
        if self.sessionFactory.refuses(addr):
            return None
        return self.protocol(self, Protocol())


@implementer(IHalfCloseableProtocol)
class Layer(BufferingLayer, ProtocolWrapper):
    """
    One connection's layer. Its wrapped protocol is a stand-in until it is ready.

    @cvar failureReason: what it is counted as when the peer leaves before it is
        ready.
    @ivar began: when its connection began, by the factory's C{fairClock}.
    """

    factory: Any
    transport: Any
    failureReason: EndReason
    began = 0.0
    _peer: Any = None
    _isReady = False
    _failure: tuple[EndReason, str] | None = None
    # The next step of its end at a stop, once that has begun.
    _step: IDelayedCall | None = None

    def makeConnection(self, transport: Any) -> None:
        self._provideFor(transport)
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self._begin(transport)

    def _provideFor(self, transport: Any) -> None:
        provideAs(self, transport)

    def _begin(self, transport: Any) -> None:
        sessionFactory = self.factory.sessionFactory
        # That of the layer below, if there is one.
        began = getattr(transport, "began", None)
        self.began = sessionFactory.fairClock.seconds() if began is None else began
        sessionFactory.handshakeStarted(self, self.countsFor())
        if sessionFactory.isStopping:
            # Not now, when it is only being made.
            self._stopLater()

    def getPeer(self) -> Any:
        """
        The address at the other end. It is asked for six times on the way to a session,
        and Twisted's transports make it anew each time.
        """
        if self._peer is None:
            self._peer = super().getPeer()
        return self._peer

    def countsFor(self) -> Any:
        """
        The peer to count it for; None if that is not known yet.
        """
        return self.getPeer()

    def becomeReady(self, countedFor: Any) -> None:
        """
        Begin the session, or the layer above.

        @param countedFor: what L{countsFor} said.
        """
        self._isReady = True
        self._cancelStep()
        sessionFactory = self.factory.sessionFactory
        began = sessionFactory.handshakeDone(self, countedFor)
        try:
            self._beginWrapped()
        finally:
            # Perhaps there is none in its place: it may have failed.
            sessionFactory.countChanged()
            began()

    def _beginWrapped(self) -> None:
        factory = self.factory
        try:
            protocol = factory.wrappedFactory.buildProtocol(self.getPeer())
        except Exception:
            factory.sessionFactory.countRefused(self.getPeer(), EndReason.ERROR)
            raise
        if protocol is not None:
            self.wrappedProtocol = protocol
            protocol.makeConnection(self)
            return
        # The code that refused it has counted it. No deadline watches it any more, so
        # this does not wait for the peer's farewell.
        self.loseConnection()
        readAway(self.transport)
        self.transport.loseConnection()

    def fail(self, reason: EndReason, detail: str = "") -> None:
        """
        End the connection before it is a session: if the service has
        L{EndReason.STOPPED}, by what has arrived or in order; else it is cut off.
        """
        if reason is EndReason.STOPPED:
            self._stop()
        elif not self._isReady and (
            (self._failure is None and self._step is None) or reason in _ABORTED
        ):
            if self._failure is None:
                self._failure = reason, detail
            transport = self.transport
            getattr(transport, "abortConnection", transport.loseConnection)()

    def _stopLater(self) -> None:
        # Nothing before that.
        bottom = bottomTransport(self.transport)
        bottom.pauseProducing()
        bottom.reactor.callLater(0, self.fail, EndReason.STOPPED)

    def _stop(self) -> None:
        if not self._canEndInOrder():
            return
        if self.factory.sessionFactory.fairClock.isLate:
            # What others were given took its time.
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
        readArrived(self.transport, lambda: not self._isReady)

    def _canEndInOrder(self) -> bool:
        """
        Whether nothing has ended it before.
        """
        reason, _ = self._failure or (EndReason.STOPPED, "")
        return not (
            self._isReady
            or self._step is not None
            or reason is not EndReason.STOPPED
            or bottomTransport(self.transport).disconnecting
        )

    def _timeToFinish(self) -> float:
        """
        Seconds that a peer whose handshake was answered may take to finish it. Here no
        peer was answered.
        """
        return 0

    def _endInOrder(self) -> None:
        """
        Send an end-of-file; read and forget what still comes, up to the peer's.
        """
        sessionFactory = self.factory.sessionFactory
        if self._failure is None:
            self._failure = EndReason.STOPPED, ""
        bottom = bottomTransport(self.transport)
        if not hasattr(bottom, "loseWriteConnection"):
            bottom.loseConnection()
            return
        self._callLater(sessionFactory.abortAfter, self._expire)
        bottom.loseWriteConnection()
        bottom.resumeProducing()
        sessionFactory.endSent(self)

    def _callLater(self, seconds: float, step: Callable[[], object]) -> None:
        """
        Schedule the next step of its end.
        """
        self._cancelStep()
        self._step = self.factory.sessionFactory.fairClock.callLater(seconds, step)

    def _cancelStep(self) -> None:
        step, self._step = self._step, None
        if step is not None and step.active():
            step.cancel()

    def _expire(self) -> None:
        # The peer's end-of-file may have arrived.
        readArrived(self.transport)
        self.fail(EndReason.ABORTED_IN_DRAIN)

    def readConnectionLost(self) -> None:
        """
        The peer has sent its end-of-file.
        """
        if not self._isReady:
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
        The peer has been sent its end-of-file.
        """
        half = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if half is not None:
            half.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._cancelStep()
        if not self._isReady:
            self._isReady = True
            sessionFactory = self.factory.sessionFactory
            why, detail = self._failure or (self.failureReason, self._told(reason))
            # First, for whoever waits for the last handshake tells the sum.
            sessionFactory.countRefused(self.getPeer(), why, detail)
            sessionFactory.handshakeEnded(self, self.countsFor())
            sessionFactory.countChanged()
        super().connectionLost(reason)

    def _told(self, reason: Failure) -> str:
        """
        Why the peer is gone, in words that are not the peer's.
        """
        return str(type(reason.value).__name__)


@implementer(IStreamServerEndpoint)
class LayeredEndpoint:
    """
    An endpoint whose connections have a layer.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, wrap: Any) -> None:
        """
        @param wrap: makes a L{LayerFactory} of the factory that is to listen.
        @raise TypeError: if one is of another kind.
        """
        if not IStreamServerEndpoint.providedBy(endpoint):
            raise TypeError(f"endpoint must be one for servers, got {endpoint!r}")
        self._endpoint = endpoint
        self._wrap = callback("wrap", wrap)

    def withInnerLayer(self, wrap: Any) -> "LayeredEndpoint":
        """
        The same endpoint with one more layer, nearer to the connection.
        """
        return LayeredEndpoint(
            self._endpoint, lambda factory: wrap(self._wrap(factory))
        )

    def withPlainEndpoint(self, endpoint: IStreamServerEndpoint) -> "LayeredEndpoint":
        """
        The same layers over another endpoint.
        """
        return LayeredEndpoint(endpoint, self._wrap)

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        return self._endpoint.listen(self._wrap(protocolFactory))
