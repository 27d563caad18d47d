"""
The servers that C{compare} starts, each in a process of its own.

Used by: C{compare}, and pictures for the names.
"""

import importlib.util
from collections.abc import Collection
from dataclasses import dataclass

from twisted_echo.bench.children import Child
from twisted_echo.bench.plan import Target
from twisted_echo.echo import EchoConfig

OURS = "echo"
PER_LINE = "fast-lines"
LONGEST = EchoConfig().maxLength
"""
The longest line of L{OURS} with its defaults.
"""

READY = r"listening on (?P<host>[\d.]+):(?P<port>\d+), by (?P<loop>\w+)"

TWISTD = "from twisted.scripts.twistd import run; run()"
"""
C{twistd}, wherever its script is installed.
"""


@dataclass(frozen=True)
class Server:
    """
    @ivar label: for people.
    @ivar needs: the module without which it cannot run.
    """

    name: str
    label: str
    needs: str = "twisted"

    @property
    def arguments(self) -> list[str]:
        """
        What Python runs.
        """
        if self.name != OURS:
            return ["-m", "twisted_echo.bench.rivals", self.name]
        listen = ["--listen", "tcp:0:interface=127.0.0.1"]
        # All of its defaults but the port; no file in the current folder.
        return ["-c", TWISTD, "--pidfile=", "-n", "echo", *listen]

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.needs) is not None

    def start(self, processors: Collection[int], size: int = 0) -> Child:
        """
        @param size: of the lines that it will get.
        """
        longer = []
        if self.name == OURS and size > LONGEST:
            longer = ["--max-length", str(size)]
        return Child(self.label, [*self.arguments, *longer], processors=processors)


def address(child: Child) -> Target:
    """
    Wait until a server listens.

    @raise ChildFailed: if it does not.
    """
    found = child.wait_for(READY)
    return Target(found["host"], int(found["port"]))


SERVERS = {
    server.name: server
    for server in (
        Server(OURS, "twistd echo"),
        Server(PER_LINE, "FastLineReceiver"),
        Server("line-receiver", "Twisted LineReceiver"),
        Server("line-only-receiver", "Twisted LineOnlyReceiver"),
        Server("asyncio-raw", "asyncio, raw"),
        Server("asyncio-lines", "asyncio, lines"),
        Server("asyncio-streams", "asyncio, streams"),
        Server("uvloop-raw", "uvloop, raw", "uvloop"),
        Server("uvloop-lines", "uvloop, lines", "uvloop"),
        Server("uvloop-streams", "uvloop, streams", "uvloop"),
    )
}
