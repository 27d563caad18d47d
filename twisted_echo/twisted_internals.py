"""
The private parts of Twisted that this package leans on, all in one checked list.

Twisted promises nothing about them, so another version may lack one. A module that
needs some calls L{require} when it is imported: under a Twisted that lacks one, the
import fails with an error that names it, instead of a connection failing later.

What must hold: every access of this package to a private name of Twisted's has its line
here, and no line is left over. A test reads the source of all modules to check both.
"""

import inspect
from collections.abc import Iterator, Mapping
from pkgutil import resolve_name
from typing import NamedTuple

from twisted import __version__ as twistedVersion

__all__ = [
    "INTERNALS",
    "SIGNATURES",
    "Internals",
    "Signature",
    "UnfitTwisted",
    "require",
    "unfit",
]


class UnfitTwisted(ImportError):
    """
    The installed Twisted lacks something that a module of this package needs.
    """


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
_EPOLL = "twisted.internet.epollreactor.EPollReactor"
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
                "_maybePauseProducer connected disconnecting"
            ),
            f"{_TCP}.Connection": "_dataReceived",
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
        "has ports and connectors make eager transports",
        {
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
            f"{_UNIX}.Client": "_connectDone",
            f"{_UNIX}.Port": (
                "_getLogPrefix _preexistingSocket _shouldShutdown transport"
            ),
            _TCP: "_reservedFD",
            f"{_TCP}._reservedFD": "reserve",
        },
    ),
    Internals(
        "eager.reactor",
        "replaces the poll loop, and adopts sockets with eager transports",
        {
            _EPOLL: (
                "_doReadOrWrite _poller _selectables doPoll _disconnectSelectable "
                "_supportedAddressFamilies adoptStreamConnection adoptStreamPort"
            ),
            f"{_TCP}.Server": "_fromConnectedSocket",
            f"{_TCP}.Port": "_fromListeningDescriptor",
            f"{_UNIX}.Server": "_fromConnectedSocket",
            f"{_UNIX}.Port": "_fromListeningDescriptor",
            "twisted.python.context.ContextTracker": "contexts",
            "twisted.python.context.theContextTracker": "currentContext",
            "twisted.python.log": "callWithLogger",
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
            "twisted.internet.posixbase.PosixReactorBase": "_disconnectSelectable",
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
        "command.option_parsers",
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
        "eager.reactor",
        f"{_TCP}.Port",
        "__init__",
        ("self", "port", "factory", "backlog", "interface", "reactor"),
    ),
    Signature(
        "eager.reactor",
        _EPOLL,
        "_disconnectSelectable",
        ("self", "selectable", "why", "isRead", "faildict"),
    ),
)


def _find(path: str) -> object:
    """
    What a path leads to, or None.
    """
    try:
        return resolve_name(path)
    except (AttributeError, ImportError):
        return None


def _has(owner: object, name: str) -> bool:
    """
    Whether a class, module or object has an attribute, or an instance of a class gets
    it when it is made or connected.
    """
    return hasattr(owner, name) or any(
        name in vars(each)[begin].__code__.co_names
        for each in getattr(owner, "__mro__", ())
        for begin in ("__init__", "makeConnection")
        if inspect.isfunction(vars(each).get(begin))
    )


def _isFor(user: str, asked: str) -> bool:
    """
    Whether a module has the given name, or is in the package of that name.
    """
    return f"{user}.".startswith(f"{asked}.")


def _lacking(asked: str) -> Iterator[str]:
    for each in INTERNALS:
        for path, names in each.names.items() if _isFor(each.user, asked) else ():
            owner = _find(path)
            if owner is None:
                yield path
                continue
            for name in names.split():
                if not _has(owner, name):
                    yield f"{_last(path)}.{name}"
    for user, path, name, parameters in SIGNATURES:
        function = getattr(_find(path), name, None)
        if _isFor(user, asked) and (
            function is None
            or tuple(inspect.signature(function).parameters) != parameters
        ):
            yield f"{_last(path)}.{name}({', '.join(parameters)})"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def unfit(user: str) -> str | None:
    """
    Tell why the installed Twisted does not suit a module or package of this package.

    @param user: its name, such as C{eager} or C{twisted_echo.endpoints.string_options}.
    @return: one sentence, or None if it suits.
    """
    user = user.removeprefix("twisted_echo.")
    lacking = list(dict.fromkeys(_lacking(user)))
    if not lacking:
        return None
    return (
        f"Twisted {twistedVersion} lacks what twisted_echo.{user} builds on:"
        f" {', '.join(lacking)}"
    )


def require(user: str) -> None:
    """
    Refuse a Twisted that does not suit a module or package of this package.

    @raise UnfitTwisted: naming what is lacking.
    """
    reason = unfit(user)
    if reason is not None:
        raise UnfitTwisted(reason)
