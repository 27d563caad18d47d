"""
Tests of L{twisted_echo.command.options.man_page}.
"""

import re
import shutil
import subprocess
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import DEADLINE, environment, new_folder
from twisted_echo.command.options.environment import variableOf
from twisted_echo.command.options.generated_files import main
from twisted_echo.command.options.man_page import (
    ALIASES,
    NAME,
    SIGNALS,
    VARIABLES,
    manPage,
)
from twisted_echo.command.options.option_table import OPTIONS
from twisted_echo.command.signal_handlers import (
    RELOAD_SIGNAL,
    STATUS_SIGNAL,
    STOP_SIGNALS,
)
from twisted_echo.compiled.choice import VARIABLE


def run(
    *arguments: str, standardInput: str = "", **more: str
) -> "subprocess.CompletedProcess[str]":
    if shutil.which(arguments[0]) is None:
        raise SkipTest(f"{arguments[0]} is not installed")
    return subprocess.run(
        arguments,
        input=standardInput,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment({"LC_ALL": "C.UTF-8", **more}),
        check=False,
    )


def rendered(page: str) -> str:
    """
    What a reader sees, wide enough for lines not to be broken.
    """
    done = run("mandoc", "-T", "utf8", "-O", "width=1000", standardInput=page)
    assert (done.returncode, done.stderr) == (0, "")
    # Bold and underlined characters are printed twice, with a backspace between.
    return re.sub(r".\x08", "", done.stdout)


class ManPageTests(SynchronousTestCase):
    def test_lint(self) -> None:
        """
        mandoc finds nothing wrong with it; with a page that is wrong, it does.
        """
        lint = ("mandoc", "-T", "lint", "-W", "all")
        done = run(*lint, standardInput=manPage())
        self.assertEqual((done.stdout + done.stderr, done.returncode), ("", 0))
        done = run(*lint, standardInput=manPage().replace(".SH FILES", ".HS FILES"))
        self.assertIn("HS FILES", done.stdout + done.stderr)

    def test_sections(self) -> None:
        found = re.findall(r"^([A-Z][A-Z ]+)$", rendered(manPage()), re.M)
        self.assertEqual(
            found,
            [
                *("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT"),
                *("FILES", "SIGNALS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"),
            ],
        )

    def test_options(self) -> None:
        """
        Each option has its names, what its value is, what it is for, and its default.
        """
        text = rendered(manPage())
        for option in OPTIONS:
            letter = f"-{option.letter}, " if option.letter else ""
            (told,) = re.findall(
                rf"^ +{letter}--{option.name}=\S+\n +(.+)$", text, re.M
            )
            expected = option.help
            if option.default:
                expected += f" Default: {option.default}"
            self.assertEqual(re.sub(" +", " ", told), expected)
        self.assertIn("--framing=line|int8|int16|int32|raw\n", text)

    def test_variables(self) -> None:
        self.assertIn(VARIABLE, VARIABLES)
        self.assertIn(variableOf("option"), VARIABLES)
        text = rendered(manPage())
        for name in VARIABLES:
            self.assertIn(f" {name}\n", text)

    def test_signals(self) -> None:
        """
        They are those that the command minds, and that of twistd's log rotation.
        """
        minded = {each.name for each in (*STOP_SIGNALS, RELOAD_SIGNAL, STATUS_SIGNAL)}
        self.assertEqual(set(", ".join(SIGNALS).split(", ")), minded | {"SIGUSR1"})

    def test_found(self) -> None:
        """
        C{man} finds the page under each of its names, and as that of a command's
        subcommand, when the programs beside it are in C{PATH}.
        """
        prefix = new_folder(self)
        (prefix / "bin").mkdir()
        main([str(prefix / "share")])
        path = f"{prefix}/bin:{environment()['PATH']}"
        for words in (
            *([each] for each in (NAME, *ALIASES)),
            *(["twistd", "echo"], ["twist", "echo"]),
        ):
            done = run("man", "-P", "cat", *words, PATH=path, MANWIDTH="80")
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            self.assertIn("--listen=ENDPOINT", done.stdout)
