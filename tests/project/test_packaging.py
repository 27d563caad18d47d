"""
What is in the wheel and the sdist, and what importing the package does.
"""

import pkgutil
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_echo
from tests.support.building import COMPILED, BuildingTestCase
from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.processes import DEADLINE, environment, new_folder
from twisted_echo.command.options.generated_files import generatedFiles

PAGE = "twisted_echo/admin/status_page/page.html"
PLUGIN = "twisted/plugins/twisted_echo_plugin.py"


class WheelTests(BuildingTestCase):
    def assert_contents(self, project: Path, dist: Path, built: set[str]) -> str:
        """
        The wheel, built by way of the sdist, holds the package and the plugin, what was
        compiled, and nothing else.

        @return: the name of the wheel.
        """
        (archive,) = dist.glob("*.tar.gz")
        with tarfile.open(archive) as sdist:
            sources = {name.partition("/")[2] for name in sdist.getnames()}
        (archive,) = dist.glob("*.whl")
        with zipfile.ZipFile(archive) as wheel:
            names = wheel.namelist()
            (metadata,) = (name for name in names if name.endswith("/METADATA"))
            self.assert_metadata(message_from_string(wheel.read(metadata).decode()))

        expected = {
            path.relative_to(project).as_posix()
            for path in (project / "twisted_echo").rglob("*.py*")
            if path.suffix in (".py", ".pyi")
        }
        expected |= {"twisted_echo/py.typed", PAGE, PLUGIN}
        files = {name for name in names if ".dist-info/" not in name}
        # What goes beside the programs, and not into the package.
        beside = {f"share/{name}" for name in generatedFiles()}
        data = {name.partition(".data/data/")[2] for name in files}
        self.assertEqual(data - {""}, beside)
        files = {name for name in files if ".data/" not in name}
        self.assertEqual(files, expected | built)
        self.assertTrue(any(name.endswith("/licenses/LICENSE") for name in names))

        self.assertLessEqual(expected | beside, sources)
        self.assertLessEqual({"pyproject.toml", "README.md", "LICENSE"}, sources)
        self.assertLessEqual({"hatch_build.py", f"{COMPILED}/speedups.c"}, sources)
        self.assertIn("tests/project/test_packaging.py", sources)
        for name in sources:
            self.assertNotRegex(name, r"dropin\.cache|__pycache__|\.pyc$|\.so$")
        return archive.name

    @slow
    def test_compiled(self) -> None:
        """
        The wheel has the compiled part, and is for this Python and platform alone.
        """
        self.need_compiler()
        project = self.copied()
        dist, _ = self.built(project)
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        name = self.assert_contents(project, dist, {f"{COMPILED}/speedups{suffix}"})
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        python = f"cp{sys.version_info.major}{sys.version_info.minor}"
        self.assertTrue(name.endswith(f"-{python}-{python}-{platform}.whl"), name)

    @slow
    def test_pure(self) -> None:
        """
        Without the compiled part, one wheel is for all.
        """
        project = self.copied()
        dist, _ = self.built(project, wanted="no")
        name = self.assert_contents(project, dist, set())
        self.assertTrue(name.endswith("-py3-none-any.whl"), name)

    def assert_metadata(self, metadata: Message) -> None:
        """
        It needs Twisted and nothing else, unless an extra is asked for.
        """
        self.assertEqual(metadata["Name"], "twisted-echo")
        self.assertEqual(metadata["Requires-Python"], ">=3.11")
        unconditional = [
            re.split(r"[^\w-]", requirement)[0].lower()
            for requirement in metadata.get_all("Requires-Dist", [])
            if "extra ==" not in requirement
        ]
        self.assertEqual(unconditional, ["twisted"])
        self.assertTrue(metadata.get_payload(), "the README is missing")


IMPORT = """\
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "twisted.internet.reactor" in sys.modules:
        sys.exit(f"importing {name} installs a reactor")
print("twisted.plugins.twisted_echo_plugin" in sys.modules)
"""


WITHOUT = """\
import ssl, socket, sys
for name in ("OpenSSL", "cryptography", "service_identity"):
    sys.modules[name] = None
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted_echo import EchoConfig, EchoFactory, SessionService

words = "ssl:0:key.pem:cert.pem:interface=127.0.0.1:protocols=echo"
service = SessionService(words, EchoFactory(EchoConfig()))

def talk(port):
    context = ssl.create_default_context(cafile="cert.pem")
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            client.sendall(b"hello\\n")
            print(client.recv(100).decode(), end="")

def stop(_):
    service.stopService().addBoth(lambda _: reactor.stop())

def start():
    service.startService()
    (address,) = service.addresses
    deferToThread(talk, address.port).addErrback(print).addBoth(stop)

reactor.callWhenRunning(start)
reactor.run()
"""


class TLSTests(SynchronousTestCase):
    def test_withoutOpenSSL(self) -> None:
        """
        TLS needs Twisted and the standard library, and nothing else.
        """
        folder = new_folder(self)
        make_certificate(folder)
        run = subprocess.run(
            [sys.executable, "-c", WITHOUT],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            cwd=folder,
            env=environment(),
            check=False,
        )
        self.assertEqual(run.stderr, "")
        self.assertEqual(run.stdout, "hello\n")


class ImportTests(SynchronousTestCase):
    def test_noReactor(self) -> None:
        """
        No module installs a reactor by being imported. (Except for the servers that the
        benchmark measures: Twisted's own SMTP and SSH import the reactor. Each server
        runs in a process that has chosen one before.)
        """
        modules = [
            module.name
            for module in pkgutil.walk_packages(twisted_echo.__path__, "twisted_echo.")
            if not module.name.startswith("twisted_echo.bench.programs.")
        ]
        self.assertIn("twisted_echo.tap", modules)
        run = subprocess.run(
            [
                *(sys.executable, "-c", IMPORT, "twisted_echo"),
                *(*modules, "twisted.plugins.twisted_echo_plugin"),
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            cwd=new_folder(self),
            env=environment(),
            check=False,
        )
        self.assertEqual(run.stderr, "")
        self.assertEqual(run.stdout, "True\n")

    def test_publicNames(self) -> None:
        """
        What the package says that it has, it has.
        """
        for name in twisted_echo.__all__:
            self.assertTrue(hasattr(twisted_echo, name), name)
