"""
C{twistd --reactor=eager-asyncio echo}, as real processes.
"""

import signal
import socket
import ssl

from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.processes import (
    DEADLINE,
    EXEC_ACTIVATED,
    Server,
    connect,
    new_folder,
    read_to_end,
    round_trip,
)
from tests.support.workers_case import WorkersTestCase

COMMAND = ("twistd", "-n", "--reactor=eager-asyncio")

NOTES_REACTOR = """\
import os, sys
if "twisted_echo.command.workers.worker" in sys.orig_argv:
    from twisted.internet import main
    install = main.installReactor

    def noted(reactor):
        install(reactor)
        with open(f"{os.environ['FOLDER']}/{os.getpid()}.reactor", "w") as file:
            file.write(type(reactor).__name__)

    main.installReactor = noted
"""
"""
A C{sitecustomize} by which each worker notes what its reactor is.
"""


class AsyncioCommandTests(WorkersTestCase):
    """
    What the command has, on asyncio's loop.
    """

    def test_stop(self) -> None:
        """
        The report names the reactor, and a stop ends a client's connection in order.
        """
        server = Server.start(self, command=COMMAND)
        self.assertRegex(
            server.stdout, r"listening on .*, by EagerAsyncioSelectorReactor;"
        )
        client = connect(self, server.address)
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(read_to_end(client), b"")
        client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        self.assertEqual(server.stderr, "")

    @slow
    def test_workersWithTLS(self) -> None:
        """
        The workers have the reactor of their parent, and serve TLS.
        """
        folder = new_folder(self)
        make_certificate(folder)
        (folder / "sitecustomize.py").write_text(NOTES_REACTOR)
        server, service = self.start(
            listen=["ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"],
            folder=folder,
            command=COMMAND,
            env={"PYTHONPATH": str(folder), "FOLDER": str(folder)},
        )
        self.assertIn("EagerAsyncioSelectorReactor", server.stdout)
        self.assertEqual(
            {
                pid: (folder / f"{pid}.reactor").read_text()
                for pid in service.pids.values()
            },
            dict.fromkeys(service.pids.values(), "EagerAsyncioSelectorReactor"),
        )
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        for _ in range(20):
            plain = socket.create_connection(server.address, DEADLINE)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
                self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        self.assert_stops(server, service)

    @slow
    def test_systemd(self) -> None:
        """
        It adopts a socket that systemd hands over, and leaves it as it was.
        """
        with socket.create_server(("127.0.0.1", 0)) as given:
            server = Server.start(
                self,
                listen=["systemd:domain=INET:index=0"],
                command=COMMAND,
                env={
                    "SOCKET": str(given.fileno()),
                    "LISTEN_FDS": "1",
                    "LISTEN_FDNAMES": "echo",
                },
                launcher=EXEC_ACTIVATED,
                pass_fds=[given.fileno()],
            )
            client = connect(self, given.getsockname())
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
            client.close()
            self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
            # It listens still.
            socket.create_connection(given.getsockname(), DEADLINE).close()
