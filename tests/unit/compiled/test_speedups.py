"""
L{twisted_echo.compiled.speedups} does what the Python code does.
"""

import gc
import os
import select
import shutil
import socket
import subprocess
import sys
from typing import Any
from unittest import SkipTest

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from tests.support.compiled import need_compiled
from tests.support.loop import Loop, LoopTestCase, Recorder, wait_for_event
from tests.support.marks import slow
from tests.support.paths import PROJECT
from tests.support.processes import DEADLINE, environment, read_exactly
from twisted_echo.compiled.choice import speedups
from twisted_echo.eager.sending import Sending, WritingMixin
from twisted_echo.eager.slots import Slots
from twisted_echo.eager.tcp_transports import EagerTCPMixin

READ_MOST, MANY = 65_536, 16_384
"""
The bytes that one read takes at most, and how many are handed on without being copied.
"""
PATIENCE = 40 * DEADLINE
"""
Seconds. Valgrind takes a minute of a processor that it has for itself.
"""


def walks(
    first: int, last: int, *before: str, **settings: str
) -> "subprocess.CompletedProcess[str]":
    """
    Run the walks of L{tests.support.compiled_fuzz} in a process.

    @param before: a command that runs Python.
    @param settings: variables of its environment.
    @return: what they print, and among their errors what the command before says.
    """
    run = subprocess.run(
        [
            *(*before, sys.executable, "-m", "tests.support.compiled_fuzz"),
            *(str(first), str(last)),
        ],
        cwd=PROJECT,
        env=environment({"PYTHONHASHSEED": "0", **settings}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if run.returncode:
        raise AssertionError(run.stderr)
    return run


class WalkTests(SynchronousTestCase):
    def setUp(self) -> None:
        need_compiled()

    def same(self, first: int, last: int) -> None:
        """
        (A line begins with the seed of its walk.)
        """
        ours = walks(first, last, TWISTED_ECHO_COMPILED="yes").stdout
        reference = walks(first, last, TWISTED_ECHO_COMPILED="no").stdout
        self.assertEqual(ours.splitlines(), reference.splitlines())
        self.assertIn("QUEUED", ours)

    def test_same(self) -> None:
        """
        Random walks of a connection go with it as they go without it.
        """
        self.same(0, 12)

    @slow
    def test_sameInMany(self) -> None:
        self.same(12, 150)

    @slow
    def test_memory(self) -> None:
        """
        Valgrind finds no use of memory that is not its own. (It finds one in CPython
        itself, where no call of the compiled part is on the stack.)
        """
        valgrind = shutil.which("valgrind")
        if valgrind is None:
            raise SkipTest("valgrind is not installed")
        run = walks(
            *(0, 12, valgrind, "--num-callers=40"),
            PYTHONMALLOC="malloc",
            TWISTED_ECHO_COMPILED="yes",
        )
        self.assertIn("ERROR SUMMARY", run.stderr)
        self.assertNotIn("speedups", run.stderr)


class ConnectionTests(LoopTestCase):
    def setUp(self) -> None:
        need_compiled()
        self.loop: Loop = self.eager()
        self.protocol: Recorder
        self.peer: socket.socket
        self.protocol, self.peer = self.loop.link("accepted TCP")
        self.transport: Any = self.protocol.transport

    def echo(self, data: bytes) -> None:
        self.peer.sendall(data)
        self.loop.read(self.transport)
        self.assertEqual(read_exactly(self.peer, len(data)), data)

    def test_used(self) -> None:
        for owner, name in (
            (EagerTCPMixin, "doRead"),
            (WritingMixin, "sendNow"),
            (WritingMixin, "write"),
        ):
            method = getattr(type(self.transport), name)
            self.assertIs(method, vars(owner)[name])
            self.assertEqual(type(method).__name__, "method_descriptor")

    def test_noReferenceKept(self) -> None:
        """
        Lines, large reads and exceptions leave nothing behind.
        """
        counted = []
        for _ in range(4):
            for _ in range(50):
                self.protocol.onReceived = self.transport.write
                self.echo(b"a line\n")
                self.echo(b"x" * 20_000)
                self.transport.write(b"later")
                self.loop.turn()
                read_exactly(self.peer, 5)
                self.protocol.onReceived = self.fail
                self.peer.sendall(b"wrong")
                self.assertRaises(ZeroDivisionError, self.read)
                self.loop.turn()
                read_exactly(self.peer, 5)
            self.protocol.events.clear()
            self.protocol.received = b""
            gc.collect()
            counted.append(
                (
                    *map(sys.getrefcount, (Sending.QUEUED, Sending.GATHERING)),
                    sys.getrefcount(self.transport),
                    sys.getallocatedblocks(),
                )
            )
        *references, blocks = zip(*counted[1:], strict=True)
        self.assertEqual([len(set(each)) for each in references], [1, 1, 1])
        # (In two rounds there are 100 of each kind.)
        self.assertLess(blocks[-1] - blocks[0], 50)

    def test_sizes(self) -> None:
        """
        What was handed on stays as it came, whether it was copied or not, whatever is
        read after it.
        """
        sizes = (1, MANY - 1, MANY, 1, MANY + 1, READ_MOST - 1, READ_MOST, READ_MOST, 1)
        sent = [bytes([number]) * size for number, size in enumerate(sizes)]
        accepted = self.transport.socket
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 3 * READ_MOST)
        for each in sent:
            self.peer.sendall(each)
            while len(accepted.recv(READ_MOST, socket.MSG_PEEK)) < len(each):
                # The rest is on its way.
                wait_for_event(accepted, select.POLLIN)
            self.read()
        received = [data for what, *data in self.protocol.events if what == "received"]
        self.assertEqual(received, [[each] for each in sent])

    def fail(self, data: bytes) -> None:
        self.transport.write(data)
        raise ZeroDivisionError

    def test_closedSocket(self) -> None:
        """
        Once its socket is closed, nothing is read from who has its number then.
        """
        self.transport.stopReading()
        number = self.transport.socket.detach()
        other, its_peer = socket.socketpair()
        self.addCleanup(its_peer.close)
        os.dup2(other.fileno(), number)
        other.close()
        self.addCleanup(os.close, number)
        its_peer.sendall(b"not for it")
        self.assertIsInstance(self.transport.doRead(), ConnectionLost)
        self.assertEqual(self.protocol.received, b"")
        self.transport.write(b"nor from it")
        # (It cannot be watched any more, either.)
        self.assertRaises(ValueError, self.transport.sendNow)
        its_peer.setblocking(False)
        self.assertRaises(BlockingIOError, its_peer.recv, 1)

    def test_errorWithinAnError(self) -> None:
        """
        What goes wrong after an exception is raised instead of it.
        """

        def fail(data: bytes) -> None:
            self.transport.write(b"x")
            del self.transport.reactor
            raise ValueError

        reactor = self.transport.reactor
        self.protocol.onReceived = fail
        self.peer.sendall(b"x")
        self.assertRaises(AttributeError, self.read)
        self.transport.reactor = reactor
        self.assertFalse(self.transport.isGathering)

    def read(self) -> None:
        wait_for_event(self.transport, select.POLLIN)
        self.transport.doRead()

    def test_attributeMissing(self) -> None:
        """
        Without an attribute that it needs, it fails as the Python code does.
        """
        for name in ("_sending", "_tempDataBuffer", "bufferSize", "dataBuffer"):
            value = getattr(self.transport, name)
            delattr(self.transport, name)
            self.peer.sendall(b"x")
            self.assertRaises(AttributeError, self.read)
            setattr(self.transport, name, value)
        for name in ("_sending", "_tempDataBuffer", "producer"):
            value = getattr(self.transport, name)
            delattr(self.transport, name)
            self.assertRaises(AttributeError, self.transport.write, b"x")
            setattr(self.transport, name, value)
        for name in ("SEND_LIMIT", "_tempDataBuffer", "socket"):
            self.transport.write(b"x")
            value = getattr(self.transport, name)
            delattr(self.transport, name)
            self.assertRaises(AttributeError, self.transport.sendNow)
            setattr(self.transport, name, value)


class ArgumentTests(SynchronousTestCase):
    def setUp(self) -> None:
        need_compiled()

    def test_readReady(self) -> None:
        """
        What is no event, or not in a dictionary, is refused.
        """
        for events, selectables in (
            ([3], {}),
            ([()], {}),
            ([(3,)], {}),
            ([([], 1)], {}),
            ([(3, 1)], None),
        ):
            self.assertRaises(
                (SystemError, TypeError, IndexError),
                *(speedups.readReady, iter(events), [{}], selectables, {}),
            )
        self.assertRaises(TypeError, speedups.readReady)

    def test_prepare(self) -> None:
        """
        It serves the classes that it was given first, on which connections rely.
        """
        with socket.socket() as probe:
            self.assertRaisesRegex(
                ImportError,
                "other classes use it already",
                *(speedups.prepare, Slots, probe, *range(10)),
            )
