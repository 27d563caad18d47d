"""
The processors of this machine: which there are, how much of them a process has used,
and how much the hypervisor has taken away. Linux only.
"""

import os
import time
from pathlib import Path

from twisted_echo.bench.errors import BadRequest

_SCHEDULER_CLOCK = 2
"""
The kind of a process's clock that counts nanoseconds on a processor, in the
number by which the kernel knows that clock: C{~pid << 3 | kind}.
"""


def check(command: str) -> None:
    """
    Check that this is a machine with Linux.

    @raise BadRequest: where nothing here works.
    """
    if not Path("/proc/self/stat").exists():
        raise BadRequest(
            f"{command} reads processor time from /proc, so it needs Linux; load works"
            " everywhere"
        )


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


def processor_seconds(pid: int) -> float:
    """
    User and system time of a process and of all its children that live.
    """
    try:
        own = time.clock_gettime(~pid << 3 | _SCHEDULER_CLOCK)
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(processor_seconds, _children(pid)))


def stolen_seconds() -> float:
    """
    Processor time that the hypervisor has given to others since the machine began.
    """
    total = Path("/proc/stat").read_text().partition("\n")[0].split()
    return int(total[8]) / os.sysconf("SC_CLK_TCK")


def split_processors() -> tuple[set[int], set[int]]:
    """
    One processor for the server and the others for the load; none for either, if
    there are not two of them.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return set(), set()
    return {allowed[0]}, set(allowed[1:])
