"""
C{docs/examples}: each is run as it says, by a real C{twistd}, by pytest or by trial.
"""

import ast
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
from pathlib import Path
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from tests.support.balancer import HAPROXY, held_port
from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.paths import EXAMPLES
from tests.support.processes import (
    Command,
    Server,
    connect,
    environment,
    new_folder,
    read_exactly,
    read_to_end,
    script,
    wait_until,
)
from tests.support.python_process import PYTEST, TRIAL, need_pytest_twisted, run_to_end

EVERY = sorted(EXAMPLES.glob("*.py"))


class ExampleTestCase(SynchronousTestCase):
    """
    Runs examples as they stand, but for the port.
    """

    def serve(self, name: str, *, folder: Path | None = None) -> Server:
        """
        Start an example on a port of the kernel's choice.
        """
        folder = folder or new_folder(self)
        source = (EXAMPLES / name).read_text()
        assert f"twistd -ny {name}" in source, "it does not tell how it is run"
        free = source.replace(":interface=127.0.0.1", "", 1).replace(
            "tcp:7008", "tcp:0:interface=127.0.0.1", 1
        )
        free = free.replace("tcp:2525", "tcp:0:interface=127.0.0.1", 1)
        free = free.replace("ssl:7008", "ssl:0:interface=127.0.0.1", 1)
        assert free != source
        (folder / name).write_text(free)
        server = Server(
            self, [script("twistd"), "--pidfile=", "-ny", name], folder=folder
        )
        server.wait_for(r"listening on .*, by .*\n")
        return server

    def join(self, server: Server, buffer: int = 0) -> socket.socket:
        return connect(self, server.address, receive_buffer=buffer)

    def talk(self, client: socket.socket, data: bytes) -> bytes:
        """
        Send all, then end-of-file, and read to the end.
        """
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return read_to_end(client)

    def stop(self, server: Server) -> None:
        """
        Stop it as an operator does. (C{twistd} ends by the signal.)
        """
        self.assertEqual(server.signal(15), -15, server.report("ended"))
        for word in ("Traceback", "Unhandled", "#critical"):
            self.assertNotIn(word, server.stdout)
        self.assertEqual(server.stderr, "")


