"""
A rolling update of the pods of docs/deploy/kubernetes.yaml, with HAProxy in the place
of the cluster: it asks the readiness probe of the manifest as the kubelet does, and
gives connections to the pods that are ready as the Service does.
"""

import json
import re
import time
from unittest import skipIf
from urllib.error import HTTPError
from urllib.request import urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.support.balancer import HAPROXY, HAProxy, held_port
from tests.support.containers import BWRAP, Container
from tests.support.crowd import Crowd
from tests.support.image import CONTAINERFILE
from tests.support.manifest import CONTAINER, POD, on_loopback
from tests.support.marks import slow
from tests.support.processes import DEADLINE, environment, new_folder, script

PODS = ("pod1", "pod2", "pod3")
"""
Two that run, and the place of a successor.
"""

VISITORS = 3

CONFIGURATION = """\
global
    stats socket {folder}/stats.sock level admin

defaults
    mode tcp
    timeout connect 3s
    timeout client 1h
    timeout server 1h
    # Nothing but the probe keeps a connection from a pod that does not listen.
    retries 0

frontend echo
    bind 127.0.0.1:{port}
    default_backend echoes

backend echoes
    balance random(1)
    option httpchk
    http-check send meth GET uri {path} ver HTTP/1.1 hdr Host 10.1.2.3:9100
    http-check expect rstatus ^[23]
    timeout check {timeout}s
    default-server check inter {period}s fall {failures} rise 1
"""


class Cluster(HAProxy):
    """
    HAProxy, and places for pods.

    @ivar address: that of the Service.
    @ivar ports: the ports of each pod, by the names of the manifest.
    """

    def __init__(self, test: SynchronousTestCase) -> None:
        self._test = test
        folder = new_folder(test)
        self.address = ("127.0.0.1", held_port(test))
        self.ports = {
            name: {"echo": held_port(test), "admin": held_port(test)} for name in PODS
        }
        probe = CONTAINER["readinessProbe"]
        text = CONFIGURATION.format(
            folder=folder,
            port=self.address[1],
            path=probe["httpGet"]["path"],
            timeout=probe["timeoutSeconds"],
            period=probe["periodSeconds"],
            failures=probe["failureThreshold"],
        )
        for name, ports in self.ports.items():
            address = f"127.0.0.1:{ports['echo']} port {ports['admin']}"
            text += f"    server {name} {address}\n"
        (folder / "haproxy.cfg").write_text(text)
        super().__init__(test, folder / "haproxy.cfg", folder=folder)

    def start(self, name: str) -> Container:
        """
        Start a pod, with the options of the manifest and the command of the image, and
        wait until it is ready.
        """
        (entrypoint,) = re.findall(
            r"^ENTRYPOINT (\[.*?\])$", CONTAINERFILE.read_text(), re.M | re.S
        )
        command = json.loads(entrypoint.replace("\\\n", ""))
        pod = Container.run(
            self._test,
            ["--dev-bind", "/", "/"],
            [script("twistd"), *command[1:]],
            folder=new_folder(self._test),
            variables=environment(on_loopback(self.ports[name])),
        )
        self.wait_for_state(name, "UP")
        return pod

    def probe(self, name: str, path: str) -> int:
        """
        Ask a page of a pod.

        @return: the status of the answer.
        """
        url = f"http://127.0.0.1:{self.ports[name]['admin']}{path}"
        try:
            with urlopen(url, timeout=DEADLINE) as answer:
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code


@slow
@skipIf(HAPROXY is None, "haproxy is missing")
@skipIf(BWRAP is None, "bwrap is missing")
class RollingUpdateTests(SynchronousTestCase):
    def crowd(self, cluster: Cluster) -> Crowd:
        """
        Clients of both pods: at least two that stay for each, and some that come and
        go.
        """
        crowd = Crowd(cluster.address)
        self.addCleanup(crowd.finish)

        def sessions() -> list[int]:
            return [int(cluster.figures(name)["scur"]) for name in PODS[:2]]

        while min(sessions()) < 2:
            self.assertLess(crowd.size, 100)
            crowd.add_talker(0.01)
            cluster.wait(lambda: sum(sessions()) == crowd.size)
        for _ in range(VISITORS):
            crowd.add_visitor()
        return crowd

    def test_rollingUpdate(self) -> None:
        """
        Each pod is told to stop when its successor is ready, under load. It gets no
        new connections before it closes its port, and ends with status 0 before the
        kubelet would kill it. No client loses a line, none gets a reset.
        """
        cluster = Cluster(self)
        pods = {name: cluster.start(name) for name in PODS[:2]}
        crowd = self.crowd(cluster)
        for leaving, coming in (("pod1", "pod3"), ("pod2", "pod1")):
            pods[coming] = cluster.start(coming)
            pods[leaving].stop()
            began = time.monotonic()
            cluster.wait_for_state(leaving, "DOWN")
            # Within the notice: it listens still, and says what it does.
            self.assertNotIn('"event": "draining"', pods[leaving].stdout)
            self.assertEqual(cluster.probe(leaving, "/readyz"), 503)
            self.assertEqual(cluster.probe(leaving, "/healthz"), 200)
            self.assert_ends(pods[leaving], began)
        crowd.finish()

        self.assertEqual([each for each in crowd.long if each.error], [])
        self.assertEqual([each for each in crowd.brief if not each.whole], [])
        # So many were told good-bye, and all of them ended their last talk themselves.
        self.assertGreaterEqual(sum(not each.whole for each in crowd.long), 4)
        self.assertEqual(sum(each.whole for each in crowd.long), crowd.size - VISITORS)
        for name in PODS:
            figures = cluster.figures(name)
            errors = [figures[each] for each in ("econ", "eresp", "wretr", "wredis")]
            self.assertEqual((name, errors), (name, ["0"] * 4))
            self.assertGreater(int(figures["stot"]), 0)

    def assert_ends(self, pod: Container, began: float) -> None:
        """
        A pod that stops has cut off no client, and ends in time.
        """
        grace = POD["spec"]["terminationGracePeriodSeconds"]
        pod.deadline = grace + DEADLINE
        self.assertEqual(pod.wait(), 0, pod.report("ended"))
        self.assertLess(time.monotonic() - began, grace)
        stopped = pod.event("stopped")
        self.assertGreaterEqual(stopped["served"].get("stopped", 0), 2)
        ends = {"peer-closed", "half-closed", "stopped"}
        self.assertLessEqual(set(stopped["served"]), ends)
        self.assertEqual(stopped["refused"], {})
