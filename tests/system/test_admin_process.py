"""
The metrics of a real C{twistd echo --admin}, against what independent clients did.
"""

import re
import signal
import socket
import struct
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import (
    Server,
    connect,
    read_exactly,
    read_to_end,
    round_trip,
    wait_until,
)
from twisted_echo.process_figures import figuresOf


class CountsTests(SynchronousTestCase):
    """
    What is exported is what has happened, to the last one.
    """

    def serve(self, *options: str) -> Server:
        server = Server.start(self, "--admin", "0", *options)
        found = server.wait_for(r"admin on 127\.0\.0\.1:(\d+);")
        self.url = f"http://127.0.0.1:{found[1]}/metrics"
        return server

    def metrics(self) -> dict[Any, float]:
        """
        Values, by names without the prefix, with the reason where there is one.
        """
        with urllib.request.urlopen(self.url, timeout=20) as page:
            text = page.read().decode()
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("twisted_echo_")
                reason = sample.labels.get("reason")
                found[name if reason is None else (name, reason)] = sample.value
        return found

    def counted(self, name: str) -> dict[str, int]:
        """
        How many there were, by the reasons; none that there were none of.
        """
        return {
            key[1]: int(value)
            for key, value in self.metrics().items()
            if key[0] == name and value
        }

    def test_everyEnd(self) -> None:
        server = self.serve("--max-length", "100", "--idle-timeout", "2")
        lines = sent = back = 0

        def client() -> socket.socket:
            return connect(self, server.address)

        def talk(who: socket.socket, number: int) -> None:
            nonlocal lines, sent, back
            for n in range(number):
                line = b"line %d\n" % n
                self.assertEqual(round_trip(who, line), line)
                lines, sent, back = lines + 1, sent + len(line), back + len(line)

        for number in (0, 1, 50):
            who = client()
            talk(who, number)
            who.close()
        for _ in range(2):
            who = client()
            talk(who, 3)
            who.sendall(b"rest")
            who.shutdown(socket.SHUT_WR)
            self.assertEqual(read_to_end(who), b"rest")
            sent, back = sent + 4, back + 4
        for _ in range(3):
            who = client()
            talk(who, 2)
            who.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            who.close()
        who = client()
        talk(who, 1)
        who.sendall(b"x" * 200 + b"\n")
        sent += 201
        self.assertEqual(read_to_end(who), b"")
        who.close()
        # As many bytes by pieces: a line that comes byte by byte is one.
        who = client()
        for byte in b"slow\n":
            who.sendall(bytes([byte]))
        self.assertEqual(read_exactly(who, 5), b"slow\n")
        lines, sent, back = lines + 1, sent + 5, back + 5
        self.assertEqual(read_to_end(who), b"")
        who.close()
        wait_until(lambda: self.metrics()["sessions"] == 0)
        seen = self.metrics()
        self.assertEqual(
            self.counted("sessions_ended_total"),
            {
                "peer-closed": 3,
                "half-closed": 2,
                "connection-lost": 3,
                "line-too-long": 1,
                "idle": 1,
            },
        )
        self.assertEqual(self.counted("connections_refused_total"), {})
        self.assertEqual(seen["sessions_opened_total"], 10)
        self.assertEqual(seen["session_duration_seconds_count"], 10)
        self.assertEqual(seen["lines_received_total"], lines)
        self.assertEqual(seen["received_bytes_total"], sent)
        self.assertEqual(seen["sent_bytes_total"], back)
        self.assertEqual((seen["pending_bytes"], seen["accept_errors_total"]), (0, 0))
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertIsNone(re.search("Traceback|Unhandled", server.stdout))

    def test_process(self) -> None:
        """
        The figures of the process are those that the kernel has of it.
        """
        server = self.serve()
        before = figuresOf(server.process.pid)
        seen = self.metrics()
        after = figuresOf(server.process.pid)
        assert before is not None and after is not None
        used = seen["process_cpu_seconds_total"]
        self.assertGreaterEqual(used, before.processorSeconds)
        self.assertLessEqual(used, after.processorSeconds)
        self.assertGreater(seen["process_resident_memory_bytes"], 1 << 20)
        # One of those that are open is the connection by which the page comes.
        self.assertEqual(seen["process_open_fds"], before.openFiles + 1)
        self.assertEqual(seen["process_max_fds"], after.maxFiles)
        began = seen["process_start_time_seconds"]
        self.assertAlmostEqual(began, after.startTime, places=0)
        self.assertEqual([name for name in seen if "worker" in name], [])
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)

    def refused(self, reason: str, *options: str) -> None:
        """
        Two come in, and three more do not.
        """
        server = self.serve(*options)
        inside = [connect(self, server.address) for _ in range(2)]
        for who in inside:
            self.assertEqual(round_trip(who, b"a\n"), b"a\n")
        for _ in range(3):
            who = connect(self, server.address)
            self.assertEqual(read_to_end(who), b"")
            who.close()
        self.assertEqual(self.counted("connections_refused_total"), {reason: 3})
        seen = self.metrics()
        self.assertEqual((seen["sessions_opened_total"], seen["sessions"]), (2, 2))
        self.assertEqual(self.counted("sessions_ended_total"), {})

    def test_refusedFull(self) -> None:
        self.refused("refused-full", "--max-sessions", "2", "--when-full", "refuse")

    def test_refusedPeer(self) -> None:
        self.refused("refused-peer", "--max-sessions-per-peer", "2")
