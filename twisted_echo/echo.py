"""
The echo service: what the rest of the package is composed to here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from twisted.internet.interfaces import IReactorTime, IStreamServerEndpoint

from twisted_echo.endings import EndReason
from twisted_echo.factory import DEFAULT_ABORT_AFTER, SessionFactory
from twisted_echo.journal import LogSessions
from twisted_echo.limits import Deadlines, Limits
from twisted_echo.receiver import FastLineReceiver
from twisted_echo.service import SessionService
from twisted_echo.session import Session
from twisted_echo.sockets import KeepAlive

__all__ = ["EchoConfig", "EchoFactory", "EchoProtocol", "EchoService"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoConfig:
    """
    Everything about an echo service that can be chosen, validated.

    @ivar listen: Twisted endpoint strings. The default can be reached from this
        machine alone: an echo service that anybody reaches reflects traffic.
    @ivar delimiter: what ends a line, one byte or more.
    @ivar maxLength: the longest legal line in bytes, delimiter not counted. With
        the default one slow line holds at most 64 KiB, as one read does.
    @ivar drain: seconds in which, at a stop, clients may finish by themselves
        before their connections are closed.
    @ivar abortAfter: seconds that a closed connection waits for its peer before
        it is aborted.
    @ivar keepAlive: when to probe a silent peer; None for never.
    @ivar deadlines: how long a peer may take.
    @ivar limits: how much there may be at once.
    @ivar logSessions: which sessions' ends are logged.
    @ivar measure: whether to count lines, and to L{measure<SessionService.measure>},
        for who looks at the metrics. The lines cost a third of a nanosecond a byte, for
        nothing else needs to look at each.
    """

    listen: Sequence[str] = ("tcp:7007:interface=127.0.0.1",)
    delimiter: bytes = b"\n"
    maxLength: int = 65536
    drain: float = 0.0
    abortAfter: float = DEFAULT_ABORT_AFTER
    keepAlive: KeepAlive | None = field(default_factory=KeepAlive)
    deadlines: Deadlines = field(default_factory=Deadlines)
    limits: Limits = field(default_factory=Limits)
    logSessions: LogSessions = LogSessions.PROBLEMS
    measure: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.listen, str) or not self.listen:
            raise ValueError(
                "listen must be one or more endpoint strings, such as"
                f" ['tcp:7007'], got {self.listen!r}"
            )
        if not isinstance(self.delimiter, bytes) or not self.delimiter:
            raise ValueError(
                f"delimiter must be one byte or more, got {self.delimiter!r}"
            )
        if not isinstance(self.maxLength, int) or self.maxLength < 1:
            raise ValueError(
                f"maxLength must be a whole number from 1 up, got {self.maxLength!r}"
            )
        for name, seconds, allowed in (
            ("drain", self.drain, "0 or more"),
            ("abortAfter", self.abortAfter, "more than 0"),
        ):
            if (
                not isinstance(seconds, (int, float))
                or not isfinite(seconds)
                or seconds < 0
                or (seconds == 0 and allowed != "0 or more")
            ):
                raise ValueError(
                    f"{name} must be a number of seconds, {allowed}, got {seconds!r}"
                )


class EchoProtocol(Session, FastLineReceiver):
    """
    Sends every line back as it came, and at end-of-file what is left.
    """

    delimiter = b"\n"

    def blockReceived(self, block: bytes) -> None:
        self.transport.write(block)

    def endOfInput(self) -> None:
        self.transport.write(self.clearLineBuffer())

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        Close the connection after the lines before this one are answered.
        """
        length = line.find(self.delimiter)
        size = f"{len(line)} bytes or more" if length < 0 else f"{length} bytes"
        self.close(
            EndReason.LINE_TOO_LONG,
            f"a line of {size} is over the limit of {self.MAX_LENGTH}",
        )
        self.discardInput()


class _CountingEcho(EchoProtocol):
    """
    One that knows how many lines there were.
    """

    def blockReceived(self, block: bytes) -> None:
        self.lineCount += block.count(self.delimiter)
        self.transport.write(block)


class EchoFactory(SessionFactory[EchoProtocol]):
    """
    Makes L{EchoProtocol}s as a configuration says.
    """

    protocol = EchoProtocol

    def __init__(
        self, config: EchoConfig | None = None, *, clock: IReactorTime | None = None
    ) -> None:
        """
        @param config: the defaults of L{EchoConfig}, if None.
        """
        self.config = config = config or EchoConfig()
        super().__init__(
            clock=clock,
            keepAlive=config.keepAlive,
            abortAfter=config.abortAfter,
            deadlines=config.deadlines,
            limits=config.limits,
            logSessions=config.logSessions,
        )
        if config.measure:
            self.protocol = _CountingEcho

    def buildProtocol(self, addr: Any) -> EchoProtocol | None:
        protocol = super().buildProtocol(addr)
        if protocol is not None:
            protocol.delimiter = self.config.delimiter
            protocol.MAX_LENGTH = self.config.maxLength
        return protocol


class EchoService(SessionService):
    """
    The echo service of L{twistd echo}, for any Twisted application::

        EchoService(EchoConfig(listen=["tcp:7007"])).setServiceParent(application)
    """

    def __init__(
        self,
        config: EchoConfig | None = None,
        *,
        reactor: Any = None,
        endpoints: Sequence[IStreamServerEndpoint] | None = None,
    ) -> None:
        """
        @param config: the defaults of L{EchoConfig}, if None.
        @param reactor: for the endpoints and the time; the installed one, if
            None.
        @param endpoints: to be used instead of C{config.listen}.
        """
        config = config or EchoConfig()
        if reactor is None:
            from twisted.internet import reactor
        super().__init__(
            config.listen if endpoints is None else endpoints,
            EchoFactory(config, clock=reactor),
            grace=config.drain,
        )
        if config.measure:
            self.measure()
