"""
Log where the service listens, with which limits, and its versions.
"""

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from twisted_echo.command.interfaces import Described
from twisted_echo.logs.values import CommaSeparated, Counted
from twisted_echo.net.addresses import readable
from twisted_echo.session.bounds.limits import Limits, WhenFull
from twisted_echo.validation.units import Size

__all__ = ["ReadableLimits", "logStarted"]

_log = Logger()


class ReadableLimits(dict[str, object]):
    """
    Limits, as the fields of a log event and as text for a person.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__(
            sessions=limits.sessions,
            sessionsPerPeer=limits.sessionsPerPeer,
            whenFull=limits.whenFull.value,
            buffered=limits.buffered,
        )

        self._limits = limits

    def __str__(self) -> str:
        limits = self._limits
        if limits.sessions:
            full = "wait" if limits.whenFull is WhenFull.WAIT else "are refused"
            sessions = f"{Counted(limits.sessions, 'session')} (more {full})"
        else:
            sessions = "any number of sessions"
        each = limits.sessionsPerPeer
        perPeer = f"{each} for each peer" if each else "no limit for each peer"
        buffered = Size(limits.buffered) if limits.buffered else "any number of"
        return f"{sessions}, {perPeer}, {buffered} bytes buffered"


def logStarted(
    served: Described, admin: IAddress | None, software: dict[str, str]
) -> None:
    """
    Log that the service listens.

    @param admin: where its admin port listens, if it has one.
    @param software: the versions and the like, by
        L{buildInfo<twisted_echo.admin.status_view.buildInfo>}.
    """
    workers = served.workerCount
    _log.info(
        "listening on {addresses}, by "
        + ("" if workers == 1 else "{workers} workers with ")
        + "{reactor}; limits"
        + ("" if workers == 1 else " of each worker")
        + ": {limits}; "
        + ("no admin port" if admin is None else "admin on {admin}")
        + "; twisted-echo {version} ({implementation}),"
        + " Twisted {twisted}, Python {python}",
        event="started",
        addresses=CommaSeparated(readable(each) for each in served.addresses),
        workers=workers,
        limits=ReadableLimits(served.limits),
        admin=None if admin is None else readable(admin),
        version=software["version"],
        implementation=software["implementation"],
        twisted=software["twisted"],
        python=software["python"],
        reactor=software["reactor"],
    )
