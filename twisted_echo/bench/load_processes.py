"""
A load of several processes: each its share of the connections, all at once.
"""

import contextlib
import selectors
from collections.abc import Callable, Collection, Sequence

from twisted_echo.bench.children import Child
from twisted_echo.bench.errors import BadRequest
from twisted_echo.bench.plan import Plan
from twisted_echo.bench.result import Result

WORKER = ("-m", "twisted_echo.bench.load_worker")


class _Load:
    """
    Processes that carry out their shares of a plan, and what they have said so far.
    """

    def __init__(
        self,
        children: Sequence[Child],
        ready: Callable[[], None],
        progress: Callable[[int], None],
        measured: Callable[[int], None],
    ) -> None:
        self.result = Result()
        self._children = children
        self._ready, self._progress, self._measured = ready, progress, measured
        self._lines = dict.fromkeys(range(len(children)), 0)
        self._connected: set[int] = set()
        self._counted: set[int] = set()

    def take(self, index: int, answer: str) -> bool:
        """
        Take what a process says.

        @return: whether that was its last word.
        """
        word, _, rest = answer.partition(" ")
        if word == "connected":
            self._connected.add(index)
            if len(self._connected) == len(self._children):
                self._ready()
                for child in self._children:
                    child.tell("go")
        elif word in ("progress", "measured"):
            self._lines[index] = int(rest)
            self._progress(sum(self._lines.values()))
            if word == "measured":
                self._counted.add(index)
                if len(self._counted) == len(self._children):
                    self._measured(sum(self._lines.values()))
        elif word == "result":
            self.result.add(Result.from_json(rest))
            return True
        else:
            raise BadRequest(rest)
        return False


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
        load = _Load(children, ready, progress, measured)
        # After a failure the others would go on for nothing.
        while answers.get_map() and not load.result.failures:
            for key, _ in answers.select():
                for answer in children[key.data].heard():
                    if load.take(key.data, answer):
                        answers.unregister(children[key.data])
    return load.result
