"""
L{twisted_echo.validation.extras}: the command that installs what is missing, from where
the package came.
"""

import json
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

import twisted_echo
from tests.support.marks import slow
from tests.support.paths import PROJECT
from tests.support.processes import DEADLINE, environment, new_folder
from twisted_echo.validation import extras
from twisted_echo.validation.extras import (
    MissingPackage,
    install_extra,
    install_packages,
)

METADATA = """\
Metadata-Version: 2.4
Name: twisted-echo
Version: 0.1.0
Requires-Dist: twisted>=26.4
Requires-Dist: rich>=13; extra == "bench"
Requires-Dist: uvloop>=0.23; (platform_system != 'Windows') and extra == 'bench'
Requires-Dist: prometheus-client>=0.21; extra == 'metrics'
Requires-Dist: rich>=13; extra == 'test'
"""

WITHOUT = """\
import sys
for name in {missing!r}:
    sys.modules[name] = None
"""
"""
A C{sitecustomize} of an environment that lacks some packages.
"""


class CommandTests(SynchronousTestCase):
    def assert_command(self, command: str, *arguments: str) -> None:
        self.assertEqual(
            shlex.split(command), [sys.executable, "-m", "pip", "install", *arguments]
        )

    def test_packages(self) -> None:
        """
        Packages of others are installed by their names, for this Python.
        """
        self.assert_command(
            install_packages("twisted[tls]", "cryptography"),
            *("twisted[tls]", "cryptography"),
        )

    def test_checkout(self) -> None:
        """
        In a checkout an extra is that of the checkout, which stays editable.
        """
        if Path(twisted_echo.__file__).parent.parent != PROJECT:
            self.skipTest("the package is not that of the checkout")
        self.assert_command(install_extra("metrics"), "-e", f"{PROJECT}[metrics]")

    def test_otherProject(self) -> None:
        """
        A folder of another project, or of none, is no checkout.
        """
        folder = new_folder(self)
        self.assertFalse(extras._is_checkout(folder))
        for text in ("", "[project", "[project]\nname = 'other'", "project = 3"):
            (folder / "pyproject.toml").write_text(text)
            self.assertFalse(extras._is_checkout(folder), text)

    def test_error(self) -> None:
        """
        The error is one of an import, and has the command.
        """
        error = MissingPackage("it", "pip install it")
        self.assertIsInstance(error, ImportError)
        self.assertEqual(
            str(error), "it is not installed; to install it: pip install it"
        )


class InstalledTests(SynchronousTestCase):
    """
    Real processes, whose package is not that of a checkout.
    """

    def setUp(self) -> None:
        self.site = new_folder(self)
        (self.site / "twisted_echo").symlink_to(Path(twisted_echo.__file__).parent)
        self.metadata = self.site / "twisted_echo-0.1.0.dist-info"

    def installed(self, **direct_url: Any) -> None:
        self.metadata.mkdir(exist_ok=True)
        (self.metadata / "METADATA").write_text(METADATA)
        if direct_url:
            (self.metadata / "direct_url.json").write_text(json.dumps(direct_url))

    def lacking(self, *missing: str) -> None:
        (self.site / "sitecustomize.py").write_text(WITHOUT.format(missing=missing))

    def run_python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.site,
            env=environment({"PYTHONPATH": str(self.site)}),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def told(self, extra: str) -> list[str]:
        """
        The arguments of C{pip install} for an extra.
        """
        code = (
            "from twisted_echo.validation.extras import install_extra\n"
            f"print(install_extra({extra!r}))"
        )
        done = self.run_python("-c", code)
        self.assertEqual(done.stderr, "")
        python, *rest = shlex.split(done.stdout)
        self.assertEqual((python, rest[:3]), (sys.executable, ["-m", "pip", "install"]))
        return rest[3:]

    def test_folder(self) -> None:
        """
        What was installed from a folder, by C{pip install .}, or from a wheel.
        """
        folder = new_folder(self) / "a folder"
        self.installed(url=folder.as_uri(), dir_info={})
        # It is gone.
        self.assertEqual(self.told("metrics"), ["prometheus-client>=0.21"])
        folder.mkdir()
        self.assertEqual(self.told("metrics"), [f"{folder}[metrics]"])

    def test_repository(self) -> None:
        self.installed(
            url="https://example.org/echo.git",
            vcs_info={"vcs": "git", "commit_id": "0" * 40},
        )
        self.assertEqual(
            self.told("metrics"),
            ["twisted-echo[metrics] @ git+https://example.org/echo.git"],
        )

    def test_archive(self) -> None:
        url = "https://example.org/echo.tar.gz"
        self.installed(url=url, archive_info={})
        self.assertEqual(self.told("metrics"), [f"twisted-echo[metrics] @ {url}"])

    def test_packages(self) -> None:
        """
        Without a place of its own, an extra is the packages that it consists of.
        """
        self.installed()
        self.assertEqual(
            self.told("bench"),
            ["rich>=13", "uvloop>=0.23; (platform_system != 'Windows')"],
        )

    def test_unknown(self) -> None:
        """
        Without a record of an installation, the place is left to the reader.
        """
        code = (
            "from importlib import metadata\n"
            "from twisted_echo.validation import extras\n"
            "def distribution(name): raise metadata.PackageNotFoundError(name)\n"
            "extras.distribution = distribution\n"
            "print(extras.install_extra('metrics'))"
        )
        done = self.run_python("-c", code)
        self.assertIn("'THE-CHECKOUT-OF-twisted-echo[metrics]'", done.stdout)

    @slow
    def test_pipTakesIt(self) -> None:
        """
        pip finds this package, and its extra, by the command.
        """
        if find_spec("hatchling") is None:
            raise SkipTest("hatchling is not installed")
        self.installed(url=PROJECT.as_uri(), dir_info={})
        options = "--dry-run --ignore-installed --no-deps --no-index --quiet"
        done = self.run_python(
            *("-m", "pip", "install", *options.split(), "--no-build-isolation"),
            *("--report", "-", *self.told("metrics")),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        (found,) = json.loads(done.stdout)["install"]
        self.assertEqual(found["metadata"]["name"], "twisted-echo")
        self.assertEqual(found["requested_extras"], ["metrics"])

    def test_messages(self) -> None:
        """
        Whatever needs something that is missing says what to type.
        """
        self.installed()
        self.lacking("prometheus_client", "hdrh", "hdrh.histogram", "cryptography")
        twistd = "from twisted.scripts.twistd import run; run()"
        admin = "from twisted_echo import AdminService"
        server = "from twisted_echo.testing import EchoServer; EchoServer({}=True)"
        bench = ("-m", "twisted_echo.bench")
        for arguments, said in (
            (("-c", twistd, "-n", "echo", "--admin", "0"), "prometheus-client>=0.21"),
            (("-c", admin), "prometheus-client>=0.21"),
            (("-c", server.format("metrics")), "prometheus-client>=0.21"),
            (("-c", server.format("tls")), "cryptography"),
            ((*bench, "load", "127.0.0.1:7"), "rich>=13"),
        ):
            done = self.run_python(*arguments)
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertIn(install_packages(said), done.stderr, arguments)
        help = self.run_python(*bench, "--help").stdout
        self.assertIn(install_packages("rich>=13"), " ".join(help.split()))
