"""
L{twisted_echo.admin.prometheus}: what is exported, by Prometheus' own parsers, against
what C{docs/monitoring.md} says.
"""

import re
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import (
    generate_latest as generate_openmetrics,
)
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text
from twisted.trial.unittest import SynchronousTestCase

from tests.support.paths import DOCS
from tests.support.snapshots import figures, filled, full, seen_worker
from twisted_echo.admin.prometheus import (
    METRICS,
    PREFIX,
    PROCESS_METRICS,
    WORKER_PREFIX,
    SnapshotCollector,
)
from twisted_echo.admin.status_view import buildInfo
from twisted_echo.lifecycle import State
from twisted_echo.metrics import (
    DURATION_BOUNDS,
    LATENESS_BOUNDS,
    Observation,
    Snapshot,
)
from twisted_echo.session.ends.end_reason import REFUSALS, EndReason
from twisted_echo.tls.counts import HANDSHAKE_BOUNDS, VERSIONS, TLSFailure

MONITORING = DOCS / "monitoring.md"


def observation(total: Snapshot, **workers: Snapshot | None) -> Observation:
    return Observation(
        total=total,
        workers={
            name.removeprefix("w"): seen_worker(each, figures())
            for name, each in workers.items()
        },
        process=figures(),
        state="listening",
        states=tuple(each.value for each in State),
        build=buildInfo(object()),
    )


def exported(seen: Observation) -> dict[str, Metric]:
    """
    What a Prometheus that speaks OpenMetrics reads, by the names of the families.
    """
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(seen))
    text = generate_openmetrics(registry).decode()
    return {family.name: family for family in read_openmetrics(text)}


def samples(seen: Observation) -> dict[Any, float]:
    """
    The same, as values by their names and labels.
    """
    found = {
        (each.name, *sorted(each.labels.items())): each.value
        for family in exported(seen).values()
        for each in family.samples
    }
    assert sum(len(family.samples) for family in exported(seen).values()) == len(found)
    return found


