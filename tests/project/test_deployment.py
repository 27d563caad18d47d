"""
docs/deploy/kubernetes.yaml and docs/deploy/Containerfile: they are valid, they fit each
other, the command and the figures of docs/sizing.md, and docs/deployment.md tells
what is in them.
"""

import re
import subprocess
from importlib.metadata import version
from typing import Any
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from tests.support.manifest import (
    CONTAINER,
    OLDEST,
    POD,
    PORTS,
    RESOURCES,
    VARIABLES,
)
from tests.support.paths import DOCS
from tests.support.processes import DEADLINE, new_folder
from tests.support.watching import PROMTOOL, RULES
from twisted_echo.command.options.environment import fromEnvironment, variableOf
from twisted_echo.command.options.option_table import OPTIONS
from twisted_echo.stop import longestStop
from twisted_echo.tap import Options

MIB = 1 << 20

CONTAINERFILE = (DOCS / "deploy" / "Containerfile").read_text()
SIZING = (DOCS / "sizing.md").read_text()
PAGE = (DOCS / "deployment.md").read_text()


def settings() -> Any:
    """
    What the command makes of the environment of the manifest.
    """
    names = {variableOf(each.name): each.name for each in OPTIONS}
    options = Options()
    options.parseOptions([f"--{names[key]}={text}" for key, text in VARIABLES.items()])
    return options.settings


def size(text: str) -> int:
    """
    A size as Kubernetes writes it, in bytes.
    """
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()
    return int(number) * {"Mi": MIB, "Gi": 1 << 30}[unit]


def figure(pattern: str) -> float:
    """
    A figure of docs/sizing.md.
    """
    (text,) = re.findall(pattern, SIZING)
    return float(text)


