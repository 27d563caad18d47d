"""
What a worker and its parent say to each other: first its L{WorkerSettings}, on its
standard input; then Twisted's AMP, over a pair of UNIX sockets that lives as long as
the worker.

What must hold: a request that fails is answered, and ends nothing; an end of the
channel means that the other process is gone.
"""

import json
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IReactorSocket, ITransport
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.protocols import amp
from twisted.python.failure import Failure

from twisted_echo.echo import EchoConfig

__all__ = [
    "CHANNEL",
    "HELD_SIGNALS",
    "Accept",
    "Answer",
    "Channel",
    "Drain",
    "Finish",
    "GetSessions",
    "GetSnapshot",
    "GetWaiting",
    "Log",
    "Ping",
    "Reload",
    "SetState",
    "StopNow",
    "WorkerSettings",
]

CHANNEL = 3
"""
The worker's descriptor of its end. Its listening sockets follow.
"""
HELD_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2),
)
"""
What a worker is born with held back, until it knows what to do: it must not die of what
a terminal, or systemd, sends to all processes of the service.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """
    What a worker is to be.

    @ivar number: which one, from 0 up.
    @ivar config: of the echo service; all limits in it are of this worker alone.
    @ivar proxyFrom: who may send a PROXY header.
    @ivar isOurs: for each of C{config.listen}, whether no process outside this service
        has its sockets.
    @ivar sockets: for each of them, how many sockets it has: one for each worker, or
        one that all of them accept from.
    @ivar reactor: the module that installs the reactor.
    """

    number: int
    config: EchoConfig
    proxyFrom: Sequence[IPv4Network | IPv6Network]
    isOurs: Sequence[bool]
    sockets: Sequence[int]
    reactor: str


_PIECE = 0xFFFF
"""
The longest value that AMP has, in bytes.
"""


_Strings: TypeAlias = dict[bytes, bytes]

Answer: TypeAlias = dict[str, Any]
"""
The values of an answer by their names, as the class of its command says.
"""


class _Text(amp.Argument):
    """
    Text of any length, in as many values as it needs.
    """

    def toBox(
        self, name: bytes, strings: _Strings, objects: Answer, proto: object
    ) -> None:
        text = self.toString(objects.pop(name.decode()))
        for number, start in enumerate(range(0, len(text), _PIECE)):
            strings[b"%s-%d" % (name, number)] = text[start : start + _PIECE]

    def fromBox(
        self, name: bytes, strings: _Strings, objects: Answer, proto: object
    ) -> None:
        pieces: list[bytes] = []
        while (piece := strings.pop(b"%s-%d" % (name, len(pieces)), None)) is not None:
            pieces.append(piece)
        objects[name.decode()] = self.fromString(b"".join(pieces))

    def toString(self, inObject: str) -> bytes:
        return bytes(inObject, "utf-8", "surrogatepass")

    def fromString(self, inString: bytes) -> object:
        return inString.decode("utf-8", "surrogatepass")


class _JSON(_Text):
    """
    What C{json.dumps} takes.
    """

    def toString(self, inObject: object) -> bytes:
        return json.dumps(inObject).encode()

    def fromString(self, inString: bytes) -> object:
        return json.loads(inString)


class _Command(amp.Command):
    # One that is not known would end the channel.
    errors = {Exception: b"FAILED"}  # noqa: RUF012 - the way of amp


# The parent's


class GetSnapshot(_Command):
    """
    The worker's numbers, as L{Snapshot.toJSON} writes them.
    """

    response = [(b"snapshot", _JSON())]  # noqa: RUF012


class GetSessions(_Command):
    """
    Some of its sessions.
    """

    arguments = [(b"after", amp.Integer()), (b"limit", amp.Integer())]  # noqa: RUF012
    response = [(b"rows", _JSON())]  # noqa: RUF012


class GetWaiting(_Command):
    """
    Those of its sessions that wait.
    """

    arguments = [(b"limit", amp.Integer())]  # noqa: RUF012
    response = [(b"rows", _JSON())]  # noqa: RUF012


class Ping(_Command):
    """
    Answer, for that shows that the reactor turns.
    """


class Accept(_Command):
    """
    From now on, accept from these partitions, and from no others. (From the sockets
    that all workers share, each worker accepts always.)
    """

    arguments = [(b"partitions", _JSON())]  # noqa: RUF012


class Drain(_Command):
    """
    End in order, as the whole service does: what waits in the backlogs that it accepts
    from becomes sessions first. Whether it does so: not if it ends already.
    """

    response = [(b"owns", amp.Boolean())]  # noqa: RUF012


class Reload(_Command):
    """
    Load keys and certificates again.
    """


class StopNow(_Command):
    """
    Wait for no client any more.
    """


# The worker's


class SetState(_Command):
    """
    What it does now: C{listening} or C{draining}.
    """

    arguments = [(b"state", amp.Unicode())]  # noqa: RUF012
    requiresAnswer = False


class Log(_Command):
    """
    Something that it has logged, as L{LogSender} writes it.
    """

    arguments = [(b"event", _Text())]  # noqa: RUF012
    requiresAnswer = False


class Finish(_Command):
    """
    Its last numbers. When this is answered, it ends.
    """

    arguments = [(b"snapshot", _JSON())]  # noqa: RUF012


class Channel(amp.BoxDispatcher, amp.CommandLocator):
    """
    One end. A subclass has the responders.
    """

    def __init__(self) -> None:
        super().__init__(self)
        self.transport: ITransport | None = None

    def open(self, reactor: IReactorSocket, end: socket.socket) -> None:
        """
        Talk over a socket, which is closed here when the reactor has taken it.
        """
        end.setblocking(False)
        with end:
            reactor.adoptStreamConnection(end.fileno(), end.family, _Once(self))

    def ask(
        self, command: type[amp.Command], **arguments: object
    ) -> "Deferred[Answer]":
        """
        Send a command.

        @return: fires with the answer, or fails; at once for a command that has none.
        """
        if self.boxSender is None:
            return fail(ConnectionDone())
        return self.callRemote(command, **arguments) or succeed({})

    def startReceivingBoxes(self, boxSender: amp.BinaryBoxProtocol) -> None:
        super().startReceivingBoxes(boxSender)
        self.transport = boxSender.transport
        self.opened()

    def stopReceivingBoxes(self, reason: Failure) -> None:
        super().stopReceivingBoxes(reason)
        self.transport = None
        self.lost()

    def opened(self) -> None:
        """
        It is open.
        """

    def lost(self) -> None:
        """
        The other process is gone.
        """

    def close(self) -> None:
        """
        Send nothing more.
        """
        if self.transport is not None:
            self.transport.loseConnection()


class _Once(ServerFactory[Any]):
    noisy = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        protocol: Protocol = amp.BinaryBoxProtocol(self._channel)
        return protocol
