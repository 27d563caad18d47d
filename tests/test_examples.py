"""
C{docs/examples}: each is run, by a real process.
"""

import re
import signal
import smtplib
import socket
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.processes import (
    Command,
    Server,
    connect,
    new_folder,
    read_exactly,
    read_to_end,
    script,
)

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


class ExampleTests(SynchronousTestCase):
    def talk(self, port: int, data: bytes) -> bytes:
        client = connect(self, ("127.0.0.1", port))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return read_to_end(client)

    def test_asyncAnswers(self) -> None:
        server = Command(
            self,
            [
                sys.executable,
                str(EXAMPLES / "async_answers.py"),
                "tcp:0:interface=127.0.0.1",
            ],
            folder=new_folder(self),
        )
        port = int(server.wait_for(r"port=(\d+)")[1])
        self.assertEqual(
            self.talk(port, b"0.02\r\n0.01\r\nlong\r\n9\r\n"),
            b"slept 0.02\r\nslept 0.01\r\nerror: not a number\r\nerror: too long\r\n",
        )
        self.assertEqual(server.signal(signal.SIGTERM), 0)

    def test_chat(self) -> None:
        """
        All others hear what one says; who does not read is cut off alone.
        """
        server = Command(
            self,
            [
                sys.executable,
                str(EXAMPLES / "chat.py"),
                "tcp:0:interface=127.0.0.1",
            ],
            folder=new_folder(self),
        )
        address = ("127.0.0.1", int(server.wait_for(r"port=(\d+)")[1]))
        first = connect(self, address)
        second = connect(self, address)
        # Until each is heard, it is perhaps not there yet.
        second.sendall(b"x\r\n")
        self.assertEqual(read_exactly(first, 6), b"2: x\r\n")
        deaf = connect(self, address, receive_buffer=4096)
        deaf.sendall(b"y\r\n")
        self.assertEqual(read_exactly(first, 6), b"3: y\r\n")
        self.assertEqual(read_exactly(second, 6), b"3: y\r\n")
        line = b"z" * 10_000
        for _ in range(1500):
            first.sendall(line + b"\r\n")
            heard = read_exactly(second, len(line) + 5)
            self.assertEqual(heard, b"1: " + line + b"\r\n")
        with self.assertRaises(ConnectionResetError):
            read_to_end(deaf)

    def test_smtp(self) -> None:
        """
        The stock protocol takes a mail, and a stop ends the session in order.
        """
        server = Command(
            self,
            [sys.executable, str(EXAMPLES / "smtp.py"), "tcp:0:interface=127.0.0.1"],
            folder=new_folder(self),
        )
        port = int(server.wait_for(r"port=(\d+)")[1])
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as sender:
            sender.sendmail("a@b.example", ["c@d.example"], "one\ntwo\n")
        client = connect(self, ("127.0.0.1", port))
        self.assertEqual(read_exactly(client, 4), b"220 ")
        server.process.send_signal(signal.SIGTERM)
        self.assertTrue(read_to_end(client).endswith(b"\r\n"))
        client.close()
        self.assertEqual(server.wait(), 0)

    def test_keyValue(self) -> None:
        folder = new_folder(self)
        source = (EXAMPLES / "key_value.py").read_text()
        (folder / "kv.py").write_text(source.replace('"tcp:7008:', '"tcp:0:'))
        server = Server(
            self, [script("twistd"), "--pidfile=", "-ny", "kv.py"], folder=folder
        )
        server.wait_for(r"listening on .*, by .*\n")
        self.assertEqual(
            self.talk(
                server.ports[0],
                b"SET a 1 2\r\nGET a\r\nDEL a\r\nGET a\r\nhm\r\n",
            ),
            b"OK\r\nVALUE 1 2\r\nOK\r\nNONE\r\n"
            b"ERROR GET key, SET key value or DEL key\r\n",
        )

    def test_size(self) -> None:
        """
        Each is a page at most, and tells how it is run.
        """
        for path in EXAMPLES.glob("*.py"):
            self.assertLess(len(path.read_text().splitlines()), 61, path)
            self.assertIn(f"docs/examples/{path.name}", path.read_text())


class EmbeddingTests(SynchronousTestCase):
    """
    The snippets of C{docs/embedding.md}.
    """

    def test_snippets(self) -> None:
        text = (EXAMPLES.parent / "embedding.md").read_text()
        names: dict[str, Any] = {}
        for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(snippet, names)
        for name, sent, answer in (
            ("Upper", b"a\r\nb\r\n", b"A\r\nB\r\n"),
            ("Greeter", b"a\r\n", b"hello a\r\n"),
            ("Frames", b"\0\2ab", b"\0\2ba"),
        ):
            protocol = names[name]()
            transport = StringTransport()
            protocol.makeConnection(transport)
            protocol.dataReceived(sent)
            self.assertEqual(transport.value(), answer)
            protocol.connectionLost(Failure(ConnectionDone()))
