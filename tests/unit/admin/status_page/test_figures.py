"""
L{twisted_echo.admin.status_page.figures}: what the status page says.
"""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.snapshots import figures, full, observed, seen_worker
from twisted_echo.admin.prometheus import METRICS
from twisted_echo.admin.status_page.end_meanings import MEANINGS
from twisted_echo.admin.status_page.figures import statusFigures
from twisted_echo.metrics import Snapshot
from twisted_echo.session.ends.end_reason import EndReason

NOW = 1_700_003_725.0


def told(total: Snapshot, waiting: Any = (), **more: Any) -> Any:
    """
    The figures, as they come out of JSON.
    """
    return json.loads(
        json.dumps(statusFigures(observed(total, **more), waiting, now=NOW))
    )


def table(found: Any, name: str) -> dict[str, list[Any]]:
    """
    The cells by the keys of their rows; what is drawn is left out.
    """
    return {
        row["key"]: [
            cell if isinstance(cell, str) else cell["text"] for cell in row["cells"]
        ]
        for row in found["tables"][name]
    }


class FiguresTests(SynchronousTestCase):
    def test_metrics(self) -> None:
        """
        The numbers are those of the metrics, all of them, of the whole and each worker.
        """
        one, two = full(), full(1)
        found = told(
            one + two,
            workers={
                "0": seen_worker(one),
                "1": seen_worker(two),
                "2": seen_worker(None),
            },
        )
        for snapshot, values in (
            (one + two, found["total"]),
            (one, found["workers"]["0"]),
            (two, found["workers"]["1"]),
            (Snapshot(), found["workers"]["2"]),
        ):
            self.assertEqual(set(values), {metric.name for metric in METRICS})
            for metric in METRICS:
                expected: Any = metric.read(snapshot)
                if metric.kind == "histogram" and expected is not None:
                    expected = {
                        "bounds": [*expected.bounds],
                        "counts": expected.counts,
                        "sum": expected.sum,
                    }
                self.assertEqual(values[metric.name], expected, metric.name)

    def test_texts(self) -> None:
        found = told(full(), process=figures())
        texts = found["texts"]
        self.assertEqual(texts["title"], "listening, 6 sessions: twisted-echo")
        self.assertEqual(texts["time"], "2023-11-14 23:15:25 UTC")
        self.assertEqual(
            texts["build"],
            "Started 2023-11-14 22:13:20 UTC, 1h2m ago: version 1, reactor Clock",
        )
        self.assertEqual(found["started"], figures().startTime)
        self.assertEqual(set(found["levels"]), {"healthy", "full", "slow", "ends"})
        self.assertEqual(found["faults"]["connections that could not be accepted"], 4)
        self.assertEqual(found["fullest"]["text"], "1 %")

    def test_unknown(self) -> None:
        """
        What no kernel tells is left out, and so is what there is none of.
        """
        found = told(Snapshot(bytesSent=None))
        self.assertEqual(found["texts"]["build"], "version 1, reactor Clock")
        self.assertIsNone(found["started"])
        self.assertIsNone(found["fullest"])
        self.assertEqual(found["processors"], {})
        self.assertNotIn("sent_bytes", table(found, "counts"))
        for name, text in (
            ("ends", "No session has ended."),
            ("refusals", "No connection was refused."),
            ("waiting", "Nothing is held for a session."),
            ("lateness", "It is not measured."),
        ):
            self.assertEqual(table(found, name), {"none": [text]})


