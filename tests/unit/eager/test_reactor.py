"""
L{twisted_echo.reactor}: what its poll loop does, and how programs come by it.
"""

import errno
import re
import select
import socket
import sys
from typing import Any

from twisted.internet import error, reactor
from twisted.internet.interfaces import IReactorFDSet, IReactorSocket, IReactorUNIX
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python import context, log
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface.verify import verifyObject

from tests.support.marks import slow
from tests.support.processes import (
    Command,
    Server,
    connect,
    finished,
    new_folder,
    read_exactly,
    round_trip,
    script,
)
from tests.unit.eager.test_transports import (
    TCP,
    TURNS,
    UNIX,
    Loop,
    LoopTestCase,
    OneProtocol,
    Producer,
    Recorder,
    close_with_reset,
    wait_for_event,
)

OURS = "twisted_echo.eager.reactor.EagerEPollReactor"
EPOLL = "twisted.internet.epollreactor.EPollReactor"

# The loop


class Unreadable:
    """
    A descriptor that fails when it is asked to read.
    """

    def __init__(self, readable: socket.socket, problem: BaseException) -> None:
        self.fileno = readable.fileno
        self.problem = problem
        self.lost: list[Any] = []

    def logPrefix(self) -> str:
        return "Unreadable"

    def doRead(self) -> None:
        raise self.problem

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason.type)


class LogTests(LoopTestCase):
    """
    What is logged says whose doing it is.
    """

    def logged(self) -> list[dict[str, Any]]:
        """
        What is logged from now on.
        """
        events: list[dict[str, Any]] = []
        log.addObserver(events.append)
        self.addCleanup(log.removeObserver, events.append)
        return events

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


class FakePoller:
    """
    Gives the events it is told to, or fails.
    """

    def __init__(self, poller: Any, *answers: Any) -> None:
        self.poller = poller
        self.answers = list(answers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.poller, name)

    def poll(self, *arguments: Any) -> Any:
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, BaseException):
            raise answer
        return answer


