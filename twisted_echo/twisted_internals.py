"""
The private parts of Twisted that this package leans on, all in one checked list.

Twisted promises nothing about them, so another version may lack one. A module that
needs some calls L{require} when it is imported: under a Twisted that lacks one, the
import fails with an error that names it, instead of a connection failing later.

What must hold: every access of this package to a private name of Twisted's has its line
here, and no line is left over. A test reads the source of all modules to check both.
"""

import inspect
from collections.abc import Iterator
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
    What one module needs of one of Twisted's classes or modules.

    @ivar user: the module of this package, without the package's name.
    @ivar owner: the class, module or object of Twisted's.
    @ivar names: the attributes. The private ones are all there are; of the public ones,
        those that Twisted does not document for this use.
    @ivar purpose: what the module does with them.
    """

    user: str
    owner: str
    names: tuple[str, ...]
    purpose: str


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
    # The eager reactor
    Internals(
        "eager.sending",
        _DESCRIPTOR,
        ("_tempDataBuffer", "_tempDataLen", "dataBuffer", "offset"),
        "The buffers of a transport: sends past them when they are empty, and fills"
        " them with what the kernel did not take.",
    ),
    Internals(
        "eager.sending",
        _DESCRIPTOR,
        ("SEND_LIMIT", "bufferSize", "producer", "producerPaused", "streamingProducer"),
        "How much is sent at once, and when a producer is paused.",
    ),
    Internals(
        "eager.sending",
        _DESCRIPTOR,
        ("_maybePauseProducer",),
        "Pauses a push producer within dataReceived.",
    ),
    Internals(
        "eager.sending",
        _DESCRIPTOR,
        ("connected", "disconnecting"),
        "Whether there is a connection to send on; and what every session reads.",
    ),
    Internals(
        "eager.sending",
        f"{_TCP}.Connection",
        ("_dataReceived",),
        "By which a transport hands on what it has read: gathers answers around it.",
    ),
    Internals(
        "eager.tcp_transports",
        f"{_TCP}.Client",
        ("_connectDone",),
        "Where a connection that was made from here begins.",
    ),
    Internals(
        "eager.tcp_transports",
        f"{_TCP}.Port",
        ("transport",),
        "The class of accepted connections.",
    ),
    Internals(
        "eager.tcp_transports",
        f"{_TCP}.Connector",
        ("_makeTransport",),
        "Makes the transport of a connection.",
    ),
    Internals(
        "eager.unix_transports",
        f"{_UNIX}.Connector",
        ("_makeTransport",),
        "Makes the transport of a connection.",
    ),
    Internals(
        "eager.unix_transports",
        f"{_UNIX}.Client",
        ("_connectDone",),
        "Where a connection that was made from here begins.",
    ),
    Internals(
        "eager.unix_transports",
        f"{_UNIX}.Port",
        ("_getLogPrefix", "_preexistingSocket", "_shouldShutdown", "transport"),
        "Leaves an adopted socket as it was found.",
    ),
    Internals(
        "eager.unix_transports",
        _TCP,
        ("_reservedFD",),
        "The descriptor that a port keeps in reserve.",
    ),
    Internals(
        "eager.unix_transports",
        f"{_TCP}._reservedFD",
        ("reserve",),
        "The same.",
    ),
    Internals(
        "eager.sending",
        "twisted.python.context.ContextTracker",
        ("contexts",),
        "Finds the log context below a transport's own.",
    ),
    Internals(
        "eager.sending",
        "twisted.python.context.theContextTracker",
        ("currentContext",),
        "The same.",
    ),
    Internals(
        "eager.sending",
        "twisted.python.log",
        ("ILogContext",),
        "The key of that context.",
    ),
    Internals(
        "eager.reactor",
        _EPOLL,
        ("_doReadOrWrite", "_poller", "_selectables", "doPoll"),
        "Replaces the poll loop.",
    ),
    Internals(
        "eager.reactor",
        _EPOLL,
        ("_disconnectSelectable",),
        "Ends a connection whose read failed.",
    ),
    Internals(
        "eager.reactor",
        _EPOLL,
        ("_supportedAddressFamilies", "adoptStreamConnection", "adoptStreamPort"),
        "Adopts sockets with transports of its own.",
    ),
    Internals(
        "eager.reactor",
        f"{_TCP}.Server",
        ("_fromConnectedSocket",),
        "Makes the transport of an adopted connection.",
    ),
    Internals(
        "eager.reactor",
        f"{_TCP}.Port",
        ("_fromListeningDescriptor",),
        "Makes the port of an adopted socket.",
    ),
    Internals(
        "eager.reactor",
        f"{_UNIX}.Server",
        ("_fromConnectedSocket",),
        "Makes the transport of an adopted connection.",
    ),
    Internals(
        "eager.reactor",
        f"{_UNIX}.Port",
        ("_fromListeningDescriptor",),
        "Makes the port of an adopted socket.",
    ),
    Internals(
        "eager.reactor",
        "twisted.python.context.ContextTracker",
        ("contexts",),
        "Puts each transport into the log context without a call.",
    ),
    Internals(
        "eager.reactor",
        "twisted.python.context.theContextTracker",
        ("currentContext",),
        "The same.",
    ),
    Internals(
        "eager.reactor",
        "twisted.python.log",
        ("callWithLogger",),
        "Handles the events of all other descriptors as Twisted does.",
    ),
    # What a connection still has to read and to send
    Internals(
        "net.transport_queries",
        _DESCRIPTOR,
        ("_tempDataBuffer", "_tempDataLen", "dataBuffer", "offset"),
        "Measures the output that waits in a transport, and drops it.",
    ),
    Internals(
        "session.timeouts",
        _DESCRIPTOR,
        ("_tempDataBuffer", "dataBuffer"),
        "Tells whether output waits, for every session, without a call.",
    ),
    Internals(
        "net.receive_queue",
        "twisted.internet.posixbase.PosixReactorBase",
        ("_disconnectSelectable",),
        "Ends a connection as a reactor does after a read.",
    ),
    # Listening
    Internals(
        "net.listening",
        f"{_TCP}.Port",
        ("_shouldShutdown",),
        "Tells an adopted socket from one of the port's own.",
    ),
    Internals(
        "net.listening",
        f"{_TCP}.Port",
        ("_logger",),
        "Limits how often a port logs that it cannot accept.",
    ),
    Internals(
        "endpoints.string_options",
        _ENDPOINTS,
        ("_OP", "_parse", "_parseSSL", "_parseTCP", "_parseUNIX", "_tokenize"),
        "Reads endpoint strings as Twisted does, to report mistakes by name.",
    ),
    Internals(
        "endpoints.string_options",
        f"{_ENDPOINTS}._TCP6ServerParser",
        ("_parseServer",),
        "The same.",
    ),
    Internals(
        "endpoints.string_options",
        f"{_ENDPOINTS}._SystemdParser",
        ("_parseServer",),
        "The same.",
    ),
    Internals(
        "command.option_parsers",
        _ENDPOINTS,
        ("_parse",),
        "The same.",
    ),
    Internals(
        "command.workers.adopted",
        f"{_TCP}.Port",
        ("_fromListeningDescriptor", "_logConnectionLostMsg", "_shouldShutdown"),
        "Listens on a socket of the supervisor's and leaves it as it was found.",
    ),
    Internals(
        "command.workers.adopted",
        f"{_TCP}.Port",
        ("_preexistingSocket",),
        "The same.",
    ),
    Internals(
        "command.workers.adopted",
        f"{_UNIX}.Port",
        ("_fromListeningDescriptor", "_preexistingSocket"),
        "The same.",
    ),
    Internals(
        "command.workers.adopted",
        _TCP,
        ("_reservedFD",),
        "The descriptor that a port keeps in reserve.",
    ),
    Internals(
        "command.workers.adopted",
        f"{_TCP}._reservedFD",
        ("reserve",),
        "The same.",
    ),
    # Protocols
    Internals(
        "framing.line_receiver",
        f"{_BASIC}.LineReceiver",
        ("_busyReceiving",),
        "The same flag, for subclasses that look at it.",
    ),
    Internals(
        "framing.held_input",
        f"{_BASIC}.LineReceiver",
        ("_busyReceiving",),
        "Tells whether the receiver is within its loop.",
    ),
    Internals(
        "session.input_buffers",
        f"{_BASIC}.LineOnlyReceiver",
        ("_buffer",),
        "Drops the input that a receiver of Twisted's holds when TLS begins.",
    ),
    Internals(
        "session.input_buffers",
        f"{_BASIC}.IntNStringReceiver",
        ("_compatibilityOffset", "_unprocessed"),
        "The same.",
    ),
    Internals(
        "session.input_buffers",
        f"{_BASIC}.NetstringReceiver",
        ("_PARSING_LENGTH", "_remainingData", "_state"),
        "The same.",
    ),
    # Tests of reactors
    Internals(
        "testing.leaks",
        "twisted.internet.base.ReactorBase",
        ("_internalReaders",),
        "Tells a reactor's own descriptors from those of a program.",
    ),
    Internals(
        "testing.threads",
        "twisted.internet.base.ReactorBase",
        ("_internalReaders",),
        "Closes what a reactor keeps open.",
    ),
    Internals(
        "testing.threads",
        _EPOLL,
        ("_poller",),
        "The same.",
    ),
)

SIGNATURES = (
    Signature("eager.tcp_transports", _DESCRIPTOR, "write", ("self", "data")),
    Signature("eager.tcp_transports", _DESCRIPTOR, "writeSequence", ("self", "iovec")),
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


def _lacking(user: str) -> Iterator[str]:
    for row in INTERNALS:
        if not f"{row.user}.".startswith(f"{user}."):
            continue
        owner = _find(row.owner)
        if owner is None:
            yield row.owner
            continue
        for name in row.names:
            if not _has(owner, name):
                yield f"{_last(row.owner)}.{name}"
    for _, path, name, parameters in (
        each for each in SIGNATURES if f"{each.user}.".startswith(f"{user}.")
    ):
        function = getattr(_find(path), name, None)
        if function is None or tuple(inspect.signature(function).parameters) != (
            parameters
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
