"""
L{twisted_echo.testing.threads}: a service in a thread.
"""

import os
import subprocess
import sys
import threading
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import new_folder
from tests.support.upper import Upper, upper
from twisted_echo import (
    FastLineReceiver,
    SessionFactory,
    SessionService,
)
from twisted_echo.testing import (
    ServiceThread,
)


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

    def test_globalReactor(self) -> None:
        """
        A test that fails is told of what waits for the reactor which does not run. What
        waited before is somebody else's.
        """
        from twisted.internet import reactor

        class Late(Upper):
            def lineReceived(self, line: bytes) -> None:
                calls.append(reactor.callLater(60, self.sendLine, line))
                self.sendLine(b"later")

        calls = [reactor.callLater(60, int)]
        with (
            self.assertRaises(TimeoutError) as found,
            ServiceThread(Late) as server,
            server.connect() as client,
        ):
            client.sendall(b"hello\n")
            self.assertEqual(client.recv(100), b"later\n")
            raise TimeoutError
        (note,) = found.exception.__notes__
        self.assertIn("Use the factory's clock", note)
        self.assertNotIn("'int'", note)
        for each in calls:
            each.cancel()

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