class ExportTests(SynchronousTestCase):
    def test_text(self) -> None:
        """
        The older format has the same samples.
        """
        seen = observation(full(), w0=full(1), w1=full(2))
        registry = CollectorRegistry()
        registry.register(SnapshotCollector(seen))
        text = generate_latest(registry).decode()
        found = {
            (each.name, *sorted(each.labels.items())): each.value
            for family in read_text(text)
            for each in family.samples
        }
        self.assertEqual(found, samples(seen))

    def test_values(self) -> None:
        found = samples(observation(full()))
        for name, value in (
            ("sessions_opened_total", 10),
            ("accept_errors_total", 4),
            ("lines_received_total", 100),
            ("received_bytes_total", 1000),
            ("sent_bytes_total", 900),
            ("sessions", 6),
            ("sessions_max", 1000),
            ("sessions_paused", 2),
            ("handshakes", 1),
            ("pending_bytes", 50),
            ("pending_max_bytes", 4096),
            ("session_duration_seconds_count", 1),
            ("session_duration_seconds_sum", 0.5),
            ("reactor_lateness_seconds_sum", 0.002),
            ("tls_resumptions_total", 3),
            ("tls_handshake_duration_seconds_sum", 0.004),
        ):
            self.assertEqual(found[(PREFIX + name,)], value, name)
        for name, reason, value in (
            ("sessions_ended_total", "peer-closed", 3),
            ("sessions_ended_total", "idle", 1),
            ("connections_refused_total", "refused-full", 2),
        ):
            self.assertEqual(found[(PREFIX + name, ("reason", reason))], value)

    def test_every(self) -> None:
        """
        Each row of the table is exported, by its name and as what it is.
        """
        families = exported(observation(full(), w0=full()))
        for metric in METRICS:
            for prefix in PREFIX, WORKER_PREFIX:
                family = families[prefix + metric.name]
                self.assertEqual(family.type, metric.kind)
                self.assertEqual(family.documentation, metric.help)
                self.assertTrue(family.samples, family)
        for metric in PROCESS_METRICS:
            for prefix in "", WORKER_PREFIX:
                family = families[prefix + metric.name]
                self.assertEqual(family.type, metric.kind)
                self.assertEqual(family.documentation, metric.help)
        self.assertEqual(
            len(families),
            2 * len(METRICS) + 2 * len(PROCESS_METRICS) + 3,
            "the state, the build, and the restarts",
        )

    def test_whatStays(self) -> None:
        """
        When a worker is replaced, its counters stay in the sum, and its gauges do not.
        """
        stays = full().cumulative()
        for metric in METRICS:
            left = Snapshot() if metric.kind == "gauge" else full()
            self.assertEqual(metric.read(stays), metric.read(left), metric.name)

    def test_readsEachField(self) -> None:
        """
        No two of them read the same, and no field of a snapshot is left out.
        """
        base = samples(observation(Snapshot(maxSessions=0)))
        for field in Snapshot.__slots__:
            only = Snapshot(**{"maxSessions": 0, field: getattr(full(), field)})
            seen = samples(observation(only))
            changed = {key[0] for key, value in seen.items() if base.get(key) != value}
            families = {
                re.sub("_(total|bucket|count|sum)$", "", name) for name in changed
            }
            self.assertEqual(len(families), 1, (field, families))

    def test_reasons(self) -> None:
        """
        Every reason is there from the beginning with 0, for sessions or for refused
        connections.
        """
        found = samples(observation(Snapshot()))
        for reason in EndReason:
            label = ("reason", reason.value)
            ended = found.get((PREFIX + "sessions_ended_total", label))
            refused = found.get((PREFIX + "connections_refused_total", label))
            expected = (None, 0) if reason in REFUSALS else (0, None)
            self.assertEqual((ended, refused), expected, reason)

    def test_refusedOtherwise(self) -> None:
        """
        What was refused for a reason of sessions is told as soon as there is one.
        """
        found = samples(observation(Snapshot(refused={"stopped": 2})))
        label = ("reason", "stopped")
        self.assertEqual(found[(PREFIX + "connections_refused_total", label)], 2)
        self.assertEqual(found[(PREFIX + "sessions_ended_total", label)], 0)

    def test_tls(self) -> None:
        """
        With TLS, every version and every reason is there from the beginning; without,
        nothing of it.
        """
        without = exported(observation(Snapshot()))
        self.assertEqual([name for name in without if "tls" in name], [])
        found = samples(observation(Snapshot(tlsHandshakes={}, tlsFailures={})))
        for version in VERSIONS:
            label = ("version", version)
            self.assertEqual(found[(PREFIX + "tls_handshakes_total", label)], 0)
        name = PREFIX + "tls_handshake_failures_total"
        for failure in TLSFailure:
            self.assertEqual(found[(name, ("reason", failure.value))], 0)
        found = samples(observation(full()))
        self.assertEqual(found[(name, ("reason", "alert"))], 5)
        label = ("file", "cert.pem")
        name = PREFIX + "tls_certificate_not_after_seconds"
        self.assertEqual(found[(name, label)], 4_000_000_000)
        label = ("version", "TLSv1.3")
        self.assertEqual(found[(PREFIX + "tls_handshakes_total", label)], 7)

    def test_absent(self) -> None:
        """
        What is not known is not there, of the sum and of each worker.
        """
        unknown = Snapshot(bytesSent=None)
        families = exported(observation(unknown, w0=unknown, w1=full()))
        for name in (*("sent_bytes", "reactor_lateness_seconds", "sessions_max"),):
            self.assertNotIn(PREFIX + name, families)
            labels = {
                each.labels["worker"] for each in families[WORKER_PREFIX + name].samples
            }
            self.assertEqual(labels, {"1"}, name)
        families = exported(observation(unknown, w0=unknown))
        self.assertNotIn(WORKER_PREFIX + "sent_bytes", families)

    def test_workers(self) -> None:
        """
        Each worker has series of its own, under names of their own, so that the sum
        of a metric's series is not twice what there is.
        """
        one, two = full(), full(1)
        found = samples(observation(one + two, w0=one, w1=two))
        name = "sessions_opened_total"
        self.assertEqual(found[(PREFIX + name,)], 21)
        self.assertEqual(found[(WORKER_PREFIX + name, ("worker", "0"))], 10)
        self.assertEqual(found[(WORKER_PREFIX + name, ("worker", "1"))], 11)
        label = ("reason", "peer-closed")
        name = WORKER_PREFIX + "sessions_ended_total"
        self.assertEqual(found[(name, label, ("worker", "1"))], 4)

    def test_noWorkers(self) -> None:
        families = exported(observation(full()))
        self.assertEqual([name for name in families if "worker" in name], [])

    def test_buckets(self) -> None:
        """
        Each bucket holds all below it, and the last holds all.
        """
        lateness = filled((0.5, 1.0, 10.0), 0.1, 0.5, 0.7, 3, 99)
        found = samples(observation(Snapshot(lateness=lateness)))
        name = PREFIX + "reactor_lateness_seconds"
        self.assertEqual(
            {
                key[1][1]: value
                for key, value in found.items()
                if key[0] == name + "_bucket"
            },
            {"0.5": 2, "1.0": 3, "10.0": 4, "+Inf": 5},
        )
        self.assertEqual(found[(name + "_count",)], 5)
        self.assertEqual(found[(name + "_sum",)], lateness.sum)

    def test_bounds(self) -> None:
        """
        No two bounds have the same name, and each is read as what it is.
        """
        found = samples(observation(full()))
        for name, bounds in (
            ("session_duration_seconds", DURATION_BOUNDS),
            ("reactor_lateness_seconds", LATENESS_BOUNDS),
            ("tls_handshake_duration_seconds", HANDSHAKE_BOUNDS),
        ):
            read = [
                float(key[1][1]) for key in found if key[0] == f"{PREFIX}{name}_bucket"
            ]
            self.assertEqual(sorted(read), [*bounds, float("inf")])

    def test_state(self) -> None:
        """
        One state is on, whichever it is.
        """
        name = PREFIX + "state"
        found = samples(observation(full()))
        states = {key[1][1]: value for key, value in found.items() if key[0] == name}
        self.assertEqual(set(states), {each.value for each in State})
        self.assertEqual(states.pop("listening"), 1)
        self.assertEqual(set(states.values()), {0})

    def test_restarts(self) -> None:
        """
        How often each worker was followed by another, by why, also while it has no
        process; nothing of one process.
        """
        found = samples(observation(full(), w0=full(), w1=None))
        name = WORKER_PREFIX + "restarts_total"
        for worker in (("worker", "0"), ("worker", "1")):
            self.assertEqual(found[name, ("cause", "exited"), worker], 2)
            self.assertEqual(found[name, ("cause", "hung"), worker], 0)
        self.assertNotIn((WORKER_PREFIX + "sessions", ("worker", "1")), found)
        self.assertNotIn(name, {key[0] for key in samples(observation(full()))})

    def test_processes(self) -> None:
        """
        The figures of a process are there under the usual names, and for each worker
        under those of workers; what is not known is not there.
        """
        seen = observation(full(), w0=full())
        seen = replace(
            seen,
            process=figures(2),
            workers={**seen.workers, "1": seen_worker(full(), None)},
        )
        found = samples(seen)
        worker = ("worker", "0")
        for name, own, of_worker in (
            ("process_cpu_seconds_total", 3.25, 1.25),
            ("process_resident_memory_bytes", 50_000_002, 50_000_000),
            ("process_virtual_memory_bytes", 90_000_002, 90_000_000),
            ("process_start_time_seconds", 1_700_000_002.5, 1_700_000_000.5),
            ("process_open_fds", 16, 14),
            ("process_max_fds", 20_002, 20_000),
        ):
            self.assertEqual(found[(name,)], own)
            self.assertEqual(found[WORKER_PREFIX + name, worker], of_worker)
            self.assertNotIn((WORKER_PREFIX + name, ("worker", "1")), found)
        unlimited = replace(seen, process=figures()._replace(maxFiles=None))
        self.assertNotIn(("process_max_fds",), samples(unlimited))
        unknown = samples(replace(seen, process=None))
        self.assertEqual([key for key in unknown if key[0].startswith("proc")], [])

    def test_build(self) -> None:
        family = exported(observation(full()))[PREFIX + "build"]
        (sample,) = family.samples
        self.assertEqual(sample.labels, buildInfo(object()))
        self.assertEqual(sample.labels["reactor"], "object")


