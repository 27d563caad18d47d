"""
Build the compiled part of the package into its wheel, or beside its source for an
editable install. C{python hatch_build.py} does the latter alone.

The environment variable C{TWISTED_ECHO_COMPILED} decides:

  - unset or empty: build it if that is possible, and do without it if not;
  - C{no}: do not build it;
  - C{yes}: it must be built, or else the installation fails.

The compiler and its flags are those of Python and of the environment (C{CC}, C{CFLAGS},
C{LDFLAGS} and so on). What is built is for one version of Python: with the stable ABI,
a line would take 2 to 5 % more instructions.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
VARIABLE = "TWISTED_ECHO_COMPILED"
MODULE = "twisted_echo.compiled.speedups"
SOURCE = "twisted_echo/compiled/speedups.c"
BUILT = SOURCE.removesuffix(".c") + str(sysconfig.get_config_var("EXT_SUFFIX"))


class CannotBuild(Exception):
    """
    The compiled part cannot be built. The argument says why.
    """


@contextlib.contextmanager
def at_root() -> Iterator[None]:
    """
    Work in the folder of the project, under its real name. The compiler writes down by
    which name it came there, and believes C{PWD}.
    """
    before = os.environ.pop("PWD", None)
    try:
        with contextlib.chdir(ROOT):
            yield
    finally:
        if before is not None:
            os.environ["PWD"] = before


def build(folder: Path) -> Path:
    """
    Compile into a folder.

    @return: the built file.
    @raise CannotBuild: if there is no compiler, or no header of this Python's, or if
        this Python or this system is one that the source is not written for.
    """
    if sys.implementation.name != "cpython" or sys.platform == "win32":
        raise CannotBuild("it is for CPython on POSIX systems")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise CannotBuild("this Python is free-threaded")
    try:
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext
        from setuptools.errors import BaseError, CCompilerError
    except ImportError as error:
        raise CannotBuild(str(error)) from error

    digest = hashlib.sha256((ROOT / SOURCE).read_bytes()).hexdigest()
    extension = Extension(
        MODULE,
        # Relative, and without the folder's name in debugging information, so that the
        # same source gives the same bytes wherever it is built.
        [SOURCE],
        define_macros=[("SOURCE_DIGEST", f'"{digest}"')],
        extra_compile_args=[f"-ffile-prefix-map={ROOT}=."],
    )
    command = build_ext(Distribution({"ext_modules": [extension]}))
    command.build_lib = str(folder)
    command.build_temp = str(folder / "temporary")
    try:
        with at_root():
            command.ensure_finalized()
            command.run()
    except (BaseError, CCompilerError, OSError) as error:
        raise CannotBuild(str(error)) from error
    except ValueError as error:
        # Such as an open quote.
        raise CannotBuild(f"CC, CFLAGS or the like cannot be read: {error}") from error
    return Path(command.get_ext_fullpath(MODULE))


def put_beside_source(built: Path) -> None:
    """
    Put what was built where an editable install imports it from. It takes the place of
    what was there in one step, since processes may be starting that import it.

    @raise CannotBuild: if nothing can be put there.
    """
    near = ROOT / f"{BUILT}.new"
    try:
        # The folder that it was built in may be on another file system.
        shutil.copy(built, near)
        os.replace(near, ROOT / BUILT)
    except OSError as error:
        with contextlib.suppress(OSError):
            near.unlink()
        raise CannotBuild(str(error)) from error


class CompiledPartHook(BuildHookInterface[Any]):
    """
    What hatchling calls before and after it makes a wheel.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """
        Build as L{VARIABLE} says.

        @param version: C{standard} or C{editable}.
        """
        wanted = os.environ.get(VARIABLE, "")
        if wanted not in ("", "yes", "no"):
            raise ValueError(f"{VARIABLE} must be yes, no or unset, got {wanted!r}")
        self.folder = tempfile.TemporaryDirectory()
        try:
            if wanted == "no":
                raise CannotBuild(f"{VARIABLE}=no")
            built = build(Path(self.folder.name))
            if version == "editable":
                put_beside_source(built)
        except CannotBuild as why:
            if wanted == "yes":
                raise CannotBuild(f"{VARIABLE}=yes, but {why}") from why
            self.app.display_warning(f"{MODULE} is not built: {why}")
            if version == "editable":
                self.remove_earlier()
            return
        if version != "editable":
            build_data["force_include"][str(built)] = BUILT
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def remove_earlier(self) -> None:
        """
        Remove what an earlier editable installation has put beside the source.
        """
        earlier = ROOT / BUILT
        # If there is none, it does not matter that the folder is read-only.
        if not os.path.lexists(earlier):
            return
        try:
            earlier.unlink()
        except OSError as error:
            self.app.display_warning(f"the earlier {MODULE} stays: {error}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact: str) -> None:
        """
        Remove what was built, now that the wheel has it.
        """
        self.folder.cleanup()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        put_beside_source(build(Path(folder)))
