"""
L{twisted_echo.listen}: what C{--listen} takes.
"""

import os
import socket
import ssl
import sys
import warnings
from typing import Any
from unittest import SkipTest, mock

from cryptography.hazmat.primitives.asymmetric import dh
from cryptography.hazmat.primitives.serialization import Encoding, ParameterFormat
from twisted.internet import reactor
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    UNIXServerEndpoint,
    serverFromString,
)
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer

from tests.clients import connect, in_thread, pump
from tests.test_command import make_certificate
from tests.tlsclient import TLSTestCase, certificate_of, client_context, deprecated
from twisted_echo import EchoConfig, EchoFactory
from twisted_echo.layers import LayeredEndpoint
from twisted_echo.listen import Listening, listenString

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 7\r\n"

# Of RFC 7919, ffdhe2048: made by nobody here, and so at once.
_FFDHE = int(
    "FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1D8B9C583CE2D3695"
    "A9E13641146433FBCC939DCE249B3EF97D2FE363630C75D8F681B202AEC4617A"
    "D3DF1ED5D5FD65612433F51F5F066ED0856365553DED1AF3B557135E7F57C935"
    "984F0C70E0E68B77E2A689DAF3EFE8721DF158A136ADE73530ACCA4F483A797A"
    "BC0AB182B324FB61D108A94BB2C8E3FBB96ADAB760D7F4681D4F42A3DE394DF4"
    "AE56EDE76372BB190B07A7C8EE0A6D709E02FCE1CDF7E2ECC03404CD28342F61"
    "9172FE9CE98583FF8E4F1232EEF28183C3FE3B1B4C6FAD733BB5FCBC2EC22005"
    "C58EF1837D1683B2C6F34A26C1B2EFFA886B423861285C97FFFFFFFFFFFFFFFF",
    16,
)


