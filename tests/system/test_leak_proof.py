"""
Memory does not grow with sessions: for Python's own books, on every run, and for
Valgrind's, L{tests.support.leak_proof}.
"""

import contextlib
import gc
import io
import os
import shutil
import socket
import sys
import tracemalloc
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.logger import LogPublisher, globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support import leak_proof
from tests.support.clients import ServedTestCase, connect, turn, until
from tests.support.leak_proof import (
    MOST,
    SLACK,
    Account,
    Way,
    empty_caches,
    faults,
    in_turn,
    talk,
)
from tests.support.marks import slow
from tests.support.paths import PROJECT
from tests.support.processes import new_folder
from twisted_echo import EchoConfig, EchoFactory, EchoProtocol, SessionService

AT_ONCE = 10

FEW = 6 * 1024
"""
Bytes by which 800 sessions may differ from none, for what runs at once never runs
twice alike: less than a pointer for each.
"""


class _Deadlines(Clock):
    """
    A clock for deadlines that do not come. (A reactor keeps calls that were
    cancelled until their time has come.)
    """

    def callLater(self, delay: float, *what: Any, **more: Any) -> Any:
        if delay:
            return super().callLater(delay, *what, **more)
        return reactor.callLater(0, *what, **more)


class TracedTests(ServedTestCase):
    """
    With the garbage collector switched off.
    """

    timeout = 120

    def setUp(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.factory = EchoFactory(EchoConfig(), clock=_Deadlines())
        # One thread, for Twisted's pool may start another at any visit.
        self.thread = ThreadPoolExecutor(1)
        self.addCleanup(self.thread.shutdown)
        # Until somebody says where the log goes, Twisted keeps what is logged.
        for each in list(globalLogPublisher._observers):
            if isinstance(each, LogPublisher):
                globalLogPublisher.removeObserver(each)
                self.addCleanup(globalLogPublisher.addObserver, each)

    async def visit(self, service: SessionService, sessions: int) -> None:
        """
        Have so many sessions come and go.
        """
        (address,) = service.addresses
        ways: list[Way] = in_turn(sessions)

        def clients() -> None:
            for first in range(0, sessions, AT_ONCE):
                batch: list[socket.socket] = [connect(address) for _ in range(AT_ONCE)]
                talk(batch)
                for end, client in zip(ways[first:], batch, strict=False):
                    end(client)

        visit = self.thread.submit(clients)
        await until(visit.done)
        visit.result()
        await until(lambda: not service.factory.sessions)
        for _ in range(3):
            await turn()

    async def measure(self, service: SessionService) -> tuple[int, Counter[type]]:
        """
        How much the memory grows from 200 sessions to 1,000, and which objects
        are more.
        """
        counts: tuple[Counter[type], ...] = (Counter(), Counter(), Counter())
        await self.visit(service, 50)
        _count(counts[0])
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        await self.visit(service, 150)
        _count(counts[1])
        began, _ = tracemalloc.get_traced_memory()
        await self.visit(service, 800)
        empty_caches()
        ended, _ = tracemalloc.get_traced_memory()
        _count(counts[2])
        counts[2].subtract(counts[1])
        return ended - began, Counter({k: n for k, n in counts[2].items() if n})

    async def test_flat(self) -> None:
        """
        After 1,000 sessions there are the objects that there were after 200, and
        no more memory is in use.
        """
        growth, more = await self.measure(self.serve(self.factory))
        # `+` leaves out what there is less of.
        self.assertEqual(+more, Counter())
        self.assertLess(abs(growth), FEW)

    async def test_notices(self) -> None:
        """
        A byte string that each session leaves is noticed, and so is an object.
        """
        kept: list[Any] = []

        class Leaking(EchoProtocol):
            def connectionMade(self) -> None:
                super().connectionMade()
                kept.append(bytes(8))
                kept.append([])

        self.factory.protocol = Leaking
        growth, more = await self.measure(self.serve(self.factory))
        self.assertEqual(+more, Counter({list: 800}))
        self.assertGreater(growth, FEW)


def _count(into: Counter[type]) -> None:
    """
    Count all objects that the garbage collector knows, by their types.
    """
    empty_caches()
    into.update(map(type, gc.get_objects()))


class VerdictTests(SynchronousTestCase):
    def test_faults(self) -> None:
        """
        Bytes lost must be equal, and those in use may differ by the slack.
        """
        first = Account(100, 2376, 21, 26_000_000, 200_000)
        least = Account(1000, 2376, 21, 26_000_000 - SLACK, 200_000)
        self.assertEqual(faults([first, first], 0), [])
        self.assertEqual(faults([first, least], SLACK), [])
        self.assertEqual(
            faults([first, least, Account(1, 2376, 21, 26_000_001, 1)], SLACK),
            [f"the bytes in use differ by {SLACK + 1}, {SLACK} bytes are allowed"],
        )
        self.assertEqual(
            faults([first, Account(100, 2377, 21, 26_000_001, 200_000)], 0),
            [
                "the bytes that are definitely lost are not equal",
                "the bytes in use differ by 1, 0 bytes are allowed",
            ],
        )

    def main(self, *arguments: str) -> tuple[object, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status: object = leak_proof.main(arguments)
            except SystemExit as end:
                status = end.code
        return status, out.getvalue(), err.getvalue()

    def test_status(self) -> None:
        """
        0 if it holds, 1 if not; the table tells the numbers.
        """
        self.patch(shutil, "which", lambda name: "/bin/valgrind")
        lost = {100: 5, 101: 5, 1000: 5, 7: 6}
        calls: list[Any] = []

        def account(valgrind: str, sessions: int, at_once: int, **more: Any) -> Account:
            calls.append((valgrind, sessions, at_once))
            return Account(sessions, lost[sessions], 1, 26_000_000 + sessions, 2)

        self.patch(leak_proof, "account", account)
        self.patch(leak_proof, "warm_up", calls.append)
        status, out, _ = self.main()
        self.assertEqual(status, 0)
        self.assertEqual(
            [line.split() for line in out.splitlines()[1:]],
            [
                ["100", "5", "1", "26,000,100", "2"],
                ["1,000", "5", "1", "26,001,000", "2"],
                ["holds"],
            ],
        )
        self.assertEqual(
            calls,
            [None, *(("/bin/valgrind", *each) for each in ((100, 10), (1000, 10)))],
        )
        status, out, _ = self.main("--sessions", "100", "7")
        self.assertEqual(status, 1)
        self.assertIn("FAILED: the bytes that are definitely lost", out)
        status, out, _ = self.main("--one-by-one", "--sessions", "100", "101")
        self.assertEqual(status, 1)
        self.assertIn("FAILED: the bytes in use differ by 1, 0 bytes are allowed", out)
        self.assertEqual(calls[-1][-1], 1)

    def test_noValgrind(self) -> None:
        """
        Without Valgrind it says so, and ends with status 2.
        """
        self.patch(shutil, "which", lambda name: None)
        status, out, err = self.main()
        self.assertEqual((status, out), (2, ""))
        self.assertIn("needs Valgrind (Debian's package valgrind)", err)

    def test_oneCount(self) -> None:
        """
        One run proves nothing.
        """
        status, _, err = self.main("--sessions", "100")
        self.assertEqual(status, 2)
        self.assertIn("two counts", err)

    def test_tooManyOneByOne(self) -> None:
        """
        More than are comparable to the byte are refused.
        """
        status, _, err = self.main("--one-by-one", "--sessions", "50", f"{MOST + 1}")
        self.assertEqual(status, 2)
        self.assertIn(f"{MOST + 1} sessions are more than {MOST}", err)


class EmptyCachesTests(SynchronousTestCase):
    def test_freed(self) -> None:
        """
        Floats that were freed are not kept for later.
        """
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        empty_caches()
        before, _ = tracemalloc.get_traced_memory()
        del [float(number) for number in range(90)][:]
        empty_caches()
        after, _ = tracemalloc.get_traced_memory()
        self.assertLess(after - before, 90 * sys.getsizeof(1.0) / 2)

    def test_garbage(self) -> None:
        """
        Objects that nothing refers to any more are not collected.
        """

        class Unreachable:
            pass

        thing: Any = Unreachable()
        thing.itself = thing
        gone = weakref.ref(thing)
        gc.disable()
        self.addCleanup(gc.enable)
        del thing
        empty_caches()
        self.assertIsNotNone(gone())


LEAK = """\
import ctypes
from twisted_echo.session.factory import SessionFactory

kept = []
ended = SessionFactory.sessionEnded

def leak(self, *args):
    ended(self, *args)
    kept.append(bytes(1000))
    lost = bytes(range(256))[1:]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(lost))

SessionFactory.sessionEnded = leak
"""
"""
Has each session leave 1,000 bytes that are kept and 255 that are lost.
"""


@slow
class ValgrindTests(SynchronousTestCase):
    """
    Some twenty seconds a run.
    """

    def setUp(self) -> None:
        valgrind = shutil.which("valgrind")
        if valgrind is None:
            raise SkipTest("valgrind is not installed")
        self.valgrind = valgrind

    def test_atOnce(self) -> None:
        """
        The proof, as it is documented.
        """
        self.assertEqual(leak_proof.main([]), 0)

    def test_oneByOne(self) -> None:
        """
        Less than a byte more for each session more.
        """
        self.assertEqual(leak_proof.main(["--one-by-one"]), 0)

    def test_notices(self) -> None:
        """
        What a session leaves is noticed, kept or lost.
        """
        folder = new_folder(self)
        (folder / "sitecustomize.py").write_text(LEAK)
        project = PROJECT
        few, more = (
            leak_proof.account(
                self.valgrind,
                sessions,
                10,
                env={"PYTHONPATH": os.pathsep.join([str(folder), str(project)])},
            )
            for sessions in (20, 60)
        )
        self.assertEqual(len(faults([few, more], SLACK)), 2)
        # What looks like a pointer to a lost block may be left in some register.
        self.assertGreater(more.lost_blocks - few.lost_blocks, 30)
        self.assertGreaterEqual(more.in_use - few.in_use, 40 * 1255)
