"""
pytest and trial in processes of their own, with warnings as errors.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import SkipTest

__all__ = ["PYTEST", "TRIAL", "need_pytest_twisted", "run_to_end"]

PYTEST = [sys.executable, "-W", "error", "-m", "pytest", "-q"]
TRIAL = [sys.executable, "-W", "error", "-m", "twisted.trial"]


def run_to_end(
    command: list[str], folder: Path, env: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    """
    Run a command to its end.
    """
    return subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def need_pytest_twisted() -> None:
    if find_spec("pytest_twisted") is None:
        raise SkipTest("pytest-twisted is missing")
