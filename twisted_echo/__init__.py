"""
An echo service for Twisted, and what it is made of.

Used by: whoever embeds the service: what a program needs is imported from here.

  - L{twisted_echo.checks}: checks of what a user sets; pure.
  - L{twisted_echo.framing}: where lines end; pure.
  - L{twisted_echo.prefixes}: where frames end; pure.
  - L{twisted_echo.units}: durations and sizes with units; pure.
  - L{twisted_echo.loggable}: values of log events: text to a person, data to a
    program.
  - L{twisted_echo.delivery}: what was found is handed on, and can be interrupted.
  - L{twisted_echo.frames}: L{FastInt8StringReceiver}, L{FastInt16StringReceiver},
    L{FastInt32StringReceiver}, L{FastIntNStringReceiver}.
  - L{twisted_echo.receiver}: L{FastLineReceiver} and L{FastLineOnlyReceiver}.
  - L{twisted_echo.sockets}: options of a connection's socket.
  - L{twisted_echo.addresses}: addresses in few words.
  - L{twisted_echo.metrics}: L{Snapshot} and L{Histogram}, plain numbers.
  - L{twisted_echo.endings}: L{EndReason} and L{SessionEnd}.
  - L{twisted_echo.rates}: a bounded rate for the log; pure.
  - L{twisted_echo.backpressure}: input that stops while there is too much output.
  - L{twisted_echo.progress}: how far a connection's bytes have got.
  - L{twisted_echo.refusal}: connections that are refused, ended in order.
  - L{twisted_echo.backlog}: the backlog of a port that closes, emptied in order.
  - L{twisted_echo.tlsrecords}, L{twisted_echo.tlsconnection}: TLS, by the standard
    library.
  - L{twisted_echo.arrivals}: input that has arrived and was not read yet.
  - L{twisted_echo.turns}: work that may take only a part of each turn.
  - L{twisted_echo.hooks}: overrides that must call the inherited method.
  - L{twisted_echo.sessionstate}: the state of a session, and what can be told from it.
  - L{twisted_echo.overrides}: a session's hooks, as subclasses override them.
  - L{twisted_echo.session}: L{Session}, one connection's life.
  - L{twisted_echo.overlong}: a line or a frame over the limit, refused in order.
  - L{twisted_echo.answers}: the answers of a session that are still to come.
  - L{twisted_echo.answering}: L{AnsweringSession}, L{AnsweringLineReceiver}.
  - L{twisted_echo.limits}: L{Deadlines} and L{Limits}.
  - L{twisted_echo.guard}: the deadlines of all sessions, kept by one sweep.
  - L{twisted_echo.journal}: what is logged of sessions.
  - L{twisted_echo.maker}: what makes the sessions of a factory.
  - L{twisted_echo.factory}: L{SessionFactory}, the record of all sessions.
  - L{twisted_echo.layers}, L{twisted_echo.proxyheader}, L{twisted_echo.proxy},
    L{twisted_echo.tls}: what stands between a connection and its session.
  - L{twisted_echo.listen}: endpoints of the strings that C{--listen} takes.
  - L{twisted_echo.listeners}: the ports of some endpoints, all or none.
  - L{twisted_echo.monitor}: snapshots of a factory's sessions.
  - L{twisted_echo.service}: L{SessionService}: listen, suspend, stop.
  - L{twisted_echo.echo}: the composition: L{EchoProtocol}, L{EchoFactory},
    L{EchoService}, L{EchoConfig}, L{Framing}.
  - L{twisted_echo.view}: a service as those see it who look at it.
  - L{twisted_echo.prometheus}, L{twisted_echo.admin}: numbers, health and sessions over
    HTTP.
  - L{twisted_echo.logs}: the log as JSON.
  - L{twisted_echo.command}: what only the commands do.
  - L{twisted_echo.tap}: the command line of C{twistd echo}.
  - L{twisted_echo.bench}: C{python -m twisted_echo.bench}.
  - L{twisted_echo.testing}: servers, faults and leaks, for tests.

Each imports only what stands above it. Importing this package installs no
reactor, and imports no module before a name of it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_echo.answering import AnsweringLineReceiver, AnsweringSession
    from twisted_echo.answers import Answer, AnswerQueue
    from twisted_echo.echo import (
        EchoConfig,
        EchoFactory,
        EchoProtocol,
        EchoService,
        Framing,
    )
    from twisted_echo.endings import EndReason, SessionEnd
    from twisted_echo.factory import SessionFactory
    from twisted_echo.frames import (
        FastInt8StringReceiver,
        FastInt16StringReceiver,
        FastInt32StringReceiver,
        FastIntNStringReceiver,
    )
    from twisted_echo.journal import LogSessions
    from twisted_echo.limits import Deadlines, Limits, WhenFull
    from twisted_echo.metrics import Histogram, Observation, Snapshot
    from twisted_echo.receiver import FastLineOnlyReceiver, FastLineReceiver
    from twisted_echo.service import IllegalTransition, SessionService, State
    from twisted_echo.session import Session
    from twisted_echo.sockets import KeepAlive
    from twisted_echo.view import ServiceView

__all__ = [
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
    "answering": ("AnsweringLineReceiver", "AnsweringSession"),
    "answers": ("Answer", "AnswerQueue"),
    "echo": ("EchoConfig", "EchoFactory", "EchoProtocol", "EchoService", "Framing"),
    "endings": (
        "EndReason",
        "SessionEnd",
    ),
    "factory": ("SessionFactory",),
    "frames": (
        "FastInt8StringReceiver",
        "FastInt16StringReceiver",
        "FastInt32StringReceiver",
        "FastIntNStringReceiver",
    ),
    "journal": ("LogSessions",),
    "limits": (
        "Deadlines",
        "Limits",
        "WhenFull",
    ),
    "metrics": (
        "Histogram",
        "Observation",
        "Snapshot",
    ),
    "receiver": (
        "FastLineOnlyReceiver",
        "FastLineReceiver",
    ),
    "service": (
        "IllegalTransition",
        "SessionService",
        "State",
    ),
    "session": ("Session",),
    "sockets": ("KeepAlive",),
    "view": ("ServiceView",),
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
