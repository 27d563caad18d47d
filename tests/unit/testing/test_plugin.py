"""
L{twisted_echo.testing.plugin}: the fixtures, in a pytest of their own.
"""

import os
import signal
import subprocess
import sys
from select import select

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import DEADLINE, EXEC, environment, new_folder
from tests.support.python_process import PYTEST, run_to_end
from twisted_echo.testing.command_process import RESTORE_SIGNALS

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
        done = run_to_end(
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
