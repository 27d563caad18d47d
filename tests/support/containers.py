"""
Processes as containers have them, in C{bubblewrap}: each is number 1 of its own.
"""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import Command, Test

__all__ = ["BWRAP", "Container"]

BWRAP = shutil.which("bwrap")


class Container(Command):
    """
    A running container of C{twistd echo}, which logs as JSON.
    """

    _handle: int

    @classmethod
    def run(
        cls,
        test: Test,
        mounts: Sequence[str],
        command: Sequence[str],
        *,
        folder: Path,
        variables: Mapping[str, str],
    ) -> "Container":
        """
        Run one until it listens.

        @param mounts: what C{bwrap} has to mount.
        @param variables: its whole environment.
        """
        assert BWRAP is not None
        reads, writes = os.pipe()
        settings = [word for each in variables.items() for word in ("--setenv", *each)]
        arguments = [
            *(BWRAP, "--info-fd", str(writes), "--clearenv", *settings),
            *("--unshare-pid", "--as-pid-1", "--unshare-ipc", "--unshare-uts"),
            *(*mounts, "--proc", "/proc", *command),
        ]
        with open(reads) as told:
            try:
                container = cls(test, arguments, folder=folder, pass_fds=[writes])
            finally:
                os.close(writes)
            information = told.read()
        if not information:
            container.wait()
            raise container.report("no container was made")
        # Unlike its number, this never means another process.
        container._handle = os.pidfd_open(json.loads(information)["child-pid"])
        test.addCleanup(lambda: os.close(container._handle))
        test.addCleanup(container._kill)
        container.wait_for('"event": "started"')
        return container

    def stop(self) -> None:
        """
        Tell it to stop, as an orchestrator does.
        """
        signal.pidfd_send_signal(self._handle, signal.SIGTERM)

    def _kill(self) -> None:
        # C{bwrap} cannot be killed: its container would go on.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        self.wait()

    @property
    def events(self) -> list[dict[str, Any]]:
        """
        What it has logged.
        """
        return [json.loads(line) for line in self.stdout.splitlines()]

    def event(self, name: str) -> dict[str, Any]:
        """
        The one event of a name.
        """
        (found,) = [each for each in self.events if each["event"] == name]
        return found
