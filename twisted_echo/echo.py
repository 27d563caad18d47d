"""
The echo service, which composes the rest of the package.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from twisted.internet.interfaces import IReactorTime, IStreamServerEndpoint

from twisted_echo.framing.line_receiver import FastLineReceiver
from twisted_echo.framing.string_receiver import (
    FastInt8StringReceiver,
    FastInt16StringReceiver,
    FastInt32StringReceiver,
    FastIntNStringReceiver,
)
from twisted_echo.net.sockets import KeepAlive
from twisted_echo.service import SessionService
from twisted_echo.session.bounds.limits import Deadlines, Limits
from twisted_echo.session.factory import DEFAULT_ABORT_AFTER, SessionFactory
from twisted_echo.session.overlong import RefusesOverlong
from twisted_echo.session.session import Session
from twisted_echo.session.session_log import LogSessions, checkedSample
from twisted_echo.validation.checks import (
    InvalidSetting,
    instance,
    positive_seconds,
    seconds,
    whole,
)

__all__ = ["EchoConfig", "EchoFactory", "EchoProtocol", "EchoService", "Framing"]


class Framing(Enum):
    """
    What the service echoes as a whole: lines, frames or chunks.
    """

    LINE = "line"
    """Lines, and at end-of-file what is left."""
    INT8 = "int8"
    """Frames with their length in one byte before them. One that is not finished at
    end-of-file is not echoed."""
    INT16 = "int16"
    """Likewise with two bytes, the first the more significant."""
    INT32 = "int32"
    """Likewise with four bytes."""
    RAW = "raw"
    """Nothing: whatever has come is echoed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoConfig:
    """
    The settings of an echo service, validated.

    @ivar listen: Twisted endpoint strings. The default can be reached from this
        machine alone: an echo service that anybody reaches reflects traffic.
    @ivar framing: what is echoed as a whole.
    @ivar delimiter: what ends a line, one byte or more; for that framing alone.
    @ivar maxLength: the longest legal line or frame in bytes, delimiter or prefix not
        counted. With the default one slow line holds at most 64 KiB, as one read does.
    @ivar drain: seconds in which, at a stop, clients may finish by themselves
        before their connections are closed.
    @ivar abortAfter: seconds that a closed connection waits for its peer before
        it is aborted.
    @ivar keepAlive: when to probe a silent peer; None for never.
    @ivar deadlines: how long a peer may take.
    @ivar limits: how much there may be at once.
    @ivar logSessions: which sessions' ends are logged.
    @ivar logSample: the share that is logged of the sessions that end without a
        problem, if C{ALL} are; from 1 (each) to above 0.
    @ivar measure: whether to count lines, and to L{measure<SessionService.measure>}
        the reactor's lateness, for metrics. To count lines costs a third of a
        nanosecond a byte: nothing else looks at each byte. (Frames always count, as
        lines.)
    """

    listen: Sequence[str] = ("tcp:7007:interface=127.0.0.1",)
    framing: Framing = Framing.LINE
    delimiter: bytes = b"\n"
    maxLength: int = 65536
    drain: float = 0.0
    abortAfter: float = DEFAULT_ABORT_AFTER
    keepAlive: KeepAlive | None = field(default_factory=KeepAlive)
    deadlines: Deadlines = field(default_factory=Deadlines)
    limits: Limits = field(default_factory=Limits)
    logSessions: LogSessions = LogSessions.PROBLEMS
    logSample: float = 1.0
    measure: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.listen, str) or not self.listen:
            raise InvalidSetting(
                "listen",
                "must be one or more endpoint strings, such as"
                f" ['tcp:7007'], got {self.listen!r}",
            )
        for each in self.listen:
            if not isinstance(each, str):
                raise InvalidSetting(
                    "listen",
                    f"must be endpoint strings, such as 'tcp:7007', got {each!r}",
                )
        if not isinstance(self.delimiter, bytes) or not self.delimiter:
            raise InvalidSetting(
                "delimiter", f"must be bytes, one or more, got {self.delimiter!r}"
            )
        if not isinstance(self.framing, Framing):
            raise InvalidSetting("framing", f"must be a Framing, got {self.framing!r}")
        if self.framing is not Framing.LINE and self.delimiter != b"\n":
            raise InvalidSetting(
                "delimiter",
                "is for the framing 'line' alone, got"
                f" {self.delimiter!r} with the framing {self.framing.value!r}",
            )
        for name, value in (
            ("maxLength", whole("maxLength", self.maxLength, " from 1 up", least=1)),
            ("drain", seconds("drain", self.drain)),
            ("abortAfter", positive_seconds("abortAfter", self.abortAfter)),
        ):
            object.__setattr__(self, name, value)
        instance("deadlines", self.deadlines, Deadlines)
        instance("limits", self.limits, Limits)
        instance("logSessions", self.logSessions, LogSessions)
        sample = checkedSample(self.logSample, self.logSessions)
        object.__setattr__(self, "logSample", sample)
        if self.keepAlive is not None:
            instance("keepAlive", self.keepAlive, KeepAlive)


