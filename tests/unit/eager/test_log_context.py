"""
L{twisted_echo.eager.epoll_reactor}: what is logged says whose doing it is.
"""

import re
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python import context, log
from twisted.python.threadpool import ThreadPool

from tests.support.loop import (
    ASYNCIO,
    TCP,
    TURNS,
    UNIX,
    Loop,
    LoopTestCase,
    close_with_reset,
)


class LogTestCase(LoopTestCase):
    def logged(self) -> list[dict[str, Any]]:
        """
        What is logged from now on.
        """
        events: list[dict[str, Any]] = []
        log.addObserver(events.append)
        self.addCleanup(log.removeObserver, events.append)
        return events


class ErrorLogTests(LogTestCase):
    """
    What the epoll reactors log of errors. (Twisted's reactor on asyncio tells with none
    of them whose it is. Ours does.)
    """

    def test_stack(self) -> None:
        """
        After each turn the stack of contexts is as it was, whatever happened.
        """
        stack = context.theContextTracker.currentContext().contexts
        for kind in TCP + UNIX:
            loop = self.eager()
            before = list(stack)
            for problem in (None, ZeroDivisionError(), KeyboardInterrupt()):
                protocol, peer = loop.link(kind)
                depths = []

                def act(
                    data: bytes, problem: Any = problem, depths: Any = depths
                ) -> None:
                    depths.append(len(stack))
                    if problem is not None:
                        raise problem

                protocol.onReceived = act
                peer.sendall(b"x")
                loop.until(lambda depths=depths: depths)
                self.assertEqual(stack, before)
                self.assertGreater(depths[0], len(before))
        self.flushLoggedErrors()

    def test_errorOnce(self) -> None:
        """
        An exception in C{dataReceived} is logged once, with the connection's
        prefix, and closes the connection with it.
        """
        for kind in TCP + UNIX:
            for problem in (ZeroDivisionError, KeyboardInterrupt, SystemExit):

                def scenario(
                    loop: Loop, kind: str = kind, problem: Any = problem
                ) -> Any:
                    protocol, peer = loop.link(kind)
                    events = self.logged()

                    def act(data: bytes) -> None:
                        raise problem

                    protocol.onReceived = act
                    peer.sendall(b"x")
                    loop.until(lambda: protocol.reason)
                    logged = self.flushLoggedErrors(problem)
                    return (
                        len(logged),
                        protocol.reason,
                        [
                            _nameless(event["system"])
                            for event in events
                            if event["isError"]
                        ],
                    )

                count, reason, systems = self.same(scenario)
                self.assertEqual((count, reason), (1, problem))
                self.assertIn("Recorder", systems[0])

    def test_errorInConnectionLost(self) -> None:
        """
        So is one in C{connectionLost}, whether it comes of end-of-file, of an
        exception or of a reset.
        """
        for how in ("close", "raise", "reset"):

            def scenario(loop: Loop, how: str = how) -> Any:
                protocol, peer = loop.link("accepted TCP")
                events = self.logged()

                def act(data: bytes) -> None:
                    if how == "raise":
                        raise ZeroDivisionError

                def fall() -> None:
                    raise ArithmeticError

                protocol.onReceived, protocol.onLost = act, fall
                peer.sendall(b"x")
                loop.until(lambda: protocol.received)
                if how == "close":
                    peer.close()
                elif how == "reset":
                    close_with_reset(peer)
                loop.until(lambda: protocol.reason)
                self.flushLoggedErrors()
                return protocol.reason, [
                    (event["failure"].type, _nameless(event["system"]))
                    for event in events
                    if event["isError"]
                ]

            _, errors = self.same(scenario)
            self.assertEqual(errors[-1][0], ArithmeticError)


