"""
Tests of L{twisted_echo.command.options.environment}, and of the options that it is for.
"""

import io
import os
import re
import sys
from typing import Any
from unittest.mock import patch

from twisted.application.app import ServerOptions
from twisted.application.twist._options import TwistOptions
from twisted.logger import capturedLogs
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.command.options.environment import fromEnvironment, variableOf
from twisted_echo.command.options.help import GROUPS
from twisted_echo.command.options.option_table import OPTIONS
from twisted_echo.compiled.choice import VARIABLE
from twisted_echo.echo import EchoConfig
from twisted_echo.session.bounds.limits import Limits
from twisted_echo.tap import Options, makeService

# What Kubernetes sets for services called twisted-echo and twisted-echo-admin, and
# Docker for a linked container of such a name.
OF_KUBERNETES = {
    "TWISTED_ECHO_PORT": "tcp://10.96.7.7:7007",
    "TWISTED_ECHO_PORT_7007_TCP": "tcp://10.96.7.7:7007",
    "TWISTED_ECHO_PORT_7007_TCP_ADDR": "10.96.7.7",
    "TWISTED_ECHO_PORT_7007_TCP_PORT": "7007",
    "TWISTED_ECHO_PORT_7007_TCP_PROTO": "tcp",
    "TWISTED_ECHO_SERVICE_HOST": "10.96.7.7",
    "TWISTED_ECHO_SERVICE_PORT": "7007",
    "TWISTED_ECHO_SERVICE_PORT_LINES": "7007",
    "TWISTED_ECHO_ADMIN_PORT": "tcp://10.96.7.8:9100",
    "TWISTED_ECHO_ADMIN_SERVICE_HOST": "10.96.7.8",
    "TWISTED_ECHO_ADMIN_SERVICE_PORT": "9100",
    "TWISTED_ECHO_NAME": "/server/twisted-echo",
}


class VariablesTests(SynchronousTestCase):
    """
    L{fromEnvironment} and L{variableOf}.
    """

    def test_all(self) -> None:
        """
        Every option of the help that takes a value has a variable, which gives what
        the option gives.
        """
        grouped = {name for _, names, _ in GROUPS for name in names}
        self.assertEqual(grouped - {"version", "help"}, {each.name for each in OPTIONS})
        examples = {"proxy-from": "10.0.0.0/8", "admin": "9100", "delimiter": " "}
        given = {each.name: examples.get(each.name, each.default) for each in OPTIONS}
        environ = {variableOf(name): text for name, text in given.items()}
        found = fromEnvironment(environ, OPTIONS)
        for option in OPTIONS:
            value: Any = option.coerce(given[option.name])
            expected = [value] if option.isRepeated else value
            self.assertEqual(found.pop(option.name), expected)
        self.assertEqual(found, {})

    def test_names(self) -> None:
        self.assertEqual(variableOf("listen"), "TWISTED_ECHO_LISTEN")
        self.assertEqual(variableOf("max-sessions"), "TWISTED_ECHO_MAX_SESSIONS")

    def test_namesOfOthers(self) -> None:
        """
        No option has a name that Kubernetes uses for a service, or the compiled part.
        """
        self.assertEqual(fromEnvironment(OF_KUBERNETES, OPTIONS), {})
        variables = {variableOf(each.name) for each in OPTIONS}
        self.assertNotIn(VARIABLE, variables)
        theirs = re.compile(r"\w+_(NAME|(SERVICE_)?(PORT|HOST)(_\w+)?|ENV_\w+)")
        for name in OF_KUBERNETES:
            self.assertRegex(name, theirs)
        self.assertEqual([each for each in variables if theirs.fullmatch(each)], [])

    def test_severalValues(self) -> None:
        """
        Spaces separate them.
        """
        environ = {"TWISTED_ECHO_LISTEN": " tcp:7007  unix:/run/echo.sock\n"}
        self.assertEqual(
            fromEnvironment(environ, OPTIONS),
            {"listen": ["tcp:7007", "unix:/run/echo.sock"]},
        )

    def test_empty(self) -> None:
        """
        An empty value gives no option; spaces are none of several values.
        """
        environ = {variableOf(each.name): "" for each in OPTIONS}
        environ["TWISTED_ECHO_LISTEN"] = "  "
        self.assertEqual(fromEnvironment(environ, OPTIONS), {})

    def test_wrong(self) -> None:
        """
        An error names the variable, what was given, and what is allowed.
        """
        for variable, text, allowed in (
            ("DRAIN", "5x", "must be a duration such as 90"),
            ("FRAMING", "int64", "must be 'line', 'int8', 'int16', 'int32' or 'raw'"),
            ("MAX_SESSIONS", "many", "must be 'auto' or a whole number"),
            ("PROXY_FROM", "10.0.0.0/8 here", "must be an address or a network"),
        ):
            name = f"TWISTED_ECHO_{variable}"
            error = self.assertRaises(
                UsageError, fromEnvironment, {name: text}, OPTIONS
            )
            self.assertTrue(str(error).startswith(f"{name} {allowed}"), error)
            self.assertIn(repr(text.split()[-1]), str(error))


