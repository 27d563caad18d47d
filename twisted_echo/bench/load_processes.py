"""
A load of several processes: each its share of the connections, all at once.
"""

import contextlib
import selectors
from collections.abc import Callable, Collection

from twisted_echo.bench.children import Child
from twisted_echo.bench.errors import BadRequest
from twisted_echo.bench.plan import Plan
from twisted_echo.bench.result import Result

WORKER = ("-m", "twisted_echo.bench.load_worker")


def run_processes(
    plan: Plan,
    processes: int,
    *,
    processors: Collection[int] = (),
    niceness: int = 0,
    ready: Callable[[], None] = lambda: None,
    progress: Callable[[int], None] = lambda lines: None,
    measured: Callable[[int], None] = lambda lines: None,
) -> Result:
    """
    Carry out a plan.

    @param processors: where the processes may run; anywhere, if it is empty.
    @param niceness: how far the processes yield to others, from 0 to 19.
    @param ready: called when every process has its connections; they send when it
        returns.
    @param measured: called when all of them have their lines back, with how many,
        while the connections are open.
    @raise ChildFailed: if a process ends without a result.
    """
    total = Result()
    lines = dict.fromkeys(range(processes), 0)
    connected, counted = set(), set()
    with contextlib.ExitStack() as stack:
        answers = stack.enter_context(selectors.DefaultSelector())
        children = [
            stack.enter_context(
                Child(
                    f"load process {index + 1} of {processes}",
                    WORKER,
                    processors=processors,
                    niceness=niceness,
                    talks=True,
                )
            )
            for index in range(processes)
        ]
        for index, share in enumerate(plan.shares(processes)):
            answers.register(children[index], selectors.EVENT_READ, index)
            children[index].tell(share.to_json())

        def take(index: int, answer: str) -> None:
            word, _, rest = answer.partition(" ")
            if word == "connected":
                connected.add(index)
                if len(connected) == processes:
                    ready()
                    for child in children:
                        child.tell("go")
            elif word in ("progress", "measured"):
                lines[index] = int(rest)
                progress(sum(lines.values()))
                if word == "measured":
                    counted.add(index)
                    if len(counted) == processes:
                        measured(sum(lines.values()))
            elif word == "result":
                total.add(Result.from_json(rest))
                answers.unregister(children[index])
            else:
                raise BadRequest(rest)

        # After a failure the others would go on for nothing.
        while answers.get_map() and not total.failures:
            for key, _ in answers.select():
                for answer in children[key.data].heard():
                    take(key.data, answer)
    return total
