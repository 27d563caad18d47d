"""
Building the project from a copy of it, in processes of their own.
"""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.paths import PROJECT
from tests.support.processes import DEADLINE, environment, new_folder
from twisted_echo.compiled.choice import VARIABLE

__all__ = ["BUILD_DEADLINE", "COMPILED", "BuildingTestCase"]

BUILD_DEADLINE = 4 * DEADLINE
COMPILED = "twisted_echo/compiled"
LITTER = (
    "twisted/plugins/dropin.cache",
    "twisted_echo/dropin.cache",
    "twisted/plugins/__pycache__/x.cpython-311.pyc",
    "twisted_echo/__pycache__/x.cpython-311.pyc",
    f"{COMPILED}/speedups.cpython-310-other.so",
)


class BuildingTestCase(SynchronousTestCase):
    def copied(self) -> Path:
        """
        A copy of the project, with the litter of a used one.
        """
        for module in ("build", "hatchling", "setuptools"):
            if importlib.util.find_spec(module) is None:
                raise SkipTest(f"{module} is not installed")
        if not (PROJECT / "pyproject.toml").exists():
            raise SkipTest("these tests are not in the project's folder")
        copy = new_folder(self) / "project"
        shutil.copytree(
            PROJECT,
            copy,
            ignore=shutil.ignore_patterns(
                # Python writes the last two while other tests run.
                *(".*", "_trial_temp*", "dist", "build", "tests.*", "*.so", "*.so.new"),
                *("__pycache__", "dropin.cache*"),
            ),
        )
        for place in LITTER:
            (copy / place).parent.mkdir(exist_ok=True)
            (copy / place).write_bytes(b"litter")
        return copy

    def need_compiler(self) -> None:
        if shutil.which("cc") is None and shutil.which("gcc") is None:
            raise SkipTest("cc is not installed")

    def run_in(
        self, folder: Path, command: Sequence[str | Path], wanted: str, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a command of Python's to its end, with a value of L{VARIABLE}.

        @return: its standard output has both outputs.
        """
        return subprocess.run(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BUILD_DEADLINE,
            cwd=folder,
            env=environment({**env, VARIABLE: wanted}),
            check=False,
        )

    def built(
        self, project: Path, *options: str, wanted: str = "", **env: str
    ) -> tuple[Path, str]:
        """
        Build with C{python -m build}.

        @param wanted: the value of L{VARIABLE}.
        @return: the folder of what was built, and what was printed.
        """
        dist = new_folder(self)
        command: list[str | Path] = ["-m", "build", "--no-isolation", *options]
        command += ["--outdir", dist, project]
        run = self.run_in(dist, command, wanted, **env)
        self.assertEqual(run.returncode, 0, run.stdout)
        return dist, run.stdout
