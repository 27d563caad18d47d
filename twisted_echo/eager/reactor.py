"""
The eager reactor: Twisted's epoll reactor with a shorter way for one chunk.

Its TCP and UNIX connections are those of L{twisted_echo.eager.tcp_transports} and
L{twisted_echo.eager.unix_transports}. Its poll loop calls the C{doRead} of such a
connection with a log context that was prepared once, instead of by way of
C{log.callWithLogger}. All else is inherited.

Name it before any other part of a program names a reactor::

    twistd --reactor=eager web --path .

or::

    from twisted_echo.reactor import install
    install()
"""

import errno
from collections.abc import Iterable, Mapping
from socket import AF_UNIX
from typing import TYPE_CHECKING

from twisted.internet.error import UnsupportedAddressFamily
from twisted.internet.interfaces import IConnector, IListeningPort, IProtocolFactory
from twisted.internet.protocol import ClientFactory, P
from twisted.python import context, log

from twisted_echo.twisted_internals import UnfitTwisted, require, unfit

if TYPE_CHECKING:
    # The oldest Twisted that suits has it not.
    from twisted.internet.interfaces import Binding

try:
    from twisted.internet.epollreactor import EPOLLIN, EPollReactor

    from twisted_echo.eager.sending import EagerMixin
    from twisted_echo.eager.tcp_transports import (
        EagerClient,
        EagerConnector,
        EagerPort,
        EagerServer,
    )
    from twisted_echo.eager.unix_transports import (
        EagerUNIXClient,
        EagerUNIXConnector,
        EagerUNIXPort,
        EagerUNIXServer,
    )
except (AttributeError, ImportError) as problem:
    # What is lacking is a class, without which there is nothing to install.
    raise UnfitTwisted(unfit("eager") or str(problem)) from problem

__all__ = ["EagerEPollReactor", "UnfitTwisted", "install"]

_EAGER = frozenset((EagerServer, EagerClient, EagerUNIXServer, EagerUNIXClient))
_NO_CONTEXT: Mapping[object, object] = {}


def _stopGathering(contexts: Iterable[object]) -> None:
    """
    Leave what connections have gathered to C{doWrite}: the reactor may be turned by a
    protocol in C{dataReceived}, which waits for answers to what it has written.
    """
    for each in contexts:
        if isinstance(each, EagerMixin):
            each.stopGathering()


class EagerEPollReactor(EPollReactor):
    """
    An epoll reactor whose connections send when they are told to.
    """

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

    # The loop

    def doPoll(self, timeout: float | None) -> None:
        """
        Wait for events, and dispatch them.
        """
        contexts = context.theContextTracker.currentContext().contexts
        top = len(contexts)
        if top > 1:
            _stopGathering(contexts)
        selectables = self._selectables
        try:
            events = self._poller.poll(
                -1 if timeout is None else timeout, len(selectables)
            )
        except OSError as problem:
            if problem.errno == errno.EINTR:
                return
            raise
        contexts.append(_NO_CONTEXT)
        readable, eager = EPOLLIN, _EAGER
        try:
            for fd, event in events:
                try:
                    selectable = selectables[fd]
                except KeyError:
                    continue
                if event == readable and type(selectable) in eager:
                    # (A method for this would cost a line 620 instructions of 21,100,
                    # counted by valgrind --tool=cachegrind.)
                    contexts[top] = selectable
                    try:
                        why = selectable.doRead()
                    except BaseException as problem:
                        log.err()
                        self._disconnect(selectable, problem, False)
                    else:
                        if why is not None:
                            self._disconnect(selectable, why, True)
                else:
                    isEager = isinstance(selectable, EagerMixin)
                    contexts[top] = selectable if isEager else _NO_CONTEXT
                    log.callWithLogger(
                        selectable, self._doReadOrWrite, selectable, fd, event
                    )
        finally:
            contexts.pop()

    doIteration = doPoll

    def _disconnect(
        self, connection: EagerMixin, why: BaseException, isRead: bool
    ) -> None:
        try:
            self._disconnectSelectable(connection, why, isRead)
        except KeyboardInterrupt:
            raise
        except BaseException:
            log.err()


def install() -> None:
    """
    Install the eager reactor as Twisted's.

    @raise UnfitTwisted: if this Twisted does not suit it; nothing is installed.
    """
    from twisted.internet.main import installReactor

    require("eager")
    installReactor(EagerEPollReactor())
