"""
C{docs/examples/migrating}: every step answers the same bytes, those with sessions stop
in order, and what measures them does.
"""

import contextlib
import re
import signal
import socket
import subprocess
import sys
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from tests.support.marks import slow
from tests.support.paths import EXAMPLES
from tests.support.processes import (
    DEADLINE,
    Server,
    connect,
    environment,
    new_folder,
    read_exactly,
    read_to_end,
    script,
)

MIGRATING = EXAMPLES / "migrating"
STEPS = sorted(path.name for path in MIGRATING.glob("step*.py"))
SESSIONS = STEPS[2:]

AFTER = b"after\n"
SENT = b"to do/Monday\n\na-b_c.D\n\xff\x00\r\n" + b"x y" * 341 + b"\nquit\n" + AFTER
ANSWER = b"to_do_Monday\n\na-b_c.D\n___\n" + b"x_y" * 341 + b"\n"

FLOOD = (b"a/b" * 100 + b"\n") * 20_000
FLOOD_ANSWER = FLOOD.replace(b"/", b"_")


class StepTestCase(SynchronousTestCase):
    def serve(self, name: str) -> tuple[Server, tuple[str, int]]:
        """
        Start a step as it says, but for the port.

        @return: its process, and where it listens.
        """
        source = (MIGRATING / name).read_text()
        told = re.search(rf"    twistd (.*-ny {name})\n", source)
        assert told is not None, "it does not tell how it is run"
        self.assertEqual(source.count("tcp:7008"), 1)
        folder = new_folder(self)
        (folder / name).write_text(source.replace("tcp:7008", "tcp:0"))
        arguments = [script("twistd"), "--pidfile=", *told[1].split()]
        server = Server(self, arguments, folder=folder)
        port = server.wait_for(r"(?:on [\d.]+:| starting on )(\d+)")[1]
        return server, ("127.0.0.1", int(port))

    def stop(self, server: Server) -> None:
        """
        Stop it as an operator does. (C{twistd} ends by the signal.)
        """
        self.assertEqual(server.signal(signal.SIGTERM), -15, server.report("ended"))
        for word in ("Traceback", "Unhandled", "#critical"):
            self.assertNotIn(word, server.stdout)
        self.assertEqual(server.stderr, "")


class StepTests(StepTestCase):
    def test_pages(self) -> None:
        """
        Four steps, each of a page at most, the first within forty lines; and each is
        told of.
        """
        readme = (MIGRATING / "README.md").read_text()
        self.assertEqual([name[:5] for name in STEPS], [f"step{n}" for n in range(4)])
        for name in STEPS:
            self.assertLess(len((MIGRATING / name).read_text().splitlines()), 60)
            self.assertIn(f"({name})", readme)
        self.assertLess(len((MIGRATING / STEPS[0]).read_text().splitlines()), 40)

    def test_sameAnswers(self) -> None:
        """
        Every step answers the same bytes, however its input is cut.
        """
        for name in STEPS:
            server, address = self.serve(name)
            for size in (len(SENT), 7, 1):
                # What comes with the `quit`, in one chunk, is not answered.
                sent = SENT if size == len(SENT) else SENT.removesuffix(AFTER)
                client = connect(self, address)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(0, len(sent), size):
                    client.sendall(sent[at : at + size])
                self.assertEqual(read_to_end(client), ANSWER, (name, size))
                client.close()
            self.stop(server)

    def pour(self, client: socket.socket) -> Thread:
        """
        Send L{FLOOD} from a thread, then end-of-file.
        """

        def send() -> None:
            # One who is cut off cannot send: what he reads shows it.
            with contextlib.suppress(OSError):
                client.sendall(FLOOD)
                client.shutdown(socket.SHUT_WR)

        sender = Thread(target=send)
        sender.start()
        self.addCleanup(sender.join)
        self.addCleanup(client.close)
        return sender

    def test_endOfFile(self) -> None:
        """
        With sessions, also who does not quit gets all answers, be it that end-of-file
        comes along with his line, or that he reads slowly.
        """
        for name in SESSIONS:
            server, address = self.serve(name)
            for _ in range(20):
                with connect(self, address) as client:
                    client.sendall(b"a/b\n")
                    client.shutdown(socket.SHUT_WR)
                    self.assertEqual(read_to_end(client), b"a_b\n", name)
            client = connect(self, address, receive_buffer=4096)
            sender = self.pour(client)
            self.assertTrue(read_to_end(client) == FLOOD_ANSWER, name)
            sender.join()
            client.close()
            self.stop(server)

    def test_stopInAFlood(self) -> None:
        """
        With sessions, a stop in the middle gives whole answers, and end-of-file.
        """
        for name in SESSIONS:
            server, address = self.serve(name)
            client = connect(self, address, receive_buffer=4096)
            sender = self.pour(client)
            got = read_exactly(client, 100_000)
            server.process.send_signal(signal.SIGTERM)
            got += read_to_end(client)
            self.assertTrue(FLOOD_ANSWER.startswith(got), name)
            self.assertTrue(got.endswith(b"\n"), name)
            sender.join()
            client.close()
            self.assertEqual(server.wait(), -15, server.report("ended"))
            self.assertIn("stopped 1", server.stdout)

    def test_stop(self) -> None:
        """
        With sessions, a stop loses no answer to what was read, and ends each
        connection by end-of-file.
        """
        lines = b"a/b\n" * 4096
        for name in SESSIONS:
            server, address = self.serve(name)
            slow = connect(self, address, receive_buffer=4096)
            slow.sendall(lines)
            other = connect(self, address)
            # Whoever is answered in turns after it knows that it has been read.
            for _ in range(20):
                other.sendall(b"a b\n")
                self.assertEqual(read_exactly(other, 4), b"a_b\n")
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(read_to_end(other), b"")
            other.close()
            self.assertEqual(read_to_end(slow), lines.replace(b"/", b"_"), name)
            slow.close()
            self.assertEqual(server.wait(), -15, server.report("ended"))
            self.assertIn("2 sessions were open", server.stdout)
            self.assertIn("stopped 2", server.stdout)


@slow
class MeasureTests(SynchronousTestCase):
    def test_measure(self) -> None:
        """
        It measures every step in both cases.
        """
        ran = subprocess.run(
            [sys.executable, MIGRATING / "measure.py", "--rounds=1", "--seconds=0.5"],
            capture_output=True,
            env=environment(),
            text=True,
            timeout=10 * DEADLINE,
        )
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        figures = re.findall(
            r"step (\d), \w+ +([\d.]+) \(.*\) µs a line +([\d.]+) \(.*\) times",
            ran.stdout,
        )
        self.assertEqual([step for step, *_ in figures], list("01230123"))
        for _, time, gain in figures:
            self.assertGreater(float(time), 0)
            self.assertGreater(float(gain), 0)
