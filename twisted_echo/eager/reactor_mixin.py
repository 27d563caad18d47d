"""
The common part of the eager reactors: they make eager transports, read from them with a
log context that costs little, and send for them once in a turn.
"""

import _socket
from collections.abc import Iterable, Iterator, Mapping
from socket import AF_UNIX, socket
from typing import TYPE_CHECKING, Any

from twisted.internet.error import UnsupportedAddressFamily
from twisted.internet.interfaces import IConnector, IListeningPort, IProtocolFactory
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import ClientFactory, P
from twisted.python import context, log

from twisted_echo.compiled.choice import do_without, speedups
from twisted_echo.eager.connection_end import EndingMixin
from twisted_echo.eager.log_context import OwnLogContext
from twisted_echo.eager.sending import EagerMixin, Sending, WritingMixin
from twisted_echo.eager.slots import Slots, codeOf
from twisted_echo.eager.tcp_transports import (
    EagerClient,
    EagerConnector,
    EagerPort,
    EagerServer,
    EagerTCPMixin,
)
from twisted_echo.eager.unix_transports import (
    EagerUNIXClient,
    EagerUNIXConnector,
    EagerUNIXPort,
    EagerUNIXServer,
)
from twisted_echo.eager.write_queue import WriteQueueMixin

if TYPE_CHECKING:
    # The oldest Twisted that suits has it not.
    from twisted.internet.interfaces import Binding

__all__ = ["EAGER", "PORTS", "READABLE", "EagerReactorMixin", "stopGathering"]

EAGER = frozenset((EagerServer, EagerClient, EagerUNIXServer, EagerUNIXClient))
"""
The classes of connections that L{EagerReactorMixin.dispatch} reads from. Subclasses of
a program's own are dispatched as Twisted does.
"""

PORTS = frozenset((EagerPort, EagerUNIXPort))
"""
The classes of ports that are read from likewise.
"""

READABLE = 1
"""
C{EPOLLIN}, and nothing else.
"""

NO_CONTEXT: Mapping[object, object] = {}


def stopGathering(contexts: Iterable[object]) -> None:
    """
    Leave what connections have gathered to the write queue. A protocol may turn the
    reactor in C{dataReceived}, to wait for answers to what it has written.
    """
    for each in contexts:
        if isinstance(each, EagerMixin):
            each.stopGathering()


def _readReady(
    events: Iterator[tuple[Any, int]],
    contexts: list[Any],
    selectables: Mapping[Any, Any],
    removed: Mapping[Any, Any],
) -> tuple[tuple[Any, int], Any, BaseException | None] | None:
    """
    Read from eager transports, each being its own log context, until an event is for
    others, or ends a connection.

    @param contexts: the log contexts; the last is replaced.
    @return: the event, who has its descriptor, and what C{doRead} has returned; None
        if all events are handled.
    """
    eager, top = EAGER, len(contexts) - 1
    for each in events:
        fd, event = each
        try:
            selectable = selectables[fd]
        except KeyError:
            continue
        if removed and removed.get(fd, selectable) is not selectable:
            continue
        why = None
        if event == READABLE and type(selectable) in eager:
            contexts[top] = selectable
            why = selectable.doRead()
            if why is None:
                continue
        return each, selectable, why
    return None


def _probe() -> socket:
    """
    Make a socket as the standard library does, even if a program or its tests have
    replaced C{socket.socket}.

    @raise ImportError: if that class has nothing to do with the standard library's.
    """
    for each in getattr(socket, "__mro__", ()):
        if each.__module__ == "socket":
            # No __init__ or __new__ of a program's runs, which might refuse.
            probe: socket = _socket.socket.__new__(each)
            _socket.socket.__init__(probe)
            return probe
    raise ImportError(f"socket.socket is not the standard library's: {socket!r}")


_CODE: dict[type[Slots], list[object]] = {}


def _isUnchanged(kind: type[Slots]) -> bool:
    return codeOf(kind) == _CODE.get(kind)


def _inheritedDoRead(connection: EagerTCPMixin) -> object:
    return super(EagerTCPMixin, connection).doRead()


def _prepared() -> bool:
    """
    Give the compiled part the classes and functions that it works with.

    @return: whether it is used.
    @raise ImportError: if it must be used, and refuses.
    """
    if speedups is None:
        return False
    try:
        probe = _probe()
        try:
            methods = speedups.prepare(
                Slots,
                probe,
                EagerTCPMixin,
                _inheritedDoRead,
                WritingMixin,
                WritingMixin.sendNow,
                WritingMixin.write,
                EagerTCPMixin.endGathering,
                Sending.QUEUED,
                Sending.GATHERING,
                CONNECTION_LOST,
                _isUnchanged,
                EAGER,
            )
        finally:
            _socket.socket.close(probe)
    except (ImportError, OSError) as error:
        do_without(f"the compiled part cannot be used: {error}", error)
        return False
    for each in methods:
        setattr(each.__objclass__, each.__name__, each)
    _CODE.update((kind, codeOf(kind)) for kind in EAGER)
    return True