class PollTests(LoopTestCase):
    def test_interfaces(self) -> None:
        loop = self.eager()
        for interface in (IReactorFDSet, IReactorSocket, IReactorUNIX):
            verifyObject(interface, loop.reactor)

    def test_unknownDescriptor(self) -> None:
        """
        Events for descriptors that nobody has are ignored, and the others are
        dispatched.
        """
        loop = self.eager()
        protocol, peer = loop.link("accepted TCP")
        number = protocol.transport.fileno()
        peer.sendall(b"x")
        loop.reactor._poller = FakePoller(
            loop.reactor._poller,
            [
                (99_999, select.EPOLLIN),
                (99_998, select.EPOLLHUP),
                (number, select.EPOLLIN),
            ],
        )
        loop.turn()
        self.assertEqual(protocol.received, b"x")

    def test_several(self) -> None:
        """
        In one poll each connection that has something is served, once.
        """
        loop = self.eager()
        links = [loop.link("accepted TCP") for _ in range(5)]
        for protocol, peer in links:
            protocol.onReceived = protocol.transport.write
            peer.sendall(b"ab")
        for protocol, _ in links:
            wait_for_event(protocol.transport, select.POLLIN)
        loop.turn()
        for protocol, peer in links:
            self.assertEqual(read_exactly(peer, 2), b"ab")
            self.assertEqual(protocol.events[1:], [("received", b"ab")])

    def test_goneInTheSameTurn(self) -> None:
        """
        A connection that another one aborts or closes before its event is
        dispatched hears nothing more.
        """

        def scenario(loop: Loop) -> Any:
            pairs = [loop.link("accepted TCP") for _ in range(2)]
            (first, _), (second, _) = pairs
            for one, other in ((first, second), (second, first)):
                one.onReceived = lambda data, other=other: (
                    other.transport.abortConnection()
                )
            for _, peer in pairs:
                peer.sendall(b"x")
            for protocol, _ in pairs:
                select.select([protocol.transport.getHandle()], [], [], 20)
            loop.until(lambda: first.reason or second.reason)
            loop.turn()
            return sorted((each.received, str(each.reason)) for each, _ in pairs)

        self.assertEqual([each[0] for each in self.same(scenario)], [b"", b"x"])

    def test_interrupted(self) -> None:
        """
        C{EINTR} ends a turn, any other error is raised.
        """

        def scenario(loop: Loop) -> Any:
            raised = []
            for number in (errno.EINTR, errno.EBADF):
                poller = loop.reactor._poller
                loop.reactor._poller = FakePoller(poller, OSError(number, "fake"))
                try:
                    loop.turn()
                except OSError as problem:
                    raised.append(problem.errno)
                loop.reactor._poller = poller
            return raised

        self.assertEqual(self.same(scenario), [errno.EBADF])

    def test_otherDescriptors(self) -> None:
        """
        What is none of our connections is dispatched as ever.
        """
        for problem in (ZeroDivisionError(), KeyboardInterrupt()):

            def scenario(loop: Loop, problem: BaseException = problem) -> Any:
                one, other = socket.socketpair()
                self.addCleanup(one.close)
                self.addCleanup(other.close)
                other.send(b"x")
                reader = Unreadable(one, problem)
                loop.reactor.addReader(reader)
                loop.until(lambda: reader.lost)
                return reader.lost, len(self.flushLoggedErrors(type(problem)))

            self.same(scenario)

    def test_tooManyFiles(self) -> None:
        """
        Without a free descriptor, Twisted's reserve is used: the client is
        disconnected, and the port goes on.
        """

        def scenario(loop: Loop) -> Any:
            protocol = Recorder()
            loop._protocols.append(protocol)
            port = loop.reactor.listenTCP(
                0, OneProtocol(protocol), interface="127.0.0.1"
            )
            refused = socket.create_connection(("127.0.0.1", port.getHost().port))
            self.addCleanup(refused.close)
            real, full = port.socket, []

            class Full:
                def __getattr__(self, name: str) -> Any:
                    return getattr(real, name)

                def accept(self) -> Any:
                    if not full:
                        full.append(True)
                        raise OSError(errno.EMFILE, "fake")
                    return real.accept()

            port.socket = Full()
            outcome = loop.drain(refused)
            accepted = socket.create_connection(("127.0.0.1", port.getHost().port))
            self.addCleanup(accepted.close)
            loop.until(lambda: protocol.transport)
            return outcome, full

        self.assertEqual(self.same(scenario)[0], (b"", "end of file"))

    def test_pausedWhileReading(self) -> None:
        """
        A protocol that pauses its transport hears no more until it resumes it.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                transport = protocol.transport

                def pause(data: bytes) -> None:
                    transport.write(data)
                    transport.pauseProducing()

                protocol.onReceived = pause
                heard = []
                for n in range(3):
                    peer.sendall(b"%d" % n)
                    heard.append(loop.take(peer, 1))
                    peer.sendall(b"-")
                    for _ in range(3):
                        loop.turn()
                    heard.append(protocol.received)
                    protocol.onReceived = lambda data: None
                    transport.resumeProducing()
                    loop.until(lambda: protocol.received.endswith(b"-"))
                    protocol.onReceived = pause
                return heard

            self.same(scenario)


class NestedTests(LoopTestCase):
    """
    A protocol that turns the reactor in C{dataReceived}.
    """

    def test_question(self) -> None:
        """
        What it has written goes out meanwhile, and the answer comes in.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                transport = protocol.transport

                def ask(data: bytes) -> None:
                    protocol.onReceived = lambda data: transport.write(b"good, ")
                    transport.write(b"ques")
                    transport.write(b"tion, ")
                    protocol.events.append(("heard", loop.take(peer, 10)))
                    peer.sendall(b"answer")
                    loop.until(lambda: protocol.received == b"xanswer")
                    transport.write(b"bye")

                protocol.onReceived = ask
                peer.sendall(b"x")
                loop.until(lambda: protocol.received)
                return loop.take(peer, 9), protocol.events

            self.assertEqual(self.same(scenario)[0], b"good, bye")

    def test_writable(self) -> None:
        """
        Likewise when the connection could be written to in the same turn.
        """
        for kind in TCP + UNIX:

            def scenario(loop: Loop, kind: str = kind) -> Any:
                protocol, peer = loop.link(kind)
                transport = protocol.transport

                def ask(data: bytes) -> None:
                    # The second when there is nothing more to tell epoll of.
                    for question in (b"first", b"second"):
                        transport.write(question)
                        heard = loop.take(peer, len(question))
                        protocol.events.append(("heard", heard))

                protocol.onReceived = ask
                peer.sendall(b"x")
                select.select([transport.getHandle()], [], [], 20)
                transport.startWriting()
                loop.turn()
                return protocol.events

            self.assertIn(("heard", b"second"), self.same(scenario))

    def test_two(self) -> None:
        """
        Nested more than once: all that was written goes out.
        """

        def scenario(loop: Loop) -> Any:
            (first, one), (second, two) = (loop.link("accepted TCP") for _ in range(2))

            def outer(data: bytes) -> None:
                first.transport.write(b"first")
                two.sendall(b"x")
                loop.until(lambda: second.received)

            def inner(data: bytes) -> None:
                first.transport.write(b" again")
                second.transport.write(b"second")
                second.events.append((loop.take(one, 11), loop.take(two, 6)))

            first.onReceived, second.onReceived = outer, inner
            one.sendall(b"x")
            loop.until(lambda: first.received)
            return first.events, second.events

        self.assertIn((b"first again", b"second"), self.same(scenario)[1])

    def test_push(self) -> None:
        """
        A producer that is paused meanwhile is resumed meanwhile.
        """

        def scenario(loop: Loop) -> Any:
            protocol, peer = loop.link("accepted TCP")

            def fill(data: bytes) -> None:
                producer = Producer(protocol.events)
                protocol.transport.registerProducer(producer, True)
                protocol.transport.write(b"x" * 100_000)
                protocol.events.append(("heard", len(loop.take(peer, 100_000))))
                loop.until(lambda: not loop.reactor.getWriters())
                protocol.events.append(("returned",))

            protocol.onReceived = fill
            peer.sendall(b"x")
            loop.until(lambda: protocol.received)
            return protocol.events

        events = self.same(scenario)
        self.assertIn(("resume",), events)
        self.assertEqual(events[-1], ("returned",))


