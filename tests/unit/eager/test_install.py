"""
L{twisted_echo.reactor}: how programs come by the eager reactor.
"""

import re
import sys

from twisted.internet import error, reactor

from tests.support.loop import (
    LoopTestCase,
)
from tests.support.marks import slow
from tests.support.processes import (
    Command,
    Server,
    connect,
    finished,
    new_folder,
    round_trip,
    script,
)

OURS = "twisted_echo.eager.epoll_reactor.EagerEPollReactor"
EPOLL = "twisted.internet.epollreactor.EPollReactor"

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

SOME_TESTS = """
from twisted.trial.unittest import TestCase

class SomeTests(TestCase):
    def test_reactor(self):
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        print("reactor:", f"{type(reactor).__module__}.{type(reactor).__qualname__}")
        return deferLater(reactor, 0)
"""

RAISES = """
import gc, socket
from weakref import ref
from twisted_echo.MODULE import install
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
reactor.iterate(0.01)
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
        for module in "reactor", "asyncio_reactor":
            command = self.python(RAISES.replace("MODULE", module))
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
        for program, name, launcher, lacks in (
            ("twistd", "eager", UNFIT, "Port._fromListeningDescriptor"),
            ("twistd", "eager-asyncio", UNFIT, "Port._fromListeningDescriptor"),
            ("twist", "eager", UNFIT, "Port._fromListeningDescriptor"),
            ("trial", "eager", UNFIT, "Port._fromListeningDescriptor"),
            ("twistd", "eager", LACKS_CLASS, "twisted.internet.unix.Connector"),
            ("twistd", "eager-asyncio", LACKS_CLASS, "twisted.internet.unix.Connector"),
        ):
            command = Command(
                self,
                [
                    script(program),
                    f"--reactor={name}",
                    *(["-n"] * (program == "twistd")),
                ]
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
            self.assertIn("cannot use the eager reactor", warnings[0])
            self.assertIn(lacks, warnings[0])
            self.assert_echoes(server, "EPollReactor")
