"""
A server process with an echo and a neighbor:
C{python -m twisted_echo.bench.neighbors.neighbor_server NEIGHBOR REACTOR FOLDER}.

It says C{neighbor at ADDRESS}, and C{listening on HOST:PORT, by REACTOR} of the echo. A
UNIX socket is made in C{FOLDER}, and TLS has its C{key.pem} and C{cert.pem}.
"""

import sys
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo

from twisted_echo.bench.neighbors.neighbor import NEIGHBORS, Neighbor
from twisted_echo.bench.neighbors.neighbor_servers import FACTORIES
from twisted_echo.bench.programs.kind import HOST
from twisted_echo.bench.programs.program_reactors import REACTORS
from twisted_echo.bench.programs.program_server import begin_logging
from twisted_echo.bench.rivals import say
from twisted_echo.bench.servers import listen_string


def listen(neighbor: Neighbor, reactor: Any, folder: Path) -> tuple[str, Any]:
    """
    Listen for the neighbor's peer.

    @return: where, and the port.
    """
    factory = FACTORIES[neighbor.server]()
    if neighbor.transport == "unix":
        path = str(folder / "neighbor.sock")
        return path, reactor.listenUNIX(path, factory)
    certificate = str(folder) if neighbor.transport == "tls" else ""
    listening: Any = serverFromString(reactor, listen_string(certificate))
    # It listens when this returns.
    ports: list[Any] = []
    listening.listen(factory).addCallback(ports.append)
    return f"{HOST}:{ports[0].getHost().port}", ports[0]


def main(name: str, reactor_name: str, folder: str) -> None:
    """
    Serve until a signal comes.
    """
    begin_logging()
    REACTORS[reactor_name].install()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    if NEIGHBORS[name].server:
        where, _ = listen(NEIGHBORS[name], reactor, Path(folder))
        print(f"neighbor at {where}", flush=True)
    echo = reactor.listenTCP(0, Factory.forProtocol(Echo), interface=HOST)
    say(echo.getHost().port, reactor)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
