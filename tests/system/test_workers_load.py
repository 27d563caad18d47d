"""
Workers that come and go, under load.
"""

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence
from threading import Event, Semaphore, Thread

from tests.support.marks import slow
from tests.support.processes import (
    DEADLINE,
    Daemon,
    round_trip,
    wait_until,
)
from tests.support.workers_case import (
    WorkersTestCase,
    kill,
    owners,
)


class Load:
    """
    A client that sends numbered lines and checks every byte that comes back, on one
    connection after the other.

    @ivar broken: the connections that ended before their time, each with the process
        that served it, as far as that is known, and when it began and ended.
    @ivar served: how many connections were served to their end.
    """

    def __init__(
        self, address: tuple[str, int], seed: int, pids: Callable[[], Sequence[int]]
    ) -> None:
        self.address = address
        self.pids = pids
        self.random = random.Random(seed)
        self.broken: list[tuple[int | None, float, float]] = []
        self.wrong: list[str] = []
        self.lines = self.served = 0
        self.stop = Event()
        self.thread = Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self.stop.is_set():
                self._connection()
        except Exception as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def _connection(self) -> None:
        began = time.monotonic()
        pid = None
        # Never refused: the parent has the sockets.
        with socket.create_connection(self.address, DEADLINE) as client:
            for _ in range(self.random.randrange(1, 50)):
                line = b"%d %s\n" % (self.lines, b"x" * self.random.randrange(300))
                self.lines += 1
                try:
                    got = round_trip(client, line)
                except (ConnectionResetError, BrokenPipeError):
                    got = b""
                if got != line:
                    if not line.startswith(got):
                        self.wrong.append(f"{line!r} came back as {got!r}")
                    self.broken.append((pid, began, time.monotonic()))
                    return
                if pid is None:
                    (pid,) = owners([client], self.pids())
        self.served += 1


class LoadTests(WorkersTestCase):
    @slow
    def test_killedAtRandom(self) -> None:
        """
        Under load, workers are killed at random: only the killed worker's own
        connections end, and no other ever does; no connection is refused, no byte is
        wrong.
        """
        seed = int.from_bytes(os.urandom(4), "big")
        print(f"seed {seed}")
        rng = random.Random(seed)
        server, service = self.start()
        known = set(service.pids.values())
        loads = [
            Load(server.address, seed + n, lambda: sorted(known)) for n in range(8)
        ]
        killed: dict[int, float] = {}
        try:
            for _ in range(8):
                time.sleep(rng.uniform(0.1, 0.6))
                number = rng.randrange(2)
                pid = service.pids.get(number)
                if pid is None:
                    continue
                killed[pid] = time.monotonic()
                kill(pid)
                known.add(service.successor(number, pid))
            # The last successor serves, too.
            served = sum(each.served for each in loads)
            wait_until(lambda: sum(each.served for each in loads) > served + 20)
        finally:
            for load in loads:
                load.stop.set()
            for load in loads:
                load.thread.join(DEADLINE)
        self.assertGreaterEqual(len(killed), 4)
        self.assertEqual([each.wrong for each in loads], [[]] * len(loads))
        broken = [each for load in loads for each in load.broken]
        self.assertTrue(broken)
        for pid, began, ended in broken:
            if pid is not None:
                self.assertLessEqual(killed.get(pid, ended), ended)
                self.assertIn(pid, killed)
            else:
                # Its first line was not answered yet, so one was killed meanwhile.
                self.assertTrue(
                    any(began - 0.1 <= when <= ended for when in killed.values())
                )
        self.assert_stops(server, service)

    @slow
    def test_restartedInTurn(self) -> None:
        """
        Under load, workers are told to end one after the other: with time to finish, no
        connection is broken, none refused.
        """
        server, service = self.start("--drain", "20")
        loads = [Load(server.address, n, lambda: ()) for n in range(8)]
        try:
            for number in (0, 1, 0, 1):
                pid = service.pids[number]
                ended = os.pidfd_open(pid)
                kill(pid, signal.SIGTERM)
                service.successor(number, pid)
                self.assertTrue(Daemon.gone(ended))
            served = sum(each.served for each in loads)
            wait_until(lambda: sum(each.served for each in loads) > served + 20)
        finally:
            for load in loads:
                load.stop.set()
            for load in loads:
                load.thread.join(DEADLINE)
        self.assertEqual([each.wrong for each in loads], [[]] * len(loads))
        self.assertEqual([each.broken for each in loads], [[]] * len(loads))
        self.assert_stops(server, service)

    def test_drain(self) -> None:
        """
        SIGTERM under load: every client gets whole lines, the first of those that it
        sent, then end-of-file; and no process is left.
        """
        # Nobody is waited for so long, so nobody is cut off.
        server, service = self.start("--abort-after=1m")
        results: list[tuple[bytes, bytes, bool]] = []
        streaming = Semaphore(0)

        def stream() -> None:
            sent, got, isReset = bytearray(), bytearray(), False
            client = socket.create_connection(server.address, DEADLINE)
            client.setblocking(False)
            deadline = time.monotonic() + DEADLINE
            with client:
                while time.monotonic() < deadline:
                    with contextlib.suppress(BlockingIOError):
                        line = b"%d\n" % len(sent) * 20
                        # All of it or nothing, so few at a time.
                        if len(sent) - len(got) < 10_000:
                            sent += line[: client.send(line)]
                    try:
                        data = client.recv(1 << 16)
                    except BlockingIOError:
                        time.sleep(0.0005)
                        continue
                    except ConnectionResetError:
                        isReset = True
                        break
                    if not data:
                        break
                    if not got:
                        streaming.release()
                    got += data
            results.append((bytes(sent), bytes(got), isReset))

        threads = [Thread(target=stream) for _ in range(10)]
        for thread in threads:
            thread.start()
        for _ in threads:
            self.assertTrue(streaming.acquire(timeout=DEADLINE))
        self.assert_stops(server, service)
        for thread in threads:
            thread.join(DEADLINE)
        self.assertEqual(len(results), 10)
        for sent, got, isReset in results:
            self.assertFalse(isReset)
            self.assertTrue(got)
            self.assertTrue(sent.startswith(got))
            self.assertTrue(got.endswith(b"\n"))
