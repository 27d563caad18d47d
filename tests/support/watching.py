"""
The dashboard and the alarms that are shipped, what a real service exports, and a real
Prometheus that scrapes it.
"""

import json
import shutil
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.authority import Authority
from tests.support.paths import DOCS
from tests.support.processes import Command, Server, Test, new_folder

__all__ = [
    "ALARMS",
    "ALARM_TESTS",
    "DASHBOARD",
    "PROMETHEUS",
    "PROMTOOL",
    "RULES",
    "RULE_TESTS",
    "WatchedService",
    "WatchingPrometheus",
    "expressions",
    "panels",
    "targets",
]

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")

RULES = DOCS / "deploy" / "alerts.yml"
RULE_TESTS = DOCS / "deploy" / "alerts_test.yml"
DASHBOARD: Any = json.loads((DOCS / "deploy" / "grafana-dashboard.json").read_text())

ALARMS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
]
ALARM_TESTS: list[dict[str, Any]] = yaml.safe_load(RULE_TESTS.read_text())["tests"]


def panels() -> Iterator[dict[str, Any]]:
    """
    The panels of the dashboard that show something: all but the headings.
    """
    yield from (each for each in DASHBOARD["panels"] if each["type"] != "row")


def targets() -> Iterator[tuple[str, str, str]]:
    """
    What the panels ask for: the panel's title, an expression as Prometheus takes it, of
    all instances, and the legend.
    """
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "10m")
            expression = expression.replace('"$instance"', '".*"')
            yield panel["title"], expression, target["legendFormat"]


def expressions() -> Iterator[tuple[str, str]]:
    """
    All expressions, of the dashboard and of the alarms, by what they are of.
    """
    yield from ((title, expression) for title, expression, _ in targets())
    yield from ((alarm["alert"], alarm["expr"]) for alarm in ALARMS)


class WatchedService:
    """
    A real C{twistd echo} that has every metric: it has two workers and TLS.

    @ivar address: where it serves TLS.
    @ivar admin: the host and port of its admin port.
    """

    def __init__(self, test: Test) -> None:
        folder = new_folder(test)
        identity = Authority().issue("server", "localhost")
        (folder / "key.pem").write_bytes(identity.key)
        (folder / "cert.pem").write_bytes(identity.pem)
        self.server = Server.start(
            test,
            *("--workers", "2", "--admin", "0", "--handshake-timeout", "1h"),
            listen=[
                "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem",
            ],
            folder=folder,
        )
        self.address = self.server.address
        self.admin = self.server.wait_for(r"admin on (127\.0\.0\.1:\d+);")[1]

    def exported(self) -> Mapping[str, Mapping[str, set[str]]]:
        """
        The values of each label of each series, by the names of the series.
        """
        url = f"http://{self.admin}/metrics"
        with urllib.request.urlopen(url, timeout=20) as page:
            text = page.read().decode()
        found: dict[str, dict[str, set[str]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values = found.setdefault(sample.name, defaultdict(set))
                for label, value in sample.labels.items():
                    values[label].add(value)
        return found


class WatchingPrometheus:
    """
    A real Prometheus that scrapes a service each second, with the alarms that are
    shipped.
    """

    def __init__(self, test: Test, watched: str) -> None:
        assert PROMETHEUS is not None
        folder = new_folder(test)
        job = {"job_name": "echo", "static_configs": [{"targets": [watched]}]}
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [job],
            "rule_files": [str(RULES)],
        }
        (folder / "prometheus.yml").write_text(json.dumps(configuration))
        # It reports on standard error.
        process = Command(
            test,
            [
                *("/bin/sh", "-c", 'exec "$0" "$@" 2>&1', PROMETHEUS),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            folder=folder,
        )
        port = process.wait_for(r'msg="Listening on".* address=127\.0\.0\.1:(\d+)')[1]
        self._url = f"http://127.0.0.1:{port}/api/v1"
        process.wait_for("Server is ready to receive web requests")

    def ask(self, path: str, **query: str) -> Any:
        """
        The data of an answer of its API.
        """
        url = f"{self._url}/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        assert not found.get("warnings"), found
        return found["data"]

    def query(self, expression: str) -> list[dict[str, str]]:
        """
        The labels of each series of an expression, now.
        """
        found = self.ask("query", query=expression)["result"]
        return [each["metric"] for each in found]

    def has(self, expression: str) -> bool:
        """
        Whether an expression has a value now.
        """
        return bool(self.query(expression))

    def rules(self) -> list[dict[str, Any]]:
        """
        The alarms, with their C{health} and C{state}.
        """
        (group,) = self.ask("rules")["groups"]
        rules: list[dict[str, Any]] = group["rules"]
        return rules
