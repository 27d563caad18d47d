"""
L{twisted_echo.endpoints.strings}: what C{--listen} takes.
"""

import os
import socket
import ssl
import sys
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    UNIXServerEndpoint,
    serverFromString,
)
from twisted.internet.interfaces import (
    IProtocolNegotiationFactory,
    IStreamServerEndpointStringParser,
)
from twisted.logger import LogLevel, capturedLogs
from twisted.plugin import getPlugins
from twisted.python.systemd import ListenFDs
from zope.interface import implementer

from tests.support.authority import Authority
from tests.support.certificates import make_certificate
from tests.support.clients import connect, in_thread, pump, until
from tests.support.tlsclient import (
    TLSClient,
    TLSTestCase,
    certificate_of,
    client_context,
    deprecated,
)
from twisted_echo import EchoConfig, EchoFactory, EndReason, SessionService
from twisted_echo.endpoints.layered_endpoint import LayeredEndpoint
from twisted_echo.endpoints.strings import (
    ParsedEndpoint,
    checkDistinctSockets,
    parseEndpoint,
)
from twisted_echo.tls.counts import TLSFailure

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 7\r\n"


class ListenTestCase(TLSTestCase):
    def listening(self, description: str) -> ParsedEndpoint:
        return parseEndpoint(reactor, description.replace("FOLDER", str(self.folder)))