class ConventionTests(SynchronousTestCase):
    """
    U{https://prometheus.io/docs/practices/naming/}.
    """

    def test_names(self) -> None:
        for metric in METRICS:
            self.assertTrue(re.fullmatch("[a-z][a-z_]*[a-z]", metric.name), metric)
            self.assertFalse(
                metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_info")),
                metric,
            )
            self.assertTrue(metric.help.endswith("."), metric)
            # Base units alone: no milliseconds, no kilobytes.
            self.assertFalse(re.search("milli|micro|kilo|mega|_ms|_kb", metric.name))
        names = [metric.name for metric in METRICS]
        self.assertEqual(sorted(set(names)), sorted(names))

    def test_units(self) -> None:
        """
        A unit is the last word.
        """
        for metric in METRICS:
            for unit in "seconds", "bytes":
                if unit in metric.name:
                    self.assertTrue(metric.name.endswith("_" + unit), metric)
            if metric.kind == "histogram":
                self.assertTrue(metric.name.endswith("_seconds"), metric)

    def test_counters(self) -> None:
        """
        A counter's sample ends in C{_total}, and no other's does.
        """
        for family in exported(observation(full(), w0=full())).values():
            for sample in family.samples:
                self.assertEqual(
                    sample.name.endswith("_total"), family.type == "counter", sample
                )


