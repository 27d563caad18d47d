"""
Child processes, each started on the processor that it is meant for, and ended.

What must hold: a child ends with the C{with} block that it was started for, and,
on Linux, with this process, even if that is killed.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Self

from twisted_echo.bench.errors import BrokenServer, ChildFailed

PATIENCE = 20.0
"""
Seconds for a child to begin: many times what a busy machine needs.
"""

GRACE = 5.0
"""
Seconds from SIGTERM to SIGKILL.
"""

LAUNCHER = """\
import os, sys
parent, processors, niceness, *command = sys.argv[1:]
try:
    import ctypes, signal
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the parent is gone")
except (AttributeError, ImportError, OSError, TypeError):
    pass
os.nice(int(niceness))
if processors:
    os.sched_setaffinity(0, map(int, processors.split(",")))
os.execv(command[0], command)
"""
"""
Becomes the command of its arguments, on some processors, with some niceness, to die
with its parent.
"""


class Child:
    """
    A Python process.

    @param talks: whether it reads what L{tell} says and is heard by L{heard}; else
        what it prints is kept for L{wait_for}, as its errors always are.
    @param environment: variables that it has beside those of this process.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        processors: Collection[int] = (),
        niceness: int = 0,
        talks: bool = False,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self._rest = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        launcher = (sys.executable, "-S", "-c", LAUNCHER, str(os.getpid()))
        pinned = ",".join(map(str, sorted(processors)))
        self._process = subprocess.Popen(
            [*launcher, pinned, str(niceness), sys.executable, *arguments],
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else self._log,
            stderr=self._log,
            bufsize=0,
            env={**os.environ, **environment},
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def tell(self, line: str) -> None:
        """
        Write to its standard input. If it has ended, L{heard} will show it.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")

    def fileno(self) -> int:
        """
        Of its standard output, for a selector.
        """
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def heard(self) -> list[str]:
        """
        The lines that it has written since the last call; waits for some bytes.

        @raise ChildFailed: if there will be none.
        """
        data = os.read(self.fileno(), 1 << 20)
        if not data:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
            raise self.failure("ended early")
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in lines]

    @property
    def log(self) -> str:
        """
        What it has printed.
        """
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """
        Wait until it has printed C{pattern}.

        @raise ChildFailed: if it ended first, or does not print it in time.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            has_ended = self._process.poll() is not None
            if found := re.search(pattern, self.log):
                return found
            if has_ended or time.monotonic() > deadline:
                raise self.failure("did not start")
            time.sleep(0.01)

    @property
    def last_words(self) -> str:
        """
        The last lines that it has printed, for an error message.
        """
        lines = self.log.strip().splitlines() or ["it printed nothing"]
        return " | ".join(lines[-3:])

    def failure(self, what: str) -> ChildFailed:
        """
        An error with what a person needs to see why.
        """
        code = self._process.poll()
        how = "" if code is None else f" (it ended with status {code})"
        return ChildFailed(f"{self.name} {what}{how}: {self.last_words}")

    def end(self) -> None:
        """
        End it, and wait until it has ended.
        """
        process = self._process
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            self._log.close()


class SpeakingChild(Child):
    """
    A process that tests a server, and says in a line of its own what it has reached.
    """

    def __init__(self, name: str, arguments: Sequence[str], **options: Any) -> None:
        super().__init__(name, arguments, talks=True, **options)
        self._lines: deque[str] = deque()

    def hear(self, word: str) -> str:
        """
        Wait until it says C{word}.

        @return: the rest of that line.
        @raise BrokenServer: if it says something else: what the server has done wrong.
        @raise ChildFailed: if it says nothing more.
        """
        while not self._lines:
            self._lines += self.heard()
        said, _, rest = self._lines.popleft().partition(" ")
        if said != word:
            raise BrokenServer(rest or f"{self.name} said {said!r}, not {word!r}")
        return rest
