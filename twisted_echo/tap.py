"""
The command line: C{twistd echo} and C{twist echo}.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypeVar

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python.runtime import platform
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from twisted_echo.command.process import (
    RELOAD_SIGNAL,
    OnSignal,
    failProcess,
    mostSessions,
    raiseFileLimit,
)
from twisted_echo.command.service import CommandService
from twisted_echo.echo import EchoConfig
from twisted_echo.journal import LogSessions
from twisted_echo.limits import Deadlines, Limits, WhenFull
from twisted_echo.listen import Listening, listenString
from twisted_echo.sockets import KeepAlive

__all__ = ["Options", "makeService"]

_T = TypeVar("_T")

_AUTO = "auto"

_log = Logger()


def _delimiter(text: str) -> bytes:
    """
    Read C{\\r\\n}, C{\\0} or C{END} as bytes, with the escapes of Python.
    """
    try:
        # By way of Latin-1, in which every byte is a character.
        characters = text.encode().decode("unicode_escape")
        delimiter = characters.encode("latin-1")
    except UnicodeError:
        delimiter = b""
    if not delimiter:
        raise ValueError(
            f"--delimiter must be one character or more, in which \\n, \\r, \\0 and"
            f" \\xHH stand for bytes, got {text!r}"
        )
    return delimiter


def _keepAlive(text: str) -> KeepAlive | None:
    """
    Read C{off} or C{IDLE[,INTERVAL[,COUNT]]}.
    """
    if text == "off":
        return None
    try:
        numbers = [int(number) for number in text.split(",")]
        return KeepAlive(*numbers)
    except (ValueError, TypeError) as error:
        detail = f" ({error})" if str(error).startswith("keep-alive") else ""
        raise ValueError(
            "--keepalive must be 'off' or IDLE[,INTERVAL[,COUNT]], such as"
            f" 60,10,6, got {text!r}{detail}"
        ) from None


def _sessions(text: str) -> int:
    """
    Read a number; C{auto} is for L{makeService} to find out.
    """
    return 0 if text == _AUTO else int(text)


def _network(text: str) -> IPv4Network | IPv6Network:
    """
    Read C{10.0.0.0/8}, C{::1} or the like.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(
            "--proxy-from must be an address or a network such as 10.0.0.0/8,"
            f" got {text!r} ({error})"
        ) from None


def _named(message: str) -> str:
    """
    Call a field of the configuration by the name of its option.
    """
    for field, option in _OPTIONS_OF.items():
        if message.startswith(field + " "):
            return option + message.removeprefix(field)
    return message


_OPTIONS_OF = {
    "maxLength": "--max-length",
    "abortAfter": "--abort-after",
    "drain": "--drain",
    "the idle deadline": "--idle-timeout",
    "the line deadline": "--line-timeout",
    "the write deadline": "--write-timeout",
    "the handshake deadline": "--handshake-timeout",
    "sessions": "--max-sessions",
    "sessionsPerPeer": "--max-sessions-per-peer",
    "buffered": "--max-buffered",
}


def _chooseReactor() -> None:
    """
    Install the eager reactor, unless the user named another.
    """
    if "twisted.internet.reactor" in sys.modules or not platform.isLinux():
        return
    try:
        from twisted_echo.reactor import install

        install()
    except ImportError as error:
        _log.warn(
            "the eager reactor cannot be used, so the service is slower and no"
            " different: {reason}",
            reason=str(error),
        )


def _listening(
    reactor: Any, description: str, proxyFrom: list[IPv4Network | IPv6Network]
) -> Listening:
    """
    Make an endpoint of its string.

    @raise UsageError: if there is none such.
    """
    try:
        listening = listenString(reactor, description, proxyFrom)
    except Exception as error:
        # Every kind of endpoint has errors of its own.
        detail = str(error) or type(error).__name__
        raise UsageError(
            f"--listen {description!r} is no endpoint: {detail}; such as tcp:7007,"
            " tcp6:7007, unix:/run/echo.sock or ssl:7007:privateKey=key.pem"
        ) from None
    for word in description.split(":"):
        # What is not a port's number is too short or not a number.
        name, _, number = word.rpartition("=")
        if (
            name in ("", "port")
            and re.fullmatch(r"-?\d+", number)
            and not (0 <= int(number) <= 65535)
        ):
            raise UsageError(
                f"--listen {description!r}: a port must be from 0 to 65535,"
                f" got {number}"
            )
    return listening