class SSLTests(ListenTestCase):
    async def assert_served(self, description: str, context: Any = None) -> Any:
        """
        An C{ssl:} string listens on the loopback, with our layer.

        @return: the client.
        """
        listening = self.listening(description)
        self.assertIsInstance(listening.endpoint, LayeredEndpoint)
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        self.assertEqual(service.addresses[0].host, "127.0.0.1")
        client = await self.shaken(service, context)
        # The tail is what is lost without our layer.
        self.assertEqual(await in_thread(client.pump, b"a\nrest"), b"a\nrest")
        self.assertTrue(client.farewell)
        return client

    async def test_forms(self) -> None:
        """
        Twisted's words, by place, by name and both.
        """
        for description in (
            "ssl:0:FOLDER/key.pem:FOLDER/cert.pem:TLSv1_2_METHOD:127.0.0.1:5",
            "ssl:0:FOLDER/key.pem:FOLDER/cert.pem:interface=127.0.0.1",
            "ssl:0:interface=127.0.0.1:privateKey=FOLDER/key.pem:certKey=FOLDER/cert.pem",
            "ssl:port=0:certKey=FOLDER/cert.pem:privateKey=FOLDER/key.pem:backlog=7"
            ":interface=127.0.0.1",
        ):
            client = await self.assert_served(description)
            self.assertEqual(
                client.object.getpeercert(binary_form=True),
                certificate_of(self.folder / "cert.pem"),
            )

    async def test_sameFile(self) -> None:
        """
        One file for key and certificate, which is C{server.pem} if none is named.
        """
        pem = (self.folder / "key.pem").read_bytes()
        pem += (self.folder / "cert.pem").read_bytes()
        (self.folder / "both.pem").write_bytes(pem)
        (self.folder / "server.pem").write_bytes(pem)
        await self.assert_served("ssl:0:FOLDER/both.pem:interface=127.0.0.1")
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        await self.assert_served("ssl:0:interface=127.0.0.1")
        self.assertEqual(self.listening("ssl:0").files, ["server.pem"])

    async def test_method(self) -> None:
        """
        C{sslmethod} is obeyed.
        """
        client = await self.assert_served(
            "ssl:0:interface=127.0.0.1:privateKey=FOLDER/key.pem"
            ":certKey=FOLDER/cert.pem:sslmethod=TLSv1_2_METHOD"
        )
        self.assertEqual(client.object.version(), "TLSv1.2")

    async def test_protocolRequired(self) -> None:
        """
        A client that speaks none of the protocols is told farewell after its handshake,
        and is counted; nothing that it has sent gets to a session.
        """
        listening = self.listening(
            f"ssl:0:interface=127.0.0.1:{self.files}:protocols=echo/2,echo/1"
            ":protocolRequired=yes"
        )
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        factory = service.factory
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context(version, ["other", "echo/1"])
            client = await self.shaken(service, context)
            self.assertEqual(await in_thread(client.pump, b"rest"), b"rest")
            for alpn in (None, ["other"]):
                before = factory.refused.total()
                with capturedLogs() as events:
                    client = await self.shaken(service, client_context(version, alpn))
                    client.send(b"hello\n")
                    self.assertEqual(await in_thread(client.read_to_end), b"")
                    self.assertTrue(client.farewell)
                    client.socket.close()
                    await until(lambda: factory.refused.total() > before)  # noqa: B023
                (event,) = [each for each in events if "detail" in each]
                self.assertEqual(event["detail"], "no application protocol in common")
        # One that does not close its own end is cut off.
        factory.abortAfter = 0.05
        client = await self.shaken(service)
        await until(lambda: factory.refused.total() == 5)
        self.assertEqual(factory.opened, 2)
        self.assertEqual(factory.refused, {EndReason.HANDSHAKE_FAILED: 5})
        self.assertEqual(factory.handshakes, {})
        counts = factory.tls
        assert counts is not None
        self.assertEqual(counts.failures, {TLSFailure.NO_PROTOCOL: 5})
        self.assertEqual(counts.handshakes, {"TLSv1.2": 1, "TLSv1.3": 1})

    async def test_chain(self) -> None:
        """
        C{extraCertChain} is sent along, and is one of the files to reload.
        """
        certificate = (self.folder / "cert.pem").read_bytes()
        key = (self.folder / "key.pem").read_bytes()
        make_certificate(self.folder)
        (self.folder / "chain.pem").write_bytes((self.folder / "cert.pem").read_bytes())
        (self.folder / "cert.pem").write_bytes(certificate)
        (self.folder / "key.pem").write_bytes(key)
        description = (
            f"ssl:0:interface=127.0.0.1:{self.files}:extraCertChain=FOLDER/chain.pem"
        )
        client = await self.assert_served(
            description, client_context(ssl.TLSVersion.TLSv1_2)
        )
        if sys.version_info >= (3, 13):
            chain = client.object.get_unverified_chain()
        else:
            chain = [
                ssl.PEM_cert_to_DER_cert(each.public_bytes())
                for each in client.object._sslobj.get_unverified_chain()
            ]
        self.assertEqual(
            chain,
            [certificate_of(self.folder / name) for name in ("cert.pem", "chain.pem")],
        )
        names = ["key.pem", "cert.pem", "chain.pem"]
        self.assertEqual(
            self.listening(description).files,
            [str(self.folder / name) for name in names],
        )

    def test_files(self) -> None:
        """
        A file that cannot be read, or is of no use, is named with the reason; the
        string is an endpoint's all the same.
        """
        (self.folder / "junk").write_bytes(b"\xff\xfe")
        (self.folder / "empty").mkdir()
        for words, why in (
            ("privateKey=FOLDER/none", "cannot read FOLDER/none: No such file"),
            ("privateKey=FOLDER/junk", "cannot use FOLDER/junk: it holds no private"),
            ("PAIR:extraCertChain=FOLDER", "cannot read FOLDER: Is a directory"),
            (
                "PAIR:dhParameters=FOLDER/junk",
                "cannot use FOLDER/junk: it holds no Dif",
            ),
            ("PAIR:caFile=FOLDER/none", "cannot read FOLDER/none: No such file"),
            ("PAIR:caDir=FOLDER/none", "cannot read FOLDER/none: No such file"),
            ("PAIR:minVersion=1.1", "minVersion must be 1.2 or 1.3, got '1.1'"),
        ):
            words = words.replace("PAIR", self.files)
            for kind in ("ssl:0", "haproxy:ssl:0"):
                self.assert_wrong(f"{kind}:{words}", why)
        for words, why in (
            ("FOLDER/none", "cannot read FOLDER/none: No such file"),
            ("FOLDER/empty", "cannot use FOLDER/empty: no certificate with its"),
            ("FOLDER:0:curve=x", "curve must be OpenSSL's name of a curve, such"),
        ):
            for kind in ("tls", "haproxy:tls"):
                self.assert_wrong(f"{kind}:{words}", why)

    def assert_wrong(self, description: str, why: str) -> None:
        """
        The string is refused, for a reason that begins like one.
        """
        with self.assertRaises(ValueError) as raised:
            self.listening(description)
        message = str(raised.exception)
        expected = f"{description!r}: {why}".replace("FOLDER", str(self.folder))
        self.assertTrue(message.startswith(expected), (message, expected))
        self.assertNotIn("\n", message)

    def test_errors(self) -> None:
        """
        What is wrong is named.
        """
        files = self.files
        pair = f"{self.folder}/key.pem:{self.folder}/cert.pem"
        for description, expected in (
            ("ssl", "needs its port"),
            ("ssl:", "needs its port"),
            (f"ssl:{files}", "needs its port"),
            (f"ssl:http:{files}", "a port must be from 0 to 65535, got http"),
            ("tcp6:0:interface=::1", r"interface is given twice (a colon within"),
            (
                f"ssl:0:{files}:backlog=many",
                "a backlog must be from 0 to 2147483647, got",
            ),
            (f"tls:{self.folder}:0:ciphers=AES:RSA", r"got RSA (a colon within a"),
            (f"ssl:0:{files}:ciphers=AES:RSA", "its privateKey is given twice (a"),
            (f"ssl:0:{pair}:ciphers=AES:RSA", "got 'RSA' (a colon within a value is"),
            (f"ssl:0:{pair}:minVersion=1.2:ciphers=AES:RSA", "got 'RSA' (a colon"),
            (f"ssl:0:{files}:minVersion=1.3:minVersion=1.2", "minVersion is given"),
            (f"ssl:0:{files}:caFile=x:caFile=y", "its caFile is given twice (a"),
            (f"ssl:0:{files}:nonsense=1", "no 'nonsense', only port, privateKey"),
            (f"ssl:0:{files}:nonsense=1", "minVersion, maxVersion, ciphers, curve"),
            (f"ssl:0:{files}:path=/x", "no 'path', only port, privateKey"),
            ("tls", "tls: needs its path"),
            (f"tls:{self.folder}:0:privateKey=x", "no 'privateKey', only path, port"),
            (f"tls:{self.folder}:https", "a port must be from 0 to 65535, got https"),
            (f"ssl:0:{files}:port=1", "port is given twice"),
            (f"ssl:0:{files}:sslmethod=nonsense", "'nonsense'"),
            ("ssl:0" + ":x" * 8 + ":over", "'over' is one too many"),
        ):
            for prefix in "", "haproxy:":
                with self.assertRaises(Exception) as raised:
                    self.listening(prefix + description)
                message = str(raised.exception)
                self.assertIn(
                    expected.replace("FOLDER", str(self.folder)), message, description
                )
                self.assertNotIn("_parseSSL", message)
                self.assertNotIn("\n", message)


