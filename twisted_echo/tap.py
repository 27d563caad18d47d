"""
The command line: C{twistd echo} and C{twist echo}.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from importlib.metadata import version
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeVar

from twisted.application.app import ServerOptions
from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python.runtime import platform
from twisted.python.usage import CompleteList, Completions, UsageError
from twisted.python.usage import Options as UsageOptions

from twisted_echo.command import option_parsers
from twisted_echo.command.command_service import CommandService
from twisted_echo.command.daemon_report import DaemonReport
from twisted_echo.command.help import groupedUsage
from twisted_echo.command.local_service import LocalService
from twisted_echo.command.option_table import PARAMETERS
from twisted_echo.command.signals import (
    failProcess,
    mostSessions,
    raiseFileLimit,
    sessionsWithin,
)
from twisted_echo.command.start_errors import endQuietly, tellUser
from twisted_echo.command.systemd_notify import Notifier
from twisted_echo.echo import EchoConfig, Framing
from twisted_echo.endpoints.strings import Listening, checkOnce, listenString
from twisted_echo.logs.json_observer import checkLogging
from twisted_echo.session.limits import Deadlines, Limits, WhenFull
from twisted_echo.session.session_log import LogSessions
from twisted_echo.validation.units import parse_duration, parse_size

__all__ = ["Options", "makeService"]

_T = TypeVar("_T")

_log = Logger()


def _named(message: str) -> str:
    """
    Call a field of the configuration by the name of its option.
    """
    for field, option in _OPTIONS_OF.items():
        if message.startswith(field + " "):
            return option + message.removeprefix(field)
    return message


_OPTIONS_OF = {
    "delimiter": "--delimiter",
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
        from twisted_echo.eager.reactor import install

        install()
    except ImportError as error:
        _log.warn(
            "the eager reactor cannot be used, so the service is slower and no"
            " different: {reason}",
            event="reactor-not-eager",
            reason=str(error),
        )


def _listening(
    reactor: Any,
    descriptions: Sequence[str],
    proxyFrom: list[IPv4Network | IPv6Network],
) -> list[Listening]:
    """
    Make endpoints of their strings.

    @raise UsageError: if there are none such.
    """
    try:
        listening = [listenString(reactor, each, proxyFrom) for each in descriptions]
        checkOnce(listening)
    except ValueError as error:
        raise UsageError(f"--listen {error}") from None
    if proxyFrom and not any(each.isProxied for each in listening):
        raise UsageError(
            "--proxy-from says who may send a PROXY header, which only --listen"
            " haproxy:... expects"
        )
    return listening


def _choices(kind: type[Enum]) -> CompleteList:
    return CompleteList([each.value for each in kind])


def _command(parent: object) -> tuple[str, int] | None:
    """
    Name the command of Twisted's that reads the options, and the status with which it
    ends for wrong ones.

    @param parent: the command's own options.
    @return: None if the parent is no command of Twisted's.
    """
    if isinstance(parent, ServerOptions):
        return "twistd", 1
    if type(parent).__module__ == "twisted.application.twist._options":
        return "twist", 64
    return None


def _isDaemon(parent: Mapping[str, Any] | None) -> bool:
    """
    Whether C{twistd} is going to leave the terminal.
    """
    # What runs in the debugger stays.
    return (
        isinstance(parent, ServerOptions)
        # (Where there is no such option, as on Windows, there are no daemons.)
        and "nodaemon" in parent
        and not (parent["nodaemon"] or parent["debug"])
    )


def _adminPort(reactor: Any, text: str, listening: list[Listening]) -> Any:
    """
    Make the admin port of its endpoint string.

    @param listening: the endpoints that may use other sockets of systemd's.
    @raise UsageError: if there is none such.
    """
    try:
        from twisted_echo.command.admin_port import adminPort
    except ImportError as error:
        raise UsageError(f"--admin needs the extra 'metrics' ({error})") from None
    try:
        return adminPort(reactor, text, listening)
    except ValueError as error:
        raise UsageError(str(error)) from None


class Options(UsageOptions):
    """
    The options, which become an L{EchoConfig} and its endpoints.
    """

    synopsis = "[options]"
    longdesc = (
        "Sends every line, or frame, back to the client that it came from. SIGTERM and"
        " SIGINT stop it in order: no new connections, an answer to every line that was"
        " received, end-of-file for every client."
    )

    optParameters = PARAMETERS

    compData = Completions(
        multiUse=["listen", "proxy-from"],
        optActions={
            "framing": _choices(Framing),
            "when-full": _choices(WhenFull),
            "log-sessions": _choices(LogSessions),
        },
    )

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["proxy-from"] = []

    def opt_listen(self, endpoint: str) -> None:
        """
        Where to listen, a Twisted endpoint: tcp:7007 (every IPv4 address of
        this machine), tcp6:7007, unix:/run/echo.sock,
        ssl:7007:privateKey=key.pem:certKey=cert.pem, tls:/etc/certs:7007 (one of the
        certificates in a folder, by the name that a client asks for),
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

    def getUsage(self, width: int | None = None) -> str:
        return groupedUsage(self, width)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse the options; under Twisted's commands, end the process if one of them is
        wrong, with a line on standard error. (They themselves print all their help, on
        standard output.)
        """
        try:
            super().parseOptions(options)
        except UsageError as error:
            command = _command(self.parent)
            if command is None:
                raise
            name, status = command
            tellUser(f"{error} ('{name} echo --help' tells the options)")
            raise SystemExit(status) from None

    def _duration(self, option: str) -> float:
        return self._measured(option, parse_duration)

    def _size(self, option: str) -> int:
        return self._measured(option, parse_size)

    def _measured(self, option: str, parse: Callable[[str], _T]) -> _T:
        try:
            return parse(self[option])
        except ValueError as error:
            raise ValueError(f"--{option} {error}") from None

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
            checkLogging(self.parent)
            self["config"] = self._config(listen)
            proxyFrom = [option_parsers.network(each) for each in self["proxy-from"]]
            self["noticeSeconds"] = self._notice()
        except ValueError as error:
            raise UsageError(_named(str(error))) from None
        if self.parent is not None:
            _chooseReactor()
            endQuietly()
        from twisted.internet import reactor

        self["listening"] = _listening(reactor, listen, proxyFrom)
        self["proxyFrom"] = proxyFrom
        self["adminPort"] = None
        if self["admin"] != option_parsers.OFF:
            self["adminPort"] = _adminPort(reactor, self["admin"], self["listening"])
        try:
            self["workerCount"] = self._workers()
        except ValueError as error:
            raise UsageError(str(error)) from None

    def _workers(self) -> int:
        count = self._read("workers", int, "a whole number")
        if count < 1:
            raise ValueError(f"--workers must be from 1 up, got {count!r}")
        if count > 1:
            from twisted_echo.command.workers.binding import checkShareable

            for each in self["listening"]:
                checkShareable(each.bottom)
        return count

    def _notice(self) -> float:
        notice = self._duration("notice")
        if notice and self["admin"] == option_parsers.OFF:
            raise ValueError(
                "--notice is for whoever asks /readyz, which is where --admin says"
            )
        return notice

    def _config(self, listen: list[str]) -> EchoConfig:
        count = "a whole number"
        return EchoConfig(
            listen=tuple(listen),
            framing=self._read(
                "framing", Framing, "'line', 'int8', 'int16', 'int32' or 'raw'"
            ),
            delimiter=option_parsers.delimiter(self["delimiter"]),
            maxLength=self._size("max-length"),
            drain=self._duration("drain"),
            abortAfter=self._duration("abort-after"),
            keepAlive=option_parsers.keepAlive(self["keepalive"]),
            deadlines=Deadlines(
                idle=self._duration("idle-timeout"),
                line=self._duration("line-timeout"),
                write=self._duration("write-timeout"),
                handshake=self._duration("handshake-timeout"),
            ),
            limits=Limits(
                sessions=self._read(
                    "max-sessions", option_parsers.sessions, f"'auto' or {count}"
                ),
                sessionsPerPeer=self._read("max-sessions-per-peer", int, count),
                whenFull=self._read("when-full", WhenFull, "'wait' or 'refuse'"),
                buffered=self._size("max-buffered"),
            ),
            logSessions=self._read(
                "log-sessions", LogSessions, "'none', 'problems' or 'all'"
            ),
            measure=self["admin"] != option_parsers.OFF,
        )


def makeService(options: Options) -> IService:
    """
    Make the service of C{twistd echo}.
    """
    from twisted.internet import reactor

    config, files = options["config"], raiseFileLimit()
    limits, ports = config.limits, len(options["listening"])
    if options["max-sessions"] == option_parsers.AUTO:
        sessions = mostSessions(files, ports)
    else:
        sessions = sessionsWithin(limits.sessions, files, ports)
    if sessions != limits.sessions:
        config = replace(config, limits=replace(limits, sessions=sessions))
    served: Any
    if options["workerCount"] == 1:
        served = LocalService(config, reactor, options["listening"])
    else:
        from twisted_echo.command.workers.supervisor import Supervisor

        served = Supervisor(
            config,
            reactor,
            options["listening"],
            options["workerCount"],
            options["proxyFrom"],
            lambda why: failProcess(reactor, why),
        )
    return CommandService(
        served,
        reactor,
        admin=options["adminPort"],
        manager=Notifier.fromEnvironment(os.environ, reactor),
        notice=options["noticeSeconds"],
        report=DaemonReport() if _isDaemon(options.parent) else tellUser,
    )