class Options(UsageOptions):
    """
    The options, which become an L{EchoConfig} and its endpoints.
    """

    synopsis = "[options]"
    longdesc = (
        "Sends every line back to the client that it came from. SIGTERM and SIGINT"
        " stop it in order: no new connections, an answer to every line that was"
        " received, end-of-file for every client."
    )

    optParameters = [  # noqa: RUF012 - the way of twisted.python.usage
        [
            "delimiter",
            "d",
            "\\n",
            "What ends a line. \\n, \\r, \\0 and \\xHH stand for bytes.",
        ],
        [
            "max-length",
            "m",
            "65536",
            "The longest line in bytes, its delimiter not counted. A client that"
            " sends a longer one is disconnected.",
        ],
        [
            "drain",
            None,
            "0",
            "Seconds in which, at a stop, clients may finish by themselves before"
            " their connections are closed.",
        ],
        [
            "abort-after",
            None,
            "5",
            "Seconds that a closed connection waits for its client to read the"
            " rest and to close too, before it is cut off.",
        ],
        [
            "keepalive",
            "k",
            "60,10,6",
            "When to ask a silent client whether it is still there: after IDLE"
            " seconds, every INTERVAL seconds, COUNT times; or 'off'.",
        ],
        [
            "idle-timeout",
            None,
            "300",
            "Seconds without a byte either way, after which a session is closed."
            " 0 for this and the other timeouts: none.",
        ],
        [
            "line-timeout",
            None,
            "60",
            "Seconds that a client may take from the first byte of a line to its last.",
        ],
        [
            "write-timeout",
            None,
            "60",
            "Seconds that a client may take nothing of what waits for it, after"
            " which it is cut off.",
        ],
        [
            "handshake-timeout",
            None,
            "10",
            "Seconds for a TLS handshake or a PROXY header.",
        ],
        [
            "max-sessions",
            None,
            _AUTO,
            "How many sessions there may be at once; 0 for no limit. 'auto' is what"
            " the limit of open files allows, 100000 at most.",
        ],
        [
            "max-sessions-per-peer",
            None,
            "0",
            "How many of them by one address (an IPv6 network of 64 bits); 0 for no"
            " limit. One more is refused.",
        ],
        [
            "when-full",
            None,
            "wait",
            "What becomes of one more than --max-sessions: 'wait' in the back-log,"
            " or 'refuse'.",
        ],
        [
            "max-buffered",
            None,
            "268435456",
            "Bytes that may be held for all sessions together; over it, the session"
            " that has been paused longest is cut off. 0 for no limit.",
        ],
        [
            "workers",
            None,
            "1",
            "How many processes serve. Limits are of each.",
        ],
        [
            "log-sessions",
            None,
            "problems",
            "Whose end, or refusal, is logged: 'none', 'problems' or 'all'.",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["listen"] = []
        self["proxy-from"] = []

    def opt_listen(self, endpoint: str) -> None:
        """
        Where to listen, a Twisted endpoint: tcp:7007 (every IPv4 address of
        this machine), tcp6:7007, unix:/run/echo.sock,
        ssl:7007:privateKey=key.pem:certKey=cert.pem,
        systemd:domain=INET:name=echo, haproxy:tcp:7007. Can be given several
        times. [default: tcp:7007:interface=127.0.0.1]
        """
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def opt_proxy_from(self, network: str) -> None:
        """
        An address or network, such as 10.0.0.0/8, from which haproxy: takes a PROXY
        header; from others the connection is refused. Can be given several times.
        [default: from everywhere]
        """
        self["proxy-from"].append(network)

    def _read(self, option: str, kind: Callable[[str], _T], what: str) -> _T:
        try:
            return kind(self[option])
        except ValueError:
            raise ValueError(
                f"--{option} must be {what}, got {self[option]!r}"
            ) from None

    def opt_version(self) -> None:
        """
        Print the versions of twisted-echo and Twisted, and exit.
        """
        print(f"twisted-echo {version('twisted-echo')}, Twisted {version('twisted')}")
        sys.exit(0)

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise UsageError(
                f"echo takes options only, got {' '.join(arguments)!r};"
                f" did you mean --listen {arguments[0]}?"
            )

    def postOptions(self) -> None:
        """
        Make C{self["config"]} and C{self["endpoints"]}.
        """
        listen = self["listen"] or list(EchoConfig().listen)
        try:
            self["config"] = self._config(listen)
            proxyFrom = [_network(each) for each in self["proxy-from"]]
        except ValueError as error:
            raise UsageError(_named(str(error))) from None
        if proxyFrom and not any(each.startswith("haproxy:") for each in listen):
            raise UsageError(
                "--proxy-from says who may send a PROXY header, which only --listen"
                " haproxy:... expects"
            )
        if self.parent is not None:
            _chooseReactor()
        from twisted.internet import reactor

        self["listening"] = [_listening(reactor, each, proxyFrom) for each in listen]
        self["proxyFrom"] = proxyFrom
        try:
            self["workers"] = self._read("workers", int, "a whole number")
            if self["workers"] < 1:
                raise ValueError(
                    f"--workers must be from 1 up, got {self['workers']!r}"
                )
            if self["workers"] > 1:
                from twisted_echo.command.binding import checkShareable

                for each in self["listening"]:
                    checkShareable(each.bottom)
        except ValueError as error:
            raise UsageError(str(error)) from None

    def _config(self, listen: list[str]) -> EchoConfig:
        seconds, count = "a number of seconds", "a whole number"
        return EchoConfig(
            listen=tuple(listen),
            delimiter=_delimiter(self["delimiter"]),
            maxLength=self._read("max-length", int, "a number of bytes"),
            drain=self._read("drain", float, seconds),
            abortAfter=self._read("abort-after", float, seconds),
            keepAlive=_keepAlive(self["keepalive"]),
            deadlines=Deadlines(
                idle=self._read("idle-timeout", float, seconds),
                line=self._read("line-timeout", float, seconds),
                write=self._read("write-timeout", float, seconds),
                handshake=self._read("handshake-timeout", float, seconds),
            ),
            limits=Limits(
                sessions=self._read("max-sessions", _sessions, f"'auto' or {count}"),
                sessionsPerPeer=self._read("max-sessions-per-peer", int, count),
                whenFull=self._read("when-full", WhenFull, "'wait' or 'refuse'"),
                buffered=self._read("max-buffered", int, "a number of bytes"),
            ),
            logSessions=self._read(
                "log-sessions", LogSessions, "'none', 'problems' or 'all'"
            ),
        )


def makeService(options: Options) -> IService:
    """
    Make the service of C{twistd echo}.
    """
    from twisted.internet import reactor

    config, files = options["config"], raiseFileLimit()
    if options["max-sessions"] == _AUTO:
        limits = replace(config.limits, sessions=mostSessions(files))
        config = replace(config, limits=limits)
    if options["workers"] > 1:
        from twisted_echo.command.supervisor import Supervisor

        supervisor = Supervisor(
            config,
            reactor,
            options["listening"],
            options["workers"],
            options["proxyFrom"],
            lambda why: failProcess(reactor, why),
        )
        if RELOAD_SIGNAL is not None:
            OnSignal(RELOAD_SIGNAL, reactor, supervisor.reload)
        return supervisor
    return CommandService(config, reactor, options["listening"])
