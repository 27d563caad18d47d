"""
C{hatch_build.py}, which compiles a part of the package where that is possible.
"""

import importlib.util
import os
import shlex
import sys
import sysconfig
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import SkipTest, mock

from twisted.trial.unittest import SynchronousTestCase

from tests.support.building import COMPILED, BuildingTestCase
from tests.support.marks import slow
from tests.support.paths import PROJECT
from tests.support.processes import new_folder

RECORDER = """\
#!{python}
import os, sys
with open({log!r}, "a") as log:
    print(*sys.argv[1:], sep="\\n", file=log)
os.execvp({compiler!r}, [{compiler!r}, *sys.argv[1:]])
"""
BUILT = f"{COMPILED}/speedups{sysconfig.get_config_var('EXT_SUFFIX')}"
INSTALL = "-m pip install --no-build-isolation --no-deps --target site"
SHOW = """\
import sys
sys.path.insert(0, {folder!r})
from twisted_echo.compiled.choice import implementation
print(implementation())
"""


def hook() -> ModuleType:
    """
    The module of the build hook.
    """
    path = PROJECT / "hatch_build.py"
    if importlib.util.find_spec("hatchling") is None or not path.exists():
        raise SkipTest("hatchling is not installed")
    spec = importlib.util.spec_from_file_location("hatch_build", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class PlatformTests(SynchronousTestCase):
    """
    What the source is not written for is not tried.
    """

    def setUp(self) -> None:
        self.hook = hook()

    def assert_refused(self, reason: str) -> None:
        with self.assertRaises(self.hook.CannotBuild) as caught:
            self.hook.build(new_folder(self))
        self.assertEqual(str(caught.exception), reason)

    def test_otherPython(self) -> None:
        pypy = SimpleNamespace(name="pypy", cache_tag="pypy311")
        with mock.patch.object(sys, "implementation", pypy):
            self.assert_refused("it is for CPython on POSIX systems")

    def test_windows(self) -> None:
        with mock.patch.object(sys, "platform", "win32"):
            self.assert_refused("it is for CPython on POSIX systems")

    def test_freeThreaded(self) -> None:
        with mock.patch.dict(sysconfig.get_config_vars(), {"Py_GIL_DISABLED": 1}):
            self.assert_refused("this Python is free-threaded")

    def test_noSetuptools(self) -> None:
        with mock.patch.dict(sys.modules, {"setuptools": None}):
            self.assert_refused("import of setuptools halted; None in sys.modules")

    def test_openQuote(self) -> None:
        """
        What the environment says of the compiler may be no words of a shell's.
        """
        if importlib.util.find_spec("setuptools") is None:
            raise SkipTest("setuptools is not installed")
        for name in ("CC", "CFLAGS", "AR"):
            with (
                mock.patch.dict(os.environ, {name: "'"}),
                self.assertRaises(self.hook.CannotBuild) as caught,
            ):
                self.hook.build(new_folder(self))
            self.assertIn(
                "CC, CFLAGS or the like cannot be read: ", str(caught.exception)
            )


class EditableTests(SynchronousTestCase):
    """
    An editable install whose folder cannot be written to.

    @ivar root: the folder. A file in its place refuses whatever a read-only folder
        does, also to root.
    @ivar warnings: what pip shows if asked to.
    """

    def setUp(self) -> None:
        self.hook = hook()
        self.root = new_folder(self) / "root"
        self.root.write_bytes(b"")
        self.patch(self.hook, "ROOT", self.root)
        self.patch(self.hook, "build", self.build)
        self.warnings: list[str] = []

    def build(self, folder: Path) -> Path:
        built = folder / "built"
        built.write_bytes(b"built")
        return built

    def initialize(self, wanted: str) -> None:
        app = SimpleNamespace(display_warning=self.warnings.append)
        compiled = self.hook.CompiledPartHook(
            str(self.root), {}, None, None, "", "wheel", app
        )
        with mock.patch.dict(os.environ, {self.hook.VARIABLE: wanted}):
            try:
                compiled.initialize("editable", {})
            finally:
                compiled.finalize("editable", {}, "")

    def assert_warned(self, *expected: str) -> None:
        self.assertEqual(len(self.warnings), len(expected), self.warnings)
        for warning, each in zip(self.warnings, expected, strict=True):
            self.assertIn(each, warning)

    def test_readOnly(self) -> None:
        """
        It is installed in pure Python, with a warning.
        """
        self.initialize("")
        self.assert_warned("speedups is not built: [Errno 20] Not a directory")

    def test_readOnlyDemanded(self) -> None:
        with self.assertRaises(self.hook.CannotBuild) as caught:
            self.initialize("yes")
        self.assertIn(
            "TWISTED_ECHO_COMPILED=yes, but [Errno 20] Not a directory",
            str(caught.exception),
        )

    def test_readOnlyUnwanted(self) -> None:
        self.initialize("no")
        self.assert_warned("speedups is not built: TWISTED_ECHO_COMPILED=no")

    def test_earlierStays(self) -> None:
        """
        What an earlier installation has left may not be removable.
        """
        self.root.unlink()
        (self.root / BUILT).mkdir(parents=True)
        self.initialize("no")
        self.assert_warned("speedups is not built: ", "the earlier twisted_echo.comp")

    def test_nothingHalf(self) -> None:
        """
        If it cannot be moved to its place, no other file is left.
        """
        self.root.unlink()
        (self.root / BUILT).mkdir(parents=True)
        self.initialize("")
        self.assert_warned("speedups is not built: ", "the earlier twisted_echo.comp")
        self.assertEqual(
            [each.name for each in (self.root / COMPILED).iterdir()],
            [Path(BUILT).name],
        )


@slow
class CompilerTests(BuildingTestCase):
    """
    The packager's compiler and flags are used, and what they cannot build is left out.
    """

    def setUp(self) -> None:
        super().setUp()
        self.project = self.copied()

    def wheel(self, wanted: str = "", **env: str) -> tuple[Path, str]:
        dist, printed = self.built(self.project, "--wheel", wanted=wanted, **env)
        (wheel,) = dist.iterdir()
        return wheel, printed

    def failure(self, wanted: str, **env: str) -> str:
        """
        What is printed of a build that fails.
        """
        command = ["-m", "build", "--no-isolation", "--wheel", str(self.project)]
        run = self.run_in(self.project, command, wanted, **env)
        self.assertNotEqual(run.returncode, 0, run.stdout)
        return run.stdout

    def test_noCompiler(self) -> None:
        """
        Without a compiler, or with one that fails, it is left out, with a word; but not
        if it must be there.
        """
        empty = str(new_folder(self))
        for env in ({"PATH": empty, "CC": "gcc"}, {"CC": "false"}):
            wheel, printed = self.wheel(**env)
            self.assertRegex(wheel.name, r"-py3-none-any\.whl$")
            self.assertIn("twisted_echo.compiled.speedups is not built: ", printed)
            self.assertIn(
                "CannotBuild: TWISTED_ECHO_COMPILED=yes, but ",
                self.failure("yes", **env),
            )

    def test_otherValue(self) -> None:
        self.assertIn(
            "TWISTED_ECHO_COMPILED must be yes, no or unset, got 'maybe'",
            self.failure("maybe"),
        )

    def test_flags(self) -> None:
        """
        The compiler gets the flags of the environment, after those that Python itself
        was built with; and of this project nothing that changes what the code does.
        """
        self.need_compiler()
        log = self.project / "log"
        compiler = self.project / "recorder"
        compiler.write_text(
            RECORDER.format(
                python=sys.executable,
                log=str(log),
                compiler=os.environ.get("CC", "cc"),
            )
        )
        compiler.chmod(0o755)
        self.wheel("yes", CC=str(compiler), CFLAGS="-O1 -DPACKAGER", LDFLAGS="-Wl,-O1")
        given = log.read_text().splitlines()
        self.assertIn("-DPACKAGER", given)
        self.assertIn("-O1", given)
        self.assertIn("-Wl,-O1", given)
        of_python = shlex.split(
            " ".join(
                str(sysconfig.get_config_var(each))
                for each in ("CFLAGS", "CCSHARED", "LDSHARED", "LDFLAGS")
            )
        )
        known = {*of_python, "-O1", "-DPACKAGER", "-Wl,-O1", "-c", "-o"}
        others = [each for each in given if each.startswith("-") and each not in known]
        self.assertEqual(
            [
                each
                for each in others
                if not each.startswith(
                    ("-I", "-L", "-Wl,", "-DSOURCE_DIGEST=", "-ffile-prefix-map=")
                )
            ],
            [],
        )

    def test_reproducible(self) -> None:
        """
        Two wheels of one source are the same, bit for bit, wherever it lies, and by
        whatever name of its folder it is built.
        """
        self.need_compiler()
        first, _ = self.wheel("yes")
        link = new_folder(self) / "link"
        link.symlink_to(self.copied())
        self.project = link
        second, _ = self.wheel("yes", PWD=str(link))
        self.assertEqual(first.name, second.name)
        self.assertTrue(first.read_bytes() == second.read_bytes(), "they differ")


@slow
class InstallTests(BuildingTestCase):
    """
    C{pip install}, which hides what the build prints.
    """

    def setUp(self) -> None:
        super().setUp()
        if importlib.util.find_spec("pip") is None:
            raise SkipTest("pip is not installed")
        self.project = self.copied()

    def install(self, *arguments: str, wanted: str = "", **env: str) -> None:
        command = [*INSTALL.split(), *arguments]
        run = self.run_in(self.project, command, wanted, **env)
        self.assertEqual(run.returncode, 0, run.stdout)

    def implementation(self, folder: Path) -> str:
        """
        What a process says whose package is in a folder.
        """
        run = self.run_in(folder, ["-c", SHOW.format(folder=str(folder))], "")
        return run.stdout.strip()

    def test_plain(self) -> None:
        """
        What is installed is compiled, and the checkout stays clean.
        """
        self.need_compiler()
        self.install(".")
        self.assertEqual(self.implementation(self.project / "site"), "compiled")
        self.assertFalse((self.project / BUILT).exists())

    def test_noCompiler(self) -> None:
        self.install(".", CC="false")
        self.assertEqual(
            self.implementation(self.project / "site"),
            "pure Python: the compiled part was not built",
        )

    def test_editable(self) -> None:
        """
        It is built beside its source. A change of the source is noticed until it is
        built again, and an installation without it removes it.
        """
        self.need_compiler()
        self.install("-e", ".")
        self.assertEqual(self.implementation(self.project), "compiled")
        source = self.project / COMPILED / "speedups.c"
        source.write_text(source.read_text() + "/* changed */\n")
        self.assertIn(
            "was built from another speedups.c", self.implementation(self.project)
        )
        run = self.run_in(self.project, ["hatch_build.py"], "")
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertEqual(self.implementation(self.project), "compiled")
        self.install("-e", ".", wanted="no")
        self.assertFalse((self.project / BUILT).exists())
