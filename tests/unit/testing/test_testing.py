"""
L{twisted_echo.testing}: what users' tests stand on; a real server, a service in trial,
a service in a thread, and what is left behind.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from select import select
from typing import Any
from unittest import SkipTest, mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.clients import FakeEndpoint, connect, until
from tests.support.marks import slow
from tests.support.paths import DOCS, EXAMPLES
from tests.support.processes import DEADLINE, EXEC, environment, new_folder
from twisted_echo import (
    EchoConfig,
    EchoService,
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.testing import (
    EchoServer,
    Footprint,
    ServiceThread,
    assertNothingLeft,
    leftBehind,
    running,
    server_checks,
    startForTest,
)
from twisted_echo.testing.clocks import elapse
from twisted_echo.testing.command_process import RESTORE_SIGNALS
from twisted_echo.testing.self_signed import MissingExtra

PYTEST = [sys.executable, "-W", "error", "-m", "pytest", "-q"]
TRIAL = [sys.executable, "-W", "error", "-m", "twisted.trial"]
TCP = "tcp:0:interface=127.0.0.1"


def run(
    command: list[str], folder: Path, env: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    """
    Run a command to its end.
    """
    return subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def need_pytest_twisted() -> None:
    if find_spec("pytest_twisted") is None:
        raise SkipTest("pytest-twisted is missing")


class Upper(Session, FastLineReceiver):
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


def upper(**factory: Any) -> SessionService:
    return SessionService(TCP, SessionFactory.forProtocol(Upper, **factory))


class EchoServerTests(SynchronousTestCase):
    def exchange(self, server: EchoServer) -> None:
        with server.connect() as client:
            client.sendall(b"hello\n")
            self.assertEqual(client.recv(100), b"hello\n")

    def test_port(self) -> None:
        """
        A free port, a log, options, and an end without a trace.
        """
        with EchoServer("--log-sessions", "all") as server:
            self.assertEqual(server.address, (server.host, server.port))
            self.exchange(server)
            self.assertIn("peer-closed", server.wait_for("ended: [a-z-]+")[0])
            self.assertIn("listening on", server.log)
            folder = server.folder
            with self.assertRaisesRegex(ValueError, "it listens on a port"):
                server.path  # noqa: B018
            with self.assertRaisesRegex(ValueError, "without metrics=True"):
                server.metrics()
        self.assertIsNotNone(server.process.poll())
        self.assertFalse(folder.exists())
        self.assertIn("stopped, 0 sessions were open", server.log)
        server.stop()

    def test_unixWithMetrics(self) -> None:
        with EchoServer(unix=True, metrics=True) as server:
            self.assertEqual(server.path, server.address)
            self.exchange(server)
            with self.assertRaisesRegex(ValueError, "it listens on a UNIX socket"):
                server.port  # noqa: B018
            numbers = server.metrics()
            self.assertEqual(numbers["twisted_echo_sessions_opened_total"], 1)
            key = 'twisted_echo_sessions_ended_total{reason="idle"}'
            self.assertEqual(numbers[key], 0)

    def test_tls(self) -> None:
        with EchoServer(tls=True) as server:
            self.exchange(server)
            assert server.certificate is not None
            self.assertIn("CERTIFICATE", server.certificate.read_text())

    def test_openClient(self) -> None:
        """
        A client that is there at the end is no leak of the server's.
        """
        with EchoServer("--abort-after", "0.1") as server:
            client = server.connect()
            self.addCleanup(client.close)
            client.sendall(b"hello\n")
            self.assertEqual(client.recv(100), b"hello\n")

    def test_wrongUse(self) -> None:
        with self.assertRaisesRegex(ValueError, "either unix or tls"):
            EchoServer(unix=True, tls=True)
        with self.assertRaisesRegex(AssertionError, "--nonsense"):
            EchoServer("--nonsense")

    def test_missingExtras(self) -> None:
        """
        They are told what to install.
        """
        for how, module, install in (
            ("metrics", "prometheus_client", r"'twisted-echo\[metrics\]'"),
            ("tls", "cryptography", "cryptography"),
        ):
            with (
                mock.patch.dict(sys.modules, {module: None}),
                mock.patch("twisted_echo.testing.server.find_spec", lambda name: None),
                self.assertRaisesRegex(MissingExtra, f"pip install {install}$"),
            ):
                EchoServer(**{how: True})

    def test_error(self) -> None:
        """
        An error of the test's own is what is told, and the server is gone.
        """
        with self.assertRaises(KeyError), EchoServer() as server:
            raise KeyError
        self.assertIsNotNone(server.process.poll())

    def test_killed(self) -> None:
        """
        A server that did not end as it should is told of.
        """
        server = EchoServer()
        server.process.kill()
        with self.assertRaisesRegex(AssertionError, "ended with -9, not by SIGTERM"):
            server.stop()

    def test_leaks(self) -> None:
        """
        Descriptors that no session accounts for are named.
        """
        server = EchoServer()
        server._atStart -= 1
        with self.assertRaisesRegex(
            AssertionError, r"1 descriptors more than its 0 connections need: .*socket:"
        ):
            server.stop()

    def test_complaints(self) -> None:
        """
        So is what it has logged, and what it says that it served.
        """
        server = EchoServer()
        with (
            mock.patch.object(server_checks, "_COMPLAINTS", ("listening on",)),
            self.assertRaisesRegex(AssertionError, "'listening on' in its log"),
        ):
            server.stop()


class RunningTests(TestCase):
    async def test_serves(self) -> None:
        async with running(upper()) as service:
            client = connect(service.addresses[0])
            client.sendall(b"hello\n")
            await until(lambda: service.snapshot().bytesReceived)
            self.assertEqual(client.recv(100), b"HELLO\n")
            client.close()
            ended = [each.whenEnded() for each in service.factory.sessions]
            for each in ended:
                await each
        self.assertEqual(leftBehind(service), [])

    async def test_cannotListen(self) -> None:
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        port = holder.getsockname()[1]
        service = SessionService(
            f"tcp:{port}:interface=127.0.0.1", SessionFactory.forProtocol(Upper)
        )
        with self.assertRaisesRegex(Exception, "in use"):
            async with running(service):
                self.fail("it runs")

    async def test_error(self) -> None:
        """
        An error of the test's own is what is told, and the service has stopped.
        """
        service = upper()
        with self.assertRaises(KeyError):
            async with running(service):
                raise KeyError
        self.assertEqual(leftBehind(service), [])

    async def test_leak(self) -> None:
        """
        What is left fails the test, and is named.
        """
        calls: list[Any] = []

        class Leaky(Upper):
            def connectionMade(self) -> None:
                super().connectionMade()
                calls.append(reactor.callLater(100, self.later))

            def later(self) -> None:
                """
                Never called.
                """

        service = SessionService(TCP, SessionFactory.forProtocol(Leaky))
        with self.assertRaisesRegex(
            AssertionError, r"left behind: a delayed call of .*Leaky.later, due in \d+"
        ):
            async with running(service):
                connect(service.addresses[0]).close()
                await until(lambda: service.factory.ended)
        calls[0].cancel()

    async def test_othersThings(self) -> None:
        """
        What the test itself has in the reactor, or another service, is none of its.
        """
        other = await startForTest(self, upper())
        address: Any = other.addresses[0]
        async with running(upper()):
            call = reactor.callLater(100, lambda: None)
            endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
            made = await endpoint.connect(Factory.forProtocol(Protocol))
            await until(lambda: other.factory.sessions)
            port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")  # type: ignore[arg-type]
        call.cancel()
        await port.stopListening()
        made.transport.loseConnection()

    async def test_startForTest(self) -> None:
        """
        It stops as a clean-up of the test.
        """
        cleanups: list[Any] = []

        class Test:
            def addCleanup(self, f: Any, /) -> None:
                cleanups.append(f)

        service = await startForTest(Test(), upper())
        self.assertEqual(len(service.addresses), 1)
        (cleanup,) = cleanups
        await cleanup()
        self.assertEqual(leftBehind(service), [])


class LeftBehindTests(TestCase):
    async def test_all(self) -> None:
        """
        Everything is named that a service has which still runs: the service, its port,
        its session, its sockets, its delayed calls.
        """
        service = upper()
        service.startService()
        self.addCleanup(service.stopService)
        client = connect(service.addresses[0])
        self.addCleanup(client.close)
        await until(lambda: service.factory.sessions)
        (session,) = service.factory.sessions
        answer: Deferred[None] = Deferred()
        session.answerLater(answer)
        with self.assertRaises(AssertionError) as raised:
            assertNothingLeft(service)
        port, own = service.addresses[0].port, client.getsockname()[1]
        for pattern in (
            "left behind: the service, which is listening",
            rf"the port 127.0.0.1:{port}",
            rf"session 1, Upper, of 127.0.0.1:{own}, answering, since 0\.",
            rf"descriptor \d+, a socket at \('127.0.0.1', {port}\) without a peer",
            rf"a socket at \('127.0.0.1', {port}\) connected to .*{own}\)",
            r"a delayed call of twisted_echo.session.timeouts.Guard._sweep, due in \d",
        ):
            self.assertRegex(str(raised.exception), pattern)
        answer.callback(None)
        session.close()
        self.assertRegex("; ".join(leftBehind(service)), "session 1, .*, closing")
        session.abort()
        self.assertRegex("; ".join(leftBehind(service)), "session 1, .*, aborting")

    async def test_socketLeft(self) -> None:
        """
        A socket of a session that has ended, but was duplicated, is named.
        """
        service = upper()
        copies: list[int] = []
        with self.assertRaisesRegex(AssertionError, r"descriptor \d+, a socket at"):
            async with running(service):
                client = connect(service.addresses[0])
                await until(lambda: service.factory.sessions)
                (session,) = service.factory.sessions
                copies.append(os.dup(session.transport.fileno()))
                client.close()
                await session.whenEnded()
        for each in copies:
            os.close(each)

    def test_handshake(self) -> None:
        clock = Clock()
        factory = SessionFactory.forProtocol(Upper, clock=clock)
        service = SessionService(FakeEndpoint(), factory)

        class Shaking:
            began = 0.0
            transport = None

            def fail(self, reason: Any, detail: str = "") -> None:
                factory.handshakeEnded(self, None)  # type: ignore[arg-type]

        factory.handshakeStarted(Shaking(), None)  # type: ignore[arg-type]
        elapse(clock, 1)
        self.assertIn("a handshake, Shaking, since 1.000 s", leftBehind(service))
        factory.closeHandshakes()

    def test_before(self) -> None:
        """
        What was there before is none of the service's.
        """
        clock = Clock()
        service = EchoService(EchoConfig(), reactor=clock, endpoints=[FakeEndpoint()])
        clock.callLater(1, lambda: None)
        self.assertEqual(leftBehind(service, Footprint(clock)), [])
        self.assertEqual(leftBehind(service), [])


class ServiceThreadTests(SynchronousTestCase):
    def test_protocol(self) -> None:
        before = threading.active_count(), len(os.listdir("/proc/self/fd"))
        with ServiceThread(Upper, abortAfter=1.0) as server:
            self.assertEqual(server.service.factory.abortAfter, 1.0)
            with server.connect() as client:
                client.sendall(b"hello\n")
                self.assertEqual(client.recv(100), b"HELLO\n")
            opened = server.call(lambda: server.service.snapshot().opened)
            self.assertEqual(opened, 1)
            self.assertEqual(server.call(lambda: succeed(2)), 2)
            with self.assertRaises(ZeroDivisionError):
                server.call(lambda: 1 / 0)
        server.stop()
        after = threading.active_count(), len(os.listdir("/proc/self/fd"))
        self.assertEqual(after, before)

    def test_service(self) -> None:
        """
        A service of one's own, at a path.
        """
        path = str(new_folder(self) / "upper.sock")

        def make(reactor: Any) -> SessionService:
            factory = SessionFactory.forProtocol(Upper, clock=reactor)
            return SessionService(f"unix:{path}", factory)

        with ServiceThread(make) as server:
            self.assertEqual(server.address, path)
            with server.connect() as client:
                client.sendall(b"hello\n")
                self.assertEqual(client.recv(100), b"HELLO\n")

    def test_wrongUse(self) -> None:
        """
        Whatever is wrong is raised where it was asked for, and leaves no thread.
        """
        before = threading.active_count()
        with self.assertRaisesRegex(ValueError, "must be made with clock=reactor"):
            ServiceThread(lambda _: upper())
        with self.assertRaisesRegex(
            TypeError, "abortAfter can be given for a protocol"
        ):
            ServiceThread(lambda _: upper(), abortAfter=1)
        with self.assertRaisesRegex(TypeError, "nonsense"):
            ServiceThread(Upper, nonsense=1)
        for made in (None, Upper, upper().factory):
            with self.assertRaisesRegex(TypeError, "a SessionService, got"):
                ServiceThread(lambda _, made=made: made)
        for wrong in (FastLineReceiver, upper()):
            with self.assertRaisesRegex(TypeError, "a Session, or a function"):
                ServiceThread(wrong)  # type: ignore[arg-type]

        def nowhere(reactor: Any) -> SessionService:
            return SessionService([], SessionFactory.forProtocol(Upper, clock=reactor))

        with self.assertRaisesRegex(ValueError, "no endpoint to listen on"):
            ServiceThread(nowhere)
        self.assertEqual(threading.active_count(), before)

    def test_leak(self) -> None:
        """
        The reactor is the service's alone, and so is all that is in it.
        """
        server = ServiceThread(Upper)

        def leak() -> None:
            clock = server.service.factory.clock
            clock.callLater(99, lambda: None)
            clock.listenTCP(0, Factory(), interface="127.0.0.1")

        server.call(leak)
        with self.assertRaisesRegex(
            AssertionError, "left behind: a delayed call .*descriptor .* in the reactor"
        ):
            server.stop()

    def test_errors(self) -> None:
        """
        An error of the protocol's fails the test, unless it is expected.
        """

        class Raising(Upper):
            def lineReceived(self, line: bytes) -> None:
                raise RuntimeError(f"mine {line!r}")

        for expected in (True, False):
            server = ServiceThread(Raising)
            with server.connect() as client:
                client.sendall(b"hello\n")
                self.assertEqual(client.recv(100), b"")
            if expected:
                (error,) = server.flushLoggedErrors()
                self.assertIn("RuntimeError: mine b'hello'", error)
                server.stop()
            else:
                with self.assertRaisesRegex(AssertionError, "mine b'hello'"):
                    server.stop()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_noGlobalReactor(self) -> None:
        """
        Twisted's reactor is not even installed.
        """
        program = (
            "import sys\n"
            "from twisted_echo import EchoProtocol\n"
            "from twisted_echo.testing import ServiceThread\n"
            "with ServiceThread(EchoProtocol) as server: server.connect().close()\n"
            "assert 'twisted.internet.reactor' not in sys.modules"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


TEST_FILE = """
import socket
import sys
import pytest
from twisted.trial.unittest import TestCase
from twisted_echo import EchoProtocol, SessionFactory, SessionService
from twisted_echo.testing import running

