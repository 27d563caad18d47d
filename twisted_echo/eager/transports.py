"""
TCP and UNIX transports that send when they are told to.

Twisted's transports only note what is written; a later turn of the reactor sends
it, after two changes to what epoll watches. These try to send at once, and hand
to the inherited machinery only what the kernel does not take. While a transport
is inside its own C{doRead} it gathers instead, and tries one send when the
protocol is done with what was received. (UNIX transports do only the latter: see
L{EagerUNIXMixin}.)

What must hold, so that nothing else changes:

  - bytes leave in the order in which they were written: nothing is sent past
    bytes that wait in a buffer;
  - a write outside the plain state of a connection (closing, half-closed, TLS,
    a pull producer) takes the inherited way;
  - C{write} neither raises because of the connection nor calls back, but for what it
    tells a producer: an error of
    C{send} leaves the bytes in the buffer, and the inherited C{doWrite} meets the
    error again and reports it where Twisted does.

Knows nothing of echo. What it leans on in Twisted is listed in
L{twisted_echo.twisted_internals}.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from errno import ENOBUFS, EPIPE, EWOULDBLOCK
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import TYPE_CHECKING, Any

from twisted.internet import main, tcp, unix
from twisted.internet.interfaces import ITLSTransport
from twisted.python import context, log
from zope.interface import implementer

__all__ = [
    "EagerClient",
    "EagerConnector",
    "EagerPort",
    "EagerServer",
    "EagerUNIXClient",
    "EagerUNIXConnector",
    "EagerUNIXPort",
    "EagerUNIXServer",
]

if TYPE_CHECKING:
    _Base = tcp.Connection
else:
    _Base = object


@implementer(ITLSTransport)
class EagerMixin(_Base):
    """
    The sending half: goes before a subclass of C{tcp.Connection}.

    The connection is I{plain} while nothing forbids to send at once: it is
    connected, neither closing nor half-closed, without TLS of its own and
    without a pull producer. Whatever changes that says so here, once, instead of
    being asked for with every chunk.
    """

    _plain = False
    # While true, what is written is gathered: the connection is inside its own
    # doRead, and plain.
    isGathering = False
    # Whether a send has met a reset. The kernel tells of one once: after a send
    # has been told, a recv sees an end-of-file where there was none. (EPIPE is no
    # news of that kind.)
    _broken = False
    bytesSent = 0
    """
    How many bytes the kernel has taken so far.
    """
    # Whether descriptors are passed along with the bytes.
    _passesDescriptors = False
    asksForTLS = True
    """
    That C{startTLS} asks the protocol.
    """

    def _becomePlain(self) -> None:
        """
        Begin: the connection is made. What every chunk asks for becomes the
        instance's own, which is faster to load than the class's.
        """
        self.isGathering = False
        self.bytesSent = self.bytesSent
        self.dataBuffer = self.dataBuffer
        self.disconnecting = self.disconnecting
        self.producer, self.producerPaused = self.producer, self.producerPaused
        self.bufferSize = self.bufferSize
        self.SEND_LIMIT = self.SEND_LIMIT
        self._plain = self.producer is None or self.streamingProducer

    # Sending

    def write(self, data: bytes) -> None:
        """
        Send at once what the kernel takes, and the rest as soon as it does.
        """
        if self.isGathering and type(data) is bytes:
            self._tempDataBuffer.append(data)
            if self.producer is not None:
                self._tempDataLen += len(data)
                if self._tempDataLen + len(self.dataBuffer) > self.bufferSize:
                    self._maybePauseProducer()
        elif (
            self._plain
            and type(data) is bytes
            and self.connected
            and not self._tempDataBuffer
            and not self.dataBuffer
            and (
                self.producer is None
                or (len(data) <= self.bufferSize and not self.producerPaused)
            )
        ):
            # (With producerPaused set, maybe for a producer that has gone, doWrite
            # sends and resumes: that must not happen inside write.)
            if data:
                self._tempDataBuffer.append(data)
                self._tempDataLen = len(data)
                self._sendNow()
        else:
            super().write(data)

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

    def _sendNow(self) -> None:
        """
        Try to send what has been written, and leave the rest to C{doWrite}. For a
        plain connection, of which no bytes wait to be sent.
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
            self._broken = problem.errno not in (EWOULDBLOCK, ENOBUFS, EPIPE)
        self.bytesSent += sent
        if sent < len(data):
            self.dataBuffer = data
            self.offset = sent
            self.startWriting()
            self._tellWaiting()
        elif self.producerPaused and self.producer is not None:
            # In doRead, then.
            self.producerPaused = False
            self.producer.resumeProducing()  # type: ignore[attr-defined]

    def _tellWaiting(self) -> None:
        """
        Tell a producer that wants to know: output waits, though less perhaps than that
        for which it is paused. (Its C{outputWaits} may abort the connection.)
        """
        outputWaits = getattr(self.producer, "outputWaits", None)
        if outputWaits is not None:
            outputWaits()

    def writeSomeData(self, data: bytes) -> Any:
        """
        Count what C{doWrite} sends, too.
        """
        sent = super().writeSomeData(data)
        # Else it is an error.
        if isinstance(sent, int):
            self.bytesSent += sent
        return sent

    # Receiving

    def __getitem__(self, key: object) -> Any:
        """
        Be a log context: the reactor pushes this transport on the stack of
        C{twisted.python.context} while it reads. So the context costs nothing
        before somebody asks for it, which is when something is logged.
        """
        if key is not log.ILogContext:
            raise KeyError(key)
        me: Any = self
        below = context.ContextTracker()
        for each in context.theContextTracker.currentContext().contexts:
            if each is me:
                break
            below.contexts.append(each)
        return {**below.getContext(key), "system": self.logPrefix()}

    def _dataReceived(self, data: bytes | None) -> Any:
        """
        Hand on what was received, and send what that made the protocol write.
        """
        if not data:
            return main.CONNECTION_LOST if self._broken else main.CONNECTION_DONE
        if not self._plain or self.dataBuffer or self._tempDataBuffer:
            # What is written waits behind what waits already, however many reads
            # that takes: nothing is done about it here, which would cost more
            # with every piece.
            self.protocol.dataReceived(data)
            if self.dataBuffer:
                self._tellWaiting()
            return None
        self.isGathering = True
        try:
            self.protocol.dataReceived(data)
        except BaseException:
            self.isGathering = False
            raise
        if self.isGathering:
            self.isGathering = False
            if self._tempDataBuffer:
                self._sendNow()
        return None

    def _count(self) -> None:
        """
        Count what has been gathered, which is not done with each piece.
        """
        if self.isGathering:
            self._tempDataLen = sum(map(len, self._tempDataBuffer))

    def stopGathering(self) -> None:
        """
        Leave what has been gathered to C{doWrite}, as Twisted would have. (The
        reactor calls this when it is turned from within C{doRead}.)
        """
        if self.isGathering:
            self._count()
            self.isGathering = False
            if self._tempDataBuffer:
                self.startWriting()

    # What ends the plain state

    def _endPlain(self) -> None:
        self.stopGathering()
        self._plain = False

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        """
        Begin TLS: by the protocol's own C{startTLSByTransport}, if it has one, as
        sessions have; else by Twisted, where pyOpenSSL is installed.
        """
        begin = getattr(type(self.protocol), "startTLSByTransport", None)
        if begin is not None:
            begin(self.protocol, ctx, normal)
            return
        self._endPlain()
        super().startTLS(ctx, normal)

    def loseConnection(self, *args: Any, **kwargs: Any) -> Any:
        self._endPlain()
        return super().loseConnection(*args, **kwargs)

    def loseWriteConnection(self) -> None:
        self._endPlain()
        super().loseWriteConnection()

    def abortConnection(self) -> None:
        self._endPlain()
        super().abortConnection()

    def connectionLost(self, reason: Any) -> None:
        self._endPlain()
        super().connectionLost(reason)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if not streaming:
            # It is asked for more whenever doWrite has sent everything.
            self._endPlain()
        self._count()
        try:
            super().registerProducer(producer, streaming)
        finally:
            self._review()

    def unregisterProducer(self) -> None:
        super().unregisterProducer()
        self._review()

    def _review(self) -> None:
        """
        Be plain again, if nothing but a pull producer has forbidden it.
        """
        self._plain = bool(self.connected) and not (
            self.TLS
            or self.disconnecting
            or self._writeDisconnecting
            or self._writeDisconnected
            or self._aborting
            or self._passesDescriptors
            or (self.producer is not None and not self.streamingProducer)
        )


