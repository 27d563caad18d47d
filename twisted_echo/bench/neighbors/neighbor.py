"""
The kinds of neighbors that C{wait} measures a session beside, by name.

Plain data: a server process and a peer process are made of it.
"""

import importlib.util
import json
from dataclasses import asdict, dataclass

from twisted_echo.validation.extras import install_packages

__all__ = ["NEIGHBORS", "STOP", "Neighbor", "PeerOrder"]

NOBODY = "nobody"
STOP = "stop"


@dataclass(frozen=True)
class Neighbor:
    """
    One kind of busy connection that C{wait} measures a session beside.

    @ivar label: for people.
    @ivar server: what serves it, a name in L{neighbor_servers}; empty if there is none.
    @ivar transport: C{tcp}, C{tls} or C{unix}.
    @ivar peer: what its peer does: C{read}, C{descriptors}, C{flood}, C{ask} or C{get}.
    @ivar needs: modules without which it cannot run.
    """

    name: str
    label: str
    server: str = ""
    transport: str = "tcp"
    peer: str = "read"
    needs: tuple[str, ...] = ()

    @property
    def obstacle(self) -> str:
        """
        Why it cannot run, and what to do; empty, if it can.
        """
        missing = [each for each in self.needs if not importlib.util.find_spec(each)]
        if not missing:
            return ""
        command = install_packages("twisted[tls]", "cryptography")
        return f"{self.name} needs {', '.join(missing)}: {command}"


@dataclass(frozen=True)
class PeerOrder:
    """
    What the peer of a neighbor is to do.

    @ivar peer: as L{Neighbor} has it.
    @ivar address: C{HOST:PORT}, or a path for C{unix}.
    @ivar seconds: how long.
    @ivar most: bytes that it reads, at most.
    """

    peer: str
    transport: str
    address: str
    seconds: float
    most: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "PeerOrder":
        return cls(**json.loads(text))


NEIGHBORS = {
    each.name: each
    for each in (
        Neighbor(NOBODY, "nobody"),
        Neighbor("producer", "a push producer", "producer"),
        Neighbor("web", "a response of 300 MB, twisted.web", "web", peer="get"),
        Neighbor("flood", "a flood with large answers", "answers", peer="flood"),
        Neighbor("sequence", "writeSequence of 64 MiB", "sequence", peer="ask"),
        Neighbor(
            *("tls", "a push producer over TLS", "producer", "tls"),
            needs=("OpenSSL", "cryptography"),
        ),
        Neighbor("unix", "a push producer, UNIX socket", "producer", "unix"),
        Neighbor(
            *("descriptors", "one that passes descriptors"),
            *("descriptors", "unix", "descriptors"),
        ),
        Neighbor(STOP, "SIGTERM beside a push producer", "producer"),
    )
}
