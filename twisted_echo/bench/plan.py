"""
What a load is to do: a target, a plan, and the share of each process in it.

Plain data, which goes to another process as JSON.
"""

import itertools
import json
from dataclasses import asdict, dataclass, replace

from twisted_echo.bench.errors import BadRequest
from twisted_echo.bench.load_lines import SHORTEST

DELIMITERS = {"lf": b"\n", "crlf": b"\r\n", "nul": b"\0"}
IN_FLIGHT = 256 * 1024
"""
The most bytes that one connection has in flight, where not more are asked for: what
is above it measures the socket buffers.
"""

MOST_IN_FLIGHT = 1 << 30
"""
Bytes in flight that a closed loop may ask for: this side keeps all of them, and
the server may have to.
"""


@dataclass(frozen=True)
class Target:
    """
    Where the server is: a host and a port, or a path.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False
    insecure: bool = False
    ca: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.path}" if self.path else f"{host}:{self.port}"


_EXAMPLES = (
    "HOST:PORT, [IPV6]:PORT or an endpoint: tcp:HOST:PORT, tls:HOST:PORT, unix:PATH"
)


def parse_target(text: str) -> Target:
    """
    Read C{127.0.0.1:7007}, C{[::1]:7007}, C{tcp:host=localhost:port=7007},
    C{tls:localhost:7007} or C{unix:/run/echo.sock}.

    @raise ValueError: saying what was given and what is allowed.
    """
    kind, _, rest = text.partition(":")
    wrong = ValueError(f"must be {_EXAMPLES}; got {text!r}")
    if kind == "unix":
        path = rest.removeprefix("path=").replace("\\:", ":")
        if not path:
            raise wrong
        return Target(path=path)
    if kind not in ("tcp", "tls", "ssl"):
        kind, rest = "tcp", text
    host, _, port = rest.replace("\\:", ":").rpartition(":")
    host = host.removeprefix("host=").removeprefix("[").removesuffix("]")
    port = port.removeprefix("port=")
    if not host or not port.isascii() or not port.isdigit():
        raise wrong
    if not 1 <= int(port) <= 65535:
        raise ValueError(f"a port must be from 1 to 65535, got {port} in {text!r}")
    return Target(host, int(port), tls=kind != "tcp")


@dataclass(frozen=True)
class Plan:
    """
    One load.

    @ivar sizes: bytes of a line, delimiter included; connection C{n} sends lines
        of C{sizes[n % len(sizes)]}.
    @ivar depth: closed loop: lines of a batch; a connection sends the next batch
        when the one before is back, C{None} for one line. Open loop: the most
        lines in flight per connection, C{None} for L{IN_FLIGHT}.
    @ivar duration: seconds, unless C{count} is given.
    @ivar count: lines of all connections together.
    @ivar rate: open loop: lines a second of all connections together.
    @ivar warm_up: seconds at the start whose lines are checked, not counted.
    @ivar churn: each line has a connection of its own: C{connections} are then places
        that have one connection after the other.
    @ivar timeout: seconds without a line after which a server is given up.
    @ivar first: the first connection that this process makes.
    @ivar end: the one after its last; C{None} for all.
    """

    target: Target
    connections: int = 50
    sizes: tuple[int, ...] = (64,)
    depth: int | None = None
    duration: float = 10.0
    count: int | None = None
    rate: float | None = None
    warm_up: float = 0.0
    churn: bool = False
    timeout: float = 10.0
    delimiter: str = "lf"
    first: int = 0
    end: int | None = None

    def __post_init__(self) -> None:
        shortest = SHORTEST + len(DELIMITERS[self.delimiter])
        if min(self.sizes) < shortest:
            raise BadRequest(
                f"--sizes: a line must have {shortest} bytes or more, delimiter"
                " included, so that it can name its connection and its number; got"
                f" {min(self.sizes)}"
            )
        if self.connections < len(self.sizes):
            raise BadRequest(
                f"--sizes: {len(self.sizes)} sizes need as many connections, each"
                f" sends lines of one size; got --connections {self.connections}"
            )
        if self.count is None and self.warm_up >= self.duration:
            raise BadRequest(
                "--warm-up must be shorter than --duration, which is"
                f" {self.duration:g} s; got {self.warm_up:g}"
            )
        if self.churn and (self.rate is not None or self.batch > 1):
            raise BadRequest(
                "--churn: a connection sends one line, when it is made; so --rate"
                " and a --depth above 1 do not go with it"
            )
        in_flight = sum(self.sizes) * self.connections * self.batch / len(self.sizes)
        if in_flight > MOST_IN_FLIGHT:
            raise BadRequest(
                f"{self.connections} connections with {self.batch} lines in flight"
                f" are {in_flight / 2**20:,.0f} MiB in flight; at most"
                f" {MOST_IN_FLIGHT >> 20} MiB are allowed: lower --connections,"
                " --depth or --sizes"
            )

    @property
    def batch(self) -> int:
        return self.depth or 1

    @property
    def numbers(self) -> range:
        """
        The connections of this process.
        """
        return range(self.first, self.connections if self.end is None else self.end)

    def size_of(self, number: int) -> int:
        return self.sizes[number % len(self.sizes)]

    def lines_of(self, number: int) -> int | None:
        """
        How many lines a connection is to send; C{None}: until time is up.
        """
        total = self.count
        if total is None:
            if self.rate is None:
                return None
            total = max(1, int(self.duration * self.rate))
        return total // self.connections + (number < total % self.connections)

    def shares(self, processes: int) -> list["Plan"]:
        """
        Deal the connections out to some processes, each with all sizes as far as
        they go round.

        @raise BadRequest: if there are not as many.
        """
        if self.connections < processes:
            raise BadRequest(
                f"--processes: {processes} processes need as many connections; got"
                f" --connections {self.connections}"
            )
        bounds = [self.connections * each // processes for each in range(processes + 1)]
        return [
            replace(self, first=first, end=end)
            for first, end in itertools.pairwise(bounds)
        ]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        fields = json.loads(text)
        fields["target"] = Target(**fields["target"])
        fields["sizes"] = tuple(fields["sizes"])
        return cls(**fields)
