"""
Tests of L{twisted_echo.tap}.
"""

import errno
import io
import os
import resource
import signal
import sys
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any
from unittest.mock import patch

from twisted.application.app import ServerOptions
from twisted.application.service import IService, IServiceMaker
from twisted.application.twist._options import TwistOptions
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import LogLevel, capturedLogs
from twisted.plugin import getPlugins
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.support.clients import until
from tests.support.tlsclient import TLSTestCase
from twisted_echo.command.command_service import CommandService
from twisted_echo.command.file_limit import mostSessions
from twisted_echo.command.options import option_parsers as words
from twisted_echo.command.options.help import GROUPS
from twisted_echo.command.start_errors import CannotStart
from twisted_echo.echo import EchoConfig, EchoService
from twisted_echo.endpoints.strings import ParsedEndpoint
from twisted_echo.net.sockets import KeepAlive
from twisted_echo.session.bounds.limits import Deadlines, Limits, WhenFull
from twisted_echo.session.session_log import LogSessions
from twisted_echo.tap import Options, makeService
from twisted_echo.validation.extras import install_extra
from twisted_echo.validation.units import format_duration, format_size


def parsed(*arguments: str) -> Options:
    """
    The options of a command line.
    """
    options = Options()
    options.parseOptions(list(arguments))
    return options


def config_of(*arguments: str) -> EchoConfig:
    return parsed(*arguments).settings.echo


class OptionsTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """
        Without an option the configuration is that of the Python interface.
        """
        self.assertEqual(config_of(), EchoConfig())

    def test_accepted(self) -> None:
        """
        Each option is one field of the configuration, under each of its names.
        """
        tcp = "tcp:0:interface=127.0.0.1"
        for arguments, expected in (
            (["--listen", tcp], {"listen": (tcp,)}),
            (["-l", tcp, "--listen=unix:/x"], {"listen": (tcp, "unix:/x")}),
            (["--delimiter", "END"], {"delimiter": b"END"}),
            (["-d", "|"], {"delimiter": b"|"}),
            (["--max-length", "1"], {"maxLength": 1}),
            (["-m", "1048576"], {"maxLength": 1 << 20}),
            (["--drain", "2.5"], {"drain": 2.5}),
            (["--drain", "0"], {"drain": 0.0}),
            (["--abort-after", "0.1"], {"abortAfter": 0.1}),
            (["--keepalive", "off"], {"keepAlive": None}),
            (["--keepalive", "1"], {"keepAlive": KeepAlive(1)}),
            (["--keepalive", "1,2"], {"keepAlive": KeepAlive(1, 2)}),
            (["-k", "1,2,3"], {"keepAlive": KeepAlive(1, 2, 3)}),
            (["-k", "32767,32767,127"], {"keepAlive": KeepAlive(32767, 32767, 127)}),
            (["--idle-timeout", "1.5"], {"deadlines": Deadlines(idle=1.5)}),
            (["--line-timeout", "2"], {"deadlines": Deadlines(line=2)}),
            (["--write-timeout", "0"], {"deadlines": Deadlines(write=0)}),
            (["--handshake-timeout", "3"], {"deadlines": Deadlines(handshake=3)}),
            (["--max-sessions", "9"], {"limits": Limits(sessions=9)}),
            (["--max-sessions", "auto"], {}),
            (["--max-sessions-per-peer", "2"], {"limits": Limits(sessionsPerPeer=2)}),
            (["--when-full", "refuse"], {"limits": Limits(whenFull=WhenFull.REFUSE)}),
            (["--max-buffered", "1000"], {"limits": Limits(buffered=1000)}),
            (["--max-buffered", "1G"], {"limits": Limits(buffered=1 << 30)}),
            (["-m", "64k"], {"maxLength": 65536}),
            (["--drain", "1h30m"], {"drain": 5400.0}),
            (["--abort-after", "500ms"], {"abortAfter": 0.5}),
            (["--idle-timeout", "2d"], {"deadlines": Deadlines(idle=172800)}),
            (["--line-timeout", "1.5s"], {"deadlines": Deadlines(line=1.5)}),
            (["--write-timeout", "5m"], {"deadlines": Deadlines(write=300)}),
            (["--handshake-timeout", "0s"], {"deadlines": Deadlines(handshake=0)}),
            (["--keepalive", "2m,10s,6"], {"keepAlive": KeepAlive(120, 10, 6)}),
            (
                ["--log-sessions=all", "--log-sample=0.1"],
                {"logSessions": LogSessions.ALL, "logSample": 0.1},
            ),
        ):
            self.assertEqual(config_of(*arguments), EchoConfig(**expected), arguments)

    def test_delimiterEscapes(self) -> None:
        """
        Escapes are bytes, and what is no escape is UTF-8.
        """
        for text, delimiter in (
            (r"\n", b"\n"),
            (r"\r\n", b"\r\n"),
            (r"\0", b"\0"),
            (r"\x00\xff", b"\x00\xff"),
            (r"\\", b"\\"),
            ("\n", b"\n"),
            (" ", b" "),
            ("→", "→".encode()),
            ("é", "é".encode()),
        ):
            self.assertEqual(config_of("--delimiter", text).delimiter, delimiter, text)

    def test_refused(self) -> None:
        """
        A bad value is refused with what was given and what is allowed.
        """
        for argument, given, allowed in (
            ("--delimiter=", "''", "one character or more"),
            (r"--delimiter=\x", r"\\x", r"\xHH"),
            (r"--delimiter=\u20ac", r"\\u20ac", r"\xHH"),
            ("--max-length=many", "'many'", "a size such as 65536, 64K"),
            ("--max-length=1.5", "'1.5'", "a size such as 65536, 64K"),
            ("--max-length=", "''", "a size such as 65536, 64K"),
            ("--max-length=0", "got 0", "from 1 up"),
            ("--max-length=-1", "got '-1'", "a size such as 65536, 64K"),
            ("--drain=soon", "'soon'", "a duration such as 90, 1.5s"),
            ("--drain=-1", "got '-1'", "a duration such as 90, 1.5s"),
            ("--drain=inf", "got 'inf'", "a duration such as 90, 1.5s"),
            ("--drain=5 m", "got '5 m'", "a duration such as 90, 1.5s"),
            ("--drain=100001d", "got '100001d'", "100000d at most"),
            ("--drain=nan", "got 'nan'", "a duration such as 90, 1.5s"),
            ("--abort-after=soon", "'soon'", "a duration such as 90, 1.5s"),
            (
                "--abort-after=0ms",
                "got 0",
                "--abort-after must be a number of seconds, more",
            ),
            ("--abort-after=-1", "got '-1'", "a duration such as 90, 1.5s"),
            ("--abort-after=1e400", "got '1e400'", "a duration such as 90, 1.5s"),
            ("--keepalive=on", "'on'", "IDLE[,INTERVAL[,COUNT]]"),
            ("--keepalive=", "''", "IDLE[,INTERVAL[,COUNT]]"),
            ("--keepalive=1,2,3,4", "'1,2,3,4'", "IDLE[,INTERVAL[,COUNT]]"),
            ("--keepalive=0", "'0'", "idle must be a whole number from 1 to 32767"),
            ("--keepalive=1,0", "'1,0'", "interval must be a whole number from 1"),
            ("--keepalive=1,1,128", "'1,1,128'", "count must be a whole number from 1"),
            ("--idle-timeout=soon", "'soon'", "a duration such as 90, 1.5s"),
            ("--idle-timeout=-1", "got '-1'", "--idle-timeout must be a duration"),
            ("--line-timeout=inf", "got 'inf'", "--line-timeout must be a duration"),
            ("--write-timeout=5x", "got '5x'", "--write-timeout must be a duration"),
            ("--handshake-timeout=nan", "got 'nan'", "--handshake-timeout must be"),
            ("--keepalive=1.5s", "'1.5s'", "IDLE[,INTERVAL[,COUNT]]"),
            ("--keepalive=1m,1e400", "'1m,1e400'", "IDLE[,INTERVAL[,COUNT]]"),
            ("--keepalive=1d", "'1d'", "idle must be a whole number from 1 to 32767"),
            ("--max-sessions=many", "'many'", "'auto' or a whole number"),
            ("--max-sessions=-1", "got -1", "--max-sessions must be"),
            ("--max-sessions-per-peer=-1", "got -1", "--max-sessions-per-peer must"),
            ("--max-sessions-per-peer=x", "'x'", "a whole number"),
            ("--when-full=drop", "'drop'", "'wait' or 'refuse'"),
            ("--max-buffered=-1", "got '-1'", "--max-buffered must be a size"),
            ("--max-buffered=1KB", "'1KB'", "powers of 1024"),
            ("--log-sessions=some", "'some'", "'none', 'problems' or 'all'"),
            ("--log-sample=some", "'some'", "--log-sample must be a number"),
            ("--log-sample=0", "got 0", "above 0, at most 1"),
            ("--log-sample=0.5", "0.5 with 'problems'", "for a log of 'all' sessions"),
            ("--proxy-from=here", "'here'", "such as 10.0.0.0/8"),
            ("--proxy-from=10.0.0.1/8", "'10.0.0.1/8'", "host bits"),
            ("--proxy-from=10.0.0.0/8", "--proxy-from", "haproxy:"),
            ("--listen=", "''", "such as tcp:7007"),
            ("--listen=nix:1", "'nix:1'", "such as tcp:7007"),
            ("--listen=tcp:echoes", "'tcp:echoes'", "0 to 65535, got echoes"),
            ("--listen=tcp:65536", "got 65536", "from 0 to 65535"),
            ("--listen=tcp:port=65536", "got 65536", "from 0 to 65535"),
            ("--listen=tcp:-1", "-1", "from 0 to 65535"),
            ("--listen=haproxy:tcp:70000", "got 70000", "from 0 to 65535"),
            ("--listen=ssl:7007:privateKey=/no", "cannot read /no", "No such file"),
            ("--listen=tls:/no:port=7007", "'tls:/no:", "cannot read /no: No such"),
            ("--listen=haproxy:tls:/x", "'haproxy:tls:/x'", "cannot read /x: No"),
            ("--listen=stdio:", "'stdio:'", "use tcp: or unix:"),
            ("--listen=systemd:name=echo", "'systemd:name=echo'", "domain"),
            ("--listen=systemd:domain=INET:name=no", "has passed no", "name"),
            ("--listen=systemd:domain=INET:index=9", "has passed no", "index"),
        ):
            error = self.assertRaises(UsageError, parsed, argument)
            self.assertIn(given, str(error), argument)
            self.assertIn(allowed, str(error), argument)
            self.assertNotIn("\n", str(error), argument)

    def test_unknown(self) -> None:
        error = self.assertRaises(UsageError, parsed, "--nonsense")
        self.assertIn("nonsense", str(error))

    def test_endpointAsArgument(self) -> None:
        """
        Whoever forgets C{--listen} is reminded.
        """
        error = self.assertRaises(UsageError, parsed, "tcp:7007", "tcp:7008")
        self.assertIn("'tcp:7007 tcp:7008'", str(error))
        self.assertIn("--listen tcp:7007?", str(error))

    def test_endpoints(self) -> None:
        listening = parsed("-l", "tcp:0", "-l", "unix:/x").settings.listening
        endpoints = [each.endpoint for each in listening]
        self.assertEqual(len(endpoints), 2)
        for endpoint in endpoints:
            verifyObject(IStreamServerEndpoint, endpoint)
        self.assertIsInstance(endpoints[0], TCP4ServerEndpoint)

    def test_version(self) -> None:
        printed = io.StringIO()
        self.patch(sys, "stdout", printed)
        ended = self.assertRaises(SystemExit, parsed, "--version")
        self.assertEqual(ended.code, 0)
        self.assertEqual(
            printed.getvalue(),
            f"twisted-echo {version('twisted-echo')}, Twisted {version('twisted')}\n",
        )

    def test_help(self) -> None:
        """
        The help shows each default, and those are the configuration's.
        """
        text = " ".join(str(Options()).split())
        default = EchoConfig()
        for expected in (
            f"[default: {default.listen[0]}]",
            f"[default: {format_size(default.maxLength)}]",
            f"[default: {format_size(default.limits.buffered)}]",
            f"[default: {format_duration(default.drain)}]",
            f"[default: {format_duration(default.abortAfter)}]",
            *(
                f"[default: {format_duration(each)}]"
                for each in asdict(default.deadlines).values()
            ),
            "[default: 1m,10s,6]",
            r"[default: \n]",
        ):
            self.assertIn(expected, text)

    def test_groups(self) -> None:
        """
        Each option is in one group of the help, whose example is one of it and right.
        """
        options = Options()
        grouped = [name for _, names, _ in GROUPS for name in names]
        known = [each.rstrip("=") for each in options.longOpt if each != "l="]
        self.assertEqual(sorted(grouped), sorted(known))
        for title, names, example in GROUPS:
            self.assertIn(f"\n{title}:\n", str(options))
            self.assertIn(f"  Example: echo {example}\n", str(options))
            self.assertTrue(any(f"--{each}" in example for each in names), title)
            if title != "Help":
                parsed(*example.split())

    def test_width(self) -> None:
        """
        The help is as wide as the terminal, and not wider than 80 columns without one.
        """
        for columns, most in (("", 80), ("80", 80), ("200", 100)):
            with patch.dict(os.environ, {"COLUMNS": columns}):
                widest = max(map(len, Options().getUsage().splitlines()))
            self.assertLessEqual(widest, most)
        self.assertLessEqual(max(map(len, Options().getUsage(80).splitlines())), 80)

    def test_completion(self) -> None:
        """
        The completion of zsh knows the options and the words of those that have some.
        """
        printed = io.BytesIO()
        options = Options()
        self.patch(options, "_shellCompFile", printed)
        with self.assertRaises(SystemExit):
            options.parseOptions(["--", "--_shell-completion", "zsh:2"])
        text = printed.getvalue().decode()
        for expected in (
            "--max-length",
            "(wait refuse)",
            "*--listen",
            ":DURATION:'",
            r"\\n, \\r",
        ):
            self.assertIn(expected, text)
        # It would offer files where none are meant.
        self.assertNotIn("_files", text)

    def test_usageError(self) -> None:
        """
        Under Twisted's commands one line on standard error is all, with the status that
        the command has for it; others are raised the exception.
        """
        for parent, name, status in (
            (ServerOptions(), "twistd", 1),
            (TwistOptions(), "twist", 64),
        ):
            for arguments in (["--bogus"], ["--drain"], ["--drain=x"], ["-d"], ["x"]):
                stdout, stderr = io.StringIO(), io.StringIO()
                self.patch(sys, "stdout", stdout)
                self.patch(sys, "__stderr__", stderr)
                options = Options()
                options.parent = parent  # type: ignore[assignment]
                ended = self.assertRaises(SystemExit, options.parseOptions, arguments)
                self.assertEqual(ended.code, status)
                self.assertEqual(stdout.getvalue(), "")
                (line,) = stderr.getvalue().splitlines()
                self.assertTrue(line.startswith("echo: "), line)
                self.assertIn(f"'{name} echo --help'", line)
        options = Options()
        options.parent = UsageOptions()  # type: ignore[no-untyped-call]
        self.assertRaises(UsageError, options.parseOptions, ["--bogus"])