class ListenTestCase(TLSTestCase):
    def listening(self, description: str) -> Listening:
        with deprecated():
            return listenString(
                reactor, description.replace("FOLDER", str(self.folder))
            )


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
        with deprecated():
            client = await self.assert_served(
                "ssl:0:interface=127.0.0.1:privateKey=FOLDER/key.pem"
                ":certKey=FOLDER/cert.pem:sslmethod=TLSv1_2_METHOD"
            )
        self.assertEqual(client.object.version(), "TLSv1.2")

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

    async def test_dhParameters(self) -> None:
        """
        With C{dhParameters} there are the ciphers that need them.
        """
        with warnings.catch_warnings():
            # It is old, and still one of Twisted's words.
            warnings.simplefilter("ignore")
            parameters = dh.DHParameterNumbers(_FFDHE, 2).parameters()
            pem = parameters.parameter_bytes(Encoding.PEM, ParameterFormat.PKCS3)
        (self.folder / "dh.pem").write_bytes(pem)
        description = (
            f"ssl:0:interface=127.0.0.1:{self.files}:dhParameters=FOLDER/dh.pem"
        )
        self.assertEqual(
            self.listening(description).files[-1], str(self.folder / "dh.pem")
        )
        await self.assert_served(description)

    def test_errors(self) -> None:
        """
        What is wrong is named.
        """
        (self.folder / "empty.pem").write_bytes(b"")
        (self.folder / "locked.pem").write_bytes(
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
        )
        other = self.folder / "other"
        other.mkdir()
        make_certificate(other)
        files = self.files
        for description, expected in (
            ("ssl", "needs a port"),
            ("ssl:", "needs a port"),
            (f"ssl:{files}", "needs a port"),
            (f"ssl:http:{files}", "'http'"),
            (f"ssl:0:{files}:backlog=many", "'many'"),
            (f"ssl:0:{files}:nonsense=1", "no 'nonsense', only port, privateKey"),
            (f"ssl:0:{files}:port=1", "port twice"),
            (f"ssl:0:{files}:sslmethod=nonsense", "'nonsense'"),
            ("ssl:0" + ":x" * 8 + ":over", "'over' is over"),
            ("ssl:0:privateKey=FOLDER/none", "FOLDER/none'"),
            (f"ssl:0:{files}:extraCertChain=FOLDER/none", "FOLDER/none'"),
            (
                "ssl:0:privateKey=FOLDER/empty.pem:certKey=FOLDER/cert.pem",
                "the key or a certificate is broken: ",
            ),
            ("ssl:0:privateKey=FOLDER/locked.pem", "the key is encrypted"),
            (
                "ssl:0:privateKey=FOLDER/key.pem",
                "the key or a certificate is broken: no start line",
            ),
            (
                "ssl:0:privateKey=FOLDER/key.pem:certKey=FOLDER/other/cert.pem",
                "public and private keys do not match",
            ),
            (f"ssl:0:{files}:extraCertChain=FOLDER/empty.pem", "FOLDER/empty.pem'"),
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

    def test_withoutTheExtra(self) -> None:
        """
        Whoever lacks pyOpenSSL is told what to install.
        """
        without = {"OpenSSL": None, "twisted_echo.tls": None}
        with (
            mock.patch.dict(sys.modules, without),
            self.assertRaisesRegex(ValueError, "the extra 'tls'"),
        ):
            self.listening(f"ssl:0:{self.files}")


class ProxiedTests(ListenTestCase):
    def test_errors(self) -> None:
        for description, expected in (
            ("haproxy", "endpoint type"),
            ("haproxy:", "endpoint type"),
            ("haproxy:nix:1", "'nix'"),
            ("haproxy:tcp:echoes", "'echoes'"),
            ("haproxy:haproxy:tcp:0", "one PROXY header"),
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
        Whatever is neither C{ssl:} nor C{haproxy:} is Twisted's own.
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

    def test_systemd(self) -> None:
        """
        A socket of systemd is adopted as it is, also behind a proxy.
        """
        from twisted.internet import endpoints
        from twisted.python.systemd import ListenFDs

        parsers = [
            each
            for each in endpoints.getPlugins(IStreamServerEndpointStringParser)
            if each.prefix == "systemd"
        ]
        self.patch(parsers[0], "_sddaemon", ListenFDs([7], ["echo"]))
        endpoint = self.listening("systemd:domain=INET:name=echo").endpoint
        self.assertIs(type(endpoint), AdoptedStreamServerEndpoint)
        self.assertEqual(endpoint.fileno, 7)
        proxied = self.listening("haproxy:systemd:domain=INET:name=echo").endpoint
        self.assertIsInstance(proxied, LayeredEndpoint)
        self.assertEqual(proxied._endpoint.fileno, 7)

    def test_plugins(self) -> None:
        """
        A kind of endpoint that a plugin brings gets its words as they were
        written, also behind a proxy.
        """
        from twisted.internet import endpoints

        got: list[Any] = []

        @implementer(IPlugin, IStreamServerEndpointStringParser)
        class Parser:
            prefix = "tls"

            def parseStreamServer(self, reactor: Any, *words: str, **named: str) -> Any:
                got.append((words, named))
                return TCP4ServerEndpoint(reactor, 0)

        self.patch(endpoints, "getPlugins", lambda interface: [Parser()])
        for description in "tls:a:b=c", r"tls:a\=b\:c\\d:e=f\:g=h":
            self.assertIs(
                type(self.listening(description).endpoint), TCP4ServerEndpoint
            )
            proxied = self.listening("haproxy:" + description)
            self.assertIsInstance(proxied.endpoint, LayeredEndpoint)
        first, second = (("a",), {"b": "c"}), (("a=b:c\\d",), {"e": "f:g=h"})
        self.assertEqual(got, [first, first, second, second])

    def test_errors(self) -> None:
        for description, expected in (
            ("", "endpoint type"),
            ("nix:1", "'nix'"),
            ("port=7007", "no type of endpoint"),
        ):
            with self.assertRaisesRegex(ValueError, expected):
                self.listening(description)
