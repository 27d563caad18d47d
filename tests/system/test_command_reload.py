"""
SIGHUP: new keys and certificates for C{twistd echo} and C{twist echo}.
"""

import os
import shutil
import signal
import ssl
from pathlib import Path
from unittest import SkipTest

from tests.support.certificates import make_certificate
from tests.support.command_case import CommandTestCase
from tests.support.processes import (
    Server,
    connect,
    new_folder,
    round_trip,
)


class ReloadTests(CommandTestCase):
    """
    SIGHUP, which loads keys and certificates again.
    """

    LISTEN = "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"

    def shaken(self, server: Server, folder: Path) -> ssl.SSLSocket:
        """
        A client that trusts the certificate in C{folder} only.
        """
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        plain = connect(self, server.address)
        client = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.addCleanup(client.close)
        return client

    def test_reload(self) -> None:
        """
        New connections get the new certificate, those that are open live on, and
        files that are broken change nothing.
        """
        folder, before = new_folder(self), new_folder(self)
        make_certificate(folder)
        shutil.copy(folder / "cert.pem", before)
        server = Server.start(self, listen=[self.LISTEN], folder=folder)
        old = self.shaken(server, before)
        make_certificate(folder)
        still = self.shaken(server, before)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"reloaded key\.pem, cert\.pem\n")
        new = self.shaken(server, folder)
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.shaken(server, before)
        after = new_folder(self)
        shutil.copy(folder / "cert.pem", after)
        (folder / "key.pem").write_bytes(b"no key")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(
            r"#warn\] cannot reload key\.pem, cert\.pem: cannot use key\.pem: it holds"
            r" no private key: .*; what was loaded before stays in use\n"
        )
        newest = self.shaken(server, after)
        (folder / "key.pem").unlink()
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r": cannot read key\.pem: No such file or directory; .*\n")
        for client in old, still, new, newest, self.shaken(server, after):
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
            client.close()
        make_certificate(folder)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"(?s)reloaded key.*reloaded key")
        last = self.shaken(server, folder)
        self.assertEqual(round_trip(last, b"hello\n"), b"hello\n")
        last.close()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertEqual(server.stderr, "")
        for word in "Traceback", "Unhandled", "cannot be read", "#critical":
            self.assertNotIn(word, server.stdout)
        self.assertEqual(server.stdout.count("cannot reload"), 2)

    def test_severalListeners(self) -> None:
        """
        A listener whose files are broken does not keep the others from theirs.
        """
        folder, other = new_folder(self), new_folder(self)
        make_certificate(folder)
        make_certificate(other)
        for name in "key.pem", "cert.pem":
            shutil.copy(other / name, folder / f"other-{name}")
        second = "haproxy:ssl:0:other-key.pem:other-cert.pem:interface=127.0.0.1"
        listen = [second, self.LISTEN, "tcp:0:interface=127.0.0.1"]
        server = Server.start(self, listen=listen, folder=folder)
        (folder / "other-key.pem").write_bytes(b"")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"cannot reload other-key\.pem, other-cert\.pem")
        server.wait_for(r"reloaded key\.pem, cert\.pem")
        server.signal(signal.SIGTERM)

    def test_whileDraining(self) -> None:
        """
        A stop that lets clients finish minds it too: it does not kill them.
        """
        folder = new_folder(self)
        make_certificate(folder)
        server = Server.start(
            self, "--drain", "600", listen=[self.LISTEN], folder=folder
        )
        client = self.shaken(server, folder)
        self.assertEqual(round_trip(client, b"before\n"), b"before\n")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(r"Received SIGTERM")
        server.wait_for(r"Port \d+ Closed")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"reloaded key\.pem, cert\.pem\n")
        self.assertEqual(round_trip(client, b"after\n"), b"after\n")
        client.close()
        self.assertEqual(server.process.wait(10), -signal.SIGTERM)

    def as_nobody(self, mode: int) -> Server:
        """
        A server that gives root up, with a key that root owns.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become another user")
        folder = new_folder(self)
        make_certificate(folder)
        os.chown(folder, 65534, 65534)
        (folder / "key.pem").chmod(mode)
        return Server.start(
            self,
            listen=[self.LISTEN],
            command=("twistd", "-n", "--uid=65534", "--gid=65534"),
            folder=folder,
        )

    def test_keyNotReadable(self) -> None:
        """
        A key that only root may read is served, with a warning at the start, and
        one at the reload that fails.
        """
        server = self.as_nobody(0o600)
        server.wait_for(
            r"#warn\] this user cannot read key\.pem, so SIGHUP will not be able to"
            r" reload it\n"
        )
        client = self.shaken(server, server.folder)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"cannot reload .*Permission denied")
        for each in client, self.shaken(server, server.folder):
            self.assertEqual(round_trip(each, b"hello\n"), b"hello\n")
            each.close()
        self.assertNotIn("cert.pem cannot be read", server.stdout)
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertNotIn("Traceback", server.stdout)

    def test_keyReadable(self) -> None:
        """
        No warning where there is nothing to warn of.
        """
        server = self.as_nobody(0o644)
        server.wait_for(r"set uid/gid 65534/65534")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"reloaded key\.pem, cert\.pem\n")
        self.assert_stops(server)
