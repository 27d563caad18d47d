"""
Tests of L{twisted_echo.command.options.bash_completion}, in a real bash.
"""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path
from unittest import SkipTest

from twisted.application.reactors import getReactorTypes
from twisted.application.twist._options import TwistOptions
from twisted.python.usage import Options as UsageOptions
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import DEADLINE, environment, new_folder
from twisted_echo.command.options.bash_completion import COMMANDS, REACTORS
from twisted_echo.command.options.generated_files import main
from twisted_echo.tap import Options

# Prints what bash would be told: how to deal with it, and what to offer.
COMPLETE = """
set -u
. share/bash-completion/completions/$1
compopt() { printf 'compopt %s\\n' "$*"; }
COMP_LINE=$2 COMP_POINT=${#2}
_twisted_echo "$1" "$3" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash() -> str:
    path = shutil.which("bash")
    if path is None:
        raise SkipTest("bash is not installed")
    return path


class CompletionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = new_folder(self)
        main([str(self.folder / "share")])

    def told(self, line: str, breaks: str = "=:", word: str | None = None) -> list[str]:
        """
        What bash is told about a line with the cursor at its end.

        @param breaks: what ends a word, beside spaces.
        @param word: what is to be replaced, if not what stands behind the last break.
        """
        command = Path(line.split()[0]).name
        if word is None:
            word = re.split(rf"[\s{breaks}]", line)[-1]
        done = subprocess.run(
            [bash(), "-c", COMPLETE, "bash", command, line, word],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            cwd=self.folder,
            env=environment(),
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), line)
        return [each for each in done.stdout.splitlines() if each]

    def offered(self, line: str, breaks: str = "=:") -> list[str]:
        """
        What is offered.
        """
        told = self.told(line, breaks)
        return sorted(each for each in told if not each.startswith("compopt "))


class OptionsTests(CompletionTestCase):
    def test_names(self) -> None:
        """
        Behind echo, every option is offered, and nothing else.
        """
        options = [f"--{each}" for each in Options().longOpt if each != "l="]
        self.assertGreater(len(options), 20)
        for command in ("twistd", "twist"):
            for line in (f"{command} echo ", f"{command} echo -", f"{command} echo --"):
                self.assertEqual(self.offered(line), sorted(options), line)
        self.assertEqual(self.offered("twistd echo --fr"), ["--framing="])
        self.assertEqual(self.offered("twistd echo --nonsense"), [])

    def test_spaces(self) -> None:
        """
        A space follows what is complete.
        """
        keep = "compopt +o bashdefault +o default"
        for line, told in (
            ("twistd echo --fr", [keep, "--framing=", "compopt -o nospace"]),
            ("twistd echo --ver", [keep, "--version"]),
            ("twistd echo --framing=l", [keep, "line"]),
            ("twistd echo --listen=tl", [keep, "tls:", "compopt -o nospace"]),
            (
                "twistd echo --listen tls:7007:curv",
                [keep, "curve=", "compopt -o nospace"],
            ),
        ):
            found = self.told(line)
            self.assertEqual(sorted(found), sorted(told), line)

    def test_choices(self) -> None:
        """
        The values of an option are offered in every way to write it, and with
        whatever ends a word.
        """
        values = ["int16", "int32", "int8"]
        for line in (
            "twistd echo --framing=in",
            "twistd echo --framing in",
            "twist echo -f in",
            "/opt/echo/bin/twistd -n --pidfile= echo --drain 5s --framing in",
            "twistd -noy echo -l echo echo --framing=in",
            "twist --reactor echo echo --framing=in",
        ):
            self.assertEqual(self.offered(line), values, line)
        self.assertEqual(
            self.offered("twistd echo --framing=in", breaks=""),
            [f"--framing={each}" for each in values],
        )
        self.assertEqual(self.offered("twistd echo --when-full="), ["refuse", "wait"])

    def test_breakAsWord(self) -> None:
        """
        The completion of C{sudo} and the like says that a break is to be replaced.
        """
        told = self.told("twistd echo --when-full=", word="=")
        self.assertEqual(told[1:], ["wait", "refuse"])

    def test_quoted(self) -> None:
        """
        What is quoted is not completed, rather than wrongly.
        """
        for line, word in (
            ("twistd echo --listen 'uni", "uni"),
            ("twistd echo --listen unix:a\\ b", "a\\ b"),
        ):
            self.assertEqual(self.told(line, word=word)[1:], [], line)

    def test_notOptions(self) -> None:
        """
        Behind a word that echo does not take there is nothing to offer.
        """
        self.assertEqual(self.offered("twistd echo tcp:7007 --"), [])

    def test_noChoices(self) -> None:
        """
        Where there are none, no files are offered in their place.
        """
        (self.folder / "5s").touch()
        self.assertEqual(
            self.told("twistd echo --drain="), ["compopt +o bashdefault +o default"]
        )


class EndpointTests(CompletionTestCase):
    def test_kinds(self) -> None:
        kinds = ["haproxy:", "ssl:", "systemd:", "tcp6:", "tcp:", "tls:", "unix:"]
        for option in ("--listen", "-l", "--admin"):
            self.assertEqual(self.offered(f"twistd echo {option} "), kinds)
        self.assertEqual(self.offered("twistd echo --listen="), kinds)
        self.assertEqual(
            self.offered("twistd echo --listen=haproxy:"), sorted(set(kinds[1:]))
        )
        self.assertEqual(self.offered("twistd echo -l haproxy:un"), ["unix:"])

    def test_options(self) -> None:
        """
        Behind a kind are the names of its options.
        """
        for line, names in (
            ("--listen=tcp:7007:", ["backlog=", "interface=", "port="]),
            ("-l haproxy:tcp6:7007:int", ["interface="]),
            ("--admin ssl:9100:priv", ["privateKey="]),
            ("--listen systemd:do", ["domain="]),
            ("--listen tcp:7007:interface=", []),
            ("--listen nix:1:", []),
        ):
            self.assertEqual(self.offered(f"twistd echo {line}"), names, line)

    def test_paths(self) -> None:
        """
        Files are offered where a path is meant.
        """
        (self.folder / "keys").mkdir()
        (self.folder / "keys" / "a key.pem").touch()
        (self.folder / "keys" / "other.pem").touch()
        files = ["keys/a key.pem", "keys/other.pem"]
        for line in (
            "--listen=unix:keys/",
            "--listen haproxy:tls:keys/",
            "-l ssl:7007:privateKey=keys/",
            "--admin=ssl:9100:caDir=keys/",
        ):
            told = self.told(f"twistd echo {line}")
            self.assertIn("compopt -o filenames", told, line)
            self.assertEqual(self.offered(f"twistd echo {line}"), files, line)
        self.assertEqual(
            self.offered("twistd echo --listen=unix:keys/o", breaks=""),
            ["--listen=unix:keys/other.pem"],
        )
        self.assertEqual(self.offered("twistd echo --listen=tcp:keys/"), [])


class CommandsTests(CompletionTestCase):
    """
    What stands before echo, or another plugin.
    """

    def test_before(self) -> None:
        for line, offered in (
            ("twistd ec", ["echo"]),
            ("twist --reactor eager ec", ["echo"]),
            ("twistd --pid", ["--pidfile="]),
            ("twist --log-fo", ["--log-format="]),
            ("twist --log-format=", ["json", "text"]),
            ("twistd --reactor=eag", ["eager", "eager-asyncio"]),
            ("twistd -nr sel", ["select"]),
            ("twistd -u roo", ["root"]),
            ("twistd --logger=", ["twisted_echo.logs.json"]),
        ):
            self.assertEqual(self.offered(line), offered, line)

    def test_otherPlugins(self) -> None:
        """
        Another plugin is left to bash, also if echo is one of its words.
        """
        for line in (
            "twistd ",
            "twistd web ",
            "twistd -n web --path echo --",
            "twist --reactor=eager ftp echo --",
            "twistd -y echo web -",
            "twistd --umask echo web -",
        ):
            self.assertEqual(self.told(line), [], line)

    def test_known(self) -> None:
        """
        The options are Twisted's, and take a value if Twisted says so.
        """
        for command, options in (
            ("twistd", ServerOptions()),
            ("twist", TwistOptions()),
        ):
            assert isinstance(options, UsageOptions)
            for names, value in COMMANDS[command].items():
                long = names[0].removeprefix("--")
                self.assertIn(long + ("=" if value else ""), options.longOpt)
                for letter in names[1:]:
                    self.assertEqual(options.synonyms[letter[1:]], long)

    def test_reactors(self) -> None:
        installed = {each.shortName for each in getReactorTypes()}
        self.assertLessEqual(set(REACTORS), installed)


class TerminalTests(CompletionTestCase):
    def test_keys(self) -> None:
        """
        With the key Tab, on a terminal, the line becomes what is offered.
        """
        (self.folder / "sockets").mkdir()
        (self.folder / "sockets" / "echo.sock").touch()
        (self.folder / "web.tac").touch()
        terminal, other = pty.openpty()
        self.addCleanup(os.close, terminal)
        process = subprocess.Popen(
            [bash(), "--norc", "--noprofile", "-i"],
            stdin=other,
            stdout=other,
            stderr=other,
            cwd=self.folder,
            env=environment({"TERM": "dumb", "INPUTRC": "/dev/null", "PS1": "> "}),
            start_new_session=True,
        )
        os.close(other)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        share = "share/bash-completion/completions/twist"
        # It prints its arguments; what the terminal echoes has no brackets.
        os.write(terminal, b"twistd() { printf '<%s>' \"$@\"; }; . " + share.encode())
        os.write(terminal, b"\ntwistd -n ec\t--fram\tl\t--listen=uni\tsoc\tec\t\n")
        os.write(terminal, b"twistd web we\t\n")
        expected = (
            "<-n><echo><--framing=line><--listen=unix:sockets/echo.sock>",
            "<web><web.tac>",
        )
        printed = b""
        deadline = time.monotonic() + DEADLINE
        while not all(each.encode() in printed for each in expected):
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([terminal], [], [], left)
            self.assertTrue(ready, printed)
            printed += os.read(terminal, 4096)
