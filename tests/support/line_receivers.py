"""
Line receivers that log what happens to them, and do what a script says.
"""

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import HealthCheck
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineOnlyReceiver

from tests.support import reference
from tests.support.reference import chunks_of, delimiters, limits
from twisted_echo.framing.line_receiver import FastLineOnlyReceiver, FastLineReceiver

__all__ = [
    "CountingTransport",
    "Event",
    "LenientTransport",
    "Lines",
    "MendedLineOnlyReceiver",
    "OnlyLines",
    "ScriptError",
    "Scripted",
    "actions",
    "connected",
    "few_bytes",
    "run",
    "steps_of",
    "thorough",
]

thorough = reference.thorough(
    500, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

Event = tuple[Any, ...]


class LenientTransport(StringTransport):
    """
    A transport that may be paused and resumed while it closes, as the kernel's
    may; C{StringTransport} forbids it, and would end both scripts there.
    """

    def _checkState(self) -> None:
        pass


class CountingTransport(StringTransport):
    """
    A transport that counts the calls that write.
    """

    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.writes += 1
        super().writeSequence(data)


class ScriptError(Exception):
    """
    What a script raises in the middle of a line.
    """


class Scripted:
    """
    A mix-in that logs every call, and in each does the script's next action.
    """

    def __init__(self, script: Iterable[Any]) -> None:
        self.events: list[Event] = []
        self.script = list(script)
        self.depth = 0

    def lineReceived(self, line: bytes) -> object:
        self.events.append(("line", line))
        return self.act(None)

    def rawDataReceived(self, data: bytes) -> object:
        self.events.append(("raw", data))
        return self.act(data)

    def lineLengthExceeded(self, line: bytes) -> object:
        self.events.append(("exceeded", line))
        return self.act(None)

    def act(self, raw: bytes | None) -> object:
        action = self.script.pop(0) if self.script else None
        if action is None:
            return None
        self.events.append(("action", action))
        name, *arguments = action if isinstance(action, tuple) else (action,)
        result: object = getattr(self, "do_" + name)(raw, *arguments)
        return result

    # The actions. Each gets the raw data, if it happens in rawDataReceived.

    def do_pause(self, raw: bytes | None) -> None:
        self.pauseProducing()

    def do_blink(self, raw: bytes | None) -> None:
        self.pauseProducing()
        self.resumeProducing()

    def do_stop(self, raw: bytes | None) -> None:
        self.stopProducing()

    def do_switch(self, raw: bytes | None) -> object:
        """
        To raw mode, or back with what is left of the raw data.
        """
        if raw is None:
            self.setRawMode()
            return None
        return self.setLineMode(raw[1:])

    def do_raw(self, raw: bytes | None) -> None:
        self.setRawMode()

    def do_line(self, raw: bytes | None, extra: bytes) -> object:
        return self.setLineMode(extra)

    def do_raw_and_line(self, raw: bytes | None, extra: bytes) -> None:
        self.setRawMode()
        self.setLineMode(extra)

    def do_truth(self, raw: bytes | None) -> object:
        return "true"

    def do_lose(self, raw: bytes | None) -> None:
        self.transport.loseConnection()

    def do_receive(self, raw: bytes | None, data: bytes) -> None:
        if self.depth < 3:
            self.depth += 1
            try:
                result = self.dataReceived(data)
            finally:
                self.depth -= 1
            self.events.append(("re-entered", bool(result)))

    def do_clear(self, raw: bytes | None) -> None:
        self.events.append(("cleared", self.clearLineBuffer()))

    def do_send(self, raw: bytes | None, line: bytes) -> None:
        self.sendLine(line)

    def do_raise(self, raw: bytes | None) -> None:
        raise ScriptError

    def do_delimiter(self, raw: bytes | None, delimiter: bytes) -> None:
        self.delimiter = delimiter
        self._mind()

    def do_limit(self, raw: bytes | None, limit: int) -> None:
        self.MAX_LENGTH = limit
        self._mind()

    def _mind(self) -> None:
        """
        Do what the fast class's docstring asks for; in the original it means
        nothing.
        """
        if self.line_mode:
            self.setLineMode()

    # What happens between two chunks.

    def step(self, do: Any) -> None:
        """
        Receive a chunk, or do something from outside, and log what comes of it.
        """
        name, *arguments = do if isinstance(do, tuple) else (do,)
        result: object = None
        try:
            if name == "chunk":
                result = self.dataReceived(*arguments)
            elif name == "resume":
                self.resumeProducing()
            elif name == "outside":
                result = getattr(self, "do_" + arguments[0])(None, *arguments[1:])
        except ScriptError:
            self.events.append(("raised",))
        self.events.append(("after", name, bool(result)))


class MendedLineOnlyReceiver(LineOnlyReceiver):
    """
    The original without its fault: the beginning of a delimiter does not count
    towards the line.
    """

    def dataReceived(self, data: bytes) -> object:
        exceeded = self.lineLengthExceeded
        self.lineLengthExceeded = self.unlessItMayEnd
        try:
            return super().dataReceived(data)
        finally:
            self.lineLengthExceeded = exceeded

    def unlessItMayEnd(self, line: bytes) -> object:
        if line is self._buffer and any(
            line.endswith(self.delimiter[:size]) and len(line) - size <= self.MAX_LENGTH
            for size in range(1, len(self.delimiter))
        ):
            return None
        return type(self).lineLengthExceeded(self, line)


def run(
    base: type[Any],
    delimiter: bytes,
    limit: int,
    script: Iterable[Any],
    steps: Iterable[Any],
) -> tuple[list[Event], bytes]:
    """
    Run a script in a receiver.

    @return: everything that happened, and what was written.
    """

    class Receiver(Scripted, base):  # type: ignore[misc]
        pass

    receiver = Receiver(script)
    receiver.delimiter = delimiter
    receiver.MAX_LENGTH = limit
    transport = LenientTransport()
    receiver.makeConnection(transport)
    for do in steps:
        receiver.step(do)
    if hasattr(base, "clearLineBuffer"):
        receiver.events.append(("left", receiver.clearLineBuffer()))
    receiver.events.append(("state", transport.producerState, transport.disconnecting))
    return receiver.events, transport.value()


few_bytes = st.lists(st.sampled_from(b"ab\r\n"), max_size=6).map(bytes)
changes = st.one_of(
    st.tuples(st.just("delimiter"), delimiters),
    st.tuples(st.just("limit"), limits),
)
actions = st.one_of(
    st.none(),
    st.sampled_from(["pause", "blink", "switch", "raw", "truth", "clear"]),
    st.sampled_from(["pause", "switch", "stop", "lose", "raise"]),
    st.tuples(st.sampled_from(["line", "raw_and_line", "receive", "send"]), few_bytes),
    changes,
)
from_outside = st.one_of(
    st.sampled_from([("outside", "pause"), ("outside", "raw"), ("outside", "clear")]),
    st.tuples(st.just("outside"), st.just("line"), few_bytes),
    changes.map(lambda change: ("outside", *change)),
)


@st.composite
def steps_of(draw: st.DrawFn) -> list[Any]:
    """
    Chunks, and what is done before and after each.
    """
    steps: list[Any] = []
    for chunk in draw(chunks_of()):
        steps.append(("chunk", chunk))
        steps += draw(st.lists(st.one_of(st.just("resume"), from_outside), max_size=2))
    return steps


class Lines(FastLineReceiver):
    """
    Collects blocks, lists and lines, and hands them on.
    """

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.lists: list[list[bytes]] = []
        self.lines: list[bytes] = []
        self.raw: list[bytes] = []
        self.exceeded: list[bytes] = []

    def blockReceived(self, block: bytes) -> object:
        self.blocks.append(block)
        return super().blockReceived(block)

    def linesReceived(self, lines: list[bytes]) -> object:
        self.lists.append(list(lines))
        return super().linesReceived(lines)

    def lineReceived(self, line: bytes) -> object:
        self.lines.append(line)
        return self.then(line)

    def then(self, line: bytes) -> object:
        return None

    def rawDataReceived(self, data: bytes) -> None:
        self.raw.append(data)

    def lineLengthExceeded(self, line: bytes) -> object:
        self.exceeded.append(line)
        return super().lineLengthExceeded(line)


class OnlyLines(FastLineOnlyReceiver):
    """
    The same on the other receiver.
    """

    __init__ = Lines.__init__

    def blockReceived(self, block: bytes) -> object:
        self.blocks.append(block)
        return super().blockReceived(block)

    def linesReceived(self, lines: list[bytes]) -> object:
        self.lists.append(list(lines))
        return super().linesReceived(lines)

    def lineReceived(self, line: bytes) -> object:
        self.lines.append(line)
        return self.then(line)

    def then(self, line: bytes) -> object:
        return None

    def lineLengthExceeded(self, line: bytes) -> object:
        self.exceeded.append(line)
        return super().lineLengthExceeded(line)


def connected(receiver: Any, then: Callable[[Any, bytes], object] | None = None) -> Any:
    """
    Connect the receiver to a transport, and have it do C{then} in each line.
    """
    if then is not None:
        receiver.then = lambda line: then(receiver, line)
    receiver.makeConnection(CountingTransport())
    return receiver