class ExampleTests(ExampleTestCase):
    def test_pages(self) -> None:
        """
        Each is a page at most, and is told of.
        """
        index = (EXAMPLES / "index.md").read_text()
        self.assertGreater(len(EVERY), 6)
        for path in EVERY:
            self.assertLess(len(path.read_text().splitlines()), 81, path)
            self.assertIn(f"({path.name})", index)

    def test_embedEcho(self) -> None:
        server = self.serve("embed_echo.py")
        self.assertEqual(self.talk(self.join(server), b"one\ntwo"), b"one\ntwo")
        server.wait_for("0 sessions open, 0 so far, 0 bytes received")
        self.stop(server)

    def test_keyValue(self) -> None:
        server = self.serve("key_value.py")
        sent = b"SET a 1 2\r\nGET a\r\nDEL a\r\nGET a\r\nhm\r\n"
        self.assertEqual(
            self.talk(self.join(server), sent),
            b"OK\r\nVALUE 1 2\r\nOK\r\nNONE\r\n"
            b"ERROR GET key, SET key value or DEL key\r\n",
        )
        self.stop(server)

    def test_chat(self) -> None:
        """
        All others hear what one says; who does not read is cut off alone.
        """
        server = self.serve("chat.py")
        clients = []
        for name in (b"ann", b"bob", b"deaf"):
            clients.append(self.join(server, 4096 if name == b"deaf" else 0))
            question = read_exactly(clients[-1], 11)
            self.assertEqual(question, b"your name?\n")
            clients[-1].sendall(name + b"\n")
            for other in clients[:-1]:
                told = name + b" is here\n"
                self.assertEqual(read_exactly(other, len(told)), told)
        ann, bob, deaf = clients
        line = b"z" * 999 + b"\n"
        for _ in range(300):
            ann.sendall(50 * line)
            heard = 50 * (b"ann: " + line)
            self.assertEqual(read_exactly(bob, len(heard)), heard)
        with self.assertRaises(ConnectionResetError):
            read_to_end(deaf)
        for client in clients:
            client.close()
        self.stop(server)

    def test_asyncAnswers(self) -> None:
        """
        In order, whatever each takes, to the last one after end-of-file.
        """
        server = self.serve("async_answers.py")
        self.assertEqual(
            self.talk(self.join(server), b"0.05\n0\nlong\n0.01\n"),
            b"slept 0.05 s\nslept 0 s\nERROR not a number\nslept 0.01 s\n",
        )
        self.stop(server)

    def test_asyncAnswersAtAStop(self) -> None:
        """
        An answer in flight is waited for.
        """
        server = self.serve("async_answers.py")
        client = self.join(server)
        client.sendall(b"0\n0.3\n")
        self.assertEqual(read_exactly(client, 10), b"slept 0 s\n")
        server.process.send_signal(15)
        self.assertEqual(read_to_end(client), b"slept 0.3 s\n")
        client.close()
        self.assertEqual(server.wait(), -15)

    def test_tls(self) -> None:
        folder = new_folder(self)
        make_certificate(folder)
        server = self.serve("tls.py", folder=folder)
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        plain = self.join(server)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            client.sendall(b"stressed\n")
            self.assertEqual(client.recv(100), b"desserts\n")
        self.stop(server)

    def test_startTLS(self) -> None:
        """
        Python's own client begins TLS; what is behind the command is not heard.
        """
        folder = new_folder(self)
        make_certificate(folder)
        server = self.serve("starttls.py", folder=folder)
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        context.check_hostname = False
        with smtplib.SMTP(*server.address, timeout=30) as sender:
            self.assertEqual(sender.mail("<a@example.org>")[0], 530)
            sender.starttls(context=context)
            sender.ehlo()
            self.assertFalse(sender.has_extn("starttls"))
            self.assertEqual(sender.mail("a@example.org")[0], 250)
        plain = self.join(server)
        greeting = b"220 localhost\r\n"
        self.assertEqual(read_exactly(plain, len(greeting)), greeting)
        plain.sendall(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
        ready = b"220 go ahead\r\n"
        self.assertEqual(read_exactly(plain, len(ready)), ready)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            client.sendall(b"QUIT\r\n")
            self.assertEqual(client.recv(100), b"221 bye\r\n")
        server.wait_for("dropped the plaintext")
        if shutil.which("openssl"):
            self.openssl(server, b"EHLO x\nMAIL FROM:<a>\nQUIT\n")
        self.stop(server)

    def openssl(self, server: Server, typed: bytes) -> None:
        """
        OpenSSL's client, as the example calls it, sends what is typed.
        """
        source = (EXAMPLES / "starttls.py").read_text()
        command = source.partition("    openssl s_client ")[2].partition("\n\n")[0]
        words = command.replace("\\\\\n", "").split()
        where = words.index("localhost:2525")
        words[where] = "{}:{}".format(*server.address)
        done = subprocess.run(
            ["openssl", "s_client", *words],
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=server.folder,
            timeout=60,
        )
        self.assertTrue(done.stdout.endswith(b"250 hello FROM:<a>\r\n221 bye\r\n"))

    @skipIf(HAPROXY is None, "haproxy is missing")
    def test_behindHAProxy(self) -> None:
        """
        The service is told who its client is.
        """
        server = self.serve("behind_haproxy.py")
        shutil.copy(EXAMPLES / "behind_haproxy.cfg", server.folder)
        port = held_port(self)
        assert HAPROXY is not None
        Command(
            self,
            [HAPROXY, "-db", "-f", "behind_haproxy.cfg"],
            folder=server.folder,
            env={
                "WHO_BIND": f"127.0.0.1:{port}",
                "WHO_SERVER": f"127.0.0.1:{server.ports[0]}",
            },
        )

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens)
        client = connect(self, ("127.0.0.1", port))
        me = f"127.0.0.1:{client.getsockname()[1]}\n".encode()
        self.assertEqual(self.talk(client, b"\n"), me)
        self.stop(server)

    def test_smtp(self) -> None:
        """
        A stock protocol takes a mail, and a stop ends its sessions in order.
        """
        server = self.serve("smtp.py")
        mail = "Subject: hello\n\none\n"
        with smtplib.SMTP(*server.address, timeout=30) as sender:
            sender.sendmail("a@example.net", ["b@example.org"], mail)
            with self.assertRaises(smtplib.SMTPRecipientsRefused):
                sender.sendmail("a@example.net", ["b@example.com"], mail)
        server.wait_for("a message: hello")
        client = self.join(server)
        self.assertEqual(read_exactly(client, 4), b"220 ")
        server.process.send_signal(15)
        self.assertTrue(read_to_end(client).endswith(b"\r\n"))
        client.close()
        self.assertEqual(server.wait(), -15)


@skipIf(shutil.which("nc") is None, "nc is missing")
class TriedTests(ExampleTestCase):
    """
    The command that tries an example, next to the one that runs it, gets an answer.
    """

    def tried(self, name: str) -> bytes:
        server = self.serve(name)
        source = (EXAMPLES / name).read_text()
        head = ast.get_docstring(ast.parse(source)) or ""
        (command,) = re.findall(
            r"^ +(printf .+ \| nc -N 127\.0\.0\.1) 7008$", head, re.M
        )
        tried = subprocess.run(
            ["bash", "-c", f"{command} {server.ports[0]}"],
            capture_output=True,
            check=True,
            timeout=60,
        )
        self.stop(server)
        return tried.stdout

    def test_commands(self) -> None:
        answers = {
            "async_answers.py": b"slept 0.5 s\nslept 0 s\nERROR not a number\n",
            "embed_echo.py": b"hello\n",
            "key_value.py": b"OK\r\nVALUE 1\r\n",
        }
        for name, answer in answers.items():
            self.assertEqual(self.tried(name), answer, name)


class ExamplesOfTestsTests(SynchronousTestCase):
    """
    Those that are tests pass, with warnings as errors; that by trial under several
    reactors.
    """

    @slow
    def test_reactors(self) -> None:
        for name in ("eager", "eager-asyncio", "epoll", "asyncio", "select"):
            done = run_to_end(
                [*TRIAL, f"--reactor={name}", "test_with_trial"],
                new_folder(self),
                environment({"PYTHONPATH": str(EXAMPLES)}),
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
        done = run_to_end(
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
