"""
The list: each module's private parts of Twisted.
"""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["INTERNALS", "SIGNATURES", "Internals", "Signature"]


class Internals(NamedTuple):
    """
    What one module needs of Twisted's private parts.

    @ivar user: the module of this package, without the package's name.
    @ivar purpose: what it does with them.
    @ivar names: for each class, module or object of Twisted's, the attributes, between
        spaces: all private ones, and those public ones that Twisted does not document
        for this use.
    """

    user: str
    purpose: str
    names: Mapping[str, str]


class Signature(NamedTuple):
    """
    The parameters with which a module calls or overrides a function of Twisted's.
    """

    user: str
    owner: str
    name: str
    parameters: tuple[str, ...]


_ENDPOINTS = "twisted.internet.endpoints"
_BASIC = "twisted.protocols.basic"
_DESCRIPTOR = "twisted.internet.abstract.FileDescriptor"
_ASYNCIO = "twisted.internet.asyncioreactor.AsyncioSelectorReactor"
_EPOLL = "twisted.internet.epollreactor.EPollReactor"
_POSIX = "twisted.internet.posixbase.PosixReactorBase"
_TCP = "twisted.internet.tcp"
_UNIX = "twisted.internet.unix"

INTERNALS = (
    Internals(
        "eager.sending",
        "sends past a transport's empty buffers, fills them with what the kernel "
        "did not take, and pauses producers",
        {
            _DESCRIPTOR: (
                "_tempDataBuffer _tempDataLen dataBuffer offset SEND_LIMIT "
                "bufferSize producer producerPaused streamingProducer "
                "_maybePauseProducer disconnecting _writeDisconnecting startWriting"
            ),
            f"{_TCP}.Connection": "_dataReceived _closeWriteConnection writeSomeData",
        },
    ),
    Internals(
        "eager.slots",
        "keeps what one line touches of a transport in the object itself",
        {
            _DESCRIPTOR: (
                "_tempDataBuffer _tempDataLen dataBuffer SEND_LIMIT bufferSize "
                "producer producerPaused connected disconnecting"
            ),
        },
    ),
    Internals(
        "eager.write_queue",
        "queues connections instead of watching them, and ends them as Twisted does",
        {
            _POSIX: "_disconnectSelectable",
            _DESCRIPTOR: ("_tempDataBuffer connected dataBuffer disconnecting doWrite"),
            "twisted.python.context.ContextTracker": "contexts",
            "twisted.python.context.theContextTracker": "currentContext",
            "twisted.python.log": "callWithLogger",
        },
    ),
    Internals(
        "eager.connection_end",
        "ends a connection that has nothing left to send",
        {
            _DESCRIPTOR: (
                "_tempDataBuffer dataBuffer connected disconnecting startWriting "
                "stopReading"
            ),
        },
    ),
    Internals(
        "eager.served",
        "begins and ends an accepted connection in one call each",
        {
            _DESCRIPTOR: (
                "_getLogPrefix _tempDataBuffer _tempDataLen connected disconnected "
                "disconnecting producer reactor"
            ),
            f"{_TCP}.Port": "_realPortNumber",
            f"{_TCP}.Server": (
                "_addressType _closeSocket client fileno hostname logstr protocol "
                "readConnectionLost repstr server sessionno socket"
            ),
        },
    ),
    Internals(
        "eager.accepting",
        "accepts as Twisted's ports do, at less cost",
        {
            f"{_TCP}.Port": "_buildAddr sessionno transport",
        },
    ),
    Internals(
        "eager.log_context",
        "finds the log context below a transport's own",
        {
            "twisted.python.context.ContextTracker": "contexts",
            "twisted.python.context.theContextTracker": "currentContext",
            "twisted.python.log": "ILogContext",
        },
    ),
    Internals(
        "eager.tcp_transports",
        "has ports and connectors make eager transports, which send what was written",
        {
            _DESCRIPTOR: "_tempDataBuffer",
            f"{_TCP}.Client": "_connectDone",
            f"{_TCP}.Port": "transport",
            f"{_TCP}.Connector": "_makeTransport",
        },
    ),
    Internals(
        "eager.unix_transports",
        "the same; and leaves an adopted socket as it was found",
        {
            f"{_UNIX}.Connector": "_makeTransport",
            f"{_UNIX}.Port": (
                "_getLogPrefix _preexistingSocket _shouldShutdown transport"
            ),
            f"{_UNIX}.Client": "_connectDone _sendmsgQueue",
            f"{_UNIX}.Server": "_sendmsgQueue",
            _TCP: "_reservedFD",
            f"{_TCP}._reservedFD": "reserve",
        },
    ),
    Internals(
        "eager.reactor_mixin",
        "adopts sockets with eager transports",
        {
            _POSIX: "_supportedAddressFamilies adoptStreamConnection adoptStreamPort",
            f"{_TCP}.Server": "_fromConnectedSocket",
            f"{_TCP}.Port": "_fromListeningDescriptor",
            f"{_UNIX}.Server": "_fromConnectedSocket",
            f"{_UNIX}.Port": "_fromListeningDescriptor",
            "twisted.python.context.ContextTracker": "contexts",
            "twisted.python.context.theContextTracker": "currentContext",
        },
    ),
    Internals(
        "eager.epoll_reactor",
        "replaces the poll loop",
        {
            _EPOLL: "_doReadOrWrite _poller _reads _remove _selectables _writes doPoll",
            _POSIX: (
                "_cancellations _justStopped _newTimedCalls _pendingTimedCalls "
                "_started _stopped mainLoop runUntilCurrent running seconds "
                "threadCallQueue timeout"
            ),
            "twisted.internet.base": "_topHandler",
            "twisted.python.context.ContextTracker": "contexts",
            "twisted.python.context.theContextTracker": "currentContext",
            "twisted.python.log": "callWithLogger",
        },
    ),
    Internals(
        "eager.asyncio_reactor",
        "has the loop call it when a connection can be read",
        {
            _ASYNCIO: "_asyncioEventloop _readers",
            "twisted.python.context.ContextTracker": "contexts",
            "twisted.python.context.theContextTracker": "currentContext",
        },
    ),
    Internals(
        "net.transport_queries",
        "measures the output that waits in a transport, and drops it",
        {
            _DESCRIPTOR: "_tempDataBuffer _tempDataLen dataBuffer offset",
        },
    ),
    Internals(
        "session.bounds.timeouts",
        "tells whether output waits, for every session, without a call",
        {
            _DESCRIPTOR: "_tempDataBuffer dataBuffer",
        },
    ),
    Internals(
        "net.receive_queue",
        "ends a connection as a reactor does after a read",
        {
            _POSIX: "_disconnectSelectable",
        },
    ),
    Internals(
        "net.listening",
        "tells an adopted socket from one of the port's own; and limits how often "
        "a port logs that it cannot accept",
        {
            f"{_TCP}.Port": "_logger _shouldShutdown",
        },
    ),
    Internals(
        "endpoints.string_options",
        "reads endpoint strings as Twisted does, to report mistakes by name",
        {
            _ENDPOINTS: "_OP _parse _parseSSL _parseTCP _parseUNIX _tokenize",
            f"{_ENDPOINTS}._TCP6ServerParser": "_parseServer",
            f"{_ENDPOINTS}._SystemdParser": "_parseServer",
        },
    ),
    Internals(
        "command.options.option_parsers",
        "the same",
        {
            _ENDPOINTS: "_parse",
        },
    ),
    Internals(
        "command.workers.adopted",
        "listens on the supervisor's sockets, and leaves them as it found them",
        {
            f"{_TCP}.Port": (
                "_fromListeningDescriptor _logConnectionLostMsg _shouldShutdown "
                "_preexistingSocket"
            ),
            f"{_UNIX}.Port": "_fromListeningDescriptor _preexistingSocket",
            _TCP: "_reservedFD",
            f"{_TCP}._reservedFD": "reserve",
        },
    ),
    Internals(
        "framing.line_receiver",
        "sets the same flag, for subclasses that look at it",
        {
            f"{_BASIC}.LineReceiver": "_busyReceiving",
        },
    ),
    Internals(
        "framing.message_receiver",
        "the same; pauses as Twisted's receivers do",
        {
            _BASIC: "_PauseableMixin",
            f"{_BASIC}.LineReceiver": "_busyReceiving",
        },
    ),
    Internals(
        "framing.held_input",
        "tells whether the receiver is within its loop",
        {
            f"{_BASIC}.LineReceiver": "_busyReceiving",
        },
    ),
    Internals(
        "session.empty_buffers",
        "drops the input that a receiver of Twisted's holds when TLS begins",
        {
            f"{_BASIC}.LineOnlyReceiver": "_buffer",
            f"{_BASIC}.IntNStringReceiver": "_compatibilityOffset _unprocessed",
            f"{_BASIC}.NetstringReceiver": "_PARSING_LENGTH _remainingData _state",
        },
    ),
    Internals(
        "testing.leaks",
        "tells a reactor's own descriptors from those of a program",
        {
            "twisted.internet.base.ReactorBase": "_internalReaders",
        },
    ),
    Internals(
        "testing.threads",
        "closes what a reactor keeps open",
        {
            "twisted.internet.base.ReactorBase": "_internalReaders",
            _EPOLL: "_poller",
        },
    ),
)

SIGNATURES = (
    Signature("eager.sending", _DESCRIPTOR, "write", ("self", "data")),
    Signature("eager.sending", _DESCRIPTOR, "writeSequence", ("self", "iovec")),
    Signature(
        "eager.tcp_transports",
        f"{_TCP}.Server",
        "__init__",
        ("self", "sock", "protocol", "client", "server", "sessionno", "reactor"),
    ),
    Signature(
        "eager.reactor_mixin",
        f"{_TCP}.Port",
        "__init__",
        ("self", "port", "factory", "backlog", "interface", "reactor"),
    ),
    Signature(
        "eager.write_queue",
        _POSIX,
        "_disconnectSelectable",
        ("self", "selectable", "why", "isRead", "faildict"),
    ),
    Signature(
        "eager.epoll_reactor",
        _EPOLL,
        "_remove",
        ("self", "xer", "primary", "other", "selectables", "event", "antievent"),
    ),
)