def _checked(config: EchoConfig | None) -> EchoConfig:
    return EchoConfig() if config is None else instance("config", config, EchoConfig)


class EchoProtocol(RefusesOverlong, FastLineReceiver):
    """
    Sends every line back as it came, and at end-of-file an unfinished line.
    """

    delimiter = b"\n"

    def blockReceived(self, block: bytes) -> None:
        self.transport.write(block)

    def endOfInput(self) -> None:
        held = self.heldInput()
        # (A subclass may not tell; then there may be something.)
        if held is None or held[0]:
            self.transport.write(self.clearLineBuffer())


class _CountingEcho(EchoProtocol):
    """
    An echo session that counts its lines.
    """

    def blockReceived(self, block: bytes) -> None:
        self.lineCount += block.count(self.delimiter)
        self.transport.write(block)


class _FrameEcho(RefusesOverlong, FastIntNStringReceiver):
    """
    Sends every frame back as it came.
    """

    def blockReceived(self, block: bytes) -> None:
        self.transport.write(block)


class _Int8Echo(_FrameEcho, FastInt8StringReceiver):
    pass


class _Int16Echo(_FrameEcho, FastInt16StringReceiver):
    pass


class _Int32Echo(_FrameEcho, FastInt32StringReceiver):
    pass


class _RawEcho(Session):
    """
    Sends back whatever comes.
    """

    def dataReceived(self, data: bytes) -> None:
        self.bytesReceived += len(data)
        self.transport.write(data)

    def heldInput(self) -> tuple[int, int | None]:
        """
        Tell that nothing is ever held, nor begun and not finished.
        """
        return 0, None

    def hasUndeliveredLines(self) -> bool:
        return False


_PROTOCOLS: dict[Framing, type[Session]] = {
    Framing.LINE: EchoProtocol,
    Framing.INT8: _Int8Echo,
    Framing.INT16: _Int16Echo,
    Framing.INT32: _Int32Echo,
    Framing.RAW: _RawEcho,
}


class EchoFactory(SessionFactory[Session]):
    """
    Makes the sessions of an echo service: L{EchoProtocol}s where the framing is by
    lines, else protocols of its framing.
    """

    protocol: type[Session] = EchoProtocol

    def __init__(
        self, config: EchoConfig | None = None, *, clock: IReactorTime | None = None
    ) -> None:
        """
        @param config: the defaults of L{EchoConfig}, if None.
        """
        self.config = config = _checked(config)
        super().__init__(
            clock=clock,
            keepAlive=config.keepAlive,
            abortAfter=config.abortAfter,
            deadlines=config.deadlines,
            limits=config.limits,
            logSessions=config.logSessions,
            logSample=config.logSample,
        )
        if self.protocol is EchoProtocol:
            # Else a subclass has one of its own.
            self.protocol = _PROTOCOLS[config.framing]
            # (A log of all sessions says how many lines each had.)
            isCounted = config.measure or config.logSessions is LogSessions.ALL
            if isCounted and self.protocol is EchoProtocol:
                self.protocol = _CountingEcho

    def makeSession(self) -> Session | None:
        session = super().makeSession()
        if isinstance(session, RefusesOverlong):
            session.MAX_LENGTH = self.config.maxLength
            if isinstance(session, EchoProtocol):
                session.delimiter = self.config.delimiter
        return session


class EchoService(SessionService):
    """
    The echo service of C{twistd echo}, for any Twisted application::

        EchoService(EchoConfig(listen=["tcp:7007"])).setServiceParent(application)
    """

    def __init__(
        self,
        config: EchoConfig | None = None,
        *,
        reactor: IReactorTime | None = None,
        endpoints: Sequence[IStreamServerEndpoint] | None = None,
    ) -> None:
        """
        @param config: the defaults of L{EchoConfig}, if None.
        @param reactor: for the endpoints and the time; the installed one, if
            None.
        @param endpoints: to be used instead of C{config.listen}.
        """
        config = _checked(config)
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = IReactorTime(installed)
        super().__init__(
            config.listen if endpoints is None else endpoints,
            EchoFactory(config, clock=reactor),
            grace=config.drain,
        )
        if config.measure:
            self.measure()