class FolderTests(ListenTestCase):
    """
    C{tls:}, whose certificates are in a folder.
    """

    def setUp(self) -> None:
        super().setUp()
        authority = Authority()
        self.a = authority.issue("a", "a.example")
        self.b = authority.issue("b", "b.example")
        (self.folder / "hosts").mkdir()
        for name, each in (("a", self.a), ("b", self.b)):
            (self.folder / "hosts" / f"{name}.pem").write_bytes(each.key + each.pem)

    async def presented(self, service: SessionService, name: str | None) -> bytes:
        """
        The certificate for a name, by a client whose last line is answered.
        """
        client = TLSClient(self.raw(service), name=name)
        await in_thread(client.shake)
        self.assertEqual(await in_thread(client.pump, b"a\nrest"), b"a\nrest")
        self.assertTrue(client.farewell)
        der: bytes = client.object.getpeercert(binary_form=True)
        return der

    async def test_forms(self) -> None:
        """
        Twisted's words, by place and by name.
        """
        for description in (
            "tls:FOLDER/hosts:0:7:127.0.0.1",
            "TLS:FOLDER/hosts:0:interface=127.0.0.1",
            "tls:path=FOLDER/hosts:interface=127.0.0.1:port=0:backlog=9",
        ):
            listening = self.listening(description)
            service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
            self.assertEqual(service.addresses[0].host, "127.0.0.1")
            for name, identity in (
                ("b.example", self.b),
                ("a.example", self.a),
                (None, self.a),
            ):
                self.assertEqual(await self.presented(service, name), identity.der)

    def test_defaults(self) -> None:
        """
        The port and the addresses are Twisted's own.
        """
        listening = self.listening("tls:FOLDER/hosts")
        with deprecated():
            expected = serverFromString(reactor, f"tls:{self.folder}/hosts")
        self.assertEqual(
            vars(listening.endpoint._endpoint),  # type: ignore[attr-defined]
            vars(expected.endpoint),
        )
        self.assertEqual(listening.plainDescription, r"tcp6:port=443:interface=\:\:")
        files = ["hosts", "hosts/a.pem", "hosts/b.pem"]
        self.assertEqual(listening.files, [str(self.folder / each) for each in files])

    async def test_unknown(self) -> None:
        """
        A name that is not there gets an alert, if that is wanted.
        """
        listening = self.listening(
            "tls:FOLDER/hosts:0:interface=127.0.0.1:unknownName=refuse"
        )
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        with self.assertRaisesRegex(ssl.SSLError, "(?i)unrecognized.name"):
            await self.presented(service, "c.example")
        await until(lambda: service.factory.refused)
        self.assertEqual(service.factory.refused, {EndReason.HANDSHAKE_FAILED: 1})

    async def test_behindProxy(self) -> None:
        """
        The header comes before TLS.
        """
        listening = self.listening("haproxy:tls:FOLDER/hosts:0:interface=127.0.0.1")
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        raw = self.raw(service)
        raw.sendall(V1)
        client = TLSClient(raw, name="b.example")
        await in_thread(client.shake)
        await until(lambda: service.factory.sessions)
        (session,) = service.factory.sessions
        self.assertEqual(session.peer.host, "192.0.2.1")
        self.assertEqual(client.object.getpeercert(binary_form=True), self.b.der)

    async def test_reload(self) -> None:
        """
        The folder is read again, and open sessions live on.
        """
        listening = self.listening("tls:FOLDER/hosts:0:interface=127.0.0.1")
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        old = await self.shaken(service)
        new = Authority().issue("c", "c.example")
        (self.folder / "hosts" / "c.pem").write_bytes(new.key + new.pem)
        self.assertEqual(await self.presented(service, "c.example"), self.a.der)
        assert listening.certificates is not None
        listening.certificates.reload()
        self.assertEqual(await self.presented(service, "c.example"), new.der)
        self.assertEqual(listening.files[-1], str(self.folder / "hosts" / "c.pem"))
        self.assertEqual(await in_thread(old.pump, b"rest"), b"rest")

    async def test_strangeName(self) -> None:
        """
        A name that is not ASCII is told nobody: the C{ssl} module would write it to
        standard error. What else goes wrong in a handshake is told as ever.
        """
        told: list[Any] = []
        self.patch(sys, "unraisablehook", told.append)
        listening = self.listening("tls:FOLDER/hosts:0:interface=127.0.0.1")
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        with capturedLogs() as events:
            raw = self.raw(service)
            hello = TLSClient(raw, name="abcdefgh.example").hello()
            raw.sendall(hello.replace(b"abcdefgh", b"\xff\n\x1b[3mbc"))
            await until(lambda: service.factory.refused)
        self.assertEqual(told, [])
        (event,) = [each for each in events if each["log_level"] is LogLevel.warn]
        self.assertEqual(event["detail"], "unknown name")
        self.assertNotIn("example", str(event))
        self.assertEqual(sys.unraisablehook, told.append)

        def broken(*_: object) -> None:
            raise ValueError

        assert listening.certificates is not None
        listening.certificates.context.sni_callback = broken
        with self.assertRaises(ssl.SSLError):
            await self.presented(service, "a.example")
        await until(lambda: told)
        self.assertIs(told.pop().exc_type, ValueError)

    async def test_negotiation(self) -> None:
        """
        What a factory negotiates holds for each name.
        """

        @implementer(IProtocolNegotiationFactory)
        class Negotiating(EchoFactory):
            def acceptableProtocols(self) -> list[bytes]:
                return [b"echo/2"]

        listening = self.listening("tls:FOLDER/hosts:0:interface=127.0.0.1")
        service = self.serve(Negotiating(EchoConfig()), listening.endpoint)
        for name in None, "a.example", "b.example":
            client = TLSClient(
                self.raw(service), client_context(alpn=["echo/1", "echo/2"]), name
            )
            await in_thread(client.shake)
            self.assertEqual(client.object.selected_alpn_protocol(), "echo/2")

    async def test_clientCertificates(self) -> None:
        """
        A client without a certificate gets in under no name.
        """
        (self.folder / "ca.pem").write_bytes(Authority().pem)
        listening = self.listening(
            "tls:FOLDER/hosts:0:interface=127.0.0.1:caFile=FOLDER/ca.pem"
        )
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        for number, name in enumerate((None, "a.example", "b.example", "c.example")):
            client = TLSClient(self.raw(service), name=name)
            # (In TLS 1.3 it is told after its own half of the handshake.)
            with self.assertRaises((ssl.SSLError, ConnectionResetError)):
                await in_thread(lambda each=client: each.shake().read())
            await until(lambda: service.factory.refused.total() > number)  # noqa: B023
        self.assertEqual(service.factory.refused, {EndReason.HANDSHAKE_FAILED: 4})
        self.assertEqual(service.factory.opened, 0)