class ManifestTests(SynchronousTestCase):
    """
    The manifest fits the command.
    """

    def test_options(self) -> None:
        """
        Every variable is that of an option, with a legal value.
        """
        self.assertEqual(
            {variableOf(name) for name in fromEnvironment(VARIABLES, OPTIONS)},
            set(VARIABLES),
        )

    def test_stop(self) -> None:
        """
        The longest stop ends before the kubelet kills, and not much before.
        """
        asked = settings()
        longest = asked.notice + longestStop(asked.echo.drain, asked.echo.abortAfter)
        grace = POD["spec"]["terminationGracePeriodSeconds"]
        self.assertLess(longest + 2, grace)
        self.assertGreater(longest + 10, grace)

    def test_notice(self) -> None:
        """
        The readiness probe finds out about a stop before the port is closed.
        """
        probe = CONTAINER["readinessProbe"]
        within = (
            probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
        )
        self.assertLess(within, settings().notice)

    def test_probes(self) -> None:
        """
        The probes ask the port of C{--admin}, which listens on every address.
        """
        for name, path in (
            ("readinessProbe", "/readyz"),
            ("livenessProbe", "/healthz"),
        ):
            asked = {"path": path, "port": "admin"}
            self.assertEqual(CONTAINER[name]["httpGet"], asked)
        self.assertEqual(
            (VARIABLES["TWISTED_ECHO_LISTEN"], VARIABLES["TWISTED_ECHO_ADMIN"]),
            (f"tcp:{PORTS['echo']}", f"tcp:{PORTS['admin']}:interface=0.0.0.0"),
        )

    def test_names(self) -> None:
        """
        The resources mean the same pods and ports. Only the monitoring gets to the
        port of C{--admin}.
        """
        labels = POD["metadata"]["labels"]
        deployment, service, budget, policy = (
            RESOURCES[kind]["spec"]
            for kind in (
                "Deployment",
                "Service",
                "PodDisruptionBudget",
                "NetworkPolicy",
            )
        )
        (spread,) = POD["spec"]["topologySpreadConstraints"]
        for selector in (
            deployment["selector"]["matchLabels"],
            service["selector"],
            budget["selector"]["matchLabels"],
            policy["podSelector"]["matchLabels"],
            spread["labelSelector"]["matchLabels"],
        ):
            self.assertEqual(selector, labels)
        self.assertEqual([each["targetPort"] for each in service["ports"]], ["echo"])
        self.assertEqual(service["ports"][0]["port"], PORTS["echo"])
        fromAll, fromSome = policy["ingress"]
        self.assertEqual(fromAll, {"ports": [{"port": "echo"}]})
        self.assertEqual(fromSome["ports"], [{"port": "admin"}])
        self.assertTrue(fromSome["from"])

    def test_rollingUpdate(self) -> None:
        """
        A pod goes when its successor is ready.
        """
        self.assertEqual(
            RESOURCES["Deployment"]["spec"]["strategy"]["rollingUpdate"],
            {"maxUnavailable": 0, "maxSurge": 1},
        )

    def test_privileges(self) -> None:
        """
        The process has none.
        """
        pod = POD["spec"]
        (number,) = map(int, re.findall(r"^USER (\d+):\1$", CONTAINERFILE, re.M))
        self.assertEqual(
            pod["securityContext"],
            {
                "runAsNonRoot": True,
                "runAsUser": number,
                "runAsGroup": number,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        )
        self.assertEqual(
            CONTAINER["securityContext"],
            {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        )
        self.assertIs(pod["automountServiceAccountToken"], False)
        self.assertIs(pod["enableServiceLinks"], False)
        self.assertNotIn("volumes", pod)

    def test_image(self) -> None:
        """
        The image is of this version, under the name that the page and the
        Containerfile give it.
        """
        image = f"twisted-echo:{version('twisted-echo')}"
        self.assertEqual(CONTAINER["image"], image)
        for text in (PAGE, CONTAINERFILE):
            self.assertIn(f"--tag {image}", text)


class ResourcesTests(SynchronousTestCase):
    """
    What a pod may take follows from the figures of docs/sizing.md.
    """

    def setUp(self) -> None:
        atStart = figure(r"A service starts with (\d+) MiB") * MIB
        ofProcess = figure(r"\| memory of the process, KiB \| ([\d.]+) \|")
        ofKernel = figure(
            r"\| memory of the kernel for each socket, KiB \| ([\d.]+) \|"
        )
        self.limits = settings().echo.limits
        sessions = self.limits.sessions * (ofProcess + ofKernel) * 1024
        self.idle = atStart + sessions
        self.resources = CONTAINER["resources"]

    def test_request(self) -> None:
        """
        The request is enough for all sessions while they are idle, and not much more.
        """
        request = size(self.resources["requests"]["memory"])
        self.assertLess(self.idle, request)
        self.assertGreater(self.idle * 1.25, request)

    def test_limit(self) -> None:
        """
        The limit has room for what may be held, and as much again for the kernel.
        """
        held = self.limits.buffered * 17 / 16
        limit = size(self.resources["limits"]["memory"])
        self.assertLess(self.idle + 2 * held, limit)
        self.assertGreater((self.idle + 2 * held) * 1.25, limit)

    def test_processor(self) -> None:
        """
        Half a processor is what to plan with, and nothing stops a process at it.
        """
        self.assertIn("Plan for half of that load: at 50 % of a processor", SIZING)
        self.assertEqual(self.resources["requests"]["cpu"], "500m")
        self.assertNotIn("cpu", self.resources["limits"])


class PageTests(SynchronousTestCase):
    def test_rollingUpdate(self) -> None:
        """
        The page tells the times of a rolling update as the manifest has them.
        """
        asked = settings()
        for sentence in (
            f"after {asked.notice:g} seconds, `--notice`",
            f"after {asked.echo.drain:g} seconds more, `--drain`",
            f"{asked.echo.abortAfter + 1:g} seconds later at most | clients",
            f"after {POD['spec']['terminationGracePeriodSeconds']} seconds |"
            " `terminationGracePeriodSeconds`",
            f"for {asked.echo.limits.sessions:,} idle sessions",
        ):
            self.assertIn(sentence, PAGE)

    @skipIf(PROMTOOL is None, "promtool is missing")
    def test_prometheus(self) -> None:
        """
        Prometheus takes the configurations that the page has, and their alarms.
        """
        assert PROMTOOL is not None
        static, discovered = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
        label = POD["metadata"]["labels"]["app.kubernetes.io/name"]
        self.assertIn(f"regex: {label};{CONTAINER['ports'][1]['name']}\n", discovered)
        # Debian's does not know Kubernetes.
        listed = "static_configs: [{targets: [localhost]}]"
        known = re.sub(r"kubernetes_sd_configs: \[.*\]", listed, discovered)
        self.assertNotEqual(known, discovered)
        folder = new_folder(self)
        (folder / "alerts.yml").write_bytes(RULES.read_bytes())
        for block in (static, known):
            (folder / "prometheus.yml").write_text(block)
            checked = subprocess.run(
                [PROMTOOL, "check", "config", "prometheus.yml"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
            )
            self.assertEqual(checked.returncode, 0, checked.stderr)
            self.assertIn("rules found", checked.stdout)

    def test_oldest(self) -> None:
        """
        The manifest names the oldest version that it was validated for.
        """
        text = (DOCS / "deploy" / "kubernetes.yaml").read_text()
        self.assertIn(f"on Kubernetes ({OLDEST} or newer)", text.splitlines()[0])
