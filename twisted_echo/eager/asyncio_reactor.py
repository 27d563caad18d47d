"""
The eager reactor on asyncio's loop, or another loop that has asyncio's C{add_reader}.

Its connections are those of the eager epoll reactor. Each is read by a callback of the
loop; what was written meanwhile is sent by one further callback for all of them, in the
loop's next iteration. All else is inherited from Twisted's asyncio reactor.

Name it before any other part of a program names a reactor::

    twistd --reactor=eager-asyncio web --path .

or::

    from twisted_echo.asyncio_reactor import install
    install(uvloop.new_event_loop())
"""

from asyncio import AbstractEventLoop, Handle
from threading import get_ident
from typing import Any

from twisted.python import context, log

from twisted_echo.twisted_internals.check import UnfitTwisted, require, unfit

try:
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor

    from twisted_echo.eager.connection_end import EndingMixin
    from twisted_echo.eager.reactor_mixin import EAGER, READABLE, EagerReactorMixin
except (AttributeError, ImportError) as problem:
    # What is lacking is a class, without which there is nothing to install.
    raise UnfitTwisted(
        unfit("eager", without="eager.epoll_reactor") or str(problem)
    ) from problem

__all__ = ["EagerAsyncioSelectorReactor", "UnfitTwisted", "install"]


class EagerAsyncioSelectorReactor(EagerReactorMixin, AsyncioSelectorReactor):
    """
    A reactor on an asyncio loop whose connections send once in a turn.
    """

    failures = Exception
    # The end of the turn, if something is queued for it.
    _turnEnd: Handle | None = None
    # The thread whose log contexts are `_contexts`.
    _thread: int | None = None
    _contexts: list[Any]

    def __init__(self, eventloop: AbstractEventLoop | None = None) -> None:
        """
        @param eventloop: see L{install}.
        @raise TypeError: if it is no loop, or one without C{add_reader}.
        """
        if eventloop is not None:
            _checkLoop(eventloop)
        # The loop gives no numbers: each connection stands for its own.
        self._connections: dict[Any, Any] = {}
        super().__init__(eventloop)

    def addReader(self, reader: Any) -> None:
        if type(reader) not in EAGER:
            super().addReader(reader)
        elif reader not in self._connections:
            descriptor = reader.fileno()
            self._asyncioEventloop.add_reader(
                descriptor, self._readable, ((reader, READABLE),)
            )
            self._readers[reader] = descriptor
            self._connections[reader] = reader

    def removeReader(self, reader: Any) -> None:
        self._connections.pop(reader, None)
        super().removeReader(reader)

    def _readable(self, events: tuple[tuple[EndingMixin, int]]) -> None:
        if self._thread != get_ident():
            self._thread = get_ident()
            self._contexts = context.theContextTracker.currentContext().contexts
        try:
            self.dispatch(self._contexts, events, self._connections)
        except KeyboardInterrupt:
            raise
        except BaseException:
            # As log.callWithLogger does: SystemExit and the like do not stop the loop.
            log.err()

    def addWriter(self, writer: Any) -> None:
        super().addWriter(writer)
        self._scheduleTurnEnd()

    def _scheduleTurnEnd(self) -> None:
        if self._queued and self._turnEnd is None:
            self._turnEnd = self._asyncioEventloop.call_soon(self._endTurn)

    def _endTurn(self) -> None:
        self._turnEnd = None
        try:
            self.flushWriteQueue()
        finally:
            # An exception that leaves the loop leaves the rest of the queue for when
            # the loop runs again.
            self._scheduleTurnEnd()

    def watchForWriting(self, connection: EndingMixin) -> None:
        try:
            super().watchForWriting(connection)
        except RuntimeError:
            # uvloop watches a descriptor with an error no longer, and does not tell.
            # Once removed, it can be watched again.
            self._asyncioEventloop.remove_writer(connection.fileno())
            if connection in self._connections:
                self.removeReader(connection)
                self.addReader(connection)
            super().watchForWriting(connection)


def _checkLoop(eventloop: object) -> None:
    # The abstract one has a method that raises, and Windows' own leaves it so.
    lacking = AbstractEventLoop.add_reader
    if getattr(type(eventloop), "add_reader", lacking) is lacking:
        raise TypeError(
            "the eager reactor needs an event loop that has add_reader, such as"
            f" asyncio's SelectorEventLoop or uvloop's, got {eventloop!r}"
        )


def install(eventloop: AbstractEventLoop | None = None) -> None:
    """
    Install the eager reactor on an asyncio loop as Twisted's.

    @param eventloop: the loop: asyncio's own, uvloop's, or any that has C{add_reader}.
        By default the one that runs, or a new one.
    @raise TypeError: if it is no loop, or one without C{add_reader}.
    @raise UnfitTwisted: if this Twisted does not suit it; nothing is installed.
    """
    from twisted.internet.main import installReactor

    require("eager", without="eager.epoll_reactor")
    installReactor(EagerAsyncioSelectorReactor(eventloop))
