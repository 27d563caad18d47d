"""
docs/deploy/Containerfile: a real build of it, and a container that can write nowhere.
"""

import contextlib
import json
import os
import signal
import stat
from typing import Any
from unittest import SkipTest
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.support.balancer import held_port
from tests.support.image import CANNOT_BUILD, Image
from tests.support.manifest import on_loopback
from tests.support.marks import slow
from tests.support.processes import DEADLINE, Command, connect, round_trip

INSTALLED = "opt/twisted-echo"


class Container(Command):
    """
    A running container.

    @ivar handle: a descriptor of its process, which is the child of C{bwrap}.
    """

    handle: int

    @classmethod
    def run(
        cls, test: "ImageTests", image: Image, variables: dict[str, str]
    ) -> "Container":
        reads, writes = os.pipe()
        with open(reads) as told:
            try:
                container = cls(
                    test,
                    image.command(variables, information=writes),
                    folder=image.root,
                    pass_fds=[writes],
                )
            finally:
                os.close(writes)
            information = told.read()
        if not information:
            container.wait()
            raise container.report("no container was made")
        container.handle = os.pidfd_open(json.loads(information)["child-pid"])
        test.addCleanup(os.close, container.handle)
        test.addCleanup(container.kill)
        container.wait_for('"event": "started"')
        return container

    def stop(self) -> int:
        """
        Stop it as an orchestrator does.

        @return: its status.
        """
        signal.pidfd_send_signal(self.handle, signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """
        Kill its process, if it still runs, and let C{bwrap} see that.
        """
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        self.wait()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


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
        container = Container.run(self, image, variables)
        client = connect(self, ("127.0.0.1", ports["echo"]))
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        for path in ("healthz", "readyz"):
            url = f"http://127.0.0.1:{ports['admin']}/{path}"
            # As the kubelet asks: by the address of the pod.
            asked = Request(url, headers={"Host": "10.1.2.3:9100"})
            with urlopen(asked, timeout=DEADLINE) as answer:
                self.assertEqual(answer.status, 200)
        self.assertEqual(container.stop(), 0, container.report("ended"))

        self.assertEqual(container.stderr, "")
        events = container.events
        self.assertEqual({each["level"] for each in events}, {"info"}, events)
        self.assertEqual({each["pid"] for each in events}, {1})
        (started,) = [each for each in events if each["event"] == "started"]
        self.assertEqual(started["implementation"], "compiled")
        self.assertEqual(image.files(), before)

    def assert_has_cache(self, image: Image) -> None:
        """
        The list of plugins is needed: without it, it complains.
        """
        (cache,) = image.root.joinpath(INSTALLED).rglob("dropin.cache")
        cache.unlink()
        ports = {"echo": held_port(self), "admin": held_port(self)}
        container = Container.run(self, image, on_loopback(ports))
        self.assertIn("Unable to write to plugin cache", container.stdout)
