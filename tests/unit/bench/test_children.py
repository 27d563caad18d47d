"""
Tests for the processes of the benchmarks, and for what they read of the machine.
"""

import os
import select
import signal
import subprocess
import sys
import time

from tests.support.bench import LinuxCase
from tests.support.processes import DEADLINE, environment
from twisted_echo.bench import children, machine
from twisted_echo.bench.children import Child
from twisted_echo.bench.errors import BadRequest, ChildFailed


class MachineTests(LinuxCase):
    def test_processorTime(self) -> None:
        """
        Includes that of children.
        """
        before = machine.processor_seconds(os.getpid())
        own = time.process_time()
        with Child("burner", ("-c", "while True: pass")) as child:
            while machine.processor_seconds(child.pid) < 0.05:
                time.sleep(0.01)
            both = machine.processor_seconds(os.getpid())
            self.assertGreaterEqual(both - before, 0.05)
            self.assertGreaterEqual(both, own)

    def test_withoutTheClock(self) -> None:
        """
        The kernel's own book-keeping is as good, if coarser.
        """
        exact = machine.processor_seconds(os.getpid())

        def refuse(clock: int) -> float:
            raise OSError(22, "Invalid argument")

        self.patch(machine.time, "clock_gettime", refuse)
        coarse = machine.processor_seconds(os.getpid())
        self.assertApproximates(coarse, exact, 0.1 + exact / 10)

    def test_processors(self) -> None:
        for allowed, split in (
            ({3}, (set(), set())),
            ({1, 2}, ({1}, {2})),
            ({0, 1, 5, 7}, ({0}, {1, 5, 7})),
        ):
            self.patch(
                machine.os, "sched_getaffinity", lambda pid, found=allowed: found
            )
            self.assertEqual(machine.split_processors(), split)

    def test_elsewhere(self) -> None:
        self.patch(machine.Path, "exists", lambda path: False)
        with self.assertRaisesRegex(BadRequest, "needs Linux"):
            machine.check("compare")


class ChildTests(LinuxCase):
    def gone(self, handle: int) -> bool:
        try:
            return bool(select.select([handle], [], [], DEADLINE)[0])
        finally:
            os.close(handle)

    def test_pinned(self) -> None:
        where = min(os.sched_getaffinity(0))
        code = "import os; print('on', os.sched_getaffinity(0))"
        with Child("child", ("-c", code), processors={where}) as child:
            self.assertEqual(child.wait_for(r"on \{(\d+)\}\n")[1], str(where))

    def test_environment(self) -> None:
        """
        A variable is set beside those of this process.
        """
        code = "import os; print('it is', os.environ['SOME'], 'PATH' in os.environ)"
        with Child("child", ("-c", code), environment={"SOME": "here"}) as child:
            self.assertEqual(child.wait_for(r"it is (.*)\n")[1], "here True")

    def test_endsWithTheBlock(self) -> None:
        with Child("child", ("-c", "import time; time.sleep(999)")) as child:
            handle = os.pidfd_open(child.pid)
        self.assertTrue(self.gone(handle))

    def test_ignoresSIGTERM(self) -> None:
        code = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            "print('deaf', flush=True); time.sleep(999)"
        )
        self.patch(children, "GRACE", 0.05)
        with Child("child", ("-c", code)) as child:
            handle = os.pidfd_open(child.pid)
            child.wait_for("deaf\n")
        self.assertTrue(self.gone(handle))

    def test_diesWithItsParent(self) -> None:
        """
        Even one that is killed.
        """
        code = (
            "from twisted_echo.bench.children import Child\n"
            "child = Child('x', ('-c', 'import time; print(5, flush=True);"
            " time.sleep(999)'))\n"
            "child.wait_for('5')\n"
            "import time\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(999)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as parent:
            assert parent.stdout is not None
            handle = os.pidfd_open(int(parent.stdout.readline()))
            parent.send_signal(signal.SIGKILL)
            parent.wait(DEADLINE)
        self.assertTrue(self.gone(handle))

    def test_doesNotStart(self) -> None:
        with (
            Child("it", ("-c", "raise SystemExit('no luck')")) as child,
            self.assertRaisesRegex(
                ChildFailed, r"it did not start \(it ended with status 1\): no luck"
            ),
        ):
            child.wait_for("listening")

    def test_saysNothing(self) -> None:
        self.patch(children, "PATIENCE", 0.05)
        with (
            Child("it", ("-c", "import time; time.sleep(999)")) as child,
            self.assertRaisesRegex(ChildFailed, "it did not start: it printed nothing"),
        ):
            child.wait_for("listening")
