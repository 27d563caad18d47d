"""
L{twisted_echo.asyncio_reactor}: the eager reactor on asyncio's loop, and on uvloop's.

Each scenario runs in a process of its own; uvloop's are among the slow tests.
"""

import sys
from importlib.util import find_spec
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.marks import slow
from tests.support.processes import Command, finished

BEGIN = """
import asyncio, socket, sys
from importlib import import_module
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

whose, name = sys.argv[1:]
loop = import_module(name).new_event_loop()
asyncio.set_event_loop(loop)
if whose == "stock":
    from twisted.internet.asyncioreactor import install
else:
    from twisted_echo.asyncio_reactor import install
install(loop)
from twisted.internet import reactor

class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

def adopted(protocol, family=socket.AF_INET):
    if family == socket.AF_UNIX:
        peer, own = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer = socket.create_connection(listener.getsockname())
            own = listener.accept()[0]
    own.setblocking(False)
    factory = Factory()
    factory.buildProtocol = lambda address: protocol
    reactor.adoptStreamConnection(own.fileno(), family, factory)
    own.close()
    peer.settimeout(20)
    return peer

def patience():
    print("out of patience")
    reactor.stop()

reactor.callLater(50, patience)
"""

ONE_CALL = """
protocols = [Protocol() for _ in range(50)]
peers = [adopted(each) for each in protocols]
own = reactor._asyncioEventloop

class Counting:
    calls = 0

    def __getattr__(self, name):
        return getattr(own, name)

    def call_soon(self, *arguments, **keywords):
        self.calls += 1
        return own.call_soon(*arguments, **keywords)

counting = reactor._asyncioEventloop = Counting()

def write():
    for protocol in protocols:
        for _ in range(20):
            protocol.transport.write(b"x")
    print(counting.calls)
    reactor.callLater(0, sent)

def sent():
    if reactor._queued:
        reactor.callLater(0, sent)
        return
    print(counting.calls, {peer.recv(100) for peer in peers} == {b"x" * 20})
    reactor.stop()

reactor.callLater(0, write)
reactor.run()
"""

BUSY_SOCKET = """
# A peer that floods, and a task that wants its turns.
turns = []
class Flooded(Echo):
    received = 0
    def dataReceived(self, data):
        self.received += 1
        self.transport.write(data)

protocol = Flooded()
peer = adopted(protocol)
peer.setblocking(False)

def flood():
    try:
        while True:
            peer.send(b"x" * 65536)
    except BlockingIOError:
        pass
    try:
        while peer.recv(65536):
            pass
    except BlockingIOError:
        pass

async def task():
    for _ in range(100):
        flood()
        before = protocol.received
        await asyncio.sleep(0)
        turns.append(protocol.received - before)
    print(len(turns), max(turns) <= 2, sum(turns) >= 50)
    reactor.stop()

reactor.callWhenRunning(lambda: turns.append(loop.create_task(task())) or turns.clear())
reactor.run()
"""

BUSY_LOOP = """
# A call that schedules itself for ever, and a socket that wants its turns.
protocol = Echo()
peer = adopted(protocol)
count, echoed = 0, 0
peer.send(b"x")
peer.setblocking(False)

def again():
    global count, echoed
    count += 1
    try:
        if peer.recv(1):
            echoed += 1
            peer.send(b"x")
    except BlockingIOError:
        pass
    if count < 300:
        loop.call_soon(again)
    else:
        print(echoed >= 100)
        reactor.stop()

reactor.callWhenRunning(loop.call_soon, again)
reactor.run()
"""

RAISES = """
class Raises(Protocol):
    def dataReceived(self, data):
        raised.append(self)
        if len(raised) == 2:
            reactor.callLater(0, reactor.stop)
        raise ERROR

    def connectionLost(self, reason):
        print("lost", reason.type.__name__)

peers, raised = [], []
def begin():
    for family in socket.AF_INET, socket.AF_UNIX:
        peers.append(adopted(Raises(), family))
    peers[0].send(b"x")
    peers[1].send(b"x")

reactor.callWhenRunning(begin)
try:
    reactor.run()
except BaseException as problem:
    print("raised", type(problem).__name__)
else:
    print("stopped")
"""

ERROR_IN_FLUSH = """
# An error that ends a flush does not keep the others from being sent.
from zope.interface import implementer
from twisted.internet.interfaces import IPushProducer
from twisted_echo.eager.optional_interfaces import IOutputObserver

@implementer(IPushProducer, IOutputObserver)
class Raises:
    def outputWaits(self):
        raise ZeroDivisionError
    def pauseProducing(self): pass
    resumeProducing = stopProducing = pauseProducing

first, second = Protocol(), Protocol()
full, peer = adopted(first), adopted(second)
full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

def begin():
    first.transport.bufferSize = 1 << 30
    first.transport.registerProducer(Raises(), True)
    first.transport.write(b"x" * (1 << 25))
    second.transport.write(b"sent")
    reactor.callInThread(look)

def look():
    print(peer.recv(4))
    reactor.callFromThread(reactor.stop)

reactor.callWhenRunning(begin)
reactor.run()
"""

