"""
C{docs/deploy/haproxy.cfg} with the real HAProxy and three services behind it.
"""

import re
import signal
import socket
import subprocess
import time
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from tests.support.balancer import CONFIGURATION, HAPROXY, NAMES, Balancer
from tests.support.crowd import Crowd
from tests.support.marks import slow
from tests.support.processes import (
    DEADLINE,
    environment,
    read_to_end,
    round_trip,
)

OUT_WITHIN = 2.0
"""
Seconds in which, says the configuration, a service that was killed is out.
"""

SILENT_OUT_WITHIN = 4.0
"""
The same for one that does not answer.
"""

VISITORS = 3

NOTICE = 5
"""
The C{--notice} that the configuration asks for.
"""


@skipIf(HAPROXY is None, "haproxy is missing")
class ConfigurationTests(SynchronousTestCase):
    """
    The file by itself.
    """

    def check(self, **addresses: str) -> str:
        assert HAPROXY is not None
        checked = subprocess.run(
            [HAPROXY, "-c", "-f", str(CONFIGURATION)],
            env=environment(addresses),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
        self.assertEqual(checked.returncode, 0, checked.stdout)
        return checked.stdout

    def test_asShipped(self) -> None:
        """
        HAProxy finds nothing to complain of.
        """
        self.assertEqual(self.check().strip(), "Configuration file is valid")


@skipIf(HAPROXY is None, "haproxy is missing")
class BalancedTests(SynchronousTestCase):
    """
    What clients of three services behind HAProxy see.
    """

    def balancer(self, *, notice: float = NOTICE) -> Balancer:
        return Balancer(self, notice=notice)

    def visit(self, balancer: Balancer, source: str = "127.0.0.1") -> socket.socket:
        """
        Connect from some address, and be answered.
        """
        client = socket.socket()
        self.addCleanup(client.close)
        client.settimeout(DEADLINE)
        client.bind((source, 0))
        client.connect(balancer.address)
        self.assertEqual(round_trip(client, b"here\n"), b"here\n")
        return client

    def crowd(self, balancer: Balancer) -> Crowd:
        """
        Clients of all services: for each at least two of those that stay.
        """
        crowd = Crowd(balancer.address)
        self.addCleanup(crowd.finish)

        def sessions() -> list[int]:
            return [int(balancer.figures(name)["scur"]) for name in NAMES]

        while min(sessions()) < 2:
            self.assertLess(crowd.size, 100)
            # The first one sends as fast as it can, so that much is on its way.
            crowd.add_talker(0.01 if crowd.size else 0)
            balancer.wait(lambda: sum(sessions()) == crowd.size)
        for _ in range(VISITORS):
            crowd.add_visitor()
        return crowd

    @slow
    def test_rollingRestart(self) -> None:
        """
        Each service in turn is told to stop, and started again, under load: all who
        come are served, none of those who stay is cut off within a line or reset,
        and HAProxy never tries a service that does not listen any more.
        """
        balancer = self.balancer()
        crowd = self.crowd(balancer)
        restarts = []
        for name in NAMES:
            leaving = balancer.services[name]
            leaving.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            balancer.wait_for_state(name, "DOWN")
            # It still listens: who is on his way to it is served.
            self.assertIsNone(leaving.process.poll())
            self.assertLess(time.monotonic() - began, OUT_WITHIN)
            self.assertEqual(leaving.wait(), -signal.SIGTERM)
            balancer.services[name] = balancer.start(name)
            balancer.wait_for_state(name, "UP")
            restarts.append((began, time.monotonic()))
            stopped = re.search(
                r"stopped after \S+: (\d+) sessions? (?:was|were) open", leaving.stdout
            )
            assert stopped is not None, leaving.stdout
            self.assertGreaterEqual(int(stopped[1]), 2)
        crowd.finish()

        self.assertEqual([each for each in crowd.long if each.error], [])
        self.assertEqual([each for each in crowd.brief if not each.whole], [])
        # The last talk of each client was ended by itself.
        self.assertEqual(sum(each.whole for each in crowd.long), crowd.size - VISITORS)
        # So many were told good-bye, and so many came meanwhile.
        self.assertGreaterEqual(sum(not each.whole for each in crowd.long), 6)
        for began, ended in restarts:
            came = [each for each in crowd.brief if began < each.began < ended]
            self.assertGreater(len(came), 20)
        for name in NAMES:
            figures = balancer.figures(name)
            self.assertEqual(
                (name, figures["wretr"], figures["wredis"]), (name, "0", "0")
            )

    @slow
    def test_killedUnderLoad(self) -> None:
        """
        When a service is killed, only its own connections end; it is out in time,
        and comes back by itself.
        """
        balancer = self.balancer()
        crowd = self.crowd(balancer)
        victim = "echo2"
        began = time.monotonic()
        self.assertEqual(balancer.services[victim].signal(signal.SIGKILL), -9)
        dead = time.monotonic()
        balancer.wait_for_state(victim, "DOWN")
        self.assertLess(time.monotonic() - began, OUT_WITHIN)
        balancer.start(victim)
        balancer.wait_for_state(victim, "UP")
        crowd.finish()

        ended = [each for each in crowd.long + crowd.brief if not each.whole]
        self.assertGreaterEqual(len(ended), 2)
        for each in ended:
            self.assertLess(each.began, dead)
            self.assertIn(victim, balancer.servers_of(each))
        self.assertEqual(sum(each.whole for each in crowd.long), crowd.size - VISITORS)
        self.assertGreater(sum(each.began > dead for each in crowd.brief), 20)

    @slow
    def test_refused(self) -> None:
        """
        A connection that a service refuses, before HAProxy knows that it is gone,
        is served by another.
        """
        balancer = self.balancer()
        self.assertEqual(balancer.services["echo3"].signal(signal.SIGKILL), -9)
        while balancer.figures("echo3")["status"] != "DOWN":
            self.visit(balancer).close()
        self.assertGreater(int(balancer.figures("echo3")["wredis"]), 0)

    @slow
    def test_killedInSilence(self) -> None:
        """
        Nobody need meet it: the checks alone find a service that was killed, and one
        that has stopped to answer, in the time that the configuration states.
        """
        balancer = self.balancer()
        for name, number, within in (
            ("echo1", signal.SIGKILL, OUT_WITHIN),
            ("echo2", signal.SIGSTOP, SILENT_OUT_WITHIN),
        ):
            began = time.monotonic()
            balancer.services[name].process.send_signal(number)
            balancer.wait_for_state(name, "DOWN")
            self.assertLess(time.monotonic() - began, within)
        balancer.services["echo2"].process.send_signal(signal.SIGCONT)
        balancer.wait_for_state("echo2", "UP")

    def test_drainedByHand(self) -> None:
        """
        The recipe: a service that is in the state C{drain} keeps its sessions, which
        do not see it, and gets no new ones until it is C{ready}. And what each
        service knows of its peers is their own address.
        """
        balancer = self.balancer()

        def homes(client: socket.socket) -> list[str]:
            host, port = client.getsockname()
            return [name for name in NAMES if (host, port) in balancer.peers(name)]

        first = self.visit(balancer, "127.0.1.1")
        (home,) = homes(first)
        self.assertEqual(balancer.ask(f"set server echoes/{home} state drain"), "")
        balancer.wait_for_state(home, "DRAIN")
        others = [self.visit(balancer, f"127.0.1.{number}") for number in range(2, 12)]
        for each in others:
            (other,) = homes(each)
            self.assertNotEqual(other, home)
        self.assertEqual(round_trip(first, b"still here\n"), b"still here\n")
        self.assertEqual(balancer.ask(f"set server echoes/{home} state ready"), "")
        balancer.wait_for_state(home, "UP")
        while True:
            others.append(self.visit(balancer, "127.0.1.1"))
            self.assertLess(len(others), 200)
            if homes(others[-1]) == [home]:
                break
        first.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(first), b"")
