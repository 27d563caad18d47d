"""
Tests of L{twisted_echo.command.start_errors}.
"""

import errno
import os
import socket

from twisted.internet.error import AlreadyListened, CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.command.start_errors import explain


class ExplainTests(SynchronousTestCase):
    def explained(self, interface: object, port: object, number: int) -> str:
        reason = OSError(number, os.strerror(number))
        return explain(CannotListenError(interface, port, reason))

    def test_tcp(self) -> None:
        """
        Where, why, and what to do.
        """
        for number, advice in (
            (errno.EADDRINUSE, "--listen elsewhere"),
            (errno.EACCES, "below 1024 needs root"),
            (errno.EADDRNOTAVAIL, "no such address"),
        ):
            text = self.explained("127.0.0.1", 81, number)
            self.assertTrue(text.startswith(f"127.0.0.1:81: {os.strerror(number)}; "))
            self.assertIn(advice, text)

    def test_everyInterface(self) -> None:
        self.assertIn("*:81: ", self.explained("", 81, errno.EADDRINUSE))

    def test_noAdvice(self) -> None:
        """
        What is seldom gets no advice, rather than a wrong one.
        """
        self.assertEqual(
            self.explained("", 81, errno.ENOBUFS),
            f"*:81: {os.strerror(errno.ENOBUFS)}",
        )

    def test_option(self) -> None:
        """
        The advice is of the option that says where.
        """
        for port, number in (
            (81, errno.EADDRINUSE),
            (81, errno.EACCES),
            (81, errno.EADDRNOTAVAIL),
            (81, errno.ENOBUFS),
            (b"/x/admin.sock", errno.EADDRINUSE),
            (b"/x/admin.sock", errno.ENOENT),
            (b"/x/admin.sock", errno.EACCES),
            (b"/x/admin.sock", errno.ENOTDIR),
        ):
            error = CannotListenError("", port, OSError(number, os.strerror(number)))
            told = explain(error, "--admin")
            self.assertIn("--admin", told)
            self.assertNotIn("--listen", told)

    def test_unix(self) -> None:
        for number, advice in (
            (errno.EADDRINUSE, "--listen elsewhere"),
            (errno.ENOENT, "folder must exist"),
        ):
            text = self.explained(None, b"/x/echo.sock", number)
            self.assertTrue(
                text.startswith(f"unix:/x/echo.sock: {os.strerror(number)}")
            )
            self.assertIn(advice, text)

    def test_unixPermission(self) -> None:
        """
        A folder that may not be written has nothing to do with low ports.
        """
        text = self.explained(None, b"/x/echo.sock", errno.EACCES)
        self.assertTrue(text.startswith("unix:/x/echo.sock: Permission denied"))
        self.assertNotIn("1024", text)

    def test_unixLocked(self) -> None:
        """
        The lock of a UNIX socket is held by whoever listens there.
        """
        text = explain(
            CannotListenError(None, b"/x/echo.sock", "Cannot acquire lock")  # type: ignore[arg-type]
        )
        self.assertIn("unix:/x/echo.sock: Address already in use; ", text)

    def test_unresolvable(self) -> None:
        """
        A name that means no address: the resolver's errors are not C{errno}s.
        """
        reason = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        text = explain(CannotListenError("nowhere", 81, reason))
        self.assertIn("nowhere:81: ", text)
        self.assertIn("Name or service not known", text)

    def test_adoptedTwice(self) -> None:
        text = explain(AlreadyListened())
        self.assertIn("systemd", text)
        self.assertIn("new process", text)

    def test_other(self) -> None:
        """
        Any other error is told as it is, even if it says nothing.
        """
        self.assertIn("strange", explain(RuntimeError("strange")))
        self.assertIn("RuntimeError", explain(RuntimeError()))
