"""
C{docs/examples}: each is run, by a real process.
"""

import signal
import socket
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.processes import (
    Command,
    Server,
    connect,
    new_folder,
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
