"""
What the admin port of C{twistd echo --workers} shows: sums, and each worker.
"""

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.authority import Authority
from tests.support.authority import client as as_client
from tests.support.marks import slow
from tests.support.processes import new_folder, read_to_end, round_trip, wait_until
from tests.support.workers_case import WorkersTestCase
from twisted_echo.process_figures import figuresOf

Sums = dict[tuple[str, str], float]


class AdminTests(WorkersTestCase):
    def get(self, page: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/{page}", timeout=20) as answer:
            return answer.read().decode()

    def metrics(self) -> tuple[Sums, dict[str, Sums]]:
        """
        The sums, and those of each worker, by names without their prefixes and reasons.
        """
        sums: Sums = {}
        each: dict[str, Sums] = {}
        for family in text_string_to_metric_families(self.get("metrics")):
            for sample in family.samples:
                name = sample.name.removeprefix("twisted_echo_")
                if sample.name == name or "le" in sample.labels:
                    continue
                reason = sample.labels.get("reason", sample.labels.get("cause", ""))
                worker = sample.labels.get("worker")
                if worker is None:
                    sums[name, reason] = sample.value
                else:
                    name = name.removeprefix("worker_")
                    each.setdefault(worker, {})[name, reason] = sample.value
        return sums, each

    def assert_figures(self, worker: Sums, pid: int) -> None:
        """
        The figures of a worker are those that the kernel has of its process.
        """
        process = figuresOf(pid)
        assert process is not None
        self.assertEqual(worker["process_max_fds", ""], process.maxFiles)
        self.assertGreater(worker["process_open_fds", ""], 5)
        self.assertGreater(worker["process_resident_memory_bytes", ""], 1 << 20)
        began = worker["process_start_time_seconds", ""]
        self.assertAlmostEqual(began, process.startTime, places=0)
        used = worker["process_cpu_seconds_total", ""]
        self.assertGreater(used, 0)
        self.assertLessEqual(used, process.processorSeconds)

    def ready(self) -> tuple[int, str]:
        try:
            return 200, self.get("readyz")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def test_all(self) -> None:
        """
        The sums are those of the workers, and agree with what clients did; they do not
        decrease when a worker is killed, though its own begin again; pages go through
        all workers; and a stop is seen to its end.
        """
        server, service = self.start("--admin", "0", "--abort-after", "1000")
        found = server.wait_for(r"admin on (127\.0\.0\.1:\d+);")
        self.url = f"http://{found[1]}"
        self.assertEqual(self.ready(), (200, "ready\n"))
        clients = self.clients_of_each(server, service, each=3)
        opened = sum(map(len, clients.values()))

        sums, workers = self.metrics()
        self.assertEqual(set(workers), {"0", "1"})
        for key, value in (
            ("sessions_opened_total", opened),
            ("sessions", opened),
            ("lines_received_total", opened),
            ("received_bytes_total", 6 * opened),
            ("sent_bytes_total", 6 * opened),
            ("reactor_lateness_seconds_count", None),
            ("sessions_max", None),
        ):
            parts = [each[key, ""] for each in workers.values()]
            self.assertEqual(sums[key, ""], sum(parts), key)
            if value is not None:
                self.assertEqual(sums[key, ""], value, key)
        for number, pid in service.pids.items():
            own = workers[str(number)]
            self.assertEqual(own["sessions", ""], len(clients[pid]))
            self.assert_figures(own, pid)

        rows: list[Any] = []
        after: str | None = ""
        while after is not None:
            page = json.loads(self.get(f"sessions?limit=2&after={after}"))
            self.assertEqual(page["total"], opened)
            rows += page["sessions"]
            after = page["next"]
        self.assertEqual(
            {(row["pid"], row["peer"]) for row in rows},
            {
                (pid, "{}:{}".format(*client.getsockname()))
                for pid, own in clients.items()
                for client in own
            },
        )

        victim = service.pids[0]
        os.kill(victim, signal.SIGKILL)
        successor = service.successor(0, victim)
        server.wait_for(rf"worker 0 listens \(process {successor}\)\n")
        after_death, workers = self.metrics()
        for each in sums:
            name, _ = each
            if name.endswith(("_total", "_count")) and not name.startswith("pro"):
                self.assertGreaterEqual(after_death[each], sums[each], each)
        self.assertEqual(workers["0"]["sessions_opened_total", ""], 0)
        self.assert_figures(workers["0"], successor)
        restarts = [
            (n, cause) for n in "01" for cause in ("killed", "exited", "drained")
        ]
        self.assertEqual(
            {each: workers[each[0]]["restarts_total", each[1]] for each in restarts},
            {each: int(each == ("0", "killed")) for each in restarts},
        )
        self.assertEqual(after_death["sessions", ""], opened - len(clients.pop(victim)))

        server.process.send_signal(signal.SIGUSR2)
        for whose in ("", " of worker 0", " of worker 1"):
            server.wait_for(rf"status{whose}: listening; sessions \d+")

        server.process.send_signal(signal.SIGTERM)
        (rest,) = clients.values()
        self.assertEqual(read_to_end(rest[0]), b"")
        self.assertEqual(self.ready(), (503, "draining\n"))
        self.assertEqual(self.metrics()[0]["sessions", ""], len(rest))
        rest[0].close()
        wait_until(lambda: self.metrics()[0]["sessions", ""] == len(rest) - 1)
        # What is left is cut off, and counted.
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        server.wait_for(
            rf"second stop signal: {len(rest) - 1} sessions? (is|are) cut off"
        )
        server.wait_for(
            rf"stopped all 2 workers: served .*aborted-in-drain {len(rest) - 1}\b"
        )

    @slow
    def test_tls(self) -> None:
        """
        What is known of TLS clients is known of each worker's, and summed up. When a
        certificate expires, is in each worker's numbers, and the parent alone warns: at
        the start, and when it is loaded again.
        """
        folder, authority = new_folder(self), Authority()
        server_, anna = authority.issue("server", days=3), authority.issue("anna\n")
        (folder / "key.pem").write_bytes(server_.key)
        (folder / "cert.pem").write_bytes(server_.pem)
        (folder / "authority.pem").write_bytes(authority.pem)
        server, _ = self.start(
            *("--admin", "0", "--log-sessions", "all"),
            listen=[
                "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"
                ":caFile=authority.pem:clientCert=optional"
            ],
            folder=folder,
        )
        self.url = f"http://{server.wait_for(r'admin on (127[^;]+);')[1]}"
        expires = r"the certificate of CN=server in cert\.pem expires in 2d23h, at 2"
        server.wait_for(expires)
        contexts = [as_client(authority, who, folder) for who in (anna, None)]
        clients = [
            context.wrap_socket(self.connect(server.address))
            for context in contexts
            for _ in range(4)
        ]
        for each in clients:
            self.assertEqual(round_trip(each, b"hello\n"), b"hello\n")
        rows = json.loads(self.get("sessions"))["sessions"]
        self.assertEqual(
            Counter(row.get("peerSubject") for row in rows),
            {r"CN=anna\0A": 4, None: 4},
        )
        self.connect(server.address).sendall(b"GET / HTTP/1.0\r\n\r\n")
        server.wait_for("refused: handshake-failed")
        text = self.get("metrics")
        for sample, value in (
            ('tls_handshakes_total{version="TLSv1.3"}', 8),
            ('tls_handshake_failures_total{reason="not-tls"}', 1),
            ('tls_handshake_failures_total{reason="timeout"}', 0),
            ("tls_resumptions_total", 0),
            ("tls_handshake_duration_seconds_count", 8),
        ):
            self.assertIn(f"\ntwisted_echo_{sample} {value}.0\n", text)
        end = server_.certificate.not_valid_after_utc.timestamp()
        for worker in "", "worker_":
            found = re.findall(
                rf"^twisted_echo_{worker}tls_certificate_not_after_seconds"
                r'{file="cert.pem".*} (.*)$',
                text,
                re.M,
            )
            self.assertEqual({*map(float, found)}, {end})
        for each in clients:
            each.close()
        server.wait_for(
            r"session of 127\.0\.0\.1:\d+ \(CN=anna\\0A\) ended: (peer-closed|conn)"
        )

        (folder / "cert.pem").write_bytes(
            authority.issue("newer", days=-1, key=server_.private).pem
        )
        server.process.send_signal(signal.SIGHUP)
        for number in (0, 1):
            server.wait_for(rf"\[worker {number}\] reloaded key.pem, cert.pem")
        server.wait_for(r"the certificate of CN=newer in cert\.pem expired 1d ago")
        self.assertEqual(len(re.findall("the certificate of", server.stdout)), 2)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))

    @slow
    def test_notice(self) -> None:
        """
        The parent's notice is that of all.
        """
        server, service = self.start("--admin", "0", "--notice", "1.5")
        found = server.wait_for(r"admin on (127\.0\.0\.1:\d+);")
        self.url = f"http://{found[1]}"
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("are accepted for 1.5s more")
        self.assertEqual(self.ready(), (503, "draining\n"))
        client = self.connect(server.address)
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        self.assertEqual(read_to_end(client), b"")
        client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        self.assertEqual(len(service.pids), 0)
