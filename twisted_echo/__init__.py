"""
An echo service for Twisted, and what it is made of.

The spine is L{twisted_echo.framing} (bytes to lines and frames),
L{twisted_echo.session} (one connection's life, and the record of all),
L{twisted_echo.service} (listen, suspend, drain, stop) and L{twisted_echo.echo} (the
echo service, which composes them).

A package imports only what stands earlier in the map of C{docs/contributing.md}. Before
the spine come L{twisted_echo.twisted_internals}, L{twisted_echo.validation},
L{twisted_echo.logs}, L{twisted_echo.metrics}, L{twisted_echo.scheduling},
L{twisted_echo.eager}, the reactor, which is public as L{twisted_echo.reactor},
L{twisted_echo.net} and L{twisted_echo.tls}. Between session and service come
L{twisted_echo.endpoints}, where connections come in, L{twisted_echo.lifecycle}, the
states of a service, and L{twisted_echo.stop}, its stop step by step. After the spine
come L{twisted_echo.admin}, L{twisted_echo.command}, L{twisted_echo.tap},
L{twisted_echo.testing} and L{twisted_echo.bench}.

What a program needs is imported from here. Importing this package installs no reactor,
and imports no module before a name of it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_echo.admin.admin_service import AdminService
    from twisted_echo.admin.status_view import ServiceView
    from twisted_echo.echo import (
        EchoConfig,
        EchoFactory,
        EchoProtocol,
        EchoService,
        Framing,
    )
    from twisted_echo.framing.line_receiver import (
        FastLineOnlyReceiver,
        FastLineReceiver,
    )
    from twisted_echo.framing.string_receiver import (
        FastInt8StringReceiver,
        FastInt16StringReceiver,
        FastInt32StringReceiver,
        FastIntNStringReceiver,
    )
    from twisted_echo.lifecycle import IllegalTransition, State
    from twisted_echo.metrics import Histogram, Observation, Snapshot
    from twisted_echo.net.sockets import KeepAlive
    from twisted_echo.service import SessionService
    from twisted_echo.session.answers.answer_queue import Answer, AnswerQueue
    from twisted_echo.session.answers.answering import (
        AnsweringLineReceiver,
        AnsweringSession,
    )
    from twisted_echo.session.bounds.limits import Deadlines, Limits, WhenFull
    from twisted_echo.session.ends.end_reason import EndReason, SessionEnd
    from twisted_echo.session.factory import SessionFactory
    from twisted_echo.session.session import Session
    from twisted_echo.session.session_log import LogSessions

__all__ = [
    "AdminService",
    "Answer",
    "AnswerQueue",
    "AnsweringLineReceiver",
    "AnsweringSession",
    "Deadlines",
    "EchoConfig",
    "EchoFactory",
    "EchoProtocol",
    "EchoService",
    "EndReason",
    "FastInt8StringReceiver",
    "FastInt16StringReceiver",
    "FastInt32StringReceiver",
    "FastIntNStringReceiver",
    "FastLineOnlyReceiver",
    "FastLineReceiver",
    "Framing",
    "Histogram",
    "IllegalTransition",
    "KeepAlive",
    "Limits",
    "LogSessions",
    "Observation",
    "ServiceView",
    "Session",
    "SessionEnd",
    "SessionFactory",
    "SessionService",
    "Snapshot",
    "State",
    "WhenFull",
]

_NAMES = {
    "session.answers.answering": ("AnsweringLineReceiver", "AnsweringSession"),
    "session.answers.answer_queue": ("Answer", "AnswerQueue"),
    "echo": ("EchoConfig", "EchoFactory", "EchoProtocol", "EchoService", "Framing"),
    "session.ends.end_reason": (
        "EndReason",
        "SessionEnd",
    ),
    "session.factory": ("SessionFactory",),
    "framing.string_receiver": (
        "FastInt8StringReceiver",
        "FastInt16StringReceiver",
        "FastInt32StringReceiver",
        "FastIntNStringReceiver",
    ),
    "session.session_log": ("LogSessions",),
    "session.bounds.limits": (
        "Deadlines",
        "Limits",
        "WhenFull",
    ),
    "metrics": (
        "Histogram",
        "Observation",
        "Snapshot",
    ),
    "framing.line_receiver": (
        "FastLineOnlyReceiver",
        "FastLineReceiver",
    ),
    "lifecycle": ("IllegalTransition", "State"),
    "service": ("SessionService",),
    "session.session": ("Session",),
    "net.sockets": ("KeepAlive",),
    "admin.admin_service": ("AdminService",),
    "admin.status_view": ("ServiceView",),
}
"""
Which module has which of them. It is imported when one is asked for: pytest imports
this package whenever it starts, for the plugin in L{twisted_echo.testing}, and most of
what it then runs has nothing to do with this package.
"""
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
