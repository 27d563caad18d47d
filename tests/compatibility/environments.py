"""
One virtual environment for each suite, with this checkout installed beside it.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tests.compatibility.suites import Suite
from tests.support.paths import PROJECT

__all__ = ["CannotInstall", "Environment"]

# Seconds. Some packages are built from source.
INSTALL_LIMIT = 900

_VERSIONS = """
import sys
from importlib.metadata import version
print(*(version(each) for each in sys.argv[1:]))
"""

# With a plugin that imports a reactor and no cache, the first `trial --reactor=NAME`
# would find that reactor installed when it comes to install its own.
_FILL_PLUGIN_CACHE = """
from twisted.plugin import IPlugin, getPlugins
list(getPlugins(IPlugin))
"""


class CannotInstall(Exception):
    """
    A package, or what its tests need, cannot be installed.
    """


class Environment:
    """
    The environment of a suite, in a folder that is kept.

    @ivar package_version: of the package whose suite it is.
    @ivar twisted_version: of Twisted.
    """

    package_version = twisted_version = ""

    def __init__(self, suite: Suite, folder: Path) -> None:
        self._suite = suite
        self._folder = folder / suite.package
        self._venv = self._folder / "venv"
        self._installed = self._folder / "installed.json"
        self.python = self._venv / "bin" / "python"

    def prepare(self) -> None:
        """
        Install what is not there yet, and this checkout as it is now.

        @raise CannotInstall: if pip fails.
        """
        requirements = list(self._suite.requirements)
        if self._has(requirements):
            self._pip("install", "--force-reinstall", "--no-deps", str(PROJECT))
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            self._call([sys.executable, "-m", "venv", str(self._venv)])
            self._pip("install", *requirements, str(PROJECT))
            self._installed.write_text(json.dumps(requirements))
        versions = self._call(
            [str(self.python), "-c", _VERSIONS, self._suite.package, "twisted"]
        )
        self.package_version, self.twisted_version = versions.split()
        if self._suite.source and not self._source.exists():
            self._unpack()
        self._add_stand_ins()
        self._call([str(self.python), "-c", _FILL_PLUGIN_CACHE])

    def new_work_folder(self, name: str) -> Path:
        """
        Make an empty folder to run the suite in, with what it needs of its source.
        """
        work = self._folder / "runs" / name
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        for each in self._suite.source:
            found = self._source / each
            if found.is_dir():
                shutil.copytree(found, work / each)
            else:
                shutil.copy(found, work / each)
        return work

    def variables(self) -> dict[str, str]:
        """
        The environment variables of a process in it.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST", "PYTHON"))
        }
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "PATH": path, "VIRTUAL_ENV": str(self._venv)}

    @property
    def _source(self) -> Path:
        return self._folder / f"source-{self.package_version}"

    def _has(self, requirements: list[str]) -> bool:
        try:
            installed: object = json.loads(self._installed.read_text())
        except (OSError, ValueError):
            return False
        return installed == requirements

    def _unpack(self) -> None:
        """
        Get the package's source distribution of the version that is installed.
        """
        name = self._suite.package
        download = self._folder / "download"
        which = f"{name}=={self.package_version}"
        self._pip(
            *("download", "--no-deps", "--no-binary", name, "-d", str(download), which)
        )
        (archive,) = download.glob("*.tar.gz")
        unpacked = self._folder / "unpacked"
        with tarfile.open(archive) as contents:
            contents.extractall(unpacked, filter="data")
        (top,) = unpacked.iterdir()
        top.rename(self._source)

    def _add_stand_ins(self) -> None:
        """
        Have each Python process of the environment import C{in_suite.stand_ins}.
        """
        (packages,) = self._venv.glob("lib/python*/site-packages")
        copied = packages / "in_suite"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(Path(__file__).with_name("in_suite"), copied)
        (packages / "in_suite.pth").write_text("import in_suite.stand_ins\n")

    def _pip(self, *arguments: str) -> None:
        self._call([str(self.python), "-m", "pip", "--quiet", *arguments])

    def _call(self, command: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                command,
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INSTALL_LIMIT,
                check=True,
            )
        except subprocess.CalledProcessError as problem:
            told = f"ended with {problem.returncode}:\n{problem.stderr[-2000:]}"
        except subprocess.TimeoutExpired:
            told = f"was ended after {INSTALL_LIMIT} s"
        else:
            return done.stdout
        raise CannotInstall(f"{' '.join(command)} {told}")
