"""
The options that take a value: what each is for, and how its value is parsed.
L{twisted_echo.command.options.help} has the order in which a person reads them.
"""

from collections.abc import Callable
from enum import Enum

from twisted.python.usage import UsageError

from twisted_echo.command.options.option import Option
from twisted_echo.command.options.option_parsers import (
    AUTO,
    OFF,
    delimiter,
    endpoint,
    keepAlive,
    network,
    number,
    oneOf,
    sessions,
    wholeNumber,
    workers,
)
from twisted_echo.echo import Framing
from twisted_echo.session.bounds.limits import WhenFull
from twisted_echo.session.session_log import LogSessions
from twisted_echo.validation.checks import InvalidSetting
from twisted_echo.validation.units import parse_duration, parse_size

__all__ = ["LISTEN", "OPTIONS", "PROXY_FROM", "usageError"]


def _choice(
    name: str, letter: str | None, default: Enum, help: str, field: str
) -> Option:
    """
    Make an option whose values are those of an enum.
    """
    kind = type(default)
    return Option(name, letter, default.value, help, oneOf(kind), field, kind)


LISTEN = Option(
    "listen",
    "l",
    "tcp:7007:interface=127.0.0.1",
    "Where to listen, a Twisted endpoint: tcp:7007 (every IPv4 address of this"
    " machine), tcp6:7007, unix:/run/echo.sock,"
    " ssl:7007:privateKey=key.pem:certKey=cert.pem, tls:/etc/certs:7007 (one of the"
    " certificates in a folder, by the name that a client asks for),"
    " systemd:domain=INET:name=echo, haproxy:tcp:7007. Can be given several times.",
    endpoint,
    "listen",
    isRepeated=True,
)

PROXY_FROM = Option(
    "proxy-from",
    None,
    "",
    "An address or network, such as 10.0.0.0/8, from which haproxy: takes a PROXY"
    " header; from others the connection is refused. Can be given several times."
    " Without it: from everywhere.",
    network,
    isRepeated=True,
)

OPTIONS = (
    LISTEN,
    PROXY_FROM,
    _choice(
        "framing",
        "f",
        Framing.LINE,
        "What is sent back as a whole: 'line'; 'int8', 'int16' or 'int32', a frame"
        " after its length in so many bits; or 'raw', whatever arrives.",
        "framing",
    ),
    Option(
        "delimiter",
        "d",
        "\\n",
        "What ends a line. \\n, \\r, \\0 and \\xHH stand for bytes.",
        delimiter,
        "delimiter",
    ),
    Option(
        "max-length",
        "m",
        "64K",
        "The longest line or frame, its delimiter or length not counted. A client"
        " that sends a longer one is disconnected.",
        parse_size,
        "maxLength",
    ),
    Option(
        "drain",
        None,
        "0s",
        "How long, at a stop, clients may finish and leave, before the service closes"
        " their connections.",
        parse_duration,
        "drain",
    ),
    Option(
        "abort-after",
        None,
        "5s",
        "How long the service waits, after it has closed a connection, for the client"
        " to read the rest and to close too. Then it cuts the client off.",
        parse_duration,
        "abortAfter",
    ),
    Option(
        "keepalive",
        "k",
        "1m,10s,6",
        "When the kernel probes a silent client: after IDLE, then every INTERVAL. It"
        " gives the client up after COUNT probes without an answer. Or 'off'.",
        keepAlive,
        "keepAlive",
    ),
    Option(
        "idle-timeout",
        None,
        "5m",
        "How long a session may be silent in both directions, before it is closed. 0,"
        " here and for the other timeouts: no limit.",
        parse_duration,
        "idle",
    ),
    Option(
        "line-timeout",
        None,
        "1m",
        "How long a client may take from the first byte of a line or frame to its"
        " last.",
        parse_duration,
        "line",
    ),
    Option(
        "write-timeout",
        None,
        "1m",
        "How long a client may read nothing of the output that waits for it, before"
        " it is cut off.",
        parse_duration,
        "write",
    ),
    Option(
        "handshake-timeout",
        None,
        "10s",
        "How long a TLS handshake or a PROXY header may take.",
        parse_duration,
        "handshake",
    ),
    Option(
        "max-sessions",
        None,
        AUTO,
        "How many sessions there may be at once; 0 for no limit. 'auto' is what"
        " the limit of open files allows, less a reserve, 100000 at most. A number"
        " that leaves no reserve is lowered.",
        sessions,
        "sessions",
    ),
    Option(
        "max-sessions-per-peer",
        None,
        "0",
        "How many sessions one peer may have at once: an IPv4 address, an IPv6 network"
        " of 64 bits, or the path of a UNIX socket. 0 for no limit. One more is"
        " refused.",
        wholeNumber,
        "sessionsPerPeer",
    ),
    _choice(
        "when-full",
        None,
        WhenFull.WAIT,
        "What happens to a connection over --max-sessions: 'wait' leaves it in the"
        " backlog, 'refuse' closes it.",
        "whenFull",
    ),
    Option(
        "max-buffered",
        None,
        "256M",
        "How many bytes may be buffered for all sessions together. Over it, the"
        " session that has been paused longest is cut off, then the one with the"
        " most bytes. 0 for no limit.",
        parse_size,
        "buffered",
    ),
    Option(
        "admin",
        None,
        OFF,
        "Where to show metrics, health, readiness and sessions over HTTP: a port of"
        " this machine's loopback address, a Twisted endpoint, or 'off'. Needs the"
        " extra 'metrics'.",
        endpoint,
    ),
    Option(
        "notice",
        None,
        "0s",
        "How long, at a stop, connections are still accepted while /readyz already"
        " reports 503, so that a balancer has time to send no new ones.",
        parse_duration,
    ),
    Option(
        "workers",
        None,
        "1",
        "How many processes serve. Each has all of the limits for itself.",
        workers,
    ),
    _choice(
        "log-sessions",
        None,
        LogSessions.PROBLEMS,
        "Which sessions are logged when they end: 'none'; 'problems', such as errors"
        " and timeouts, and connections that are refused; or 'all'.",
        "logSessions",
    ),
    Option(
        "log-sample",
        None,
        "1",
        "The share of the sessions that --log-sessions all logs: 0.01 is one of a"
        " hundred, by chance. Problems are logged whatever the share.",
        number,
        "logSample",
    ),
)

_BY_FIELD = {each.field: each for each in OPTIONS if each.field is not None}


def usageError(error: InvalidSetting, named: Callable[[str], str]) -> UsageError:
    """
    Name the option that a wrong setting came from.

    @param named: what the user calls an option.
    """
    option = _BY_FIELD.get(error.field)
    return UsageError(
        str(error) if option is None else f"{named(option.name)} {error.problem}"
    )