class AdoptTests(LoopTestCase):
    def test_unsupportedFamily(self) -> None:
        """
        It is refused as Twisted refuses it, and the descriptor stays open.
        """

        def scenario(loop: Loop) -> Any:
            said = []
            with socket.socket() as handle:
                for adopt in (
                    loop.reactor.adoptStreamPort,
                    loop.reactor.adoptStreamConnection,
                ):
                    for family in (2**16, socket.AF_NETLINK, None, "AF_INET"):
                        problem = self.assertRaises(
                            error.UnsupportedAddressFamily,
                            adopt,
                            handle.fileno(),
                            family,
                            Factory(),
                        )
                        said.append(str(problem))
                handle.getsockname()
            return said

        self.same(scenario)

    def test_notASocket(self) -> None:
        def scenario(loop: Loop) -> Any:
            with open("/dev/null") as file:
                raised = []
                for adopt in (
                    loop.reactor.adoptStreamPort,
                    loop.reactor.adoptStreamConnection,
                ):
                    for family in (socket.AF_INET, socket.AF_UNIX):
                        problem = self.assertRaises(
                            OSError, adopt, file.fileno(), family, Factory()
                        )
                        raised.append((type(problem), problem.errno))
            return raised

        self.same(scenario)


# Programs


IS_REACTOR = """
from twisted.internet import reactor
print("reactor:", f"{type(reactor).__module__}.{type(reactor).__qualname__}")
"""

UNFIT = """\
import runpy, sys
from twisted.internet import tcp
# Which adopted ports alone need.
del tcp.Port._fromListeningDescriptor
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""
Becomes the command of its arguments, under a Twisted that does not suit.
"""

LACKS_CLASS = UNFIT.replace("import tcp", "import unix").replace(
    "tcp.Port._fromListeningDescriptor", "unix.Connector"
)
"""
Likewise, and ours cannot even be imported.
"""