# (It is no method, as a call for each event would cost a line some 600 instructions of
# 14,000: python -m tests.support.line_cost.)
readReady = speedups.readReady if _prepared() else _readReady


class EagerReactorMixin(WriteQueueMixin):
    """
    Makes an eager reactor of a subclass of C{PosixReactorBase}. Put it before that.

    @ivar _removed: what was removed since the poll whose events are being dispatched,
        by its descriptor. An event for that is its own, whatever has the number now.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._removed: dict[Any, Any] = {}
        super().__init__(*args, **kwargs)

    # Reading

    def dispatch(
        self,
        contexts: list[Any],
        events: Iterable[tuple[Any, int]],
        selectables: Mapping[Any, Any],
    ) -> None:
        """
        Handle the events of one poll: each connection is its own log context.

        @param contexts: the log contexts of this thread.
        @param events: pairs of a descriptor, or of what else stands for it, and what
            happened to it.
        @param selectables: what has each descriptor.
        """
        top, left, removed = len(contexts), iter(events), self._removed
        contexts.append(NO_CONTEXT)
        try:
            while True:
                try:
                    found = readReady(left, contexts, selectables, removed)
                except self.failures as problem:
                    log.err()
                    self._disconnect(contexts[top], problem, False)
                    continue
                if found is None:
                    break
                (fd, event), selectable, why = found
                if why is not None:
                    self._disconnect(selectable, why, True)
                else:
                    isOwn = isinstance(selectable, OwnLogContext)
                    contexts[top] = selectable if isOwn else NO_CONTEXT
                    self.dispatchOther(selectable, fd, event)
        finally:
            contexts.pop()

    def dispatchOther(self, selectable: Any, fd: Any, event: int) -> None:
        """
        Handle an event of another kind, or of something else than an eager connection.
        """
        raise NotImplementedError

    def closedWhileReading(self, connection: EndingMixin) -> None:
        """
        Note that a connection was closed within its own C{dataReceived}: by an event of
        its own, if L{dispatch} has read it. (Others read by C{log.callWithLogger}.)
        """
        if self.tellsHangup:
            contexts = context.theContextTracker.currentContext().contexts
            if contexts[-1] is connection:
                self.endsKnown(connection, CONNECTION_DONE)

    # Transports

    def listenTCP(
        self,
        port: int,
        factory: IProtocolFactory,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        listener = EagerPort(port, factory, backlog, interface, self)
        listener.startListening()
        return listener

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[P],
        timeout: float = 30.0,
        bindAddress: "Binding | tuple[str, int] | None" = None,
    ) -> IConnector:
        connector = EagerConnector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def listenUNIX(
        self,
        address: bytes,
        factory: IProtocolFactory,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: int = 0,
    ) -> IListeningPort:
        listener = EagerUNIXPort(address, factory, backlog, mode, self, wantPID)
        listener.startListening()
        return listener

    def connectUNIX(
        self,
        address: bytes,
        factory: ClientFactory[P],
        timeout: float = 30,
        checkPID: int = 0,
    ) -> IConnector:
        connector = EagerUNIXConnector(address, factory, timeout, self, checkPID)
        connector.connect()
        return connector

    def adoptStreamPort(
        self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory
    ) -> IListeningPort:
        self._checkFamily(addressFamily)
        listener: EagerPort | EagerUNIXPort
        if addressFamily == AF_UNIX:
            listener = EagerUNIXPort._fromListeningDescriptor(
                self, fileDescriptor, factory
            )
        else:
            listener = EagerPort._fromListeningDescriptor(
                self, fileDescriptor, addressFamily, factory
            )
        listener.startListening()
        return listener

    def adoptStreamConnection(
        self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory
    ) -> EagerServer | EagerUNIXServer | None:
        self._checkFamily(addressFamily)
        adopted: EagerServer | EagerUNIXServer | None
        if addressFamily == AF_UNIX:
            adopted = EagerUNIXServer._fromConnectedSocket(
                fileDescriptor, factory, self
            )
        else:
            adopted = EagerServer._fromConnectedSocket(
                fileDescriptor, addressFamily, factory, self
            )
        return adopted

    def _checkFamily(self, addressFamily: int) -> None:
        if addressFamily not in self._supportedAddressFamilies:
            raise UnsupportedAddressFamily(addressFamily)
