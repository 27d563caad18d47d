"""
The command line: C{twistd echo} and C{twist echo}.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python.usage import CompleteList, Completer, Completions, UsageError
from twisted.python.usage import Options as UsageOptions

from twisted_echo.command.command_service import CommandService
from twisted_echo.command.daemon_report import DaemonReport
from twisted_echo.command.file_limit import fittingSessions, raiseFileLimit
from twisted_echo.command.interfaces import Served
from twisted_echo.command.local_service import LocalService
from twisted_echo.command.options.command_settings import (
    CommandSettings,
    commandSettings,
)
from twisted_echo.command.options.environment import fromEnvironment, variableOf
from twisted_echo.command.options.help import PURPOSE, groupedUsage, placeholder
from twisted_echo.command.options.option import Option
from twisted_echo.command.options.option_table import LISTEN, OPTIONS, PROXY_FROM
from twisted_echo.command.start_errors import endQuietly, failProcess, tellUser
from twisted_echo.command.systemd_notify import Notifier
from twisted_echo.command.twisted_command import (
    chooseReactor,
    isDaemon,
    twistedCommand,
)
from twisted_echo.echo import EchoConfig
from twisted_echo.logs.json_observer import checkLogging
from twisted_echo.logs.values import CommaSeparated

__all__ = ["Options", "makeService"]

_log = Logger()


def _handlerOf(option: Option) -> Callable[[UsageOptions, str], None]:
    """
    Make the method that takes one value of an option which can be given several times.
    """

    def handle(self: UsageOptions, text: str) -> None:
        self.setdefault(option.name, []).append(option.coerce(text))

    handle.__doc__ = option.help
    return handle


class Options(UsageOptions):
    """
    The options of the command. What the command line leaves out is taken from the
    environment, if one of Twisted's commands runs this, or else is the default.

    @ivar settings: what they say together, once they are parsed.
    @ivar fromEnvironment: the options that the environment has given, by their names.
    """

    synopsis = "[options]"
    longdesc = PURPOSE

    optParameters = [  # noqa: RUF012 - Twisted's way
        each.parameter for each in OPTIONS if not each.isRepeated
    ]

    compData = Completions(
        # zsh takes one backslash of two.
        descriptions={each.name: each.help.replace("\\", "\\\\") for each in OPTIONS},
        multiUse=[each.name for each in OPTIONS if each.isRepeated],
        # Where nothing is said, zsh offers files.
        optActions={
            option.name: Completer(descr=placeholder(option))
            if option.choices is None
            else CompleteList([each.value for each in option.choices])
            for option in OPTIONS
        },
    )

    settings: CommandSettings

    def __init__(self) -> None:
        super().__init__()
        self.fromEnvironment: dict[str, object] = {}
        # Until all are parsed, this has what the command line gives, and no default.
        self.clear()

    opt_listen = opt_l = _handlerOf(LISTEN)
    opt_proxy_from = _handlerOf(PROXY_FROM)

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
            first = arguments[0]
            guess = f"tcp:{first}" if first.isdecimal() else first
            raise UsageError(
                f"echo takes options only, got {' '.join(arguments)!r};"
                f" did you mean --listen {guess}?"
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
        Add what the command line leaves out, check the options together, and make
        C{settings} of them.
        """
        try:
            checkLogging(self.parent)
        except ValueError as error:
            raise UsageError(str(error)) from None
        self._complete()
        if self.parent is not None:
            chooseReactor()
            endQuietly()
        from twisted.internet import reactor

        self.settings = commandSettings(self, reactor, self._named)

    def _complete(self) -> None:
        """
        Add what the command line leaves out.

        @raise UsageError: if the environment has a value that is not legal.
        """
        missing = [each for each in OPTIONS if each.name not in self]
        # A program that uses the options without Twisted's commands gives them all.
        if twistedCommand(self.parent) is not None:
            self.fromEnvironment = fromEnvironment(os.environ, missing)
        for option in missing:
            self[option.name] = self.fromEnvironment.get(
                option.name, option.read(option.default, option.name)
            )

    def _named(self, option: str) -> str:
        """
        Name an option as the user has given it.
        """
        return variableOf(option) if option in self.fromEnvironment else f"--{option}"


def makeService(options: Options) -> IService:
    """
    Make the service of C{twistd echo}.
    """
    from twisted.internet import reactor as installed

    # (Its interfaces depend on the platform.)
    reactor: Any = installed
    settings = options.settings
    if options.fromEnvironment:
        _log.info(
            "options from the environment: {variables}",
            event="options-from-environment",
            variables=CommaSeparated(map(variableOf, options.fromEnvironment)),
        )
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
