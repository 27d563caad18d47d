"""
One connection's life: registered, paused, closed in order, reported.

L{Session} is a base or a mix-in for any Twisted protocol::

    class Upper(Session, FastLineReceiver):
        def lineReceived(self, line):
            self.sendLine(line.upper())

    factory = SessionFactory.forProtocol(Upper)

What it is at a moment is a
L{SessionState<twisted_echo.session.state.SessionState>}. Its parts are
base classes, so that a session is one object: L{twisted_echo.session.input_pause},
L{twisted_echo.session.arrived_input}, L{twisted_echo.session.awaited_answers},
L{twisted_echo.session.ends.closing} and L{twisted_echo.session.ends.ending}.

What must hold:

  - a session is registered with its factory in C{connectionMade}, and leaves it in
    C{connectionLost} and nowhere else; whatever a subclass does or raises in a hook,
    however often, it gets to both;
  - when the transport is gone nothing is asked of it any more, so nothing raises;
  - a peer that does not read is not read from;
  - after L{Session.close} the peer gets the answers to all that was read from it,
    whole, and then end-of-file;
  - nothing that is kept points back at a session that has ended.
"""

import warnings
from collections.abc import Callable
from contextlib import suppress

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPushProducer,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_echo.framing.held_input import HeldInput
from twisted_echo.net.sockets import tuneSocket
from twisted_echo.net.transport_queries import (
    abort,
    bottomTransport,
    isOpen,
    takesProducers,
)
from twisted_echo.session.backpressure import Backpressure
from twisted_echo.session.ends.end_reason import EndReason, SessionEnd
from twisted_echo.session.ends.ending import ReportsEnd
from twisted_echo.session.hook_checks import SESSION_WRAPPERS
from twisted_echo.session.hooks import complaint, isWatched, misplaced, watch
from twisted_echo.session.starttls.start_tls import (
    StartsTLS,
    divertStartTLS,
    restoreStartTLS,
)
from twisted_echo.session.state import ENDED, LOST, NEW, OPEN
from twisted_echo.validation.plain_hooks import PlainHooks

__all__ = ["Session"]


