"""
Copies of the installed Twisted, with the patches of this folder or without.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import twisted

HERE = Path(__file__).resolve().parent
MADE_FOR = "26.10.0"
ONE_SEND = "5303-one-send-a-turn.patch"
LOG_CONTEXT = "2534-log-context-on-demand.patch"
# What is compared: the name, and the patches.
VARIANTS = {
    "stock": (),
    "one send": (ONE_SEND,),
    "log context": (LOG_CONTEXT,),
    "both": (ONE_SEND, LOG_CONTEXT),
}


@contextmanager
def copy_of_twisted(patches: Sequence[str]) -> Iterator[dict[str, str]]:
    """
    Make a copy that lasts as long as the context.

    @return: the environment in which a Python process imports the copy.
    @raise SystemExit: if the patches are for another version of Twisted.
    """
    if twisted.__version__ != MADE_FOR:
        raise SystemExit(
            f"the patches are for Twisted {MADE_FOR}, "
            f"and {twisted.__version__} is installed"
        )
    with tempfile.TemporaryDirectory(prefix="twisted-") as folder:
        shutil.copytree(
            Path(twisted.__file__).parent,
            Path(folder, "twisted"),
            ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"),
        )
        for each in patches:
            subprocess.run(
                ["patch", "--strip=1", "--batch", "--quiet", f"--input={HERE / each}"],
                cwd=folder,
                check=True,
            )
        yield {
            **os.environ,
            "PYTHONPATH": folder,
            "PYTHONHASHSEED": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
