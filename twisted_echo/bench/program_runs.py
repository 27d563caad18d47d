"""
Measure kinds of programs on pairs of reactors: round by round, the two reactors of a
pair one after the other, the first of them in turns.

What must hold: the figure is the server's processor time per operation, from when all
connections are warm to when all operations are done. Every run has a new server.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from twisted_echo.bench.children import Child, SpeakingChild
from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.gains import Gains, ProgramRun
from twisted_echo.bench.metering import Meter, least_disturbed
from twisted_echo.bench.programs.kinds import Kind
from twisted_echo.bench.programs.program_load import LoadOrder
from twisted_echo.bench.programs.program_reactors import REACTORS
from twisted_echo.bench.screen import Show
from twisted_echo.bench.servers import SERVERS, address
from twisted_echo.bench.turns import Pair, take_turns

SERVER = ("-m", "twisted_echo.bench.programs.program_server")
LOAD = ("-m", "twisted_echo.bench.programs.program_load")


@dataclass(frozen=True)
class Effort:
    """
    How much each run does.

    @ivar processors: those of the server, and those of the load; none for any.
    """

    seconds: float
    connections: int
    processors: tuple[Collection[int], Collection[int]]


def start_server(kind: Kind, reactor: str, processors: Collection[int]) -> Child:
    if rival := REACTORS[reactor].rival:
        return SERVERS[rival].start(processors)
    label = f"{kind.label} on {reactor}"
    return Child(label, (*SERVER, kind.name, reactor), processors=processors)


def measure_program(
    kind: Kind, pair: Pair, reactor: str, number: int, effort: Effort
) -> ProgramRun:
    """
    Start a server, put load on it, end it.

    @raise BrokenServer: if it does not send every reply, or not in time.
    @raise ChildFailed: if it does not start.
    """
    server_processors, load_processors = effort.processors
    meter = Meter()
    with (
        start_server(kind, reactor, server_processors) as server,
        SpeakingChild("the load", LOAD, processors=load_processors) as load,
    ):
        port = address(server).port
        order = LoadOrder(
            kind.name, port, effort.connections, effort.seconds, kind.most
        )
        load.tell(order.to_json())
        try:
            load.hear("warm")
            meter.look(server.pid)
            load.tell("go")
            operations = int(load.hear("measured"))
            meter.look(server.pid)
        except BrokenServer as error:
            raise BrokenServer(
                f"{kind.label} on {reactor}: {error}; {server.last_words}"
            ) from None
    return ProgramRun(
        kind=kind.name,
        pair=str(pair),
        reactor=reactor,
        round=number,
        cpu_us=meter.used / max(operations, 1) * 1e6,
        operations=operations,
        stolen=meter.stolen,
    )


def compare_programs(
    gains: Gains,
    kinds: Sequence[Kind],
    rounds: int,
    effort: Effort,
    show: Show = lambda share, words: None,
) -> None:
    """
    Measure all kinds on all pairs of reactors.

    @param gains: gets each run when it is done, and what has failed.
    """
    wanted = [
        (pair, kind)
        for pair in gains.pairs
        for kind in kinds
        if kind.bare or not REACTORS[pair.stock].rival
    ]

    def measure(pair: Pair, kind: Kind, reactor: str, number: int) -> None:
        once = partial(measure_program, kind, pair, reactor, number, effort)
        run, tries = least_disturbed(once)
        gains.runs.append(replace(run, tries=tries))

    gains.failures += take_turns(wanted, rounds, measure, show)