class EagerTCPMixin(EagerMixin):
    """
    The sending half for TCP, with the shortest C{doRead}.
    """

    def _becomePlain(self) -> None:
        """
        Turn C{TCP_NODELAY} on, too. With one send for each write, the kernel's
        waiting for more would hold a second small write back until the peer has
        acknowledged the first: for 40 ms.
        """
        super()._becomePlain()
        # An error means that the peer is gone, of which the next read tells.
        with suppress(OSError):
            self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, True)

    def doRead(self) -> Any:
        """
        L{_dataReceived}, without a call in between while no bytes wait.
        """
        try:
            data = self.socket.recv(self.bufferSize)
        except OSError as problem:
            return None if problem.errno == EWOULDBLOCK else main.CONNECTION_LOST
        if not data or not self._plain or self.dataBuffer:
            return self._dataReceived(data)
        self.isGathering = True
        try:
            self.protocol.dataReceived(data)
        except BaseException:
            self.isGathering = False
            raise
        if self.isGathering:
            self.isGathering = False
            if self._tempDataBuffer:
                self._sendNow()
        return None


class EagerUNIXMixin(EagerMixin):
    """
    The sending half for UNIX sockets, which pass descriptors too.

    A descriptor travels with a byte, which may have been written before it. So
    what is written outside C{dataReceived} is not sent at once.
    """

    def write(self, data: bytes) -> None:
        """
        Gather inside C{dataReceived}, and write as Twisted does outside.
        """
        if self.isGathering:
            super().write(data)
        else:
            super(EagerMixin, self).write(data)

    def sendFileDescriptor(self, descriptor: int) -> None:
        """
        Send a descriptor along with a byte. From then on the connection is
        Twisted's.
        """
        self._passesDescriptors = True
        self._endPlain()
        super().sendFileDescriptor(descriptor)  # type: ignore[misc]