class EnvironmentOptionsTests(SynchronousTestCase):
    """
    L{Options} under Twisted's commands.
    """

    def setUp(self) -> None:
        # Parsing changes it.
        self.patch(sys, "excepthook", sys.excepthook)
        self.parent: Any = ServerOptions()
        self.parent.subCommand = "echo"

    def parsed(self, *arguments: str, **environ: str) -> Options:
        options = Options()
        options.parent = self.parent
        with patch.dict(
            os.environ, {f"TWISTED_ECHO_{k}": v for k, v in environ.items()}
        ):
            options.parseOptions(arguments)
        return options

    def refused(self, *arguments: str, **environ: str) -> str:
        """
        What the user is told.
        """
        stderr = io.StringIO()
        self.patch(sys, "__stderr__", stderr)
        self.assertRaises(SystemExit, self.parsed, *arguments, **environ)
        (line,) = stderr.getvalue().splitlines()
        return line

    def test_given(self) -> None:
        """
        The environment gives options to both commands.
        """
        for self.parent in (ServerOptions(), TwistOptions()):
            options = self.parsed(
                LISTEN="tcp:0:interface=127.0.0.1 unix:echo.sock",
                MAX_SESSIONS="9",
                PORT="tcp://10.96.7.7:7007",
            )
            self.assertEqual(
                options.settings.echo,
                EchoConfig(
                    listen=("tcp:0:interface=127.0.0.1", "unix:echo.sock"),
                    limits=Limits(sessions=9),
                ),
            )

    def test_commandLineWins(self) -> None:
        """
        An option of the command line takes the place of the variable, which is then
        not read: not one of its values is left, and it may be wrong.
        """
        options = self.parsed(
            *("--listen=unix:b", "--drain=2s"),
            LISTEN="unix:a unix:b",
            DRAIN="5x",
            ABORT_AFTER="3s",
        )
        self.assertEqual(
            options.settings.echo,
            EchoConfig(listen=("unix:b",), drain=2.0, abortAfter=3.0),
        )

    def test_refused(self) -> None:
        """
        Each error names what the user has given: a variable or an option.
        """
        for arguments, environ, told in (
            ((), {"DRAIN": "5x"}, "TWISTED_ECHO_DRAIN must be a duration"),
            ((), {"MAX_LENGTH": "0"}, "TWISTED_ECHO_MAX_LENGTH must be"),
            ((), {"LISTEN": "nix:1"}, "TWISTED_ECHO_LISTEN 'nix:1'"),
            ((), {"NOTICE": "1s"}, "TWISTED_ECHO_NOTICE needs --admin"),
            ((), {"PROXY_FROM": "::1"}, "TWISTED_ECHO_PROXY_FROM names"),
            ((), {"ADMIN": "nine"}, "TWISTED_ECHO_ADMIN 'nine' is not an endpoint"),
            ((), {"ADMIN": "70000"}, "TWISTED_ECHO_ADMIN '70000'"),
            (("--listen=tls:.:0",), {"WORKERS": "2"}, "--listen 'tls:.:0'"),
            (("--workers=0",), {"DRAIN": "1s"}, "--workers must be"),
            (("--drain=x",), {"DRAIN": "1s"}, "--drain must be"),
        ):
            line = self.refused(*arguments, **environ)
            self.assertTrue(line.startswith(f"echo: {told}"), line)
            self.assertIn("'twistd echo --help'", line)

    def test_help(self) -> None:
        """
        What is wrong with the environment does not keep the help away.
        """
        printed = io.StringIO()
        self.patch(sys, "stdout", printed)
        ended = self.assertRaises(SystemExit, self.parsed, "--help", DRAIN="5x")
        self.assertEqual(ended.code, 0)
        self.assertIn("TWISTED_ECHO_MAX_SESSIONS=1000", printed.getvalue())

    def test_embedded(self) -> None:
        """
        A program that does without Twisted's commands does without the environment.
        """
        self.parent = None
        self.assertEqual(self.parsed(MAX_LENGTH="1").settings.echo, EchoConfig())

    def test_log(self) -> None:
        """
        The log names the variables that count, if there are some.
        """
        for arguments, variables in (
            (("--drain=1s",), [["TWISTED_ECHO_ABORT_AFTER"]]),
            (("--drain=1s", "--abort-after=1s"), []),
        ):
            options = self.parsed(*arguments, DRAIN="2s", ABORT_AFTER="2s")
            with capturedLogs() as events:
                makeService(options)
            told = [e for e in events if e.get("event") == "options-from-environment"]
            self.assertEqual([each["variables"] for each in told], variables)