def exchange(client):
    with client:
        client.sendall(b"hello\\n")
        assert client.recv(100) == b"hello\\n"

def test_default(echo_server):
    exchange(echo_server.connect())

@pytest.mark.echo_server("--log-sessions", "all", unix=True)
def test_marked(echo_server):
    exchange(echo_server.connect())
    echo_server.wait_for("ended: peer-closed")
    assert echo_server.path

def test_several(start_echo_server):
    first, second = start_echo_server(), start_echo_server(tls=True)
    exchange(first.connect())
    exchange(second.connect())
    assert first.port != second.port

def test_proxied(echo_server, echo_fault_proxy):
    proxy = echo_fault_proxy(echo_server)
    proxy.to_client.pieces = 1
    with proxy.connect() as client:
        client.sendall(b"hello\\n")
        assert client.makefile("rb").readline() == b"hello\\n"

def test_serve(echo_service_thread):
    exchange(echo_service_thread(EchoProtocol).connect())

class TrialTests(TestCase):
    async def test_running(self):
        factory = SessionFactory.forProtocol(EchoProtocol)
        async with running(SessionService("tcp:0:interface=127.0.0.1", factory)):
            pass

def test_serveAgain(echo_service_thread):
    exchange(echo_service_thread(EchoProtocol).connect())
