"""
What the admin port of C{twistd echo --workers} shows: sums, and each worker.
"""

import json
import os
import signal
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.processes import read_to_end, round_trip, wait_until
from tests.test_workers import WorkersTestCase

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
                reason = sample.labels.get("reason", "")
                worker = sample.labels.get("worker")
                if worker is None:
                    sums[name, reason] = sample.value
                else:
                    name = name.removeprefix("worker_")
                    each.setdefault(worker, {})[name, reason] = sample.value
        return sums, each

    def ready(self) -> tuple[int, str]:
        try:
            return 200, self.get("readyz")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def test_all(self) -> None:
        """
        The sums are those of the workers, and agree with what clients did; they do not
        decrease when a worker is killed, though its own begin anew; pages go through
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
        server.wait_for(rf"worker 0 listens, as process {successor}\n")
        after_death, workers = self.metrics()
        for key in sums:
            if key[0].endswith(("_total", "_count")) and not key[0].startswith("pro"):
                self.assertGreaterEqual(after_death[key], sums[key], key)
        self.assertEqual(workers["0"]["sessions_opened_total", ""], 0)
        self.assertEqual(after_death["sessions", ""], opened - len(clients.pop(victim)))

        server.process.send_signal(signal.SIGUSR2)
        for whose in ("", " of worker 0", " of worker 1"):
            server.wait_for(rf"status{whose}: listening, \d+ sessions")

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
        server.wait_for(rf"told to stop again: {len(rest) - 1} sessions are cut off")
        server.wait_for(
            rf"stopped, all 2 workers; served .*aborted-in-drain {len(rest) - 1}\b"
        )

    def test_notice(self) -> None:
        """
        The parent's notice is that of all.
        """
        server, service = self.start("--admin", "0", "--notice", "1.5")
        found = server.wait_for(r"admin on (127\.0\.0\.1:\d+);")
        self.url = f"http://{found[1]}"
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("still accepting for 1.5s")
        self.assertEqual(self.ready(), (503, "draining\n"))
        client = self.connect(server.address)
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        self.assertEqual(read_to_end(client), b"")
        client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        self.assertEqual(len(service.pids), 0)
