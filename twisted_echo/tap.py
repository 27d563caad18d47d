"""
The command line: C{twistd echo} and C{twist echo}.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from twisted.application.service import IService
from twisted.python.usage import CompleteList, Completions, UsageError
from twisted.python.usage import Options as UsageOptions

from twisted_echo.command import option_parsers
from twisted_echo.command.command_service import CommandService
from twisted_echo.command.command_settings import CommandSettings, commandSettings
from twisted_echo.command.daemon_report import DaemonReport
from twisted_echo.command.file_limit import fittingSessions, raiseFileLimit
from twisted_echo.command.help import groupedUsage
from twisted_echo.command.interfaces import Served
from twisted_echo.command.local_service import LocalService
from twisted_echo.command.option_table import OPTIONS
from twisted_echo.command.start_errors import endQuietly, failProcess, tellUser
from twisted_echo.command.systemd_notify import Notifier
from twisted_echo.command.twisted_command import (
    chooseReactor,
    isDaemon,
    twistedCommand,
)
from twisted_echo.echo import EchoConfig
from twisted_echo.logs.json_observer import checkLogging

__all__ = ["Options", "makeService"]


class Options(UsageOptions):
    """
    The options of the command.

    @ivar settings: what they say together, once they are parsed.
    """

    synopsis = "[options]"
    longdesc = (
        "Sends every line, or frame, back to the client that it came from. SIGTERM and"
        " SIGINT stop it in order: no new connections, an answer to every line that was"
        " received, end-of-file for every client."
    )

    optParameters = [each.parameter for each in OPTIONS]  # noqa: RUF012 - Twisted's way

    compData = Completions(
        multiUse=["listen", "proxy-from"],
        optActions={
            option.name: CompleteList([each.value for each in option.choices])
            for option in OPTIONS
            if option.choices is not None
        },
    )

    settings: CommandSettings

    def __init__(self) -> None:
        super().__init__()
        # The class above parses what the user gives, and no default.
        self.update({each.name: each.coerce(each.default) for each in OPTIONS})
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
        try:
            self["proxy-from"].append(option_parsers.network(network))
        except ValueError as error:
            raise UsageError(f"--proxy-from {error}") from None

    def opt_version(self) -> None:
        """
        Print the versions of twisted-echo and Twisted, and exit.
        """
        print(f"twisted-echo {version('twisted-echo')}, Twisted {version('twisted')}")
        sys.exit(0)

    def getUsage(self, width: int | None = None) -> str:
        return groupedUsage(self, self.longdesc, width)

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise UsageError(
                f"echo takes options only, got {' '.join(arguments)!r};"
                f" did you mean --listen {arguments[0]}?"
            )

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse the options; under Twisted's commands, end the process if one of them is
        wrong, with a line on standard error. (They themselves print all their help, on
        standard output.)
        """
        try:
            super().parseOptions(options)
        except UsageError as error:
            command = twistedCommand(self.parent)
            if command is None:
                raise
            name, status = command
            tellUser(f"{error} ('{name} echo --help' lists the options)")
            raise SystemExit(status) from None

    def postOptions(self) -> None:
        """
        Check the options together, and make C{settings} of them.
        """
        try:
            checkLogging(self.parent)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if self.parent is not None:
            chooseReactor()
            endQuietly()
        from twisted.internet import reactor

        self.settings = commandSettings(self, reactor)


def makeService(options: Options) -> IService:
    """
    Make the service of C{twistd echo}.
    """
    from twisted.internet import reactor as installed

    # (Its interfaces depend on the platform.)
    reactor: Any = installed
    settings = options.settings
    return CommandService(
        _served(settings, _fittingConfig(settings), reactor),
        reactor,
        admin=settings.admin,
        manager=Notifier.fromEnvironment(os.environ, reactor),
        notice=settings.notice,
        report=DaemonReport() if isDaemon(options.parent) else tellUser,
    )


def _fittingConfig(settings: CommandSettings) -> EchoConfig:
    """
    Raise the limit of open files, and fit the limit of sessions to it.
    """
    limits = settings.echo.limits
    asked = None if settings.fitsSessions else limits.sessions
    sessions = fittingSessions(asked, raiseFileLimit(), len(settings.listening))
    if sessions == limits.sessions:
        return settings.echo
    return replace(settings.echo, limits=replace(limits, sessions=sessions))


def _served(settings: CommandSettings, config: EchoConfig, reactor: Any) -> Served:
    """
    Make the service itself, of this process or of workers.
    """
    if settings.workers == 1:
        return LocalService(config, reactor, settings.listening)
    from twisted_echo.command.workers.supervisor import Supervisor

    return Supervisor(
        config,
        reactor,
        settings.listening,
        settings.workers,
        settings.proxyFrom,
        lambda why: failProcess(reactor, why),
    )