class LogTests(LogTestCase):
    """
    What is logged says whose doing it is.
    """

    def systems(self, kind: str, act: Any) -> Any:
        """
        What C{act} logs in C{dataReceived}, with its system, on both reactors.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link(kind)
            events = self.logged()
            protocol.onReceived = lambda data: act(protocol, loop)
            peer.sendall(b"x")
            loop.until(lambda: protocol.received)
            log.msg("outside")
            return [
                (event["message"], _nameless(event["system"]), event.get("request"))
                for event in events
                if event.get("message")
            ]

        return self.same(scenario)

    def test_system(self) -> None:
        """
        In C{dataReceived} it is the connection's prefix.
        """
        for kind in TCP + UNIX:
            events = self.systems(kind, lambda protocol, loop: log.msg("inside"))
            (_, inside, _), (_, outside, _) = events
            self.assertIn("Recorder", inside)
            self.assertEqual(outside, "-")

    def test_nested(self) -> None:
        """
        A context inside is laid over it, and taken away again.
        """

        def act(protocol: Any, loop: Loop) -> None:
            log.msg("before")
            log.callWithContext({"request": "7"}, log.msg, "within")
            log.callWithContext({"system": "Inner"}, log.msg, "system")
            log.callWithLogger(loop_prefix, log.msg, "logger")
            context.call({"other": 1}, log.msg, "other")
            log.msg("after")

        class Prefix:
            def logPrefix(self) -> str:
                return "Prefix"

        loop_prefix = Prefix()
        for kind in TCP + UNIX:
            events = self.systems(kind, act)
            self.assertEqual(
                [each[0] for each in events],
                [
                    (text,)
                    for text in (
                        *("before", "within", "system", "logger", "other"),
                        *("after", "outside"),
                    )
                ],
            )
            self.assertEqual(events[1][2], "7")
            self.assertEqual([events[2][1], events[3][1]], ["Inner", "Prefix"])

    def test_around(self) -> None:
        """
        What was in the context around the reactor stays in it.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link("accepted TCP")
            events = self.logged()
            protocol.onReceived = lambda data: log.msg("inside")
            peer.sendall(b"x")
            for _ in range(TURNS):
                if protocol.received:
                    break
                log.callWithContext({"request": "7"}, loop.turn, 0.01)
            return [
                (event["message"], _nameless(event["system"]), event.get("request"))
                for event in events
            ]

        self.assertEqual(self.same(scenario)[0][2], "7")

    def test_otherKeys(self) -> None:
        """
        Other keys of the context are found below it, or not at all.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link("accepted TCP")
            found: list[Any] = []
            protocol.onReceived = lambda data: found.extend(
                (context.get("key"), context.get("none"), context.get("none", 3))
            )
            peer.sendall(b"x")
            for _ in range(TURNS):
                if found:
                    break
                context.call({"key": "value"}, loop.turn, 0.01)
            return found

        self.assertEqual(self.same(scenario), ["value", None, 3])

    def test_thread(self) -> None:
        """
        What is deferred to a thread takes the context along.
        """
        pool = ThreadPool(1, 1)
        pool.start()
        self.addCleanup(pool.stop)

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link("accepted TCP")
            events = self.logged()
            done: list[Any] = []

            def work() -> Any:
                log.msg("in a thread")
                return dict(context.get(log.ILogContext))["system"]

            def defer(data: bytes) -> None:
                deferred = deferToThreadPool(loop.reactor, pool, work)
                deferred.addBoth(done.append)

            protocol.onReceived = defer
            peer.sendall(b"x")
            loop.until(lambda: done)
            return [_nameless(each) for each in done], [
                (event["message"], _nameless(event["system"])) for event in events
            ]

        (system,), events = self.same(scenario)
        self.assertIn("Recorder", system)
        self.assertEqual(events, [(("in a thread",), system)])

    def test_newLogger(self) -> None:
        """
        Twisted's newer logger is heard as ever.
        """

        def scenario(loop: Loop) -> Any:
            events = self.logged()
            protocol, peer = loop.link("accepted UNIX")
            protocol.onReceived = lambda data: Logger("space").info("{n}", n=7)
            peer.sendall(b"x")
            loop.until(lambda: protocol.received)
            return [
                (event["log_namespace"], event["n"], event["system"])
                for event in events
                if "n" in event
            ]

        self.assertEqual(len(self.same(scenario)), 1)

    def test_keyboardInterruptInConnectionLost(self) -> None:
        """
        It leaves the loop, as Twisted's lets it.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link("accepted TCP")

            def fall() -> None:
                protocol.onLost = lambda: None
                raise KeyboardInterrupt

            protocol.onLost = fall
            peer.close()
            try:
                loop.until(lambda: protocol.reason)
            except KeyboardInterrupt:
                depth = len(context.theContextTracker.currentContext().contexts)
                return "left", depth
            return "stayed", 0

        self.assertEqual(self.same(scenario)[0], "left")


def _nameless(system: str) -> str:
    """
    A prefix without what is another at each run.
    """
    return re.sub(r"/tmp/[^']*", "PATH", re.sub(r",\d+,", ",N,", system))


class AsyncioLogTests(LogTests):
    reactors = ASYNCIO