SOME_TESTS = """
from twisted.trial.unittest import TestCase

class SomeTests(TestCase):
    def test_reactor(self):
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        print("reactor:", f"{type(reactor).__module__}.{type(reactor).__qualname__}")
        return deferLater(reactor, 0)
"""

TAC = """
from twisted.internet import reactor
from twisted.application.service import Application
from twisted_echo.tap import Options, makeService

print("reactor:", f"{type(reactor).__module__}.{type(reactor).__qualname__}")
options = Options()
options.parseOptions(["--listen", "tcp:0:interface=127.0.0.1"])
application = Application("echo")
makeService(options).setServiceParent(application)
"""


RAISES = """
import gc, socket
from weakref import ref
from twisted_echo.reactor import install
install()
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.python import log

log.startLogging(open("/dev/null", "w"), setStdout=False)
weak, ended = [], []

class Raises(Protocol):
    def dataReceived(self, data):
        weak.extend((ref(self), ref(self.transport)))
        raise ZeroDivisionError

    def connectionLost(self, reason):
        ended.append(reason.type)

gc.disable()
peer, ours = socket.socketpair()
ours.setblocking(False)
factory = Factory.forProtocol(Raises)
reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
ours.close()
peer.sendall(b"x")
while not ended:
    reactor.iterate(0.01)
reactor.iterate()
print(ended, [each() for each in weak])
"""