"""

LEAKING = """
def test_leaking(echo_service_thread):
    from twisted_echo import EchoProtocol
    server = echo_service_thread(EchoProtocol)
    server.call(lambda: server.service.factory.clock.callLater(99, print))

def test_killed(echo_server):
    echo_server.process.kill()
"""

WAITING = """
import time

def test_waiting(echo_server):
    print(echo_server.process.pid, flush=True)
    time.sleep(60)
"""


class PluginTests(SynchronousTestCase):
    """
    pytest, in a process of its own, in a folder where nothing is configured.
    """

    def run_pytest(self, source: str, *options: str) -> "tuple[int, str]":
        folder = new_folder(self)
        (folder / "test_it.py").write_text(source)
        done = run(
            [*PYTEST, "--strict-markers", "-W", "error", *options, "test_it.py"],
            folder,
            environment(),
        )
        return done.returncode, done.stdout

    def test_fixtures(self) -> None:
        code, told = self.run_pytest(TEST_FILE, "-p", "no:twisted")
        self.assertEqual(code, 0, told)
        self.assertIn("7 passed", told)
        self.assertNotIn("warning", told)

    def test_leaks(self) -> None:
        """
        What is left behind is an error of the test that left it.
        """
        code, told = self.run_pytest(LEAKING, "-p", "no:twisted")
        self.assertEqual(code, 1, told)
        self.assertIn("2 passed, 2 errors", told)
        self.assertIn("left behind: a delayed call of", told)
        self.assertIn("it ended with -9, not by SIGTERM", told)

    def interrupted(self, number: int) -> "tuple[int, str, int]":
        """
        Send pytest a signal while a server runs, as a terminal does: to all of its
        process group.

        @return: how it ended, what it told, and a descriptor that can be read when the
            server is gone.
        """
        folder = new_folder(self)
        (folder / "test_it.py").write_text(WAITING)
        pytest = subprocess.Popen(
            [
                sys.executable,
                "-c",
                RESTORE_SIGNALS + EXEC,
                *PYTEST,
                "-p",
                "no:twisted",
                "-s",
                "test_it.py",
            ],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        # (Which also closes the pipe and waits.)
        self.addCleanup(pytest.__exit__, None, None, None)
        self.addCleanup(pytest.kill)
        assert pytest.stdout is not None
        server = os.pidfd_open(int(pytest.stdout.readline()))
        self.addCleanup(os.close, server)
        os.killpg(pytest.pid, number)
        told = pytest.communicate(timeout=60)[0]
        return pytest.returncode, told, server

    def test_interrupted(self) -> None:
        """
        Ctrl-C is no fault of the server's, which ends in order.
        """
        code, told, server = self.interrupted(signal.SIGINT)
        self.assertEqual(code, 2, told)
        self.assertIn("KeyboardInterrupt", told)
        self.assertNotIn("AssertionError", told)
        self.assertTrue(select([server], [], [], DEADLINE)[0])

    def test_killed(self) -> None:
        """
        The server goes with a pytest that is killed, and can end nothing.
        """
        code, _, server = self.interrupted(signal.SIGKILL)
        self.assertEqual(code, -signal.SIGKILL)
        self.assertTrue(select([server], [], [], DEADLINE)[0])

    def test_cheap(self) -> None:
        """
        pytest's start imports neither Twisted nor a module of this package that is not
        needed.
        """
        code, told = self.run_pytest(
            "import sys\n"
            "def test_it():\n"
            "    print([each for each in sys.modules if each.startswith('twisted')])\n",
            "-s",
            "-p",
            "no:twisted",
        )
        self.assertEqual(code, 0, told)
        self.assertIn(
            "['twisted_echo', 'twisted_echo.testing', 'twisted_echo.testing.plugin']",
            told,
        )


PRELUDE = """
import subprocess
import pytest
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase
from twisted_echo import Limits, SessionFactory, SessionService
from twisted_echo.testing import running, startForTest
import test_with_pytest
from test_with_trial import connect, upper
Upper = test_with_pytest.Upper
"""

MY_CLIENT = f"""#!{sys.executable}
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
        client.sendall(b"hello\\n")
        assert client.recv(100) == b"hello\\n"
        client.unwrap()