RESET = """
import struct
class Writes(Protocol):
    def connectionLost(self, reason):
        if reactor.running:
            print("lost", reason.type.__name__)
            reactor.stop()

protocol = Writes()

def begin():
    peer = adopted(protocol)
    peer.send(b"x")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    # The reset's event comes before.
    reactor.callLater(0.1, again)

def again():
    protocol.transport.write(b"x")
    if protocol.transport.connected:
        reactor.callLater(0.01, again)

reactor.callWhenRunning(begin)
reactor.run()
"""

BESIDE = """
from twisted_echo import EchoConfig, EchoService

service = EchoService(EchoConfig(listen=("tcp:0:interface=127.0.0.1",)))

async def upper(reader, writer):
    writer.write((await reader.read(5)).upper())
    writer.close()

async def main():
    service.startService()
    await service.whenListening().asFuture(loop)
    port = service.addresses[0].port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\\n")
    print(await reader.readline())
    server = await asyncio.start_server(upper, "127.0.0.1", 0)
    other, out = await asyncio.open_connection(*server.sockets[0].getsockname())
    out.write(b"hello")
    print(await other.read())
    out.close()
    server.close()
    await server.wait_closed()
    stopped = service.stopService()
    # The service drains: it waits for its client.
    writer.close()
    await stopped.asFuture(loop)
    print("stopped", len(service.factory.sessions))
    reactor.stop()

def begin():
    task = loop.create_task(main())
    task.add_done_callback(lambda each: each.exception() and reactor.stop())
    global kept
    kept = task

reactor.callWhenRunning(begin)
reactor.run()
"""

AIOHTTP = """
# Each request of a web server's asks the echo service of the same process.
from aiohttp import ClientSession, web
from twisted_echo import EchoConfig, EchoService

service = EchoService(EchoConfig(listen=("tcp:0:interface=127.0.0.1",)))

async def echoed(request):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", service.addresses[0].port
    )
    writer.write(await request.read() + b"\\n")
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return web.Response(body=line)

async def main():
    service.startService()
    await service.whenListening().asFuture(loop)
    application = web.Application()
    application.router.add_post("/", echoed)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://127.0.0.1:%d/" % runner.addresses[0][1]
    async with ClientSession() as session:
        async def ask(number):
            data = b"%d" % number * 1000
            async with session.post(url, data=data) as answer:
                return await answer.read() == data + b"\\n"
        print(set(await asyncio.gather(*map(ask, range(20)))))
    await runner.cleanup()
    await service.stopService().asFuture(loop)
    print("stopped", service.snapshot().opened)
    reactor.stop()

def begin():
    task = loop.create_task(main())
    task.add_done_callback(lambda each: each.exception() and reactor.stop())
    global kept
    kept = task

reactor.callWhenRunning(begin)
reactor.run()
"""

SCRAPY = """
from importlib import import_module
path = "twisted_echo.asyncio_reactor.EagerAsyncioSelectorReactor"
module, _, kind = path.rpartition(".")
cls = getattr(import_module(module), kind)
import_module(module).install()
from twisted.internet import reactor
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
print(reactor.__class__ == cls, isinstance(reactor, AsyncioSelectorReactor))
"""

WRONG_LOOPS = """
import asyncio, sys
from twisted_echo.asyncio_reactor import install

class Proactor(asyncio.AbstractEventLoop):
    "Has no add_reader, as Windows' has none."
    def __repr__(self):
        return "<Proactor>"

for wrong in Proactor(), asyncio.SelectorEventLoop, "uvloop", 1:
    try:
        install(wrong)
    except TypeError as problem:
        print(problem)
print("twisted.internet.reactor" in sys.modules)
"""

UNFIT = """
import importlib, sys
from twisted_echo.twisted_internals.check import UnfitTwisted

module, _, name = sys.argv[1].partition(":")
owner = importlib.import_module(module)
*path, name = name.split(".")
for each in path:
    owner = getattr(owner, each)
delattr(owner, name)
try:
    importlib.import_module(sys.argv[2]).install()
except UnfitTwisted as problem:
    print(problem)
print("twisted.internet.reactor" in sys.modules)
"""


