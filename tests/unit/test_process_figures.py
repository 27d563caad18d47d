"""
L{twisted_echo.process_figures}: what this process is seen to use, beside what it does.
"""

import builtins
import io
import mmap
import os
import resource
import subprocess
import sys
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo import process_figures
from twisted_echo.process_figures import ProcessFigures, figuresOf


class FiguresTests(SynchronousTestCase):
    def figures(self, pid: int | None = None) -> ProcessFigures:
        found = figuresOf(os.getpid() if pid is None else pid)
        assert found is not None
        return found

    def test_processorTime(self) -> None:
        """
        It is that of the whole process, user and system, to two hundredths of a second.
        """
        until = time.process_time() + 0.1
        while time.process_time() < until:
            os.stat(".")
        before = time.process_time()
        seen = self.figures().processorSeconds
        after = time.process_time()
        self.assertGreaterEqual(seen, before - 0.03)
        self.assertLessEqual(seen, after + 0.03)

    def test_memory(self) -> None:
        """
        Memory that is written to is resident; memory that is only mapped is not.
        """
        size = 64 << 20
        before = self.figures()
        with mmap.mmap(-1, size) as block:
            mapped = self.figures()
            self.assertGreaterEqual(mapped.virtualBytes - before.virtualBytes, size)
            self.assertLess(mapped.residentBytes - before.residentBytes, size // 2)
            block.write(b"x" * size)
            written = self.figures()
        self.assertGreater(written.residentBytes - mapped.residentBytes, size // 2)

    def test_start(self) -> None:
        """
        A child has begun between two looks at the clock, and not again at each look.
        """
        before = time.time()
        with subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
        ) as child:
            after = time.time()
            seen = self.figures(child.pid)
            self.assertEqual(self.figures(child.pid).startTime, seen.startTime)
            self.assertNotEqual(seen.startTime, self.figures().startTime)
            assert child.stdin is not None
            child.stdin.write(b"\n")
        self.assertGreaterEqual(seen.startTime, before - 1)
        self.assertLessEqual(seen.startTime, after + 1)

    def test_files(self) -> None:
        """
        Descriptors are counted as they come and go, beside their limit.
        """
        before = self.figures()
        self.assertEqual(before.maxFiles, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        files = [os.dup(0) for _ in range(10)]
        try:
            self.assertEqual(self.figures().openFiles, before.openFiles + 10)
        finally:
            for each in files:
                os.close(each)
        self.assertEqual(self.figures().openFiles, before.openFiles)

    def test_olderLinux(self) -> None:
        """
        A kernel that has not counted the descriptors lists them.
        """

        class Uncounted:
            st_size = 0

        counted = self.figures().openFiles
        self.patch(process_figures.os, "stat", lambda path: Uncounted)
        # The list has the descriptor by which it is read.
        self.assertIn(self.figures().openFiles - counted, (0, 1))

    def test_noLimit(self) -> None:
        """
        No limit is not a number. No file is read but the process' own: systemd's
        C{ProcSubset=pid} hides the others.
        """
        real = builtins.open

        def opened(path: Any, *mode: Any, **more: Any) -> Any:
            self.assertTrue(path.startswith(f"/proc/{os.getpid()}/"), path)
            if path.endswith("/limits"):
                return io.BytesIO(b"Max open files  unlimited  unlimited  files\n")
            return real(path, *mode, **more)

        self.patch(builtins, "open", opened)
        self.assertIsNone(self.figures().maxFiles)

    def test_gone(self) -> None:
        """
        A process that has ended has no figures, and one that never was neither.
        """
        with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
            pass
        self.assertIsNone(figuresOf(child.pid))
        self.assertIsNone(figuresOf(0))

    def test_oddName(self) -> None:
        """
        A name with spaces and parentheses moves no figure.
        """
        name = "/proc/self/comm"
        with open(name) as file:
            before = file.read()
        try:
            with open(name, "w") as file:
                file.write("a) S 9 (b 9")
            self.assertGreater(self.figures().residentBytes, 1 << 20)
        finally:
            with open(name, "w") as file:
                file.write(before)
