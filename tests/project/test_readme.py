"""
The README is a promise.
"""

import re
import socket
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_echo
from tests.support.paths import PROJECT
from tests.support.processes import Server, finished, new_folder, script

README = (PROJECT / "README.md").read_text()


class ReadmeTests(SynchronousTestCase):
    def test_embedding(self) -> None:
        """
        The program, saved as the README says, runs a server of upper case; and its
        test passes.
        """
        (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
        (test,) = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
        folder = new_folder(self)
        source = program.replace("tcp:7008:", "tcp:0:")
        self.assertNotEqual(source, program)
        (folder / "upper.py").write_text(source)
        server = Server(
            self, [script("twistd"), "--pidfile=", "-ny", "upper.py"], folder=folder
        )
        server.wait_for(r"listening on .*, by .*\n")
        with socket.create_connection(server.address, 30) as client:
            client.sendall(b"hello\nthere\n")
            client.shutdown(socket.SHUT_WR)
            reply = b"".join(iter(lambda: client.recv(100), b""))
        self.assertEqual(reply, b"HELLO\nTHERE\n")
        (folder / "test_upper.py").write_text(test)
        tested = finished(
            self, [script("pytest"), "-q", "-p", "no:twisted"], folder=folder
        )
        self.assertIn("1 passed", tested.stdout)

    def test_map(self) -> None:
        """
        The map shows every package and module, in an order in which each imports only
        what stands earlier: that of the contract that CI checks.
        """
        told = re.findall(r"^\| \W*`([a-z0-9_]+)(?:\.py|/)`\W* \|", README, re.M)
        folder = Path(twisted_echo.__file__).parent
        there = {
            each.stem
            for each in folder.iterdir()
            if each.suffix == ".py" or (each / "__init__.py").exists()
        }
        self.assertEqual(sorted(told), sorted(there - {"__init__"}))
        settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())
        (contract,) = settings["tool"]["importlinter"]["contracts"]
        layers = [
            name.strip()
            for layer in reversed(contract["layers"])
            for name in layer.split("|")
        ]
        self.assertEqual(told, layers)