class DocumentedTests(SynchronousTestCase):
    """
    The table in C{docs/monitoring.md} is what is exported.
    """

    def section(self) -> str:
        text = MONITORING.read_text()
        _, _, after = text.partition("\n## Metrics\n")
        section, _, _ = after.partition("\n## ")
        return section

    def table(self) -> dict[str, tuple[str, set[str], str]]:
        """
        Type, labels and meaning, by the name.
        """
        rows = re.findall(
            r"^\| `([a-z_]+)` \| (\w+) \| (.*?) ?\| (.*) \|$",
            self.section(),
            re.MULTILINE,
        )
        table = {
            name: (kind, set(re.findall("`(.*?)`", labels)), meaning)
            for name, kind, labels, meaning in rows
        }
        self.assertEqual(len(table), len(rows), "a name is there twice")
        return table

    def test_table(self) -> None:
        """
        In both directions: no metric without a row, no row without a metric; with
        types, labels and meanings.
        """
        ends = {"counter": "_total", "info": "_info"}
        seen = {}
        ofWorkers = {
            WORKER_PREFIX + metric.name for metric in (*METRICS, *PROCESS_METRICS)
        }
        for name, family in exported(observation(full(), w0=full())).items():
            if name in ofWorkers:
                continue
            labels = {label for sample in family.samples for label in sample.labels}
            seen[name + ends.get(family.type, "")] = (
                family.type,
                labels,
                family.documentation,
            )
        self.assertEqual(self.table(), seen)

    def test_workers(self) -> None:
        """
        What the text says of workers is so: all but the last three rows are there for
        each of them.
        """
        *rows, restarts, last, build = self.table()
        self.assertEqual(
            (restarts, last, build),
            (
                PREFIX + "worker_restarts_total",
                PREFIX + "state",
                PREFIX + "build_info",
            ),
        )
        families = exported(observation(full(), w0=full()))
        of_workers = [name for name in families if name.startswith(WORKER_PREFIX)]
        self.assertEqual(of_workers.pop(), WORKER_PREFIX + "restarts")
        self.assertEqual(
            [name.removeprefix(WORKER_PREFIX) for name in of_workers],
            [re.sub("_total$", "", name.removeprefix(PREFIX)) for name in rows],
        )

    def test_reasons(self) -> None:
        """
        The text names every reason.
        """
        section = self.section()
        for reason in (*EndReason, *TLSFailure):
            self.assertIn(f"`{reason.value}`", section)

    def test_bounds(self) -> None:
        for name, bounds in (
            ("session_duration_seconds", DURATION_BOUNDS),
            ("reactor_lateness_seconds", LATENESS_BOUNDS),
            ("tls_handshake_duration_seconds", HANDSHAKE_BOUNDS),
        ):
            line = re.search(rf"- `{name}`: ([\d.,\s]+)", self.section())
            assert line is not None, name
            self.assertEqual([float(each) for each in line[1].split(",")], [*bounds])

    def test_queries(self) -> None:
        """
        The queries ask for what there is.
        """
        found = {key[0] for key in samples(observation(full()))}
        code = "".join(re.findall("```\n(.*?)```", self.section(), re.DOTALL))
        asked = re.findall(r"twisted_echo_\w+", code)
        self.assertGreater(len(asked), 3)
        self.assertEqual([name for name in asked if name not in found], [])
