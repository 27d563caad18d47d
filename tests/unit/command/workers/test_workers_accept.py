"""
Somebody accepts from every socket, as long as one worker does.
"""

import os
import signal
from typing import Any

from tests.support.clients import (
    in_thread,
    until,
)
from tests.support.marks import slow
from tests.support.supervisor import TCP, SupervisorTestCase
from twisted_echo.command.workers.supervisor import Supervisor
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.command.workers.worker_state import WorkerState


class PartitionsTests(SupervisorTestCase):
    """
    Somebody accepts from every socket, as long as one worker does.
    """

    async def started(self, *listen: str, **more: Any) -> Supervisor:
        supervisor = self.supervisor(*listen, **more)
        supervisor.startService()
        await supervisor.whenListening()
        return supervisor

    def worker(self, supervisor: Supervisor, number: int) -> WorkerProcess:
        (found,) = [
            each for each in supervisor._monitor.workers if each.number == number
        ]
        return found

    @slow
    async def test_cannotStart(self) -> None:
        """
        While a worker cannot start, nobody waits for it; when it can, it serves again.
        """
        supervisor = await self.started(TCP, f"unix:{self.mktemp()}", workers=3)
        settings = supervisor._monitor._settings
        good, settings[1] = settings[1], b"broken on purpose"
        victim = self.worker(supervisor, 1)
        os.kill(victim.pid, signal.SIGKILL)
        restarts = supervisor._monitor.restarts
        await until(
            lambda: sum(each["start-failed"] for each in restarts.values()) >= 2
        )
        self.assertTrue(supervisor.isAccepting)
        await self.clients(supervisor, 24)
        settings[1] = good
        await until(
            lambda: (
                [each.accepted for each in supervisor._monitor.listeningWorkers]
                == [{0}, {1}, {2}]
            )
        )
        await self.clients(supervisor, 24)
        counted = supervisor.status.total(await supervisor.status.snapshots())
        self.assertEqual(counted.opened, 48)

    @slow
    async def test_neverStarts(self) -> None:
        """
        If one worker is never able to start, the service listens all the same.
        """
        supervisor = self.supervisor()
        start = supervisor._monitor._start

        def startOr(place: Any) -> None:
            supervisor._monitor._settings[1] = b"broken on purpose"
            start(place)

        supervisor._monitor._start = startOr  # type: ignore[method-assign]
        supervisor.startService()
        await supervisor.whenListening()
        self.assertTrue(supervisor.isAccepting)
        await self.clients(supervisor, 24)

    async def test_noneIsThere(self) -> None:
        """
        If no worker lives, it is not ready, and clients wait for the first that does.
        """
        supervisor = await self.started()
        dead = supervisor._monitor.workers
        for worker in dead:
            os.kill(worker.pid, signal.SIGKILL)
        await until(lambda: not set(dead) & set(supervisor._monitor.workers))
        self.assertFalse(supervisor.isAccepting)
        await self.clients(supervisor, 10)
        await until(lambda: supervisor.isAccepting)

    @slow
    async def test_hangs(self) -> None:
        """
        A worker that hangs is found out: another one serves its connections, those that
        it had not accepted too, and it is replaced.
        """
        supervisor = await self.started(hungAfter=5.0)
        victim = self.worker(supervisor, 1)
        os.kill(victim.pid, signal.SIGSTOP)
        await self.clients(supervisor, 20)
        await until(lambda: victim.state is WorkerState.HUNG)
        await until(lambda: len(supervisor._monitor.listeningWorkers) == 2)
        self.assertNotIn(victim, supervisor._monitor.workers)
        self.assertGreaterEqual(supervisor._monitor.restarts[1]["hung"], 1)
        await self.clients(supervisor, 20)

    @slow
    async def test_comesBack(self) -> None:
        """
        One that was only slow goes on, with the clients that it had.
        """
        supervisor = await self.started()
        victim = self.worker(supervisor, 1)
        clients = await self.clients(supervisor, 10)
        os.kill(victim.pid, signal.SIGSTOP)
        await until(lambda: victim.state is WorkerState.UNRESPONSIVE)
        await self.clients(supervisor, 10)
        os.kill(victim.pid, signal.SIGCONT)
        await until(lambda: victim.state is WorkerState.LISTENING)
        for client in clients:
            client.sendall(b"still\n")
            self.assertEqual(await in_thread(client.recv, 6), b"still\n")
