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
from twisted.plugin import getPlugins
from twisted.python.systemd import ListenFDs

from tests.clients import connect, in_thread, pump
from tests.test_command import make_certificate
from tests.tlsclient import TLSTestCase, certificate_of, client_context, deprecated
from twisted_echo import EchoConfig, EchoFactory, SessionService
from twisted_echo.layers import LayeredEndpoint
from twisted_echo.listen import Listening, checkOnce, listenString

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

    def test_files(self) -> None:
        """
        A file that cannot be read, or is of no use, is named with the reason; the
        string is an endpoint's all the same.
        """
        (self.folder / "empty").write_bytes(b"")
        (self.folder / "junk").write_bytes(b"\xff\xfe")
        (self.folder / "locked").write_bytes(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
        (self.folder / "bad").write_bytes(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        )
        other = self.folder / "other"
        other.mkdir()
        make_certificate(other)
        cases = [
            ("none", "read", "No such file or directory"),
            ("other", "read", "Is a directory"),
            ("empty", "use", ""),
            ("junk", "use", ""),
            ("bad", "use", ""),
        ]
        if os.getuid():
            (self.folder / "secret").write_bytes(b"")
            (self.folder / "secret").chmod(0)
            cases.append(("secret", "read", "Permission denied"))
        named = [
            (f"{self.files}:{word}=FOLDER/{file}", word, file, verb, why)
            for word in ("privateKey", "certKey", "extraCertChain", "dhParameters")
            for file, verb, why in cases
        ]
        named += [
            (f"{self.files}:{word}=FOLDER/{file}", word, file, "use", why)
            for word, file, why in (
                ("privateKey", "locked", "the key is encrypted"),
                ("privateKey", "cert.pem", "it holds no private key"),
                ("certKey", "key.pem", "it holds no certificate: no start line"),
                (
                    "certKey",
                    "other/cert.pem",
                    "it is not the certificate of the key in",
                ),
                ("extraCertChain", "key.pem", ""),
            )
        ]
        for arguments, word, file, verb, why in named:
            words = [
                each
                for each in arguments.split(":")
                if each.partition("=")[0] != word or each == f"{word}=FOLDER/{file}"
            ]
            for kind in ("ssl", "haproxy:ssl"):
                description = ":".join((kind, "0", *words))
                with self.assertRaises(ValueError) as raised:
                    self.listening(description)
                message = str(raised.exception)
                description = description.replace("FOLDER", str(self.folder))
                self.assertTrue(
                    message.startswith(
                        f"{description!r}: cannot {verb} {self.folder}/{file}: {why}"
                    ),
                    message,
                )
                self.assertNotIn("\n", message)

    def test_reloaded(self) -> None:
        """
        The same words tell why the files cannot be loaded anew.
        """
        listening = self.listening(f"ssl:0:{self.files}")
        (self.folder / "cert.pem").unlink()
        with self.assertRaises(ValueError) as raised:
            listening.certificates.reload()
        self.assertEqual(
            str(raised.exception),
            f"cannot read {self.folder}/cert.pem: No such file or directory",
        )

    def test_errors(self) -> None:
        """
        What is wrong is named.
        """
        files = self.files
        for description, expected in (
            ("ssl", "needs its port"),
            ("ssl:", "needs its port"),
            (f"ssl:{files}", "needs its port"),
            (f"ssl:http:{files}", "a port must be from 0 to 65535, got http"),
            ("tcp6:0:interface=::1", r"interface twice (a colon within a word is"),
            (f"ssl:0:{files}:backlog=many", "'many'"),
            (f"ssl:0:{files}:nonsense=1", "no 'nonsense', only port, privateKey"),
            (f"ssl:0:{files}:port=1", "port twice"),
            (f"ssl:0:{files}:sslmethod=nonsense", "'nonsense'"),
            ("ssl:0" + ":x" * 8 + ":over", "'over' is over"),
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
            ("haproxy", "'' is none of the kinds"),
            ("haproxy:", "'' is none of the kinds"),
            ("haproxy:nix:1", "'nix'"),
            ("HaProxy:HAPROXY:tcp:0", "one PROXY header"),
            ("haproxy:tcp:echoes", "got echoes"),
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
            ("tls:FOLDER:port=0", "tls: would have Twisted's own TLS"),
            ("TLS:FOLDER", "use ssl:PORT:privateKey=KEY.pem"),
            ("stdio:", "no port"),
            ("onion:80", "'onion' is none of the kinds"),
        ):
            for prefix in "", "haproxy:", "HAPROXY:":
                with self.assertRaisesRegex(ValueError, expected):
                    self.listening(prefix + description)
        taken = {
            each.prefix
            for each in getPlugins(IStreamServerEndpointStringParser)
            if each.prefix.startswith(("tcp", "systemd", "haproxy"))
        }
        for each in getPlugins(IStreamServerEndpointStringParser):
            if each.prefix not in taken:
                with self.assertRaises(ValueError) as raised:
                    self.listening(f"{each.prefix}:FOLDER")
                self.assertNotIn("is no endpoint", str(raised.exception))
        self.assertEqual(taken, {"tcp6", "systemd", "haproxy"})


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
                self.assertNotIn("is no endpoint", str(raised.exception))
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
                with self.assertRaisesRegex(
                    ValueError, "handed down no socket of this"
                ):
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
        checkOnce([first, tcp, second, tcp])
        for wrong in ([first, second, again], [first, first]):
            with self.assertRaisesRegex(ValueError, "are one socket of systemd's"):
                checkOnce(wrong)
        with self.assertRaisesRegex(ValueError, "are one socket of systemd's"):
            SessionService([strings[0], strings[2]], EchoFactory())


class WrongTests(ListenTestCase):
    def test_errors(self) -> None:
        for description, expected in (
            ("", "'' is none of the kinds"),
            ("nix:1", "'nix'"),
            ("port=7007", "no type of endpoint"),
            ("tcp", "tcp: needs its port"),
            ("unix:", "unix: needs its address"),
            ("tcp:0:a:b:c", "tcp: has 3 words at most, 'c' is over"),
            ("tcp6:0:nonsense=1", "tcp6: has no 'nonsense', only port, backlog"),
            ("tcp:0:port=1", "tcp: has its port twice"),
            ("tcp:65536", "a port must be from 0 to 65535, got 65536"),
            ("tcp6:-1", "a port must be from 0 to 65535, got -1"),
            (f"ssl:99999:{self.files}", "a port must be from 0 to 65535, got 99999"),
        ):
            with self.assertRaisesRegex(ValueError, expected):
                self.listening(description)