"""


class PageTests(SynchronousTestCase):
    """
    C{docs/testing.md}: those of its blocks which are no programs by themselves.
    """

    def run_blocks(self, *options: str, twisted: bool) -> str:
        """
        Run the blocks that use pytest-twisted, or the others.
        """
        blocks = re.findall(
            r"^```py\n(.*?)^```$", (DOCS / "testing.md").read_text(), re.M | re.S
        )
        source = [each for each in blocks if ("pytest_twisted" in each) is twisted]
        folder = new_folder(self)
        (folder / "test_page.py").write_text(PRELUDE + "\n".join(source))
        client = folder / "my-client"
        client.write_text(MY_CLIENT)
        client.chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        done = run(
            [*PYTEST, *options, "test_page.py"],
            folder,
            environment({"PYTHONPATH": str(EXAMPLES), "PATH": path}),
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_blocks(self) -> None:
        self.assertIn("6 passed", self.run_blocks("-p", "no:twisted", twisted=False))

    def test_pytestTwisted(self) -> None:
        """
        Where pytest-twisted is installed, its blocks need no option.
        """
        need_pytest_twisted()
        self.assertIn("1 passed", self.run_blocks(twisted=True))


class ExampleTests(SynchronousTestCase):
    """
    The examples of tests pass, with warnings as errors; that by trial under several
    reactors.
    """

    @slow
    def test_reactors(self) -> None:
        examples = EXAMPLES
        for name in ("eager", "epoll", "asyncio", "select"):
            done = run(
                [*TRIAL, f"--reactor={name}", "test_with_trial"],
                new_folder(self),
                environment({"PYTHONPATH": str(examples)}),
            )
            self.assertEqual(done.returncode, 0, (name, done.stdout))
            self.assertIn("PASSED (successes=2)", done.stdout)
            self.assertNotIn("Warning", done.stdout)

    def by_pytest(self, name: str, *options: str) -> str:
        # A configuration of its own, or pytest would take this project's: its file
        # is the nearest above the example.
        folder = new_folder(self)
        (folder / "pytest.ini").write_text("[pytest]\n")
        root = ["--rootdir", str(folder), "-c", str(folder / "pytest.ini")]
        done = run(
            [*PYTEST, *options, "-p", "no:cacheprovider", *root, str(EXAMPLES / name)],
            new_folder(self),
            environment(),
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_byPytest(self) -> None:
        told = self.by_pytest("test_with_pytest.py", "-p", "no:twisted")
        self.assertIn("5 passed", told)

    def test_byPytestTwisted(self) -> None:
        """
        With the default reactor, and with asyncio's.
        """
        need_pytest_twisted()
        for name in ("default", "asyncio"):
            told = self.by_pytest("test_with_pytest_twisted.py", "--reactor", name)
            self.assertIn("2 passed", told)
