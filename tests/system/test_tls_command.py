"""
The names of C{tls:}, their clients and their reload, by the command and by other
programs.
"""

import shutil
import signal
import ssl
import subprocess
import threading
from unittest import SkipTest

from tests.support.authority import Authority, Identity
from tests.support.command_case import CommandTestCase
from tests.support.marks import slow
from tests.support.processes import DEADLINE, Server, connect, new_folder, round_trip


@slow
class FolderTests(CommandTestCase):
    def setUp(self) -> None:
        self.authority = Authority()
        self.clients = Authority("clients")
        self.folder = new_folder(self)
        self.put("a", self.authority.issue("a", "a.example"))
        self.put("b", self.authority.issue("b", "b.example"))
        (self.folder / "ca.pem").write_bytes(self.clients.pem)
        (self.folder / "trusted.pem").write_bytes(self.authority.pem)
        self.identify("client.pem", self.clients.issue("anna"))
        self.identify("stranger.pem", Authority("others").issue("anna"))

    def put(self, name: str, identity: Identity) -> None:
        hosts = self.folder / "hosts"
        hosts.mkdir(exist_ok=True)
        (hosts / f"{name}.pem").write_bytes(identity.key + identity.pem)

    def identify(self, file: str, identity: Identity) -> None:
        (self.folder / file).write_bytes(identity.key + identity.pem)

    def shaken(
        self, server: Server, name: str, client: str | None = "client.pem"
    ) -> ssl.SSLSocket:
        """
        A client for a name, whose certificate it verifies.
        """
        context = ssl.create_default_context(cafile=str(self.folder / "trusted.pem"))
        if client is not None:
            context.load_cert_chain(self.folder / client)
        shaken = context.wrap_socket(
            connect(self, server.address), server_hostname=name
        )
        self.addCleanup(shaken.close)
        return shaken

    def echoes(self, server: Server, name: str, client: str | None) -> bool:
        try:
            shaken = self.shaken(server, name, client)
            return round_trip(shaken, b"hello\n") == b"hello\n"
        except OSError:
            return False

    def try_names(self, *options: str) -> None:
        server = Server.start(
            self,
            *options,
            listen=["tls:hosts:0:interface=127.0.0.1:caFile=ca.pem:unknownName=refuse"],
            folder=self.folder,
        )
        for name in ("a.example", "b.example"):
            # More than there are workers.
            for _ in range(4):
                self.assertTrue(self.echoes(server, name, "client.pem"))
                self.assertFalse(self.echoes(server, name, None))
                self.assertFalse(self.echoes(server, name, "stranger.pem"))
        with self.assertRaisesRegex(ssl.SSLError, "(?i)unrecognized.name"):
            self.shaken(server, "c.example")
        old = self.shaken(server, "a.example")
        # A file that is broken keeps all the others from being loaded.
        self.put("c", self.authority.issue("c", "c.example"))
        (self.folder / "hosts" / "b.pem").write_bytes(b"")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"b\.pem: it is no PEM file; what was loaded before stays")
        with self.assertRaisesRegex(ssl.SSLError, "(?i)unrecognized.name"):
            self.shaken(server, "c.example")
        (self.folder / "hosts" / "b.pem").unlink()
        server.process.send_signal(signal.SIGHUP)
        workers = 2 if options else 1
        server.wait_for(
            r"(?s)" + r"reloaded hosts, hosts/a\.pem, hosts/c\.pem.*" * workers
        )
        for _ in range(4):
            self.assertTrue(self.echoes(server, "c.example", "client.pem"))
            self.assertFalse(self.echoes(server, "b.example", "client.pem"))
        self.assertEqual(round_trip(old, b"hello\n"), b"hello\n")
        old.close()
        server.signal(signal.SIGTERM)

    def test_oneProcess(self) -> None:
        self.try_names()

    def test_workers(self) -> None:
        self.try_names("--workers=2")

    def test_openssl(self) -> None:
        """
        OpenSSL's own client gets the certificate that it asks for, the protocol and the
        version.
        """
        program = shutil.which("openssl")
        if program is None:
            raise SkipTest("openssl is not installed")
        server = Server.start(
            self,
            listen=[
                "tls:hosts:0:interface=127.0.0.1:caFile=ca.pem:protocols=echo/2,echo/1"
                ":curve=prime256v1"
            ],
            folder=self.folder,
        )
        host, port = server.address
        for version in ("tls1_2", "tls1_3"):
            client = subprocess.Popen(
                [
                    *(program, "s_client", "-connect", f"{host}:{port}"),
                    *("-CAfile", "trusted.pem", "-cert", "client.pem"),
                    *("-verify_return_error", "-verify_hostname", "b.example"),
                    *("-servername", "b.example", "-alpn", "echo/1", f"-{version}"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
            late = threading.Timer(DEADLINE, client.kill)
            late.start()
            with client:
                assert client.stdin is not None and client.stdout is not None
                client.stdin.write(b"hello\n")
                client.stdin.flush()
                said = ""
                # At the end of its input it leaves, with or without the answer.
                while not said.endswith("hello\n") and client.poll() is None:
                    said += client.stdout.readline().decode()
                client.stdin.close()
            late.cancel()
            self.assertTrue(said.endswith("hello\n"), said)
            self.assertIn("Verification: OK", said)
            self.assertIn("ALPN protocol: echo/1", said)
            self.assertIn("subject=CN = b", said)
            self.assertIn("ECDH, prime256v1, 256 bits", said)
        server.signal(signal.SIGTERM)
