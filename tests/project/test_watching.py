"""
docs/deploy/: the dashboard of Grafana, and the alarms of Prometheus with their tests.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from tests.support.authority import client as as_client
from tests.support.marks import slow
from tests.support.paths import DOCS
from tests.support.processes import connect, read_to_end, round_trip, wait_until
from tests.support.promql import Expression, Matcher, Selector
from tests.support.watching import (
    ALARM_TESTS,
    ALARMS,
    DASHBOARD,
    PROMETHEUS,
    PROMTOOL,
    RULE_TESTS,
    RULES,
    WatchedService,
    WatchingPrometheus,
    expressions,
    panels,
    targets,
)

TARGET_LABELS = {"job", "instance"}
"""
What Prometheus adds to each series.
"""


class ParserTests(SynchronousTestCase):
    """
    L{tests.support.promql}: the other tests rely on what it finds.
    """

    def test_selectors(self) -> None:
        """
        Metrics are told from functions, keywords and labels, wherever they stand.
        """
        self.assertEqual(
            Expression.parse(
                'sum by (le, job) (rate(a_bucket{x="1", y=~"b|c"}[5m] offset 1d))'
                " / on (job) group_left max without (z) (d) > bool 0.5"
                " or vector(0) and f:g == 1e3 unless -time() < 7 * 86400"
            ),
            Expression(
                [
                    Selector(
                        "a_bucket", (Matcher("x", "=", "1"), Matcher("y", "=~", "b|c"))
                    ),
                    Selector("d", ()),
                    Selector("f:g", ()),
                ],
                {"le", "job", "z"},
            ),
        )

    def test_alternatives(self) -> None:
        matcher = Matcher("x", "!~", "a.*|b")
        self.assertEqual(matcher.alternatives, ["a.*", "b"])
        self.assertTrue(matcher.names("a.*", "ab"))
        self.assertFalse(matcher.names("b", "bc"))
        self.assertFalse(Matcher("x", "=", "a.*").names("a.*", "ab"))

    def test_other(self) -> None:
        self.assertRaises(ValueError, Expression.parse, "a ? b")


class ReferenceTests(SynchronousTestCase):
    def wrong(
        self, expression: Expression, exported: Mapping[str, Mapping[str, set[str]]]
    ) -> list[object]:
        """
        What an expression refers to and is not exported.
        """
        wrong: list[object] = []
        known = set(TARGET_LABELS)
        for selector in expression.selectors:
            if selector.metric not in exported:
                wrong.append(selector.metric)
                continue
            labels = exported[selector.metric]
            known |= labels.keys()
            for matcher in selector.matchers:
                values = labels.get(matcher.label)
                if values is None and matcher.label == "job":
                    values = {"echo"}
                if values is None and matcher.label == "instance":
                    values = {"127.0.0.1:9100"}
                wrong += [
                    (selector.metric, matcher)
                    for each in matcher.alternatives
                    if not any(matcher.names(each, value) for value in values or ())
                ]
        return wrong + sorted(expression.labels - known)

    def test_whatIsExported(self) -> None:
        """
        Every expression refers to metrics, labels and values of labels that a real
        service exports.
        """
        exported = {**WatchedService(self).exported(), "up": {}}
        found = {
            (owner, text): self.wrong(Expression.parse(text), exported)
            for owner, text in expressions()
        }
        self.assertGreater(len(found), 40)
        self.assertEqual({key: wrong for key, wrong in found.items() if wrong}, {})
        # It can fail.
        for text, wrong in (
            ("twisted_echo_session", ["twisted_echo_session"]),
            ("sum by (cause) (twisted_echo_sessions)", ["cause"]),
            ("twisted_echo_sessions_ended_total{reason='idle'}", []),
        ):
            self.assertEqual(self.wrong(Expression.parse(text), exported), wrong)
        for matchers in ('reason="idel"', 'reason!~"idle|idel"', 'cause="idle"'):
            text = f"twisted_echo_sessions_ended_total{{{matchers}}}"
            self.assertEqual(len(self.wrong(Expression.parse(text), exported)), 1)


class DashboardTests(SynchronousTestCase):
    def test_panels(self) -> None:
        """
        Each panel has a number of its own, a title, a unit, and a description.
        """
        numbers = [each["id"] for each in DASHBOARD["panels"]]
        self.assertEqual(len(set(numbers)), len(numbers))
        titles = Counter(each["title"] for each in DASHBOARD["panels"])
        self.assertEqual(set(titles.values()), {1})
        for panel in panels():
            title = panel["title"]
            self.assertRegex(title, "^[A-Z]")
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], title)
            self.assertRegex(panel["description"], r"^[A-Z].{15,}\.$", title)
            self.assertTrue(panel["targets"], title)
            references = [each["refId"] for each in panel["targets"]]
            self.assertEqual(len(set(references)), len(references), title)

    def test_places(self) -> None:
        """
        No panel overlaps another one, or is cut off by the page.
        """
        taken: dict[tuple[int, int], str] = {}
        for panel in DASHBOARD["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), taken, panel["title"])
                    taken[x, y] = panel["title"]

    def test_variables(self) -> None:
        """
        Data source and instances are chosen, and every panel minds them.
        """
        names = [each["name"] for each in DASHBOARD["templating"]["list"]]
        self.assertEqual(names, ["datasource", "instance"])
        source = {"type": "prometheus", "uid": "${datasource}"}
        self.assertEqual(DASHBOARD["templating"]["list"][1]["datasource"], source)
        asked = DASHBOARD["templating"]["list"][1]["definition"]
        self.assertEqual(asked, "label_values(twisted_echo_build_info, instance)")
        for panel in panels():
            self.assertEqual(panel["datasource"], source)
            for target in panel["targets"]:
                self.assertEqual(target["datasource"], source)
                expression = Expression.parse(target["expr"])
                for selector in expression.selectors:
                    instance = Matcher("instance", "=~", "$instance")
                    self.assertIn(instance, selector.matchers, panel["title"])

    def test_topics(self) -> None:
        """
        It shows what an operator asks for.
        """
        shown = " ".join(expression for _, expression, _ in targets())
        for metric in (
            *("state", "sessions", "sessions_max", "lines_received_total"),
            *("received_bytes_total", "sent_bytes_total", "sessions_ended_total"),
            *("connections_refused_total", "reactor_lateness_seconds_bucket"),
            *("pending_bytes", "worker_process_cpu_seconds_total"),
            *("worker_process_resident_memory_bytes", "worker_restarts_total"),
        ):
            self.assertRegex(shown, rf"\btwisted_echo_{metric}\b")


class AlarmTests(SynchronousTestCase):
    def test_whatToDo(self) -> None:
        """
        Each alarm has a name of its own and a severity, and says what has happened,
        where, and what to do.
        """
        names = [alarm["alert"] for alarm in ALARMS]
        self.assertEqual(len(set(names)), len(names))
        for alarm in ALARMS:
            name = alarm["alert"]
            self.assertRegex(name, "^Echo[A-Z]")
            self.assertIn(alarm["labels"]["severity"], ("warning", "critical"), name)
            self.assertEqual(set(alarm["annotations"]), {"summary", "description"})
            where = "job" if "absent" in alarm["expr"] else "instance"
            self.assertIn(f"{{{{ $labels.{where} }}}}", alarm["annotations"]["summary"])
            description = alarm["annotations"]["description"]
            self.assertRegex(description, r"(?s)^[A-Z].{60,}\.$", name)
            # The house's limit of words.
            for sentence in re.split(r"[.:;?] ", description):
                self.assertLess(len(sentence.split()), 31, sentence)

    def test_othersNamed(self) -> None:
        """
        What a description refers to is there: other alarms, events of the log, options.
        """
        page = (DOCS / "operations.md").read_text()
        page += (DOCS / "monitoring.md").read_text()
        names = {alarm["alert"] for alarm in ALARMS}
        for alarm in ALARMS:
            text = alarm["annotations"]["description"]
            self.assertLessEqual(set(re.findall(r"\bEcho[A-Z]\w+", text)), names)
            words = re.findall(r'event "([a-z-]+)"|(?<![a-z-])(--[a-z-]+)', text)
            for word in (event or option for event, option in words):
                if word != "--ulimit":
                    self.assertIn(f"`{word}`", page, alarm["alert"])

    def test_documented(self) -> None:
        """
        The page has a row for each alarm, with its severity, in the order of the file.
        """
        page = (DOCS / "deployment.md").read_text()
        rows = re.findall(r"^\| `(Echo\w+)` \| (\w+) \| .{20,} \|$", page, re.M)
        severities = [(each["alert"], each["labels"]["severity"]) for each in ALARMS]
        self.assertEqual(rows, severities)

    def test_eachIsTested(self) -> None:
        """
        For each alarm, the tests have a moment at which it fires, and one at which it
        does not.
        """
        fires, quiet = set(), set()
        for group in ALARM_TESTS:
            for each in group["alert_rule_test"]:
                self.assertEqual(each["alertname"], group["name"])
                (fires if each["exp_alerts"] else quiet).add(group["name"])
        names = {alarm["alert"] for alarm in ALARMS}
        self.assertEqual(fires, names)
        self.assertEqual(quiet, names)

    @skipIf(PROMTOOL is None, "promtool is missing")
    def test_promtool(self) -> None:
        """
        Prometheus' own tool finds nothing wrong, and the alarms' tests pass.
        """
        for command in (("check", "rules", RULES), ("test", "rules", RULE_TESTS)):
            done = subprocess.run(
                [str(PROMTOOL), *map(str, command)], capture_output=True, text=True
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("SUCCESS", done.stdout)


class PrometheusTests(SynchronousTestCase):
    @slow
    @skipIf(PROMETHEUS is None, "prometheus is missing")
    def test_evaluates(self) -> None:
        """
        A real Prometheus that scrapes a real service evaluates every expression. Each
        of the dashboard has a value, with the labels that its legend names; and of a
        service that is well no alarm fires.
        """
        service = WatchedService(self)
        prometheus = WatchingPrometheus(self, service.admin)
        wait_until(lambda: prometheus.has('twisted_echo_worker_sessions{worker="1"}'))
        # Rates need a value before.
        waiting = connect(self, service.address)
        with as_client().wrap_socket(connect(self, service.address)) as client:
            self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        bad = connect(self, service.address)
        bad.sendall(b"this is no handshake\r\n")
        read_to_end(bad)
        open_ = as_client().wrap_socket(connect(self, service.address))
        self.assertEqual(round_trip(open_, b"hello\n"), b"hello\n")

        for title, expression, legend in targets():
            wait_until(lambda text=expression: prometheus.has(text))
            for labels in prometheus.query(expression):
                named = set(re.findall(r"{{(\w+)}}", legend))
                self.assertLessEqual(named, labels.keys(), title)
        wait_until(
            lambda: all(rule["health"] != "unknown" for rule in prometheus.rules())
        )
        rules = prometheus.rules()
        self.assertEqual(len(rules), len(ALARMS))
        for rule in rules:
            self.assertEqual(rule["health"], "ok", rule)
            self.assertNotEqual(rule["state"], "firing", rule)
        waiting.close()
        open_.close()
