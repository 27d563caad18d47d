"""
The settings of the command: its options, parsed and checked together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime
from twisted.python.usage import UsageError

from twisted_echo.command.options import option_parsers
from twisted_echo.command.options.option_table import usageError
from twisted_echo.echo import EchoConfig
from twisted_echo.endpoints.strings import (
    ParsedEndpoint,
    checkDistinctSockets,
    parseEndpoint,
)
from twisted_echo.session.bounds.limits import Deadlines, Limits
from twisted_echo.validation.checks import InvalidSetting
from twisted_echo.validation.extras import MissingPackage, install_extra

if TYPE_CHECKING:
    # It needs the extra.
    from twisted_echo.command.admin_port import ReloadableAdmin

__all__ = ["CommandSettings", "commandSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings:
    """
    Everything about the command that its user can choose.

    @ivar echo: the configuration of the echo service.
    @ivar listening: the endpoints made of C{echo.listen}.
    @ivar proxyFrom: who may send a PROXY header; everybody, if empty.
    @ivar admin: the admin port; None if it is off.
    @ivar notice: seconds for which, at a stop, connections are still accepted when the
        service no longer reports ready.
    @ivar workers: how many processes serve.
    @ivar fitsSessions: whether C{echo.limits.sessions} is left to the limit of open
        files.
    """

    echo: EchoConfig
    listening: Sequence[ParsedEndpoint]
    proxyFrom: Sequence[IPv4Network | IPv6Network]
    admin: "ReloadableAdmin | None"
    notice: float
    workers: int
    fitsSessions: bool


def commandSettings(
    options: Mapping[str, Any], reactor: IReactorTime, named: Callable[[str], str]
) -> CommandSettings:
    """
    Check options together.

    @param options: by their names, each parsed.
    @param named: what the user calls an option, for messages.
    @raise UsageError: if they are not legal together.
    """
    isMeasured = options["admin"] != option_parsers.OFF
    if options["notice"] and not isMeasured:
        raise UsageError(
            f"{named('notice')} needs --admin, whose /readyz tells a balancer to"
            " send no more clients"
        )
    try:
        echo = _echoConfig(options, measure=isMeasured)
    except InvalidSetting as error:
        raise usageError(error, named) from None
    listening = _listening(reactor, echo.listen, options["proxy-from"], named)
    if options["workers"] > 1:
        _checkShareable(listening, named("workers"))
    admin = None
    if isMeasured:
        admin = _adminPort(reactor, options["admin"], listening, named("admin"))
    return CommandSettings(
        echo=echo,
        listening=listening,
        proxyFrom=options["proxy-from"],
        admin=admin,
        notice=options["notice"],
        workers=options["workers"],
        fitsSessions=options["max-sessions"] is None,
    )


def _echoConfig(options: Mapping[str, Any], measure: bool) -> EchoConfig:
    """
    Make the settings of the echo service from the options.

    @raise InvalidSetting: if a value is not legal.
    """
    return EchoConfig(
        listen=tuple(options["listen"]),
        framing=options["framing"],
        delimiter=options["delimiter"],
        maxLength=options["max-length"],
        drain=options["drain"],
        abortAfter=options["abort-after"],
        keepAlive=options["keepalive"],
        deadlines=Deadlines(
            idle=options["idle-timeout"],
            line=options["line-timeout"],
            write=options["write-timeout"],
            handshake=options["handshake-timeout"],
        ),
        limits=Limits(
            sessions=options["max-sessions"] or 0,
            sessionsPerPeer=options["max-sessions-per-peer"],
            whenFull=options["when-full"],
            buffered=options["max-buffered"],
        ),
        logSessions=options["log-sessions"],
        logSample=options["log-sample"],
        measure=measure,
    )


def _listening(
    reactor: IReactorTime,
    descriptions: Sequence[str],
    proxyFrom: Sequence[IPv4Network | IPv6Network],
    named: Callable[[str], str],
) -> list[ParsedEndpoint]:
    """
    Make endpoints of their strings.
    """
    try:
        listening = [parseEndpoint(reactor, each, proxyFrom) for each in descriptions]
        checkDistinctSockets(listening)
    except ValueError as error:
        raise UsageError(f"{named('listen')} {error}") from None
    if proxyFrom and not any(each.isProxied for each in listening):
        raise UsageError(
            f"{named('proxy-from')} names the networks that may send a PROXY header, so"
            f" it needs {named('listen')} haproxy:..., got {' '.join(descriptions)}"
        )
    return listening


def _checkShareable(listening: Sequence[ParsedEndpoint], name: str) -> None:
    """
    Check that many processes can listen on these endpoints.

    @param name: what the user calls C{--workers}.
    """
    from twisted_echo.command.workers.binding import checkShareable

    try:
        for each in listening:
            checkShareable(each.plainDescription)
    except ValueError as error:
        raise UsageError(f"{name} {error}") from None


def _adminPort(
    reactor: IReactorTime, text: str, listening: Sequence[ParsedEndpoint], name: str
) -> "ReloadableAdmin":
    """
    Make the admin port of its endpoint string.

    @param listening: the endpoints that may use other sockets of systemd's.
    @param name: what the user calls C{--admin}.
    """
    try:
        from twisted_echo.command.admin_port import adminPort
    except ModuleNotFoundError as error:
        missing = MissingPackage(str(error.name), install_extra("metrics"))
        raise UsageError(f"{name} needs the extra 'metrics': {missing}") from None
    try:
        return adminPort(reactor, text, listening)
    except ValueError as error:
        raise UsageError(f"{name} {error}") from None
