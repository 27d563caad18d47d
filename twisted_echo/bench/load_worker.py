"""
A process that carries out one share of a load: C{python -m
twisted_echo.bench.load_worker}.

Reads the plan, a line of JSON, from standard input; says C{connected}; waits for a
line; says C{progress LINES} now and then, C{measured LINES} when its lines are
back, and last C{result JSON}. C{refused MESSAGE} is for a plan that it cannot
carry out.
"""

import sys
from typing import TextIO

from twisted_echo.bench.errors import BadRequest
from twisted_echo.bench.load import run_load
from twisted_echo.bench.plan import Plan


def main(commands: TextIO, answers: TextIO) -> None:
    def say(*words: object) -> None:
        print(*words, file=answers, flush=True)

    def ready() -> None:
        say("connected")
        commands.readline()

    plan = Plan.from_json(commands.readline())
    try:
        result = run_load(
            plan,
            ready=ready,
            progress=lambda lines: say("progress", lines),
            measured=lambda lines: say("measured", lines),
        )
    except BadRequest as error:
        say("refused", error)
    else:
        say("result", result.to_json())


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
