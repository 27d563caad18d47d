"""
Measure the longest wait of a session beside a neighbor on the same reactor.

What must hold: every run has a new server, and ends C{PATIENCE} seconds after its time
at the latest; what the session waits for is the server and not the peer's process,
which yields to it.
"""

import os
import select
import signal
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from twisted_echo.bench.children import Child, SpeakingChild
from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.neighbors.neighbor import STOP, Neighbor, PeerOrder
from twisted_echo.bench.screen import Show
from twisted_echo.bench.servers import address
from twisted_echo.bench.storm import OpenSession
from twisted_echo.bench.turns import Pair, take_turns
from twisted_echo.bench.waits import Wait, Waits

SERVER = ("-m", "twisted_echo.bench.neighbors.neighbor_server")
PEER = ("-m", "twisted_echo.bench.neighbors.neighbor_peer")
PATIENCE = 30.0
"""
Seconds for a server to end.
"""

NICENESS = 5
"""
Of the peer: so much that the session's thread has the processor that they share when it
wants it, and so little that the peer reads as fast as a server writes.
"""

FLOWING = 0.3
"""
Seconds that a producer produces before SIGTERM.
"""


@dataclass(frozen=True)
class WaitEffort:
    """
    How much one run of C{wait} does.

    @ivar seconds: how long the neighbor is busy.
    @ivar most: bytes that its peer reads, at most.
    @ivar processors: those of the server, and those of the peer; none for any.
    @ivar folder: of C{key.pem} and C{cert.pem}, and for a socket.
    """

    seconds: float
    most: int
    processors: tuple[Collection[int], Collection[int]]
    folder: str


class _Meeting:
    """
    A server, and the peer of its neighbor, which has connected.
    """

    def __init__(self, server: Child, peer: SpeakingChild, neighbor: Neighbor) -> None:
        self.server = server
        self._peer = peer
        self._neighbor = neighbor

    def connect(self, effort: WaitEffort) -> None:
        neighbor = self._neighbor
        if not neighbor.server:
            return
        where = self.server.wait_for(r"neighbor at (.+)\n")[1]
        # A stop is to find the producer busy.
        seconds = PATIENCE if neighbor.name == STOP else effort.seconds
        order = PeerOrder(
            neighbor.peer, neighbor.transport, where, seconds, effort.most
        )
        self._peer.tell(order.to_json())
        self._peer.hear("connected")

    def begin(self) -> None:
        self._peer.tell("go")
        self._peer.hear("begun")

    def end(self) -> int:
        return int(self._peer.hear("read"))

    def longest_wait(self, effort: WaitEffort) -> tuple[float, int, int]:
        """
        Measure the longest wait of the session while the neighbor is busy.

        @return: the longest wait in milliseconds, the echoes, the bytes that were read.
        """
        with OpenSession(address(self.server)) as session:
            lines = session.turn()
            if self._neighbor.server:
                self.begin()
                read = self.end()
            else:
                time.sleep(effort.seconds)
                read = 0
            # There may have been no time for one, if the machine is busy.
            session.wait_for_line(lines)
            phase = session.phase("", lines, session.turn())
        return phase.latency_us["max"] / 1e3, phase.lines, read

    def time_of_stop(self) -> float:
        """
        Measure how long the process takes to end by SIGTERM.

        @return: milliseconds from SIGTERM to the end of the process.
        """
        handle = os.pidfd_open(self.server.pid)
        try:
            self.begin()
            time.sleep(FLOWING)
            began = time.monotonic()
            os.kill(self.server.pid, signal.SIGTERM)
            if not select.select([handle], [], [], PATIENCE)[0]:
                raise BrokenServer(f"SIGTERM did not end it within {PATIENCE:g} s")
            return (time.monotonic() - began) * 1e3
        finally:
            os.close(handle)


def measure_wait(
    neighbor: Neighbor, pair: Pair, reactor: str, number: int, effort: WaitEffort
) -> Wait:
    """
    Start a server, open a session, let the neighbor be busy, end all.

    @raise BrokenServer: if the server breaks either connection.
    @raise ChildFailed: if it does not start.
    """
    server_processors, peer_processors = effort.processors
    label = f"{neighbor.label} on {reactor}"
    arguments = (*SERVER, neighbor.name, reactor, effort.folder)
    read = lines = 0
    with (
        Child(label, arguments, processors=server_processors) as server,
        SpeakingChild(
            "the peer", PEER, processors=peer_processors, niceness=NICENESS
        ) as peer,
    ):
        meeting = _Meeting(server, peer, neighbor)
        try:
            meeting.connect(effort)
            if neighbor.name == STOP:
                longest = meeting.time_of_stop()
            else:
                longest, lines, read = meeting.longest_wait(effort)
        except BrokenServer as error:
            raise BrokenServer(f"{label}: {error}; {server.last_words}") from None
    return Wait(neighbor.name, str(pair), reactor, number, longest, lines, read)


def compare_waits(
    waits: Waits,
    neighbors: Sequence[Neighbor],
    rounds: int,
    effort: WaitEffort,
    show: Show = lambda share, words: None,
) -> None:
    """
    Measure the wait beside all neighbors on all pairs of reactors.

    @param waits: gets each run when it is done, and what has failed.
    """
    wanted = [(pair, each) for pair in waits.pairs for each in neighbors]

    def measure(pair: Pair, neighbor: Neighbor, reactor: str, number: int) -> None:
        waits.runs.append(measure_wait(neighbor, pair, reactor, number, effort))

    waits.failures += take_turns(wanted, rounds, measure, show)
