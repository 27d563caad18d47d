"""
The write queue: the connections of a reactor that have something to send, to half-close
or to close when the turn ends.

Twisted's transports call C{reactor.addWriter} when something is written, and the poller
tells them later that they may send, after two calls that change what it watches. With
this mixin the reactor notes a connected eager transport instead, and sends for all of
them once, at the end of the turn. The poller watches only a connection from which the
kernel did not take everything.

What must hold:

  - a connection sends once in a turn, whatever was written to it. Nothing else flushes
    it, half-closes it or closes it in order. (What C{dataReceived} wrote goes out
    when it returns: see L{twisted_echo.eager.sending}.)
  - what is queued while the queue is flushed waits for the next turn. So a producer
    that writes whenever it is resumed takes turns with everybody else.
  - a connection that is lost or aborted leaves the queue, which keeps nothing alive.
"""

from typing import TYPE_CHECKING, Any

from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.posixbase import PosixReactorBase
from twisted.python import context, log
from twisted.python.failure import Failure

from twisted_echo.eager.connection_end import EndingMixin

__all__ = ["WriteQueueMixin"]

# (Each connection has the same, as with Twisted.)
_DONE = Failure(CONNECTION_DONE)

if TYPE_CHECKING:
    _Base = PosixReactorBase
else:
    _Base = object


class WriteQueueMixin(_Base):
    """
    The write queue of a reactor. Put it before a subclass of C{PosixReactorBase}.

    @cvar failures: the exceptions by which a protocol ends its connection. Others leave
        the loop, as the inherited reactor has it.
    @cvar tellsHangup: whether an event that a connection can be read, and nothing else,
        means that the peer has not hung up.
    """

    failures: type[BaseException] = BaseException
    tellsHangup = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # In the order in which they were queued. True for the one that is sending now.
        # For one that was closed, why it is lost if nothing is left to send, once that
        # is known: then the kernel need not be asked.
        self._queued: dict[EndingMixin, bool | Exception] = {}
        # What the poller watches, since the kernel did not take everything.
        self._watched: set[EndingMixin] = set()
        super().__init__(*args, **kwargs)

    def addWriter(self, writer: Any) -> None:
        """
        Queue a connected eager transport, and watch anything else for writing.
        """
        if not isinstance(writer, EndingMixin):
            super().addWriter(writer)
        elif not writer.connected:
            self.watchForWriting(writer)
        elif writer not in self._queued and writer not in self._watched:
            self._queued[writer] = False

    def endsKnown(self, connection: EndingMixin, why: Exception) -> None:
        """
        Note why a connection is lost, if it was closed and has nothing left to send
        when the turn ends.
        """
        if self._queued.get(connection) is False:
            self._queued[connection] = why

    def watchForWriting(self, connection: EndingMixin) -> None:
        """
        Arrange that C{doWrite} is called when the kernel takes something again.
        """
        self._queued.pop(connection, None)
        super().addWriter(connection)
        self._watched.add(connection)

    def removeWriter(self, writer: Any) -> None:
        if not isinstance(writer, EndingMixin):
            super().removeWriter(writer)
            return
        if self._queued.pop(writer, None) is None and writer in self._watched:
            self._watched.remove(writer)
            super().removeWriter(writer)
        if writer._tempDataBuffer:
            writer.writingStopped()

    def removeAll(self) -> list[Any]:
        queued = list(self._queued)
        for each in queued:
            self.removeWriter(each)
        return list({*super().removeAll(), *queued})

    def getWriters(self) -> list[Any]:
        return [*super().getWriters(), *self._queued]

    def flushWriteQueue(self) -> bool:
        """
        Send what is queued now, and half-close and close what waits for that.

        @return: whether anything else was called than C{send}: there may be more to do
            at once.
        """
        isMore = False
        for connection in list(self._queued):
            known = self._queued.get(connection)
            if known is None:
                # Another one has ended it.
                continue
            if connection.hasOnlyToSend():
                del self._queued[connection]
                try:
                    connection.sendNow()
                except self.failures as problem:
                    log.err()
                    self._disconnect(connection, problem, False)
                    isMore = True
                if connection.dataBuffer:
                    isMore = True
                continue
            isMore = True
            if isinstance(known, Exception) and connection.canEnd():
                contexts = context.theContextTracker.currentContext().contexts
                contexts.append(connection)
                try:
                    self._disconnect(connection, known, False)
                finally:
                    contexts.pop()
            else:
                self._queued[connection] = True
                log.callWithLogger(connection, self._finishWriting, connection)
        return isMore

    def _finishWriting(self, connection: EndingMixin) -> None:
        """
        Do what Twisted does with a connection that can be written to.
        """
        try:
            why = connection.doWrite()
        except self.failures as problem:
            log.err()
            why = problem
        if self._queued.get(connection) and (why is None or why is CONNECTION_LOST):
            # Some is left; or the kernel has an error, of which the poller tells, in
            # Twisted's order: what can be read comes first.
            self.watchForWriting(connection)
            connection.reportWaiting()
        elif why:
            self._disconnectSelectable(connection, why, False)

    def _disconnect(
        self,
        connection: Any,
        why: BaseException,
        isRead: bool,
        end: Exception = CONNECTION_DONE,
    ) -> None:
        """
        End a connection outside C{log.callWithLogger}, which would log what its
        protocol raises then.

        @param end: why the connection is lost, if the protocol closes it because of the
            peer's end-of-file, and nothing is left to send.
        """
        try:
            if why is not CONNECTION_DONE or not isinstance(connection, EndingMixin):
                self._disconnectSelectable(connection, why, isRead)
            else:
                # The same, in fewer calls.
                self.removeReader(connection)
                if isRead:
                    connection.readConnectionLost(_DONE)
                else:
                    self.removeWriter(connection)
                    connection.connectionLost(_DONE)
        except KeyboardInterrupt:
            raise
        except BaseException:
            log.err()
        if isRead and self.tellsHangup and connection.disconnecting:
            self.endsKnown(connection, end)
