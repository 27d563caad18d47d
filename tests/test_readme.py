"""
The README is a promise.
"""

import ast
import re
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_echo
from tests.processes import Server, finished, new_folder, script

PROJECT = Path(__file__).parent.parent
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
        The map shows every module.
        """
        told = set(re.findall(r"^\| `([a-z0-9]+(?:\.py|/))` \|", README, re.M))
        folder = Path(twisted_echo.__file__).parent
        modules = {each.name for each in folder.glob("*.py")} - {"__init__.py"}
        self.assertEqual(told, modules | {"bench/", "command/", "testing/", "tls/"})

    def test_order(self) -> None:
        """
        Each module imports only what stands above it.
        """
        order = re.findall(r"^\| `([a-z0-9]+)(?:\.py|/)` \|", README, re.M)
        place = {name: number for number, name in enumerate(order)}
        folder = Path(twisted_echo.__file__).parent
        for path in folder.rglob("*.py"):
            who = path.relative_to(folder).parts[0].removesuffix(".py")
            if who == "__init__":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                module = getattr(node, "module", None) or ""
                if module.startswith("twisted_echo."):
                    whom = module.split(".")[1]
                    self.assertLessEqual(place[whom], place[who], f"{path}: {module}")