class EagerServer(EagerTCPMixin, tcp.Server):
    """
    An accepted or adopted TCP connection.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._becomePlain()


class EagerClient(EagerTCPMixin, tcp.Client):
    """
    A TCP connection that was made from here.
    """

    def _connectDone(self) -> None:
        self._becomePlain()
        super()._connectDone()


class EagerUNIXServer(EagerUNIXMixin, unix.Server):
    """
    An accepted or adopted UNIX connection.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._becomePlain()


class EagerUNIXClient(EagerUNIXMixin, unix.Client):
    """
    A UNIX connection that was made from here.
    """

    def _connectDone(self) -> None:
        self._becomePlain()
        super()._connectDone()


class EagerPort(tcp.Port):
    transport = EagerServer  # type: ignore[assignment]


class EagerUNIXPort(unix.Port):
    """
    A UNIX port that leaves an adopted socket to its owner. Twisted's own does so
    for TCP alone: a UNIX socket it would shut down for everybody, and change or
    remove its file, which may be another user's.
    """

    transport = EagerUNIXServer

    def startListening(self) -> None:
        adopted: Any = self._preexistingSocket
        if adopted is None:
            super().startListening()
            return
        self._preexistingSocket = None
        self._shouldShutdown = False
        tcp._reservedFD.reserve()
        path = os.fsdecode(adopted.getsockname())
        log.msg(f"{self._getLogPrefix(self.factory)} starting on {path!r}")
        self.factory.doStart()  # type: ignore[union-attr]
        self.connected = True
        self.socket = adopted
        self.fileno = adopted.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Any) -> None:
        if self._shouldShutdown:
            super().connectionLost(reason)
        else:
            tcp.Port.connectionLost(self, reason)


class EagerConnector(tcp.Connector):
    def _makeTransport(self) -> EagerClient:
        return EagerClient(self.host, self.port, self.bindAddress, self, self.reactor)


class EagerUNIXConnector(unix.Connector):
    def _makeTransport(self) -> Any:
        return EagerUNIXClient(self.address, self, self.reactor, self.checkPID)