class PluginTests(SynchronousTestCase):
    def test_maker(self) -> None:
        """
        The plugin leads to this module.
        """
        from twisted.plugins.twisted_echo_plugin import echo

        verifyObject(IServiceMaker, echo)
        self.assertEqual(echo.tapname, "echo")
        self.assertIs(echo.options, Options)
        self.assertIs(echo.makeService, makeService)
        self.assertIn("echo", [each.tapname for each in getPlugins(IServiceMaker)])


@implementer(IStreamServerEndpoint)
class Unavailable:
    """
    An endpoint that cannot listen.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error

    def listen(self, protocolFactory: object) -> Deferred[Any]:
        return fail(self.error)


IN_USE = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


BAD_PORTS = (
    *("99999", "65536", "-1", "tcp:99999", "tcp:-1", "tcp:abc", "tcp:port=70000"),
    *(
        "tcp6:70000",
        "ssl:99999",
        "tls:/x:99999",
        "tcp:",
        "tcp:٣",
        "999999999999999999999",
    ),
)


class AdminTests(SynchronousTestCase):
    """
    C{--admin} and C{--notice}.
    """

    def test_loopback(self) -> None:
        """
        It listens on the loopback address unless another one is named.
        """
        for given, meant in (
            ("9100", "tcp:9100:interface=127.0.0.1"),
            ("tcp:9100", "tcp:9100:interface=127.0.0.1"),
            ("tcp:port=9100", "tcp:port=9100:interface=127.0.0.1"),
            ("TCP6:9100", r"TCP6:9100:interface=\:\:1"),
            ("tcp6:9100", r"tcp6:9100:interface=\:\:1"),
            ("ssl:9100", "ssl:9100:interface=127.0.0.1"),
            ("ssl:9100:k:c", "ssl:9100:k:c:interface=127.0.0.1"),
            ("ssl:9100:k:c:TLS_METHOD:::1", "ssl:9100:k:c:TLS_METHOD:::1"),
            ("tls:/certs", "tls:/certs:interface=127.0.0.1"),
            ("tls:/certs:9100:50", "tls:/certs:9100:50:interface=127.0.0.1"),
            ("tls:/certs:9100:50:0.0.0.0", "tls:/certs:9100:50:0.0.0.0"),
            ("tcp6:9100:50", r"tcp6:9100:50:interface=\:\:1"),
            ("tcp:9100:interface=0.0.0.0", "tcp:9100:interface=0.0.0.0"),
            ("tcp:9100:interface=", "tcp:9100:interface="),
            ("unix:/run/admin.sock", "unix:/run/admin.sock"),
            ("systemd:domain=INET:name=admin", "systemd:domain=INET:name=admin"),
        ):
            self.assertEqual(words.adminEndpoint(given), meant)

    def test_off(self) -> None:
        """
        It is off unless asked for, and nothing is measured then.
        """
        self.assertIsNone(parsed().settings.admin)
        self.assertFalse(parsed().settings.echo.measure)
        self.assertIsNotNone(parsed("--admin=0").settings.admin)
        self.assertTrue(parsed("--admin=0").settings.echo.measure)

    def test_bad(self) -> None:
        """
        What cannot be says what was given, and what can be.
        """
        allowed = "a port must be a whole number from 0 to 65535, got "
        for arguments, told in (
            (["--admin="], "--admin '' is not an endpoint"),
            *((["--admin", each], allowed) for each in BAD_PORTS),
            (["--admin=ssl:9100:privateKey=/none"], "cannot read /none: No such file"),
            (["--admin=stdio:"], "use tcp: or unix:"),
            (
                ["--admin=SYSTEMD:INET:0"],
                "--admin 'SYSTEMD:INET:0': systemd has passed",
            ),
            (["--admin=haproxy:tcp:99999"], "a port must be from 0 to 65535"),
            (["--admin=unix:"], "unix: needs its address; such as 9100"),
            (["--admin=unix:/x:mode=y"], "--admin 'unix:/x:mode=y' is not an endpoint"),
            (["--admin=tcp:9100:foo=1"], "tcp: has no 'foo', only port, interface"),
            (["--admin=tcp:1:2:3:4"], "tcp: takes at most 3 options without a name"),
            (["--admin=tcp:9100\\"], "--admin 'tcp:9100"),
            (["--admin=nix:9100"], "--admin 'nix:9100' is not an endpoint"),
            (["--admin=nine"], "--admin 'nine' is not an endpoint"),
            (["--admin=tcp:x"], "such as 9100"),
            (["--admin=0", "--notice=x"], "--notice must be a duration"),
            (["--admin=0", "--notice=-1"], "(plain: seconds), got '-1'"),
            (["--admin=0", "--notice=inf"], "(plain: seconds), got 'inf'"),
            (["--notice=1"], "--notice needs --admin, whose /readyz"),
        ):
            error = self.assertRaises(UsageError, parsed, *arguments)
            self.assertIn(told, str(error))

    def test_withoutExtra(self) -> None:
        """
        Without the extra it says which one that is.
        """
        with patch.dict(sys.modules, {"twisted_echo.command.admin_port": None}):
            error = self.assertRaises(UsageError, parsed, "--admin=0")
        self.assertIn("--admin needs the extra 'metrics': ", str(error))
        self.assertIn(install_extra("metrics"), str(error))


class MakeServiceTests(SynchronousTestCase):
    def unavailable(self, error: Exception) -> IService:
        options = parsed()
        options.settings = replace(
            options.settings, listening=[ParsedEndpoint(Unavailable(error))]
        )
        return makeService(options)

    def captured(self) -> io.StringIO:
        """
        What goes to the real standard error from now on.
        """
        captured = io.StringIO()
        self.patch(sys, "__stderr__", captured)
        return captured

    def test_service(self) -> None:
        options = parsed(
            "--max-length=7", "--drain=3", "--abort-after=2", "--max-sessions=8"
        )
        service = makeService(options)
        verifyObject(IService, service)
        assert isinstance(service, CommandService)
        served = service.served
        assert isinstance(served, EchoService)
        self.assertIs(served.factory.config, options.settings.echo)
        self.assertEqual(served.grace, 3)
        self.assertEqual(served.factory.abortAfter, 2)

    def test_sessionsByFiles(self) -> None:
        """
        Unless a number is given, as many sessions as files may be open, less a
        reserve; and as many files as the administrator allows.
        """
        service = makeService(parsed())
        assert isinstance(service, CommandService)
        served: Any = service.served
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertEqual(soft, hard)
        self.assertEqual(served.factory.limits.sessions, mostSessions(hard))

    def test_cannotListen(self) -> None:
        """
        Under twistd: one line for the user, and an exception for twistd.
        """
        printed = self.captured()
        service = self.unavailable(CannotListenError("", 7007, IN_USE))
        error = self.assertRaises(CannotStart, service.privilegedStartService)
        self.assertTrue(printed.getvalue().endswith(f"{error}\n"))
        self.assertEqual(printed.getvalue().count("\n"), 1)
        self.assertIn("*:7007: Address already in use", str(error))
        self.assertIsNone(error.__cause__)
        self.assertTrue(error.__suppress_context__)

    def test_cannotListenUnprivileged(self) -> None:
        """
        Under twist, which starts services in one step: the end, with status 1.
        """
        printed = self.captured()
        service = self.unavailable(CannotListenError("", 7007, IN_USE))
        ended = self.assertRaises(SystemExit, service.startService)
        self.assertEqual(ended.code, 1)
        self.assertEqual(printed.getvalue().count("\n"), 1)

    def test_noStandardError(self) -> None:
        """
        A process without standard error has only the exception.
        """
        self.patch(sys, "__stderr__", None)
        service = self.unavailable(CannotListenError("", 7007, IN_USE))
        self.assertRaises(CannotStart, service.privilegedStartService)


class ReloadTests(TLSTestCase):
    """
    SIGHUP, in this process.
    """

    def setUp(self) -> None:
        super().setUp()
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        # What is to be there again after the stop.
        self.before = lambda number, frame: None
        signal.signal(signal.SIGHUP, self.before)

    async def test_signal(self) -> None:
        """
        SIGHUP reloads from the start to the stop, and after it is whoever's it was.
        """
        options = parsed(f"--listen=ssl:0:interface=127.0.0.1:{self.files}")
        service = makeService(options)
        self.assertIs(signal.getsignal(signal.SIGHUP), self.before)
        reloads: list[None] = []
        (listening,) = options.settings.listening
        self.patch(listening.certificates, "reload", lambda: reloads.append(None))
        service.startService()
        self.assertIsNot(signal.getsignal(signal.SIGHUP), self.before)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: reloads)
        await service.stopService()
        self.assertIs(signal.getsignal(signal.SIGHUP), self.before)
        self.assertEqual(reloads, [None])

    async def test_privileged(self) -> None:
        """
        It is minded as soon as anybody can know that the service listens; and no
        more if it cannot.
        """
        options = parsed(f"--listen=ssl:0:interface=127.0.0.1:{self.files}")
        service: Any = makeService(options)
        minded: list[bool] = []
        open = service.served._listeners.open

        def opening() -> Any:
            minded.append(signal.getsignal(signal.SIGHUP) is not self.before)
            return open()

        self.patch(service.served._listeners, "open", opening)
        service.privilegedStartService()
        self.assertEqual(minded, [True])
        service.startService()
        await service.stopService()
        self.assertIs(signal.getsignal(signal.SIGHUP), self.before)
        service = makeService(options)
        self.patch(sys, "__stderr__", None)
        self.patch(service.served._listeners, "open", lambda: fail(OSError("no")))
        self.patch(reactor, "iterate", lambda delay: None)
        self.assertRaises(CannotStart, service.privilegedStartService)
        self.assertIs(signal.getsignal(signal.SIGHUP), self.before)

    def test_otherHandler(self) -> None:
        """
        What cannot be reloaded is one warning, whatever the error; the next is
        tried all the same.
        """
        options = parsed(
            f"--listen=ssl:0:interface=127.0.0.1:{self.files}",
            f"--listen=haproxy:ssl:0:interface=127.0.0.1:{self.files}",
        )
        service: Any = makeService(options)
        first, second = (each.certificates for each in options.settings.listening)
        reloads: list[None] = []

        def broken() -> None:
            raise ZeroDivisionError("of a strange kind")

        self.patch(first, "reload", broken)
        self.patch(second, "reload", lambda: reloads.append(None))
        with capturedLogs() as events:
            service.served.reload()
        self.assertEqual(reloads, [None])
        warning, info = events
        self.assertEqual(warning["log_level"], LogLevel.warn)
        self.assertEqual(warning["reason"], "ZeroDivisionError: of a strange kind")
        self.assertEqual(info["log_level"], LogLevel.info)
