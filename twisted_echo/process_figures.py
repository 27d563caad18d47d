"""
What the kernel knows of a process: its processor time, its memory, its descriptors.

What must hold: nothing is read until somebody asks; a process that is gone, and every
process where there is no C{/proc} of Linux's, has no figures.
"""

import os
import re
import time
from functools import cache
from mmap import PAGESIZE
from typing import NamedTuple

__all__ = ["ProcessFigures", "figuresOf"]


class ProcessFigures(NamedTuple):
    """
    The figures of one process at one moment.

    @ivar processorSeconds: the processor time that it has used, user and system.
    @ivar residentBytes: its memory that is in RAM.
    @ivar virtualBytes: the size of its address space.
    @ivar startTime: when it began, in seconds since 1970.
    @ivar openFiles: how many descriptors it has open.
    @ivar maxFiles: how many it may have open; None if there is no limit.
    """

    processorSeconds: float
    residentBytes: int
    virtualBytes: int
    startTime: float
    openFiles: int
    maxFiles: int | None


def figuresOf(pid: int) -> ProcessFigures | None:
    """
    Read the figures of a process, which is this one or another one of the same user.
    The kernel counts processor time in hundredths of a second.

    @return: None if the kernel does not tell them.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # Before the last parenthesis is a name, which may have spaces.
            stat = file.read().rpartition(b")")[2].split()
        with open(f"/proc/{pid}/limits", "rb") as file:
            limit = re.search(rb"^Max open files +(\d+)", file.read(), re.MULTILINE)
        openFiles = _countFiles(f"/proc/{pid}/fd")
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return ProcessFigures(
        processorSeconds=(int(stat[11]) + int(stat[12])) / ticks,
        residentBytes=int(stat[21]) * PAGESIZE,
        virtualBytes=int(stat[20]),
        startTime=_bootTime() + int(stat[19]) / ticks,
        openFiles=openFiles,
        maxFiles=None if limit is None else int(limit[1]),
    )


def _countFiles(folder: str) -> int:
    # Linux 6.2 and newer have counted them. To list them takes some microseconds for
    # each, in which the reactor does not turn.
    return os.stat(folder).st_size or len(os.listdir(folder))


@cache
def _bootTime() -> float:
    # Once, so that the start of a process stays the same when the clock is set.
    # (C{/proc/stat} has it, too, but not where systemd's C{ProcSubset=pid} hides it.)
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