class TableTests(SynchronousTestCase):
    def test_ends(self) -> None:
        """
        The most frequent first, each with its meaning.
        """
        found = told(Snapshot(ended={"idle": 1, "peer-closed": 2999, "error": 0}))
        rows = found["tables"]["ends"]
        self.assertEqual(
            table(found, "ends"),
            {
                "peer-closed": ["peer-closed", "> 99.9 %", "2,999"],
                "idle": ["idle", "< 0.1 %", "1"],
            },
        )
        self.assertEqual(rows[1]["cells"][0]["detail"], MEANINGS[EndReason.IDLE])
        self.assertEqual(rows[0]["cells"][1]["share"], 0.9997)

    def test_meanings(self) -> None:
        """
        Every reason has one, as an end and as a refusal.
        """
        self.assertEqual(set(MEANINGS), set(EndReason))
        every = {reason.value: 1 for reason in EndReason}
        found = told(Snapshot(ended=every, refused=every))
        self.assertEqual(set(table(found, "ends")), set(every))
        self.assertEqual(set(table(found, "refusals")), set(every))

    def test_limits(self) -> None:
        """
        How near each is, and how long certificates are valid.
        """
        certificates = {"a.pem": int(NOW) + 7200, "b.pem": int(NOW) - 1}
        total = Snapshot(
            sessions=12, maxSessions=10, maxPendingBytes=0, certificates=certificates
        )
        found = told(total)
        self.assertEqual(
            [row["cells"] for row in found["tables"]["limits"]],
            [
                [
                    {"text": "Sessions and handshakes", "detail": "12 of 10"},
                    {"share": 1.0, "text": "120 %"},
                ],
                [
                    {"text": "Memory held for clients", "detail": "0 bytes; no limit"},
                    "",
                ],
                [
                    {
                        "text": "Certificate in b.pem",
                        "detail": "until 2023-11-14 23:15:24 UTC",
                    },
                    "expired",
                ],
                [
                    {
                        "text": "Certificate in a.pem",
                        "detail": "until 2023-11-15 01:15:25 UTC",
                    },
                    "2h left",
                ],
            ],
        )

    def test_waiting(self) -> None:
        row = {
            "id": 17,
            "peer": "192.0.2.1:7",
            "state": "paused",
            "pending": 2048,
            "waitsFor": "client",
            "waited": 61.4,
            "age": 99.0,
        }
        ofWorker = {**row, "worker": 3, "pid": 99, "waitsFor": "input"}
        one, other = told(full(), [row, ofWorker])["tables"]["waiting"]
        self.assertEqual(
            one["cells"],
            [
                {
                    "text": "192.0.2.1:7",
                    "detail": "waits until the client reads; paused",
                },
                "1m1s",
                "2.0 KiB",
            ],
        )
        self.assertEqual(
            other["cells"][0]["detail"],
            "waits until the client sends the rest; paused, worker 3",
        )
        self.assertNotEqual(one["key"], other["key"])

    def test_lateness(self) -> None:
        rows = table(told(full()), "lateness")
        self.assertEqual(rows["up to 2ms"], ["up to 2ms", "100 %", "1"])
        self.assertEqual(rows["over 5s"], ["over 5s", "0 %", "0"])

    def test_process(self) -> None:
        found = told(full(), process=figures())
        self.assertEqual(
            table(found, "processes"),
            {"this process": ["this process", "6", "1 %", "", "47.7 MiB", "1.2s"]},
        )
        self.assertEqual(found["processors"], {"this process": 1.25})

    def test_workers(self) -> None:
        """
        Each has its own limits, and its parent serves nobody.
        """
        workers = {"0": seen_worker(full(), figures(1)), "1": seen_worker(None)}
        found = told(full(), workers=workers, process=figures())
        self.assertEqual(
            table(found, "processes"),
            {
                "parent": ["parent", "", "", "", "47.7 MiB", "1.2s"],
                "worker 0": ["worker 0", "6", "1 %", "2 exited", "47.7 MiB", "2.2s"],
                "worker 1": ["worker 1", "", "", "2 exited", "", ""],
            },
        )
        states = [row["cells"][0]["detail"] for row in found["tables"]["processes"]]
        self.assertEqual(states, ["listening", "listening", "gone"])

    def test_counts(self) -> None:
        rows = table(told(full()), "counts")
        self.assertEqual(rows["lines_received"], ["Lines received", "100"])
        self.assertEqual(rows["tls_handshakes"], ["TLS handshakes finished", "7"])
