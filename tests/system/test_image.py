"""
docs/deploy/Containerfile: a real build of it, and a container that can write nowhere.
"""

import stat
from unittest import SkipTest
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.support.balancer import held_port
from tests.support.image import CANNOT_BUILD, Image
from tests.support.manifest import on_loopback
from tests.support.marks import slow
from tests.support.processes import DEADLINE, connect, round_trip

INSTALLED = "opt/twisted-echo"


@slow
class ImageTests(SynchronousTestCase):
    def setUp(self) -> None:
        if CANNOT_BUILD:
            raise SkipTest(CANNOT_BUILD)

    def test_image(self) -> None:
        image = Image(self)
        self.assert_described(image)
        self.assert_read_only(image)
        self.assert_runs(image)
        self.assert_has_cache(image)

    def assert_described(self, image: Image) -> None:
        """
        The process needs no shell, and stops by SIGTERM. Only the port of the service
        is exposed.
        """
        self.assertEqual(
            image.config["Entrypoint"][0], f"/{INSTALLED}/bin/twistd", image.config
        )
        self.assertEqual(image.config["StopSignal"], "SIGTERM")
        self.assertEqual(list(image.config["ExposedPorts"]), ["7007/tcp"])

    def assert_read_only(self, image: Image) -> None:
        """
        Nothing that is installed belongs to the user of the process, or can be written
        by others.
        """
        files = image.files(INSTALLED)
        self.assertGreater(len(files), 1000)
        for name, (user, group, mode, *_) in files.items():
            self.assertEqual((user, group), (0, 0), name)
            if not stat.S_ISLNK(mode):
                self.assertFalse(mode & 0o022, name)

    def assert_runs(self, image: Image) -> None:
        """
        It serves with the options of the manifest, answers the kubelet's probes, and
        stops in order with status 0. It complains of nothing and writes nothing.
        """
        before = image.files()
        ports = {"echo": held_port(self), "admin": held_port(self)}
        variables = on_loopback(ports)
        # How long they are is the matter of test_rolling_update.
        variables |= {"TWISTED_ECHO_NOTICE": "0s", "TWISTED_ECHO_DRAIN": "0s"}
        container = image.run(self, variables)
        client = connect(self, ("127.0.0.1", ports["echo"]))
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        for path in ("healthz", "readyz"):
            url = f"http://127.0.0.1:{ports['admin']}/{path}"
            # As the kubelet asks: by the address of the pod.
            asked = Request(url, headers={"Host": "10.1.2.3:9100"})
            with urlopen(asked, timeout=DEADLINE) as answer:
                self.assertEqual(answer.status, 200)
        container.stop()
        self.assertEqual(container.wait(), 0, container.report("ended"))

        self.assertEqual(container.stderr, "")
        events = container.events
        self.assertEqual({each["level"] for each in events}, {"info"}, events)
        self.assertEqual({each["pid"] for each in events}, {1})
        self.assertEqual(container.event("started")["implementation"], "compiled")
        self.assertEqual(image.files(), before)

    def assert_has_cache(self, image: Image) -> None:
        """
        The list of plugins is needed: without it, it complains.
        """
        (cache,) = image.root.joinpath(INSTALLED).rglob("dropin.cache")
        cache.unlink()
        ports = {"echo": held_port(self), "admin": held_port(self)}
        container = image.run(self, on_loopback(ports))
        self.assertIn("Unable to write to plugin cache", container.stdout)