class ProgramTests(LoopTestCase):
    """
    How programs come by the reactor.
    """

    def python(self, source: str) -> Command:
        return finished(self, [sys.executable, "-c", source])

    def assert_reactor(self, command: Command, name: str) -> None:
        self.assertEqual(command.process.returncode, 0, command.report("ended"))
        self.assertIn(f"reactor: {name}\n", command.stdout)

    def assert_echoes(self, server: Server, name: str) -> None:
        """
        It echoes, and says by which reactor.
        """
        self.assertRegex(server.stdout, rf"listening on .*, by {name};")
        client = connect(self, server.address)
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        client.close()
        server.signal(15)
        self.assertEqual(server.stderr, "")

    def test_install(self) -> None:
        command = self.python(
            "from twisted_echo.reactor import install; install()" + IS_REACTOR
        )
        self.assert_reactor(command, OURS)

    def test_errorKeepsNothing(self) -> None:
        """
        The connection of a protocol that raised is gone without the garbage
        collector. (In a process of its own: trial's observers keep the error.)
        """
        command = self.python(RAISES)
        self.assertEqual(
            command.stdout,
            "[<class 'ZeroDivisionError'>] [None, None]\n",
            command.report("ended"),
        )

    def test_installTwice(self) -> None:
        """
        When there is a reactor, the error is Twisted's own.
        """
        for first in ("import twisted.internet.reactor", "install()"):
            command = self.python(
                "from twisted_echo.reactor import install\n"
                "from twisted.internet.error import ReactorAlreadyInstalledError\n"
                f"{first}\n"
                "try:\n"
                "    install()\n"
                "except ReactorAlreadyInstalledError:\n"
                "    print('refused')\n"
            )
            self.assertEqual(command.stdout, "refused\n", command.report("ended"))

    def test_installHere(self) -> None:
        """
        In this process, too, where there is one.
        """
        from twisted_echo.reactor import install

        before = sys.modules["twisted.internet.reactor"]
        self.assertRaises(error.ReactorAlreadyInstalledError, install)
        self.assertIs(sys.modules["twisted.internet.reactor"], before)
        self.assertIs(before, reactor)

    def test_listed(self) -> None:
        command = finished(self, [script("twistd"), "--help-reactors"])
        self.assertRegex(command.stdout, r"(?m)^ +eager\s+epoll\(7\)")

    def test_twistd(self) -> None:
        """
        C{twistd --reactor=eager} runs on it, whatever the plugin.
        """
        folder = new_folder(self)
        command = Command(
            self,
            [
                *(script("twistd"), "-n", "--reactor=eager"),
                *("web", "--path=.", "--listen=tcp:0:interface=127.0.0.1"),
            ],
            folder=folder,
        )
        self.assertEqual(command.wait_for(r"reactor class: (.*)\.\n")[1], OURS)
        port = int(command.wait_for(r"Site starting on (\d+)")[1])
        (folder / "page.txt").write_text("hello")
        with connect(self, ("127.0.0.1", port)) as client:
            client.sendall(b"GET /page.txt HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(1000), b""))
        self.assertTrue(answer.endswith(b"\r\n\r\nhello"), answer)
        command.signal(15)

    def test_eagerByName(self) -> None:
        for command in (("twistd", "-n"), ("twist",)):
            server = Server.start(self, command=(*command, "--reactor=eager"))
            self.assert_echoes(server, "EagerEPollReactor")

    def test_eagerByDefault(self) -> None:
        for command in (("twistd", "-n"), ("twist",)):
            server = Server.start(self, command=command)
            self.assert_echoes(server, "EagerEPollReactor")
            self.assertNotIn("cannot be used", server.stdout)

    def test_anotherByName(self) -> None:
        """
        What the user names is what runs.
        """
        for command, name, cls in (
            (("twistd", "-n"), "poll", "PollReactor"),
            (("twist",), "epoll", "EPollReactor"),
        ):
            server = Server.start(self, command=(*command, f"--reactor={name}"))
            self.assert_echoes(server, cls)

    def test_trial(self) -> None:
        folder = new_folder(self)
        (folder / "test_some.py").write_text(SOME_TESTS)
        command = finished(
            self, [script("trial"), "--reactor=eager", "./test_some.py"], folder=folder
        )
        self.assert_reactor(command, OURS)
        self.assertIn("PASSED", command.stdout)

    def test_tac(self) -> None:
        """
        A program that has a reactor already keeps it.
        """
        folder = new_folder(self)
        (folder / "echo.tac").write_text(TAC)
        command = Command(
            self, [script("twistd"), "-n", "-y", "echo.tac"], folder=folder
        )
        self.assertRegex(
            command.wait_for(r"listening on .*, by (\w+)")[1], r"^EPollReactor$"
        )
        self.assertEqual(command.wait_for(r"reactor: (\S+)")[1], EPOLL)
        command.signal(15)

    def test_embedded(self) -> None:
        """
        A program that uses the options without C{twistd} gets the default.
        """
        command = self.python(
            "from twisted_echo.tap import Options\n"
            "Options().parseOptions(['--listen', 'tcp:0'])" + IS_REACTOR
        )
        self.assert_reactor(command, EPOLL)

    @slow
    def test_unfitByName(self) -> None:
        """
        Under a Twisted that does not suit, who asks for it by name is refused and
        told why.
        """
        for program, launcher, lacks in (
            ("twistd", UNFIT, "Port._fromListeningDescriptor"),
            ("twist", UNFIT, "Port._fromListeningDescriptor"),
            ("trial", UNFIT, "Port._fromListeningDescriptor"),
            ("twistd", LACKS_CLASS, "twisted.internet.unix.Connector"),
        ):
            command = Command(
                self,
                [script(program), "--reactor=eager", *(["-n"] * (program == "twistd"))]
                + (["echo"] if program != "trial" else ["test_some"]),
                folder=new_folder(self),
                launcher=launcher,
            )
            code = command.wait()
            printed = command.stdout + command.stderr
            self.assertEqual(code, 1, command.report("ended"))
            self.assertIn(lacks, printed)
            self.assertRegex(printed, "Twisted .* lacks what twisted_echo.eager ")

    def test_unfitByDefault(self) -> None:
        """
        Who does not ask for it gets epoll, one warning, and every line back.
        """
        for command, launcher, lacks in (
            (("twistd", "-n"), UNFIT, "Port._fromListeningDescriptor"),
            (("twist",), UNFIT, "Port._fromListeningDescriptor"),
            (("twistd", "-n"), LACKS_CLASS, "twisted.internet.unix.Connector"),
        ):
            server = Server.start(self, command=command, launcher=launcher)
            warnings = re.findall(r".*#warn.*", server.stdout)
            self.assertEqual(len(warnings), 1, server.stdout)
            self.assertIn("the eager reactor cannot be used", warnings[0])
            self.assertIn(lacks, warnings[0])
            self.assert_echoes(server, "EPollReactor")
