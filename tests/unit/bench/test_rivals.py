"""
Tests for the servers that C{compare} starts.
"""

import asyncio
from contextlib import closing

from twisted.internet.testing import StringTransport

from tests.support.bench import FakeTransport, LinuxCase
from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.processes import new_folder
from twisted_echo.bench import rivals, servers
from twisted_echo.bench.bursts import Order, VolleyLoad
from twisted_echo.bench.cases import CASES, servers_of
from twisted_echo.bench.load import run_load
from twisted_echo.bench.plan import Plan, Target
from twisted_echo.bench.servers import (
    OURS,
    PER_LINE,
    PURE,
    READY,
    SERVERS,
    Server,
    address,
    listen_string,
)
from twisted_echo.compiled.choice import VARIABLE
from twisted_echo.validation.extras import install_extra, install_packages


class TCPStringTransport(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None:
        self.noDelay = enabled


class ServerTests(LinuxCase):
    def test_ofCases(self) -> None:
        """
        Every case is for servers that there are, and every server is for a case.
        """
        named = {name for case in CASES.values() for name in servers_of(case)}
        self.assertEqual(named, set(SERVERS))

    def test_eager(self) -> None:
        """
        Ours run on the reactor that is the service's default, the others on
        Twisted's.
        """
        for name in (OURS, PER_LINE, "answering-lines", "line-receiver"):
            with SERVERS[name].start(()) as child:
                loop = child.wait_for(READY)["loop"]
            self.assertEqual(loop.startswith("Eager"), name != "line-receiver", loop)

    def test_pure(self) -> None:
        """
        Ours in pure Python is left out where ours is that already, and else started
        with the setting for it.
        """
        started = []

        def start(label: str, arguments: object, **options: object) -> None:
            started.append(options["environment"])

        self.patch(servers, "Child", start)
        for name in (OURS, PURE):
            SERVERS[name].start(())
        self.assertEqual(started, [{}, {VARIABLE: "no"}])
        self.patch(servers, "COMPILED", True)
        self.assertEqual(SERVERS[PURE].obstacle(tls=False), "")
        self.patch(servers, "COMPILED", False)
        self.assertIn("would be echo again", SERVERS[PURE].obstacle(tls=False))

    def test_obstacles(self) -> None:
        """
        What is missing is named, with what brings it.
        """
        self.assertEqual(SERVERS["fast-lines"].obstacle(tls=False), "")
        self.assertEqual(
            SERVERS["fast-lines"].obstacle(tls=True), "fast-lines has no TLS"
        )
        self.patch(servers.importlib.util, "find_spec", lambda name: None)
        absent = Server("some", "a server", tls_needs="OpenSSL")
        self.assertEqual(absent.obstacle(tls=False), "")
        self.assertEqual(
            absent.obstacle(tls=True),
            f"some needs OpenSSL: {install_packages('twisted[tls]')}",
        )
        self.assertEqual(
            SERVERS["rloop-raw"].obstacle(tls=False),
            f"rloop-raw needs rloop: {install_extra('bench')}",
        )

    def test_paths(self) -> None:
        self.assertEqual(
            listen_string("/a:b"),
            r"ssl:0:interface=127.0.0.1:privateKey=/a\:b/key.pem:certKey=/a\:b/cert.pem",
        )

    @slow
    def test_all(self) -> None:
        """
        Every server sends every line back.
        """
        for server in SERVERS.values():
            if server.obstacle(tls=False):
                continue
            with server.start(()) as child:
                where = address(child)
                for size, depth in ((16, 3), (65_536, 1)):
                    order = Order(where.host, where.port, 4, size, depth)
                    with closing(VolleyLoad(order)) as load:
                        load.connect()
                        self.assertGreater(load.burst(0.05).lines, 0, server.name)

    @slow
    def test_tls(self) -> None:
        """
        Every server that has TLS sends every line back over it, and ends in order
        every connection that has a line of its own.
        """
        folder = new_folder(self)
        make_certificate(folder)
        for server in SERVERS.values():
            if server.obstacle(tls=True):
                continue
            with server.start((), certificate=str(folder)) as child:
                where = address(child)
                target = Target(where.host, where.port, tls=True, insecure=True)
                for churn in (False, True):
                    plan = Plan(target, connections=4, count=20, churn=churn)
                    result = run_load(plan)
                    self.assertEqual((server.name, result.failures), (server.name, []))
                    self.assertEqual(result.lines, 20)


class ProtocolTests(LinuxCase):
    def test_twisted(self) -> None:
        for kind in (
            rivals.FastLineEcho,
            rivals.FastLineListEcho,
            rivals.LineReceiverEcho,
            rivals.LineOnlyReceiverEcho,
        ):
            transport = TCPStringTransport()
            protocol = kind()
            protocol.makeConnection(transport)
            protocol.dataReceived(b"one\ntwo\nthr")
            protocol.dataReceived(b"ee\n")
            self.assertEqual(transport.value(), b"one\ntwo\nthree\n")
            self.assertTrue(transport.noDelay)
        answering = rivals.AnsweringLineEcho()
        self.assertEqual(answering.answer(b"one"), b"one")

    def test_asyncio(self) -> None:
        for kind in (rivals.RawEcho, rivals.LineEcho):
            fake = FakeTransport()
            echo = kind()
            echo.connection_made(fake)
            echo.data_received(b"one\ntwo\nthr")
            echo.data_received(b"ee\n")
            self.assertEqual(b"".join(fake.written), b"one\ntwo\nthree\n")

    def test_serve(self) -> None:
        said: list[int] = []
        self.patch(rivals, "say", lambda port, loop: said.append(port))

        async def main() -> bytes:
            replies = b""
            for protocol in (None, rivals.LineEcho):
                task = asyncio.create_task(rivals.serve(protocol))
                while not said:
                    await asyncio.sleep(0)
                reader, writer = await asyncio.open_connection(rivals.HOST, said.pop())
                writer.write(b"hello\n")
                replies += await reader.readline()
                writer.close()
                await writer.wait_closed()
                await asyncio.sleep(0.05)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return replies

        self.assertEqual(asyncio.run(main()), b"hello\nhello\n")
