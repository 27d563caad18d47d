"""
How C{twistd echo} and C{twist echo} stop, as real processes.
"""

import contextlib
import signal
import socket
import struct
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread

from tests.support.command_case import (
    TWIST,
    TWISTD,
    CommandTestCase,
)
from tests.support.processes import (
    DEADLINE,
    Command,
    Server,
    connect,
    echo_command,
    finished,
    is_refused,
    new_folder,
    read_exactly,
    read_to_end,
    round_trip,
    wait_until,
)


class StopTests(CommandTestCase):
    def test_signals(self) -> None:
        """
        SIGTERM and SIGINT end it as they end any other command.
        """
        for command in (TWISTD, TWIST):
            for number in (signal.SIGTERM, signal.SIGINT):
                server = Server.start(self, command=command)
                idle = connect(self, server.address)
                self.assertEqual(round_trip(idle, b"hello\n"), b"hello\n")
                server.process.send_signal(number)
                self.assertEqual(read_to_end(idle), b"")
                idle.close()
                self.assertEqual(server.wait(), -number, server.report("ended"))
                self.assert_clean(server)
                self.assertIn("1 session was open", server.stdout)
                self.assertEqual(list(server.folder.iterdir()), [])

    def test_drainUnderLoad(self) -> None:
        """
        Stopped while clients send as fast as they can, each gets whole lines, in
        order, from the first, and then end-of-file; never a reset.
        """
        server = Server.start(self, "--abort-after=25")
        clients = [Pipeliner(server.address, number) for number in range(4)]
        for client in clients:
            self.addCleanup(client.end)
            client.start()
        for client in clients:
            self.assertTrue(client.busy.wait(DEADLINE))
        began = time.monotonic()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertLess(time.monotonic() - began, 20)
        self.assert_clean(server)
        self.assertIn("4 sessions were open", server.stdout)
        for client in clients:
            client.end()
            self.assertEqual(client.error, None)
            received = bytes(client.received)
            self.assertTrue(client.sent.startswith(received))
            self.assertTrue(received.endswith(b"\n"), received[-80:])
            self.assertGreaterEqual(len(received), Pipeliner.ENOUGH)
        self.assertTrue(is_refused(server.address))

    def test_grace(self) -> None:
        """
        With C{--drain}, a client may go on for a while; a new one may not come.
        """
        server = Server.start(self, "--drain=25")
        client = connect(self, server.address)
        self.assertEqual(round_trip(client, b"before\n"), b"before\n")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(r"\(TCP Port \d+ Closed\)")
        # It says so a moment before it does so.
        wait_until(lambda: is_refused(server.address))
        self.assertEqual(round_trip(client, b"after\n"), b"after\n")
        client.close()
        began = time.monotonic()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assertLess(time.monotonic() - began, 20)
        self.assert_clean(server)

    def test_graceEnds(self) -> None:
        """
        A client that stays gets end-of-file when the grace is over.
        """
        server = Server.start(self, "--drain=0.5", "--abort-after=25")
        client = connect(self, server.address)
        self.assertEqual(round_trip(client, b"before\n"), b"before\n")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(read_to_end(client), b"")
        client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        took = time.monotonic() - began
        self.assertTrue(0.5 <= took < 20, took)
        self.assert_clean(server)

    def test_clientThatNeverReads(self) -> None:
        """
        Nobody holds the process for longer than C{--abort-after}.
        """
        server = Server.start(self, "--abort-after=0.5")
        deaf = connect(self, server.address, receive_buffer=4096)
        deaf.settimeout(0.5)
        lines = b"x" * 1023 + b"\n"
        with self.assertRaises(TimeoutError):
            while True:
                deaf.sendall(lines * 64)
        began = time.monotonic()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        took = time.monotonic() - began
        self.assertTrue(0.5 <= took < 20, took)
        self.assert_clean(server)
        self.assertIn("1 session was open", server.stdout)

    def test_clientThatIgnoresEndOfFile(self) -> None:
        server = Server.start(self, "--abort-after=0.5")
        stubborn = connect(self, server.address)
        self.assertEqual(round_trip(stubborn, b"hello\n"), b"hello\n")
        began = time.monotonic()
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        took = time.monotonic() - began
        self.assertTrue(0.5 <= took < 20, took)
        self.assert_clean(server)

    def test_secondSignal(self) -> None:
        """
        A second SIGTERM cuts off who is still waited for, and ends the process as
        the first would have.
        """
        server = Server.start(self, "--abort-after=1000")
        stubborn = connect(self, server.address)
        self.assertEqual(round_trip(stubborn, b"hello\n"), b"hello\n")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(read_to_end(stubborn), b"")
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertIn("second stop signal: 1 session is cut off", server.stdout)
        self.assertIn("served 1 (aborted-in-drain 1)", server.stdout)
        self.assertNotIn("Traceback", server.stdout)

    def test_notice(self) -> None:
        """
        For the time of notice it accepts and is not ready; then it drains, and the
        admin port says so to the end.
        """
        admin = str(new_folder(self) / "admin.sock")
        server = Server.start(
            self, f"--admin=unix:{admin}", "--notice=1.5", "--abort-after=1000"
        )
        self.assertEqual(self.readiness(admin), (200, b"ready\n"))
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("are accepted for 1.5s more")
        self.assertEqual(self.readiness(admin), (503, b"draining\n"))
        client = connect(self, server.address)
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        # End-of-file: it drains.
        self.assertEqual(read_to_end(client), b"")
        self.assertTrue(is_refused(server.address))
        self.assertEqual(self.readiness(admin), (503, b"draining\n"))
        client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assert_clean(server)
        self.assertFalse(Path(admin).exists())

    def readiness(self, path: str) -> tuple[int, bytes]:
        """
        What C{/readyz} says.
        """
        with contextlib.closing(HTTPConnection("localhost")) as http:
            http.sock = connect(self, path)
            http.request("GET", "/readyz")
            response = http.getresponse()
            return response.status, response.read()

    def test_status(self) -> None:
        """
        SIGUSR2 writes a line to the log, under twist too.
        """
        for command in ("twistd", "-n"), ("twist",):
            server = Server.start(self, command=command)
            client = connect(self, server.address)
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
            server.process.send_signal(signal.SIGUSR2)
            server.wait_for(
                "status: listening; sessions 1, paused 0, .* opened 1, ended 0,"
                " refused 0, accept errors 0, bytes received 6, sent 6"
            )

    def test_adminInUse(self) -> None:
        """
        Without its admin port it does not serve.
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            command = finished(
                self,
                echo_command(
                    ("twistd", "-n"), ["tcp:0:interface=127.0.0.1"], [f"--admin={port}"]
                ),
            )
        self.assertEqual(command.process.returncode, 1)
        self.assertIn(
            f"echo: cannot listen on 127.0.0.1:{port}: Address already in use",
            command.stderr,
        )

    def test_clientIsReset(self) -> None:
        """
        A client that goes away in mid-line takes nobody along.
        """
        server = Server.start(self)
        other = connect(self, server.address)
        for _ in range(10):
            client = connect(self, server.address)
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
            client.sendall(b"hello\nhel")
            client.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            client.close()
            self.assertEqual(round_trip(other, b"still\n"), b"still\n")
        self.assert_left_alone(server, other)

    def test_clientIsKilled(self) -> None:
        """
        A client that is killed while it writes, without having read, takes nobody
        along.
        """
        server = Server.start(self)
        other = connect(self, server.address)
        for _ in range(3):
            writer = Command(
                self,
                [sys.executable, "-c", ENDLESS_WRITER, str(server.ports[0])],
                folder=server.folder,
            )
            writer.wait_for("writing")
            self.assertEqual(round_trip(other, b"while\n"), b"while\n")
            self.assertEqual(writer.signal(signal.SIGKILL), -signal.SIGKILL)
            self.assertEqual(round_trip(other, b"after\n"), b"after\n")
        self.assert_left_alone(server, other)

    def assert_left_alone(self, server: Server, other: socket.socket) -> None:
        """
        Only one session is left of several, and it works.
        """
        sent = b"".join(b"%d\n" % n for n in range(10_000))
        sender = Thread(target=other.sendall, args=(sent,))
        sender.start()
        self.addCleanup(sender.join)
        self.assertTrue(read_exactly(other, len(sent)) == sent)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(read_to_end(other), b"")
        other.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assert_clean(server)
        self.assertIn("1 session was open", server.stdout)


ENDLESS_WRITER = """\
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall(b"0123456789\\n" * 10000)
print("writing", flush=True)
while True:
    client.sendall(b"0123456789\\n" * 1000 + b"half a line")
"""


class Pipeliner:
    """
    A client that sends numbered lines without waiting for the replies.

    @ivar sent: what it has sent, or more.
    @ivar received: what came back.
    @ivar busy: set when there are enough replies to be in the middle of it.
    @ivar error: what went wrong.
    """

    ENOUGH = 1 << 18

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self.sent = bytearray()
        self.received = bytearray()
        self.busy = Event()
        self.error: Exception | None = None
        self._number = number
        self._ended = Event()
        self._socket = socket.create_connection(address, DEADLINE)
        self._threads = [Thread(target=self._send), Thread(target=self._receive)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        line = 0
        try:
            while not self._ended.is_set():
                batch = b"".join(
                    b"client %d line %d %s\n" % (self._number, each, b"." * (each % 97))
                    for each in range(line, line + 100)
                )
                line += 100
                self.sent += batch
                self._socket.sendall(batch)
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = self.error or error

    def _receive(self) -> None:
        try:
            while data := self._socket.recv(1 << 16):
                self.received += data
                if len(self.received) >= self.ENOUGH:
                    self.busy.set()
        except OSError as error:
            self.error = self.error or error
        finally:
            self._ended.set()

    def end(self) -> None:
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._socket.close()