class ProxiedTests(ListenTestCase):
    def test_errors(self) -> None:
        for description, expected in (
            ("haproxy", "there is no kind ''"),
            ("haproxy:", "there is no kind ''"),
            ("haproxy:nix:1", "'nix'"),
            ("HaProxy:HAPROXY:tcp:0", "haproxy: can be given once"),
            ("haproxy:tcp:echoes", "got echoes"),
            ("haproxy:haproxy:tcp:0", "haproxy: can be given once"),
        ):
            with self.assertRaisesRegex(ValueError, expected):
                self.listening(description)

    async def echoes(self, description: str) -> None:
        listening = self.listening(description)
        self.assertIsNone(listening.certificates)
        self.assertEqual(listening.files, [])
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        (address,) = service.addresses
        if getattr(address, "type", "UNIX") == "TCP" and ":" in address.host:
            client = socket.create_connection((address.host, address.port), 20)
        else:
            client = connect(address)
        self.addCleanup(client.close)
        self.assertEqual(await in_thread(pump, client, V1 + b"a\nrest"), b"a\nrest")

    async def test_kinds(self) -> None:
        """
        Every kind of stream can be behind a proxy; half-close is passed through,
        which Twisted's own C{haproxy:} does not do.
        """
        await self.echoes("haproxy:tcp:0:interface=127.0.0.1")
        await self.echoes("haproxy:tcp:port=0:interface=127.0.0.1:backlog=3")
        await self.echoes("haproxy:unix:FOLDER/echo.sock")
        # A colon and an equals sign, as a word without a name may have them.
        await self.echoes(r"haproxy:unix:FOLDER/a\:b\=c.sock:mode=600")

    async def test_tcp6(self) -> None:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            raise SkipTest("this machine has no IPv6 loopback address") from None
        await self.echoes(r"haproxy:tcp6:0:interface=\:\:1")

    async def test_quoted(self) -> None:
        """
        The file of a socket is where it was said to be.
        """
        listening = self.listening(r"haproxy:unix:FOLDER/a\:b\=c.sock")
        self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        self.assertTrue((self.folder / "a:b=c.sock").exists())


