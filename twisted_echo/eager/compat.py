"""
What the eager reactor leans on in Twisted, beyond what Twisted promises.

Named here and nowhere else, and checked before the reactor is installed: under a
Twisted that lacks one of these, it is refused (see L{unfit}) instead of failing
later, in the middle of somebody's connection.
"""

import inspect
from collections.abc import Iterable
from pkgutil import resolve_name
from typing import Any

from twisted import __version__ as twistedVersion

__all__ = ["UnfitTwisted", "unfit"]


class UnfitTwisted(ImportError):
    """
    This Twisted is not one that the eager reactor can build on.
    """


_DESCRIPTOR = "twisted.internet.abstract.FileDescriptor"
_REACTOR = "twisted.internet.epollreactor.EPollReactor"

_ATTRIBUTES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        _DESCRIPTOR,
        (
            "SEND_LIMIT",
            "_isSendBufferFull",
            "_maybePauseProducer",
            "_writeDisconnected",
            "_writeDisconnecting",
            "bufferSize",
            "connected",
            "dataBuffer",
            "disconnecting",
            "offset",
            "producer",
            "producerPaused",
            "streamingProducer",
        ),
    ),
    ("twisted.internet.tcp.Connection", ("TLS", "_aborting", "_dataReceived")),
    ("twisted.internet.tcp.Server", ("_fromConnectedSocket",)),
    ("twisted.internet.tcp.Client", ("_connectDone",)),
    ("twisted.internet.tcp.Port", ("_fromListeningDescriptor", "transport")),
    ("twisted.internet.tcp.Connector", ("_makeTransport",)),
    ("twisted.internet.unix.Server", ("_fromConnectedSocket", "_writeSomeDataBase")),
    ("twisted.internet.unix.Client", ("_writeSomeDataBase",)),
    (
        "twisted.internet.unix.Port",
        (
            "_fromListeningDescriptor",
            "_getLogPrefix",
            "_preexistingSocket",
            "_shouldShutdown",
            "transport",
        ),
    ),
    ("twisted.internet.tcp._reservedFD", ("reserve",)),
    ("twisted.internet.unix.Connector", ("_makeTransport",)),
    (
        _REACTOR,
        (
            "_disconnectSelectable",
            "_doReadOrWrite",
            "_supportedAddressFamilies",
            "adoptStreamConnection",
            "adoptStreamPort",
            "doPoll",
        ),
    ),
    ("twisted.python.context.theContextTracker", ("currentContext",)),
    ("twisted.python.log", ("ILogContext", "callWithLogger")),
)
"""
What must be there, and what it must have. (By name, since a class that is not there
shall be told, too.)
"""

_SIGNATURES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (_DESCRIPTOR, "write", ("self", "data")),
    (_DESCRIPTOR, "writeSequence", ("self", "iovec")),
    (
        "twisted.internet.tcp.Server",
        "__init__",
        ("self", "sock", "protocol", "client", "server", "sessionno", "reactor"),
    ),
    (
        "twisted.internet.tcp.Port",
        "__init__",
        ("self", "port", "factory", "backlog", "interface", "reactor"),
    ),
    (
        _REACTOR,
        "_disconnectSelectable",
        ("self", "selectable", "why", "isRead", "faildict"),
    ),
)
"""
What is called or overridden with these parameters.
"""

_INSTANCE_ATTRIBUTES: tuple[tuple[str, dict[str, object], tuple[str, ...]], ...] = (
    (_DESCRIPTOR, {"reactor": object()}, ("_tempDataBuffer", "_tempDataLen")),
    ("twisted.python.context.ContextTracker", {}, ("contexts",)),
)
"""
What instances must have: made with these arguments, and looked at.
"""

REACTOR_ATTRIBUTES = ("_poller", "_reads", "_selectables")
"""
What an C{EPollReactor} must have once it is made.
"""


def _find(path: str) -> Any:
    """
    What a path leads to, or None.
    """
    try:
        return resolve_name(path)
    except (AttributeError, ImportError):
        return None


def _missing() -> Iterable[str]:
    for path, names in _ATTRIBUTES:
        owner = _find(path)
        if owner is None:
            yield path
            continue
        for name in names:
            if not hasattr(owner, name):
                yield f"{_last(path)}.{name}"
    for path, name, parameters in _SIGNATURES:
        function = getattr(_find(path), name, None)
        if function is None or tuple(inspect.signature(function).parameters) != (
            parameters
        ):
            yield f"{_last(path)}.{name}({', '.join(parameters)})"
    for path, arguments, names in _INSTANCE_ATTRIBUTES:
        try:
            instance = _find(path)(**arguments)
        except Exception:
            instance = None
        for name in names:
            if not hasattr(instance, name):
                yield f"{_last(path)}().{name}"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def unfit() -> str | None:
    """
    Tell why this Twisted does not suit the eager reactor.

    @return: one sentence, or None if it suits.
    """
    missing = list(_missing())
    if not missing:
        return None
    return (
        f"Twisted {twistedVersion} lacks what the eager reactor builds on:"
        f" {', '.join(missing)}"
    )