class LoopTests(SynchronousTestCase):
    """
    What the reactor does on asyncio's loop.
    """

    loop = "asyncio"

    def printed(self, source: str, whose: str = "eager") -> str:
        command: Command = finished(
            self,
            [sys.executable, "-W", "error", "-c", BEGIN + source, whose, self.loop],
        )
        self.assertEqual(command.process.returncode, 0, command.report("ended"))
        return command.stdout

    def test_oneCall(self) -> None:
        """
        However many connections are written to, the turn's end is one C{call_soon}.
        """
        self.assertEqual(self.printed(ONE_CALL), "1\n1 True\n")

    def test_busySocket(self) -> None:
        """
        A connection that always has something to read takes turns with tasks.
        """
        self.assertEqual(self.printed(BUSY_SOCKET), "100 True True\n")

    def test_busyLoop(self) -> None:
        """
        Calls that never end take turns with connections.
        """
        self.assertEqual(self.printed(BUSY_LOOP), "True\n")

    @slow
    def test_errors(self) -> None:
        """
        What a protocol raises does what it does on Twisted's reactor.
        """
        for error, begins in (
            ("ZeroDivisionError", "lost ZeroDivisionError\n" * 2 + "stopped\n"),
            ("SystemExit", ""),
            ("KeyboardInterrupt", ""),
        ):
            source = RAISES.replace("ERROR", error)
            ours = self.printed(source)
            self.assertEqual(ours, self.printed(source, "stock"), error)
            self.assertTrue(ours.startswith(begins), ours)

    def test_errorInFlush(self) -> None:
        """
        An error of one connection's producer does not keep the others waiting.
        """
        self.assertEqual(self.printed(ERROR_IN_FLUSH), "b'sent'\n")

    def test_resetIsMet(self) -> None:
        """
        What is written after a reset ends the connection. (uvloop watches it no longer,
        and Twisted's own reactor does not notice.)
        """
        self.assertEqual(self.printed(RESET), "lost ConnectionLost\n")

    def test_beside(self) -> None:
        """
        Streams, tasks and a service share the loop, and the service stops in order.
        """
        self.assertEqual(self.printed(BESIDE), "b'hello\\n'\nb'HELLO'\nstopped 0\n")

    def test_aiohttp(self) -> None:
        """
        So do a web server and a client of aiohttp's, beside a service.
        """
        if find_spec("aiohttp") is None:
            raise SkipTest("aiohttp is missing")
        self.assertEqual(self.printed(AIOHTTP), "{True}\nstopped 20\n")


@slow
class UvloopTests(LoopTests):
    """
    What it does on uvloop's.
    """

    loop = "uvloop"


class InstallTests(SynchronousTestCase):
    """
    How a program comes by it.
    """

    def printed(self, source: str, *arguments: str) -> str:
        command: Command = finished(self, [sys.executable, "-c", source, *arguments])
        self.assertEqual(command.process.returncode, 0, command.report("ended"))
        return command.stdout

    def test_scrapy(self) -> None:
        """
        A setting that names the class finds C{install} beside it, and the reactor is
        of exactly this class.
        """
        self.assertEqual(self.printed(SCRAPY), "True True\n")

    def test_wrongLoops(self) -> None:
        """
        The error says what was given and what is allowed; nothing is installed.
        """
        *errors, installed = self.printed(WRONG_LOOPS).splitlines()
        needs = (
            "the eager reactor needs an event loop that has add_reader, such as"
            " asyncio's SelectorEventLoop or uvloop's, got "
        )
        self.assertEqual(
            errors,
            [
                f"{needs}{given}"
                for given in (
                    "<Proactor>",
                    "<class 'asyncio.unix_events._UnixSelectorEventLoop'>",
                    "'uvloop'",
                    "1",
                )
            ],
        )
        self.assertEqual(installed, "False")

    def test_installTwice(self) -> None:
        """
        When there is a reactor, the error is Twisted's own.
        """
        self.assertEqual(
            self.printed(
                "from twisted_echo.asyncio_reactor import install\n"
                "from twisted.internet.error import ReactorAlreadyInstalledError\n"
                "install()\n"
                "try:\n"
                "    install()\n"
                "except ReactorAlreadyInstalledError:\n"
                "    print('refused')\n"
            ),
            "refused\n",
        )

    def test_unfit(self) -> None:
        """
        Under a Twisted that does not suit, the error says what is lacking, and nothing
        is installed.
        """
        for lacks, says in (
            ("twisted.internet.tcp:Port._fromListeningDescriptor", "Port._fromL"),
            ("twisted.internet.unix:Connector", "twisted.internet.unix.Connector"),
            ("twisted.internet.asyncioreactor:AsyncioSelectorReactor", "Asyncio"),
        ):
            error, installed = self.printed(
                UNFIT, lacks, "twisted_echo.asyncio_reactor"
            ).splitlines()
            self.assertRegex(
                error, "Twisted .* lacks what twisted_echo.eager builds on"
            )
            self.assertIn(says, error)
            self.assertEqual(installed, "False")

    def test_otherUnfit(self) -> None:
        """
        What one of the two reactors alone needs may be lacking for the other.
        """
        asyncio, epoll = "twisted_echo.asyncio_reactor", "twisted_echo.reactor"
        for lacks, suits in (
            ("twisted.internet.epollreactor:EPollReactor", asyncio),
            ("twisted.internet.asyncioreactor:AsyncioSelectorReactor", epoll),
        ):
            self.assertEqual(self.printed(UNFIT, lacks, suits), "True\n", suits)