class OtherTests(ListenTestCase):
    def test_untouched(self) -> None:
        """
        Whatever is none of C{ssl:}, C{tls:} and C{haproxy:} is Twisted's own.
        """
        for description, kind in (
            ("tcp:0", TCP4ServerEndpoint),
            ("tcp6:0", TCP6ServerEndpoint),
            (r"unix:FOLDER/a\:b\=c.sock", UNIXServerEndpoint),
        ):
            endpoint = self.listening(description).endpoint
            self.assertIs(type(endpoint), kind)
            expected = serverFromString(
                reactor, description.replace("FOLDER", str(self.folder))
            )
            self.assertEqual(vars(endpoint), vars(expected))

    def test_case(self) -> None:
        """
        Kinds are the same in capital letters, which Twisted minds for some of its own.
        """
        for description, kind in (
            ("TCP:0", TCP4ServerEndpoint),
            ("Tcp6:0", TCP6ServerEndpoint),
            ("HAPROXY:TCP:0", LayeredEndpoint),
            (f"SSL:0:{self.files}", LayeredEndpoint),
        ):
            self.assertIs(type(self.listening(description).endpoint), kind)

    def test_otherKinds(self) -> None:
        """
        What Twisted or a plugin would serve, in its own way, is refused with what to do
        instead, also behind a proxy.
        """
        for description, expected in (
            ("stdio:", "no port"),
            ("onion:80", "there is no kind 'onion'"),
        ):
            for prefix in "", "haproxy:", "HAPROXY:":
                with self.assertRaisesRegex(ValueError, expected):
                    self.listening(prefix + description)
        taken = {
            each.prefix
            for each in getPlugins(IStreamServerEndpointStringParser)
            if each.prefix.startswith(("tcp", "tls", "systemd", "haproxy"))
        }
        for each in getPlugins(IStreamServerEndpointStringParser):
            if each.prefix not in taken:
                with self.assertRaises(ValueError) as raised:
                    self.listening(f"{each.prefix}:FOLDER")
                self.assertNotIn("is not an endpoint", str(raised.exception))
        self.assertEqual(taken, {"tcp6", "tls", "systemd", "haproxy"})


