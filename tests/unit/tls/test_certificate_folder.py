"""
L{twisted_echo.tls.certificate_folder}: the certificate for the name that a client asks
for, and no other way in by it.
"""

import gc
import os
import ssl
from unittest import mock
from weakref import ref

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.authority import (
    Authority,
    Identity,
    client,
    not_root,
    resumed,
    shake,
)
from tests.support.tls_options import VERSIONS, TLSOptionsTestCase
from twisted_echo.tls import certificate_folder as names
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.options import certificates_of
from twisted_echo.tls.pem_files import BadFile
from twisted_echo.tls.x509 import Certificate
from twisted_echo.validation.checks import InvalidSetting


class FolderTestCase(TLSOptionsTestCase):
    """
    A folder C{hosts} with C{a.example} and, later in the order of its files,
    C{b.example} and all names beside C{wild.example}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.a = self.identity
        self.b = self.authority.issue("b", "B.example", "also-b.example")
        self.wild = self.authority.issue("wild", "*.wild.example")
        self.put("a.pem", self.a)
        self.put("b.pem", self.b)
        self.put("wild.pem", self.wild)

    def put(self, name: str, identity: Identity) -> None:
        self.write(f"hosts/{name}", identity.key + identity.pem)

    def served(self, **words: str) -> Certificates:
        return certificates_of({"path": str(self.folder / "hosts")} | words)

    def presented(self, certificates: Certificates, name: str | None) -> bytes:
        """
        The same by each version.
        """
        first, second = (
            shake(certificates.context, client(version=version), name).presented
            for version in VERSIONS
        )
        self.assertEqual(first, second)
        return first

    def wrong(self, why: str, **words: str) -> None:
        with self.assertRaises(BadFile) as raised:
            self.served(**words)
        message = str(raised.exception).replace(f"{self.folder}/", "")
        self.assertTrue(message.startswith(why), message)


class NameTests(FolderTestCase):
    def test_names(self) -> None:
        """
        Each name gets its own, in capital letters too; a wildcard stands for one label.
        """
        certificates = self.served()
        for name, identity in (
            ("a.example", self.a),
            ("b.example", self.b),
            ("B.EXAMPLE", self.b),
            ("also-b.example", self.b),
            ("one.wild.example", self.wild),
            # The default's.
            (None, self.a),
            ("wild.example", self.a),
            ("two.one.wild.example", self.a),
            ("unknown.example", self.a),
            ("localhost", self.a),
            ("*.wild.example", self.wild),
        ):
            self.assertEqual(self.presented(certificates, name), identity.der, name)

    def test_unknown(self) -> None:
        """
        By choice, a name that is not there gets an alert which says so. A client that
        asks for none gets the default all the same.
        """
        certificates = self.served(unknownName="refuse")
        for version in VERSIONS:
            with self.assertRaisesRegex(ssl.SSLError, "(?i)unrecognized.name"):
                shake(certificates.context, client(version=version), "unknown.example")
        self.assertEqual(self.presented(certificates, None), self.a.der)
        self.assertEqual(self.presented(certificates, "b.example"), self.b.der)
        self.assertEqual(
            self.presented(self.served(unknownName="default"), "unknown.example"),
            self.a.der,
        )
        with self.assertRaisesRegex(
            InvalidSetting, "unknownName must be default or refuse, got 'drop'"
        ):
            self.served(unknownName="drop")

    def test_several(self) -> None:
        """
        Of several certificates for one name, the last to expire is presented, wherever
        it is.
        """
        new = self.authority.issue("new", "b.example", days=50)
        for name in ("0.pem", "z.pem"):
            self.put(name, new)
            self.assertEqual(self.presented(self.served(), "b.example"), new.der)
            (self.folder / "hosts" / name).unlink()

    def test_reload(self) -> None:
        """
        Names come and go with a reload, and not before.
        """
        certificates = self.served(unknownName="refuse")
        new = self.authority.issue("new", "new.example")
        self.put("new.pem", new)
        (self.folder / "hosts" / "b.pem").unlink()
        self.assertEqual(self.presented(certificates, "b.example"), self.b.der)
        certificates.reload()
        self.assertEqual(self.presented(certificates, "new.example"), new.der)
        with self.assertRaisesRegex(ssl.SSLError, "(?i)unrecognized.name"):
            shake(certificates.context, client(), "b.example")


class RuleTests(FolderTestCase):
    """
    What holds for a listener, holds for each of its names.
    """

    NAMES = (None, "a.example", "b.example", "one.wild.example", "unknown.example")

    def test_verified(self) -> None:
        """
        A client without a certificate does not get in under any name, and one with a
        stranger's neither.
        """
        anna = self.authority.issue("anna")
        stranger = Authority("other").issue("anna")
        file = self.write("ca.pem", self.authority.pem)
        for unknown in ("default", "refuse"):
            context = self.served(caFile=file, unknownName=unknown).context
            for version in VERSIONS:
                for name in self.NAMES:
                    for identity in (None, stranger):
                        with self.assertRaises(ssl.SSLError):
                            shake(
                                context,
                                client(None, identity, self.folder, version),
                                name,
                            )
                    if (unknown, name) != ("refuse", "unknown.example"):
                        both = shake(
                            context, client(None, anna, self.folder, version), name
                        )
                        self.assertEqual(both.server.getpeercert(True), anna.der)

    def test_versions(self) -> None:
        old, new = VERSIONS
        for words, spoken, refused in (
            ({"minVersion": "1.3"}, new, old),
            ({"maxVersion": "1.2"}, old, new),
        ):
            context = self.served(**words).context
            for name in self.NAMES:
                shake(context, client(version=spoken), name)
                with self.assertRaisesRegex(ssl.SSLError, "(?i)version"):
                    shake(context, client(version=refused), name)

    def test_rest(self) -> None:
        """
        So do the ciphers, the curve and the protocols.
        """
        context = self.served(
            ciphers="ECDHE-ECDSA-AES256-GCM-SHA384",
            curve="prime256v1",
            protocols="h2",
            protocolRequired="yes",
        ).context
        other = client(version=VERSIONS[0])
        other.set_alpn_protocols(["http/1.1", "h2"])
        wrong, elsewhere = client(version=VERSIONS[0]), client(version=VERSIONS[0])
        wrong.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        elsewhere.set_ecdh_curve("secp384r1")
        for name in self.NAMES:
            both = shake(context, other, name)
            self.assertEqual(both.server.selected_alpn_protocol(), "h2")
            self.assertEqual(
                both.server.cipher(),
                ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2", 256),
            )
            for each in wrong, elsewhere:
                with self.assertRaises(ssl.SSLError):
                    shake(context, each, name)

    def test_sessions(self) -> None:
        """
        A session of one name that is used for another was verified in the same way,
        and is of no use after a reload that changes who is.
        """
        anna = self.authority.issue("anna")
        file = self.write("ca.pem", self.authority.pem)
        certificates = self.served(caFile=file, unknownName="refuse")
        for version in VERSIONS:
            self.write("ca.pem", self.authority.pem)
            certificates.reload()
            context = client(None, anna, self.folder, version)
            session = shake(certificates.context, context, "a.example").client.session
            self.assertTrue(
                resumed(certificates.context, context, session, "a.example")
            )
            both = shake(certificates.context, context, "b.example", session)
            self.assertEqual(both.server.getpeercert(True), anna.der)
            if version is VERSIONS[1]:
                # (In TLS 1.2 the name is the session's, which is a.example.)
                with self.assertRaisesRegex(ssl.SSLError, "(?i)unrecognized.name"):
                    shake(certificates.context, context, "unknown.example", session)
            self.write("ca.pem", Authority("other").pem)
            certificates.reload()
            for name in self.NAMES:
                with self.assertRaises(ssl.SSLError):
                    shake(certificates.context, context, name, session)

    def test_strangersSession(self) -> None:
        """
        A session that was begun without a certificate, where one is optional, brings
        none along.
        """
        file = self.write("ca.pem", self.authority.pem)
        context = self.served(caFile=file, clientCert="optional").context
        for version in VERSIONS:
            other = client(version=version)
            session = shake(context, other, "a.example").client.session
            both = shake(context, other, "b.example", session)
            self.assertIsNone(both.server.getpeercert(True))


class LayoutTests(FolderTestCase):
    """
    What is where in the folder.
    """

    def setUp(self) -> None:
        super().setUp()
        for file in (self.folder / "hosts").iterdir():
            file.unlink()

    def test_anywhere(self) -> None:
        """
        Keys, certificates and those of authorities find each other, wherever they are.
        """
        top = Authority("top", self.authority)
        between = Authority("between", top)
        chained = between.issue("chained", "chained.example")
        self.write("hosts/keys/0.pem", self.b.key + chained.key)
        self.write("hosts/keys/1.pem", self.wild.key)
        self.write(
            "hosts/many.pem",
            b"Comment\n" + between.pem + self.wild.pem + self.b.pem + chained.pem,
        )
        self.write("hosts/z/top.pem", top.pem)
        self.write("hosts/z/root.pem", self.authority.pem)
        self.write("hosts/README", b"not looked at")
        certificates = self.served(unknownName="refuse")
        for name, identity in (
            ("chained.example", chained),
            ("b.example", self.b),
            ("one.wild.example", self.wild),
        ):
            both = shake(certificates.context, client(self.authority), name)
            self.assertEqual(both.presented, identity.der)
        many = str(self.folder / "hosts" / "many.pem")
        self.assertEqual(
            certificates.settings.chains,
            tuple(
                (many, Certificate(each.der)) for each in (self.b, chained, self.wild)
            ),
        )
        self.assertEqual(
            [
                os.path.relpath(each, self.folder)
                for each in certificates.settings.files
            ],
            [
                "hosts",
                "hosts/many.pem",
                "hosts/keys/0.pem",
                "hosts/keys/1.pem",
                "hosts/z/root.pem",
                "hosts/z/top.pem",
            ],
        )

    def test_perHost(self) -> None:
        """
        A folder for each host, as clients of ACME make them, with the same certificate
        in several files, which are links.
        """
        between = Authority("between", self.authority)
        for host in ("a.example", "b.example", "c.example"):
            identity = between.issue(host, host)
            self.write(f"{host}-1.pem", identity.pem)
            self.write(f"hosts/{host}/privkey.pem", identity.key)
            os.symlink(
                self.folder / f"{host}-1.pem", self.folder / "hosts" / host / "cert.pem"
            )
            self.write(f"hosts/{host}/chain.pem", between.pem)
            self.write(f"hosts/{host}/fullchain.pem", identity.pem + between.pem)
        certificates = self.served(unknownName="refuse")
        for host in ("a.example", "b.example", "c.example"):
            context = client(self.authority)
            context.check_hostname = True
            shake(certificates.context, context, host)
        self.assertEqual(len(certificates.settings.chains), 3)

    def test_renewed(self) -> None:
        """
        Of several certificates with one key each is considered; what no client is
        shown, as it was replaced, is not watched.
        """
        soon = self.authority.issue("a", "a.example", days=2)
        later = self.authority.issue("a", "a.example", days=60, key=soon.private)
        for first, second in ((soon, later), (later, soon)):
            self.write("hosts/a.pem", soon.key + first.pem)
            self.write("hosts/a2.pem", second.pem)
            certificates = self.served()
            for name in ("a.example", None):
                self.assertEqual(self.presented(certificates, name), later.der)
            leaves = [leaf.der for _, leaf in certificates.settings.chains]
            self.assertEqual(leaves, [later.der])

    def test_links(self) -> None:
        """
        Linked folders are read, and those that lead back end.
        """
        self.write("elsewhere/b.pem", self.b.key + self.b.pem)
        os.symlink(self.folder / "elsewhere", self.folder / "hosts" / "link")
        os.symlink(self.folder / "hosts", self.folder / "elsewhere" / "back")
        certificates = self.served()
        self.assertEqual(self.presented(certificates, "b.example"), self.b.der)
        hosts = self.folder / "hosts"
        self.assertEqual(
            certificates.settings.files, (str(hosts), str(hosts / "link" / "b.pem"))
        )

    def test_inside(self) -> None:
        """
        The key itself says which certificate is its own, whatever the files are called
        and in whatever order they are: each is tried once.
        """
        hosts = [self.authority.issue(f"{i}", f"{i}.example") for i in range(9)]
        key = rsa.generate_private_key(65537, 2048)
        hosts.append(self.authority.issue("9", "9.example", key=key))
        self.write("many/keys.pem", b"".join(each.key for each in hosts))
        self.write("many/certs.pem", b"".join(each.pem for each in hosts[::-1]))
        with mock.patch.object(names, "load_pair", wraps=names.load_pair) as tried:
            loaded = self.served(path=str(self.folder / "many")).settings
        self.assertEqual(len(loaded.chains), len(hosts))
        # And once more, for who asks for no name.
        self.assertEqual(tried.call_count, len(hosts) + 1)

    def test_similar(self) -> None:
        """
        A key is tried first with what is called like it: a try takes milliseconds.
        """
        hosts = [f"{number}.example" for number in range(8)]
        for host in hosts:
            identity = self.authority.issue(host, host)
            self.write(f"hosts/{host}.cert.pem", identity.pem)
            self.write(f"hosts/{host}.key.pem", identity.key)
        made = 0
        inner = ssl.SSLContext.load_cert_chain

        def load(context: ssl.SSLContext, *files: object) -> None:
            nonlocal made
            made += 1
            inner(context, *files)  # type: ignore[arg-type]

        self.addCleanup(setattr, ssl.SSLContext, "load_cert_chain", inner)
        ssl.SSLContext.load_cert_chain = load  # type: ignore[method-assign, assignment]
        self.served()
        # Twice each, and for the default.
        self.assertEqual(made, 2 * (len(hosts) + 1))

    def test_withoutName(self) -> None:
        """
        A certificate without a name of a host can be the default.
        """
        plain = self.authority.issue("plain")
        self.put("0.pem", plain)
        self.put("b.pem", self.b)
        certificates = self.served()
        self.assertEqual(self.presented(certificates, None), plain.der)
        self.assertEqual(self.presented(certificates, "b.example"), self.b.der)

    def test_selfSigned(self) -> None:
        """
        Two that sign themselves, for one name, are not each other's authorities.
        """
        for number in range(2):
            self.put(f"{number}.pem", Authority("self").identity)
        self.put("z.pem", self.b)
        self.served()

    def test_broken(self) -> None:
        """
        One broken file is reason enough to keep what was there before.
        """
        self.put("a.pem", self.a)
        certificates = self.served()
        before = certificates.settings
        for content, why in (
            (b"", "cannot use hosts/b.pem: it is no PEM file"),
            (b"\xff\xfe", "cannot use hosts/b.pem: it is no PEM file"),
            (self.b.key + self.b.pem[:99], "cannot use hosts/b.pem: a BEGIN in it has"),
            (self.b.locked() + self.b.pem, "cannot use hosts/b.pem: the key is encryp"),
            (
                b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n",
                "cannot use hosts/b.pem: it holds no certificate: ",
            ),
            (
                # Its key has not been written yet.
                self.b.pem,
                "cannot use hosts/b.pem: no private key in hosts belongs to the"
                " certificate of B.example",
            ),
        ):
            self.write("hosts/b.pem", content)
            self.wrong(why)
            with self.assertRaises(BadFile):
                certificates.reload()
            self.assertIs(certificates.settings, before)
        (self.folder / "hosts" / "b.pem").unlink()
        os.symlink("nowhere", self.folder / "hosts" / "b.pem")
        self.wrong("cannot read hosts/b.pem: No such file or directory")

    def test_unused(self) -> None:
        """
        What does not belong to a certificate does not matter, nor does an old
        certificate of a name that has another.
        """
        self.put("b.pem", self.b)
        self.write("hosts/account.pem", self.a.key)
        self.write("hosts/old.pem", self.authority.issue("b", "b.example").pem)
        self.write("hosts/authority.pem", self.authority.pem)
        self.assertEqual(self.presented(self.served(), "b.example"), self.b.der)

    def test_none(self) -> None:
        self.wrong("cannot use hosts: no certificate with its private key is in its")
        self.write("hosts/a.pem", self.a.key)
        self.wrong("cannot use hosts: no certificate with its private key is in its")
        for folder, why in (
            ("missing", "No such file or directory"),
            ("cert.pem", "Not a directory"),
        ):
            self.wrong(f"cannot read {folder}: {why}", path=str(self.folder / folder))

    def test_unreadable(self) -> None:
        self.put("a.pem", self.a)
        (self.folder / "hosts" / "secret").mkdir(mode=0)
        self.folder.chmod(0o755)
        with not_root():
            self.wrong("cannot read hosts/secret: Permission denied")


class ReplacedTests(FolderTestCase):
    """
    Contexts that a reload has replaced.
    """

    def test_freed(self) -> None:
        """
        They are freed without the garbage collector.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        certificates = self.served()
        context = ref(certificates.context)
        shake(certificates.context, client(), "b.example")
        certificates.reload()
        self.assertIsNone(context())

    def test_amidHandshake(self) -> None:
        """
        A handshake goes on with what it began with, though OpenSSL asks for the
        certificate once more.
        """
        certificates = self.served(curve="secp384r1")
        gone = ref(certificates.context)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = certificates.context.wrap_bio(to_server, to_client, server_side=True)
        other = client(version=VERSIONS[1]).wrap_bio(
            to_client, to_server, server_hostname="b.example"
        )
        for each in other, server:
            with self.assertRaises(ssl.SSLWantReadError):
                each.do_handshake()
        # It has guessed the wrong curve, and is asked to try again.
        certificates.reload()
        self.assertIsNotNone(gone())
        for each in other, server:
            with self.assertRaises(ssl.SSLWantReadError):
                each.do_handshake()
        other.do_handshake()
        server.do_handshake()
        self.assertEqual(other.getpeercert(True), self.b.der)
        del each, server
        self.assertIsNone(gone())
