"""
What the eager reactor leans on in Twisted, beyond what Twisted promises.

Named here and nowhere else, and checked before the reactor is installed: under a
Twisted that lacks one of these, it is refused (see L{unfit}) instead of failing
later, in the middle of somebody's connection.
"""

import inspect
from collections.abc import Iterable
from typing import Any

from twisted import __version__ as twistedVersion
from twisted.internet import abstract, epollreactor, tcp, unix
from twisted.python import context, log

__all__ = ["unfit"]

_ATTRIBUTES: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (
        abstract.FileDescriptor,
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
    (tcp.Connection, ("TLS", "_aborting", "_dataReceived")),
    (tcp.Server, ("_fromConnectedSocket",)),
    (tcp.Client, ("_connectDone",)),
    (tcp.Port, ("_fromListeningDescriptor", "transport")),
    (tcp.Connector, ("_makeTransport",)),
    (unix.Server, ("_fromConnectedSocket", "_writeSomeDataBase")),
    (unix.Client, ("_writeSomeDataBase",)),
    (unix.Port, ("_fromListeningDescriptor", "transport")),
    (unix.Connector, ("_makeTransport",)),
    (
        epollreactor.EPollReactor,
        (
            "_disconnectSelectable",
            "_doReadOrWrite",
            "_supportedAddressFamilies",
            "adoptStreamConnection",
            "adoptStreamPort",
            "doPoll",
        ),
    ),
    (context.theContextTracker, ("currentContext",)),
    (log, ("ILogContext", "callWithLogger")),
)
"""
What classes and modules must have.
"""

_SIGNATURES: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (abstract.FileDescriptor, "write", ("self", "data")),
    (abstract.FileDescriptor, "writeSequence", ("self", "iovec")),
    (
        tcp.Server,
        "__init__",
        ("self", "sock", "protocol", "client", "server", "sessionno", "reactor"),
    ),
    (
        tcp.Port,
        "__init__",
        ("self", "port", "factory", "backlog", "interface", "reactor"),
    ),
    (
        epollreactor.EPollReactor,
        "_disconnectSelectable",
        ("self", "selectable", "why", "isRead", "faildict"),
    ),
)
"""
What is called or overridden with these parameters.
"""

_INSTANCE_ATTRIBUTES: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    (
        "FileDescriptor",
        lambda: abstract.FileDescriptor(reactor=object()),  # type: ignore[arg-type]
        ("_tempDataBuffer", "_tempDataLen"),
    ),
    (
        "_SendmsgMixin",
        lambda: unix._SendmsgMixin(),  # type: ignore[no-untyped-call]
        ("_sendmsgQueue",),
    ),
    (
        "ContextTracker",
        lambda: context.ContextTracker(),  # type: ignore[no-untyped-call]
        ("contexts",),
    ),
)
"""
What instances must have: made, and looked at.
"""

REACTOR_ATTRIBUTES = ("_poller", "_reads", "_selectables")
"""
What an C{EPollReactor} must have once it is made.
"""


def _missing() -> Iterable[str]:
    for owner, names in _ATTRIBUTES:
        for name in names:
            if not hasattr(owner, name):
                yield f"{getattr(owner, '__qualname__', owner)}.{name}"
    for owner, name, parameters in _SIGNATURES:
        function = getattr(owner, name, None)
        if function is None or tuple(inspect.signature(function).parameters) != (
            parameters
        ):
            yield f"{owner.__qualname__}.{name}({', '.join(parameters)})"
    for label, make, names in _INSTANCE_ATTRIBUTES:
        try:
            instance = make()
        except Exception:
            instance = None
        for name in names:
            if not hasattr(instance, name):
                yield f"{label}().{name}"


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