class SystemdTests(ListenTestCase):
    """
    Sockets that are handed down.
    """

    def handDown(self, *sockets: Any) -> None:
        """
        Have systemd hand sockets, or descriptors, down, named C{a}, C{b} and so on.
        """
        (parser,) = (
            each
            for each in getPlugins(IStreamServerEndpointStringParser)
            if each.prefix == "systemd"
        )
        numbers = [each if isinstance(each, int) else each.fileno() for each in sockets]
        self.patch(
            parser, "_sddaemon", ListenFDs(numbers, list("abcdefgh")[: len(sockets)])
        )

    def socket(
        self, family: int, *, type: int = socket.SOCK_STREAM, backlog: int = 1
    ) -> Any:
        """
        A socket, which listens with a backlog.
        """
        try:
            made = socket.socket(family, type)
            self.addCleanup(made.close)
            if family == socket.AF_UNIX:
                made.bind(self.mktemp())
            else:
                made.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        except OSError:
            raise SkipTest("this machine has no such address") from None
        if backlog:
            made.listen(backlog)
        return made

    def test_adopted(self) -> None:
        """
        A socket of systemd is adopted as it is, also behind a proxy.
        """
        handed = self.socket(socket.AF_INET)
        self.handDown(handed)
        for description in (
            "systemd:domain=INET:name=a",
            "systemd:INET:0",
            "SYSTEMD:INET:0",
        ):
            endpoint = self.listening(description).endpoint
            self.assertIs(type(endpoint), AdoptedStreamServerEndpoint)
            self.assertEqual(endpoint.fileno, handed.fileno())
        proxied = self.listening("haproxy:systemd:domain=INET:name=a").endpoint
        self.assertIsInstance(proxied, LayeredEndpoint)
        self.assertEqual(proxied._endpoint.fileno, handed.fileno())

    def test_otherSockets(self) -> None:
        """
        What is not as the string says is refused when it is read, and stays open.
        """
        reading, writing = os.pipe()
        for each in (reading, writing):
            self.addCleanup(os.close, each)
        closed = 1 << 30
        tcp, unix = self.socket(socket.AF_INET), self.socket(socket.AF_UNIX)
        silent = self.socket(socket.AF_INET, backlog=0)
        datagrams = self.socket(socket.AF_INET, type=socket.SOCK_DGRAM, backlog=0)
        client = socket.create_connection(tcp.getsockname(), 20)
        self.addCleanup(client.close)
        for handed, domain, expected in (
            (unix, "INET", "is a socket of UNIX, not of INET"),
            (unix, "INET6", "is a socket of UNIX, not of INET6"),
            (tcp, "INET6", "is a socket of INET, not of INET6"),
            (tcp, "UNIX", "is a socket of INET, not of UNIX"),
            (silent, "INET", "is a socket that does not listen"),
            (client, "INET", "is a socket that does not listen"),
            (datagrams, "INET", "is a socket of SOCK_DGRAM, not of SOCK_STREAM"),
            (reading, "INET", "is no socket"),
            (closed, "INET", "is not open"),
            (tcp, "VSOCK", "domain must be INET, INET6 or UNIX, got 'VSOCK'"),
            (tcp, "inet", "domain must be INET, INET6 or UNIX, got 'inet'"),
        ):
            self.handDown(handed)
            before = (
                os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
            )
            for prefix in ("", "haproxy:"):
                with self.assertRaises(ValueError) as raised:
                    self.listening(f"{prefix}systemd:domain={domain}:name=a")
                self.assertIn(expected, str(raised.exception))
                self.assertNotIn("is not an endpoint", str(raised.exception))
            if before:
                self.assertEqual(os.listdir("/proc/self/fd"), before)
            if handed is not closed:
                os.fstat(handed if isinstance(handed, int) else handed.fileno())

    def test_none(self) -> None:
        """
        So is a socket that was not handed down.
        """
        for handed in ((), (self.socket(socket.AF_INET),)):
            self.handDown(*handed)
            for which in ("index=1", "index=-1", "name=b"):
                with self.assertRaisesRegex(ValueError, "passed no socket of this"):
                    self.listening(f"systemd:domain=INET:{which}")

    def test_twice(self) -> None:
        """
        One socket is listened on once, whatever it is called.
        """
        self.handDown(self.socket(socket.AF_INET), self.socket(socket.AF_INET))
        strings = [
            f"systemd:domain=INET:{each}" for each in ("index=0", "name=b", "name=a")
        ]
        first, second, again = map(self.listening, strings)
        tcp = self.listening("tcp:0")
        checkDistinctSockets([first, tcp, second, tcp])
        for wrong in ([first, second, again], [first, first]):
            with self.assertRaisesRegex(ValueError, "are one socket of systemd's"):
                checkDistinctSockets(wrong)
        with self.assertRaisesRegex(ValueError, "are one socket of systemd's"):
            SessionService([strings[0], strings[2]], EchoFactory())


class WrongTests(ListenTestCase):
    def test_errors(self) -> None:
        for description, expected in (
            ("", "there is no kind ''"),
            ("nix:1", "'nix'"),
            ("port=7007", "it names no kind of endpoint"),
            ("tcp", "tcp: needs its port"),
            ("unix:", "unix: needs its address"),
            (
                "tcp:0:a:b:c",
                "tcp: takes at most 3 options without a name, so 'c' is one too many",
            ),
            ("tcp6:0:nonsense=1", "tcp6: has no 'nonsense', only port, backlog"),
            ("tcp:0:port=1", "tcp: its port is given twice"),
            ("tcp:65536", "a port must be from 0 to 65535, got 65536"),
            ("tcp6:-1", "a port must be from 0 to 65535, got -1"),
            (f"ssl:99999:{self.files}", "a port must be from 0 to 65535, got 99999"),
        ):
            with self.assertRaisesRegex(ValueError, expected):
                self.listening(description)
