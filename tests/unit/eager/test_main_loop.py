"""
L{twisted_echo.eager.epoll_reactor}: what its turns do besides polling.
"""

import errno
import gc
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from twisted.internet import base
from twisted.python.context import theContextTracker

from tests.support.descriptors import FakePoller, Readable
from tests.support.loop import Loop, LoopTestCase

# Seconds in which none of these tests ends.
NEVER = 1000.0


def run(loop: Loop) -> None:
    """
    Run a reactor until it stops, or for a minute.
    """
    end = loop.reactor.callLater(60, loop.reactor.crash)
    loop.reactor.run(installSignalHandlers=False)
    loop.test.assertFalse(end.called, "the reactor did not stop")


class EachTurn(Readable):
    """
    Can be read in every turn.
    """

    onEach: Callable[[], Any] = staticmethod(lambda: None)

    def doRead(self) -> None:
        self.onEach()
        super().doRead()


class Unsendable:
    """
    A socket that cannot send.
    """

    def __init__(self, real: socket.socket) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def send(self, data: bytes) -> int:
        raise ZeroDivisionError


class MainLoopTests(LoopTestCase):
    def readable(self) -> EachTurn:
        ends = socket.socketpair()
        for each in ends:
            self.addCleanup(each.close)
        ends[1].send(b"x")
        return EachTurn(ends[0])

    def test_nothing_due(self) -> None:
        """
        A turn in which nothing is due calls nothing of Twisted's that looks for it, nor
        what catches the exceptions of turns.
        """
        readable, loop = self.readable(), self.eager()
        called: list[str] = []
        before = sys.getprofile()

        def note(frame: FrameType, event: str, _: Any) -> None:
            code = frame.f_code
            if event == "call" and (
                code.co_filename == base.__file__ or code.co_name == "__enter__"
            ):
                called.append(code.co_name)

        def begin() -> None:
            readable.onRead = end
            sys.setprofile(note)

        def end() -> None:
            sys.setprofile(before)
            called.append("end")
            loop.reactor.stop()

        readable.onRead = begin
        loop.reactor.callLater(NEVER, begin)
        loop.reactor.addReader(readable)
        self.addCleanup(sys.setprofile, before)
        run(loop)
        self.assertEqual(called, ["end"])

    def test_due(self) -> None:
        """
        Timed calls, new ones and those from threads come in the order of Twisted's
        turns, also after one that raises, and by a clock of the program's.
        """

        def scenario(loop: Loop) -> Any:
            reactor, now = loop.reactor, [1e9]
            events: list[Any] = []
            reactor.seconds = lambda: now[0]

            def note(what: str, advance: float = 0.0) -> None:
                events.append((what, now[0], reactor.timeout()))
                now[0] += advance

            def begin() -> None:
                note("begin")
                reactor.callLater(1, note, "first", 2)
                reactor.callLater(2, note, "second")
                reactor.callLater(2, later.delay, 1)
                reactor.callLater(0, fail)
                reactor.callLater(0.5, note, "cancelled").cancel()
                reactor.callFromThread(note, "from a thread", 1)

            def fail() -> None:
                events.append(("fails", now[0]))
                raise ZeroDivisionError

            later = reactor.callLater(2.5, note, "delayed", 1)
            reactor.callLater(4, reactor.stop)
            reactor.callWhenRunning(begin)
            thread = threading.Thread(target=reactor.callFromThread, args=(note, "one"))
            thread.start()
            thread.join()
            # Each turn has something to read, and takes a quarter of a second.
            readable = self.readable()
            readable.onEach = lambda: now.__setitem__(0, now[0] + 0.25)
            reactor.addReader(readable)
            run(loop)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            return events

        self.same(scenario)

    def test_at_once(self) -> None:
        """
        What an event leaves to the next turn comes before what that turn reads.
        """

        def scenario(loop: Loop, isFromThread: bool) -> Any:
            reactor, readable = loop.reactor, self.readable()
            found: list[int] = []

            def leave() -> None:
                if isFromThread:
                    reactor.callFromThread(end)
                else:
                    reactor.callLater(0, end)

            def end() -> None:
                found.append(readable.reads)
                reactor.stop()

            readable.onRead = leave
            reactor.addReader(readable)
            run(loop)
            return [*found, readable.reads]

        for each in (True, False):
            self.assertEqual(self.same(partial(scenario, isFromThread=each)), [1, 1])

    def test_failing_turn(self) -> None:
        """
        What a turn raises is logged, and the next turn follows.
        """

        def scenario(loop: Loop) -> Any:
            reactor = loop.reactor
            reactor._poller = FakePoller(
                reactor._poller, OSError(errno.EBADF, "first"), ValueError("second")
            )
            reactor.callLater(0.001, reactor.callLater, 0, reactor.stop)
            run(loop)
            return [
                (str(each.value), each.type)
                for each in self.flushLoggedErrors(OSError, ValueError)
            ]

        self.assertEqual(len(self.same(scenario)), 2)

    def test_timeout(self) -> None:
        """
        A poll waits as long as Twisted's would.
        """

        def scenario(loop: Loop) -> Any:
            reactor, found = loop.reactor, []
            reactor.seconds = lambda: 1e9
            for delay in (1e12, 2_500_000, 2_100_000, 1.5, 0):
                reactor.callLater(delay, lambda: None)
                # The first one puts the call in order.
                found += [reactor.timeout(), reactor.timeout()]
            reactor.seconds = lambda: 1e9 + 1
            return [*found, reactor.timeout()]

        self.same(scenario)

    def test_cancelled(self) -> None:
        """
        Many cancelled calls are forgotten, long before they are due.
        """
        readable, loop = self.readable(), self.eager()
        calls = [loop.reactor.callLater(NEVER, self.fail) for _ in range(60)]
        known = [weakref.ref(each) for each in calls]
        left: list[Any] = []

        def cancel() -> None:
            while calls:
                calls.pop().cancel()
            readable.onRead = look

        def look() -> None:
            left.append([each() for each in known])
            loop.reactor.stop()

        readable.onRead = cancel
        loop.reactor.addReader(readable)
        run(loop)
        self.assertEqual(left, [[None] * 60])

    def test_other_thread(self) -> None:
        """
        A loop that is run again, in another thread, has the log contexts of that.
        """
        readable, loop = self.readable(), self.eager()
        seen: list[int] = []

        def crash() -> None:
            contexts = theContextTracker.currentContext().contexts
            seen.append(len(contexts))
            loop.reactor.crash()

        for start in (run, self.in_thread):
            readable.onRead = crash
            loop.reactor.addReader(readable)
            start(loop)
        readable.onRead = crash
        loop.turn()
        self.assertEqual(len(set(seen)), 1)
        self.assertEqual(len(seen), 3)

    def in_thread(self, loop: Loop) -> None:
        thread = threading.Thread(target=run, args=(loop,))
        thread.start()
        thread.join()

    def test_within_a_context(self) -> None:
        """
        A loop that runs within a context of the program's keeps no connection that has
        ended.
        """
        loop = self.eager()
        protocol, peer = loop.link("accepted TCP")
        ended = weakref.ref(protocol.transport)
        protocol.onReceived = lambda data: protocol.transport.loseConnection()
        # (Its events were handled when another turn begins.)
        protocol.onLost = lambda: loop.reactor.callLater(0, loop.reactor.crash)
        peer.send(b"x")
        theContextTracker.callWithContext({"a": "context"}, run, loop)
        del protocol.transport
        gc.collect()
        self.assertIsNone(ended())

    def test_failing_send(self) -> None:
        """
        A send that raises ends its connection, and the turn does not wait: what that
        brings about may be due.
        """
        loop = self.eager()
        protocol, _ = loop.link("accepted TCP")
        protocol.transport.socket = Unsendable(protocol.transport.socket)
        protocol.transport.write(b"x")
        self.assertTrue(loop.reactor.flushWriteQueue())
        self.assertIs(protocol.reason, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