@implementer(IHalfCloseableProtocol, IPushProducer)
class Session(ReportsEnd, StartsTLS, PlainHooks, HeldInput, Protocol):
    """
    A protocol whose connection is tracked from its first byte to its last.

    Put it before the other bases. A subclass that overrides C{makeConnection},
    C{connectionMade}, C{connectionLost} or C{readConnectionLost} must call the
    inherited method by C{super()}. If it does not, the session calls it instead, and
    records that as a fault of the class
    (L{SessionFactory.faults<twisted_echo.session.factory.SessionFactory>}).

    An exception that a hook raises is logged, and cuts the connection off.

    @cvar backpressure: whether to stop reading from a peer that does not read:
        while the transport holds more than its C{bufferSize} (64 KiB), nothing
        more is read. False for a protocol that registers a producer of its own.
    """

    # (The last three bases are receivers' too: whatever stood behind them would come
    # after a receiver's methods, and not before. The bases up to `StartsTLS` have none
    # of the hooks that are inherited here, and to ask each of them costs: `super()`
    # begins behind them.)

    backpressure = True

    _holders: tuple[Callable[[], int], ...] = ()
    # What is wrong with the order of the bases, if anything is.
    _misplaced = ""

    # The beginning

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name, around in SESSION_WRAPPERS.items():
            watch(cls, Session, name, around)
        if vars(cls).get("__hash__") is None:
            # Sessions are told apart, whatever makes two of them equal: a dataclass
            # keeps this.
            cls.__hash__ = object.__hash__  # type: ignore[method-assign]
        cls._misplaced = misplaced(cls, Session, "pauseProducing")

    def makeConnection(self, transport: ITransport) -> None:
        """
        Begin the session. It begins also if C{connectionMade} fails. An override must
        call C{super().makeConnection(transport)}.

        @raise TypeError: if the factory cannot keep sessions.
        """
        factory = self.factory
        if factory is not None and not hasattr(factory, "sessionStarted"):
            abort(transport)
            raise TypeError(
                f"{type(self).__name__} is a Session, so its factory must be"
                f" a SessionFactory, got {factory!r}"
            )
        try:
            super(StartsTLS, self).makeConnection(transport)
        except BaseException:
            # (Of whatever kind: Twisted's ports log it, and leave the connection open.)
            self.cannotBegin(transport)
        if self._connection is None and self._sessionState < LOST:
            # Not registered: the method was replaced when its class had been made.
            self.hookSkipped(complaint(type(self), Session, "connectionMade"))
            Session.connectionMade(self)

    def cannotBegin(self, transport: ITransport) -> None:
        """
        Handle the exception of a hook with which the session should have begun.
        """
        self.transport = transport
        self.hookFailed("begin")
        if not self.isRegistered:
            Session.unregister(self)

    def connectionMade(self) -> None:
        """
        Register with the factory, set the socket's options, and register as the
        transport's producer, which it pauses when its buffer is full. An override must
        call C{super().connectionMade()}.
        """
        if self._connection is not None or self._sessionState >= LOST:
            # A subclass has called it again.
            return
        if self._sessionState is NEW:
            self._enter(OPEN)
        factory = self._record = self.factory
        transport = self._connection = self.transport
        bottom = bottomTransport(transport)
        if factory is not None:
            self._began = factory.clock.seconds()
            factory.sessionStarted(self)
            tuneSocket(bottom, factory.keepAlive)
        divertStartTLS(self, transport)
        if self._misplaced:
            self.hookSkipped(self._misplaced)
        isWanted = self.backpressure and self._sessionState is OPEN
        if isWanted and takesProducers(bottom):
            # Under TLS the bottom transport it is: TLS itself would not close
            # while a producer is registered with it.
            self._hasBackpressure = True
            bottom.registerProducer(Backpressure(self, bottom), True)
        super(StartsTLS, self).connectionMade()
        if factory is not None and factory.closing is not None:
            self.close(factory.closing)

    # What subclasses do wrong

    def hookSkipped(self, fault: str) -> None:
        """
        Record that a hook has not called the inherited one.
        """
        if self.factory is not None:
            self.factory.recordFault(fault)
        else:
            warnings.warn(fault, RuntimeWarning, stacklevel=3)

    def hookFailed(self, what: str) -> None:
        """
        Report the exception that is being handled, and abort the connection.

        @param what: what the session could not do.
        """
        self.reportFailure(what)
        if not self.isGone:
            Session.discardInput(self)
            with suppress(Exception):
                Session.abort(self, EndReason.ERROR)

    # What its factory records

    def reportFailure(self, what: str) -> None:
        """
        Log the exception that is being handled, which a hook has raised. (Without a
        factory the exception goes on to the caller.)

        @param what: what the session could not do.
        """
        if self.factory is None:
            raise
        self.factory.sessionFailed(self, what)

    # What others ask of it

    def countHeld(self, ownBytes: Callable[[], int]) -> None:
        """
        Count the bytes that another object holds for this session as the session's own.

        @param ownBytes: returns how many bytes the object holds.
        """
        self._holders += (ownBytes,)

    def ownBytes(self) -> int:
        """
        Count the bytes of input and of answers that are held for the session, without
        its transport's. If your protocol holds more than C{heldInput} and L{countHeld}
        count, override this to add it: C{return super().ownBytes() + len(self.cache)}.
        """
        heldInput = self.heldInput()
        held = 0 if heldInput is None else heldInput[0]
        for ownBytes in self._holders:
            held += ownBytes()
        return held

    def heldMore(self) -> None:
        """
        Report that the session holds more than before. Call it when that has grown by
        1 KiB or more. If all sessions of the factory together hold too much, this may
        end some of them, this one among them.
        """
        if self.factory is not None:
            self.factory.heldMore(self)

    # The end

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Leave the factory, and fire the Deferreds of C{whenEnded}. An override must call
        C{super().connectionLost(reason)}.
        """
        self.transportLost(reason)
        try:
            super(StartsTLS, self).connectionLost(reason)
        except Exception:
            self.hookFailed("end")
        finally:
            Session.unregister(self, reason)

    def unregister(self, reason: Failure = connectionDone) -> None:
        """
        Leave the factory: the second half of C{connectionLost}, for a factory whose
        session does not get there. A second call does nothing.
        """
        if self._sessionState < LOST:
            self.transportLost(reason)
        if self._sessionState is ENDED:
            return
        self._enter(ENDED)
        connection, self._connection = self._connection or self.transport, None
        if connection is not None:
            # Some protocols of Twisted's forget it, as FTP does; what is to be counted
            # still needs it.
            self.transport = connection
            restoreStartTLS(self, connection)
            if isOpen(connection):
                # A caller says that it is lost. It must not go on untracked.
                with suppress(Exception):
                    abort(connection)
        record = self.factory = self._record or self.factory
        if self._atEnd:
            self._callAtEnd()
        if record is not None:
            end = self.end = SessionEnd(
                self._reason,
                self.bytesReceived,
                record.clock.seconds() - self._began,
                self._detail,
                self.bytesSent,
                self.linesDelivered,
            )
            try:
                record.sessionEnded(self, end)
            except Exception:
                self.hookFailed("be removed from the factory")
            waiters = self._waiters
            if waiters is not None:
                self._waiters = None
                waiters.notify(end)

    def endIfGone(self) -> None:
        """
        End the session if its transport is gone without a report. Called by the sweep
        of the timeouts, and at a stop.
        """
        if self._sessionState >= LOST or not self.isGone:
            return
        lost = Failure(ConnectionLost())
        # Perhaps a producer's exception has kept the transport from reporting it.
        bottom = bottomTransport(self._connection)
        with suppress(Exception):
            bottom.unregisterProducer()
            bottom.connectionLost(lost)
        if not self.hasLeft:
            if not isWatched(self.connectionLost):
                # It was replaced when its class had been made.
                self.hookSkipped(complaint(type(self), Session, "connectionLost"))
            Session.connectionLost(self, lost)
