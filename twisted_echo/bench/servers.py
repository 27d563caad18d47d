"""
The servers that C{compare} starts, each in a process of its own.
"""

import importlib.util
import os
from collections.abc import Collection
from dataclasses import dataclass

from twisted.internet.endpoints import quoteStringArgument

from twisted_echo.bench.children import Child
from twisted_echo.bench.plan import Target
from twisted_echo.compiled.choice import VARIABLE, implementation
from twisted_echo.validation.extras import install_extra, install_packages

OURS = "echo"
PURE = "echo-pure"
PER_LINE = "fast-lines"

READY = r"listening on (?P<host>[\d.]+):(?P<port>\d+), by (?P<loop>\w+)"

TWISTD = "from twisted.scripts.twistd import run; run()"
"""
C{twistd}, wherever its script is installed.
"""

COMPILED = implementation() == "compiled"

PURE_PYTHON = "pure Python"

BRINGS = {"OpenSSL": "twisted[tls]"}
"""
The package that brings a module which may be missing, if not the extra.
"""


@dataclass(frozen=True)
class Server:
    """
    One server that C{compare} measures.

    @ivar label: for people.
    @ivar needs: the modules without which it cannot run.
    @ivar tls_needs: the one without which it cannot speak TLS; None: it does not.
    """

    name: str
    label: str
    needs: tuple[str, ...] = ()
    tls_needs: str | None = "ssl"

    def arguments(self, certificate: str) -> list[str]:
        """
        What Python runs.
        """
        if self.name not in (OURS, PURE):
            return ["-m", "twisted_echo.bench.rivals", self.name, certificate]
        listen = ["--listen", listen_string(certificate)]
        # All of its defaults but the port; no file in the current folder.
        return ["-c", TWISTD, "--pidfile=", "-n", "echo", *listen]

    def obstacle(self, tls: bool) -> str:
        """
        Why it cannot run, and what to do; empty, if it can.
        """
        if self.name == PURE and not COMPILED:
            return f"{self.name} would be {OURS} again: {implementation()}"
        if tls and self.tls_needs is None:
            return f"{self.name} has no TLS"
        for module in (*self.needs, tls and self.tls_needs):
            if module and importlib.util.find_spec(module) is None:
                package = BRINGS.get(module)
                command = (
                    install_packages(package) if package else install_extra("bench")
                )
                return f"{self.name} needs {module}: {command}"
        return ""

    def start(self, processors: Collection[int], certificate: str = "") -> Child:
        """
        Start the server in a process of its own.

        @param certificate: the folder of C{key.pem} and C{cert.pem}; empty: no TLS.
        """
        return Child(
            self.label,
            self.arguments(certificate),
            processors=processors,
            environment={VARIABLE: "no"} if self.name == PURE else {},
        )


def listen_string(certificate: str) -> str:
    """
    What a server is to listen on, in Twisted's words: a port that the kernel chooses.
    """
    if not certificate:
        return "tcp:0:interface=127.0.0.1"
    key, chain = (
        quoteStringArgument(os.path.join(certificate, name))
        for name in ("key.pem", "cert.pem")
    )
    return f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={chain}"


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
        Server(OURS, f"twistd echo (eager, {'compiled' if COMPILED else PURE_PYTHON})"),
        Server(PURE, f"twistd echo (eager, {PURE_PYTHON})"),
        Server(PER_LINE, "FastLineReceiver (eager)", tls_needs=None),
        Server(
            "fast-line-lists", "FastLineReceiver, linesReceived (eager)", tls_needs=None
        ),
        Server("answering-lines", "AnsweringLineReceiver (eager)", tls_needs=None),
        Server("line-receiver", "Twisted LineReceiver", tls_needs="OpenSSL"),
        Server("line-only-receiver", "Twisted LineOnlyReceiver", tls_needs="OpenSSL"),
        Server("asyncio-raw", "asyncio, raw"),
        Server("asyncio-lines", "asyncio, lines"),
        Server("asyncio-streams", "asyncio, streams"),
        Server("uvloop-raw", "uvloop, raw", ("uvloop",)),
        Server("uvloop-lines", "uvloop, lines", ("uvloop",)),
        Server("uvloop-streams", "uvloop, streams", ("uvloop",)),
        Server("rloop-raw", "rloop, raw", ("rloop",), tls_needs=None),
        Server("rloop-lines", "rloop, lines", ("rloop",), tls_needs=None),
        Server("aiofastnet-raw", "aiofastnet on uvloop, raw", ("aiofastnet", "uvloop")),
    )
}
