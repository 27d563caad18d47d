"""
L{twisted_echo.tls.options}: clients meet what the options of a string say.
"""

import os
import ssl
from typing import Any

from tests.support.authority import Authority, Identity, client, resumed, shake
from tests.support.tls_options import VERSIONS, TLSOptionsTestCase
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.pem_files import BadFile
from twisted_echo.tls.x509 import Certificate
from twisted_echo.validation.checks import InvalidSetting

V1_2, V1_3 = VERSIONS


class DefaultTests(TLSOptionsTestCase):
    def test_empty(self) -> None:
        """
        An option without a value is refused, and not as a file that does not exist.
        """
        for option in (
            *("privateKey", "certKey", "extraCertChain"),
            *("dhParameters", "caFile", "caDir"),
        ):
            self.refused(
                self.options(**{option: ""}),
                InvalidSetting,
                f"{option} must be a path, got ''",
            )

    def test_safe(self) -> None:
        """
        What is not said is what Python holds to be right, and no renegotiation.
        """
        context = self.loaded().context
        self.assertEqual(context.minimum_version, V1_2)
        for option in (
            ssl.OP_NO_COMPRESSION,
            ssl.OP_NO_RENEGOTIATION,
            ssl.OP_CIPHER_SERVER_PREFERENCE,
        ):
            self.assertTrue(context.options & option, option)
        self.assertEqual(context.verify_mode, ssl.CERT_NONE)
        self.assertEqual(context.num_tickets, 1)
        ours = [each["name"] for each in context.get_ciphers()]
        modern = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).get_ciphers()
        self.assertEqual(ours, [each["name"] for each in modern])

    def test_presented(self) -> None:
        for version in VERSIONS:
            both = shake(self.loaded().context, client(self.authority, version=version))
            self.assertEqual(both.presented, self.identity.der)

    def test_loaded(self) -> None:
        """
        What else there is to know of it.
        """
        file = self.write("chain.pem", self.authority.pem)
        loaded = self.loaded(extraCertChain=file, caFile=file).settings
        cert = str(self.folder / "cert.pem")
        self.assertFalse(loaded.requiresProtocol)
        self.assertEqual(loaded.chains, ((cert, Certificate(self.identity.der)),))
        self.assertEqual(loaded.files, (str(self.folder / "key.pem"), cert, file))

    def test_sessions(self) -> None:
        """
        Sessions are resumed, until the certificates are loaded again.
        """
        certificates = self.loaded()
        for version in VERSIONS:
            context = client(version=version)
            session = shake(certificates.context, context).client.session
            self.assertTrue(resumed(certificates.context, context, session), version)
            certificates.reload()
            self.assertFalse(resumed(certificates.context, context, session), version)


class VersionTests(TLSOptionsTestCase):
    def test_versions(self) -> None:
        for options, spoken in (
            ({}, (True, True)),
            ({"minVersion": "1.3"}, (False, True)),
            ({"maxVersion": "1.2"}, (True, False)),
            ({"minVersion": "1.2", "maxVersion": "1.3"}, (True, True)),
            ({"sslmethod": "TLSv1_2_METHOD"}, (True, False)),
            ({"sslmethod": "TLS_METHOD"}, (True, True)),
            ({"sslmethod": "SSLv23_METHOD"}, (True, True)),
        ):
            context = self.loaded(**options).context
            for version, is_spoken in zip(VERSIONS, spoken, strict=True):
                if is_spoken:
                    both = shake(context, client(version=version))
                    self.assertEqual(both.server.version(), f"TLSv1.{version - 0x301}")
                else:
                    with self.assertRaisesRegex(ssl.SSLError, "(?i)version"):
                        shake(context, client(version=version))

    def test_wrong(self) -> None:
        for options, why in (
            ({"minVersion": "1.1"}, "minVersion must be 1.2 or 1.3, got '1.1'"),
            ({"maxVersion": "TLSv1.3"}, "maxVersion must be 1.2 or 1.3, got 'TLSv1.3'"),
            (
                {"minVersion": "1.3", "maxVersion": "1.2"},
                "minVersion must be at most maxVersion, got 1.3 and 1.2",
            ),
            (
                {"sslmethod": "TLSv1_METHOD"},
                "sslmethod must be TLS_METHOD or TLS_SERVER_METHOD or SSLv23_METHOD or"
                r" TLSv1_2_METHOD, got 'TLSv1_METHOD' (a colon within a value is"
                r" written \:)",
            ),
            (
                {"sslmethod": "TLS_METHOD", "minVersion": "1.2"},
                "sslmethod sets the versions, as minVersion and maxVersion do; give one"
                " or the other",
            ),
        ):
            self.refused(self.options(**options), InvalidSetting, why)


class CipherTests(TLSOptionsTestCase):
    def test_ciphers(self) -> None:
        """
        They are those of TLS 1.2, and have commas where there would be colons.
        """
        context = self.loaded(
            ciphers="ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE+CHACHA20"
        ).context
        both = shake(context, client(version=V1_2))
        self.assertEqual(both.server.cipher()[0], "ECDHE-ECDSA-AES256-GCM-SHA384")  # type: ignore[index]
        other = client(version=V1_2)
        other.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        with self.assertRaisesRegex(ssl.SSLError, "(?i)handshake.failure"):
            shake(context, other)
        shake(context, client(version=V1_3))

    def test_serverPrefers(self) -> None:
        names = ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"]
        other = client(version=V1_2)
        other.set_ciphers(":".join(names))
        for each in (names, names[::-1]):
            both = shake(self.loaded(ciphers=",".join(each)).context, other)
            self.assertEqual(both.server.cipher()[0], each[0])  # type: ignore[index]

    def test_anonymous(self) -> None:
        """
        Nobody is served without a certificate or without encryption, also if a option
        that stands for many ciphers has such.
        """
        context = self.loaded(ciphers="ALL,NULL,@SECLEVEL=0").context
        for each in context.get_ciphers():
            self.assertNotIn("Au=None", each["description"])
            self.assertNotIn("Enc=None", each["description"])

    def test_curve(self) -> None:
        """
        The only one that is agreed upon.
        """
        other = client()
        other.set_ecdh_curve("prime256v1")
        shake(self.loaded(curve="prime256v1").context, other)
        with self.assertRaises(ssl.SSLError):
            shake(self.loaded(curve="secp384r1").context, other)
        # A client that guesses wrong is asked once more.
        shake(self.loaded(curve="secp384r1").context, client(version=V1_3))

    def test_wrong(self) -> None:
        for options, why in (
            (
                {"ciphers": "nonsense"},
                "ciphers must be OpenSSL's names of ciphers of TLS 1.2, separated by"
                " commas, such as ECDHE+AESGCM,ECDHE+CHACHA20, got 'nonsense'",
            ),
            *(
                # Those without encryption, or without a certificate.
                (
                    {"ciphers": each},
                    "ciphers must be OpenSSL's names of ciphers of TLS 1.2, separated"
                    " by commas, such as ECDHE+AESGCM,ECDHE+CHACHA20, got"
                    f" {each!r}",
                )
                for each in ("NULL", "aNULL", "NULL,aNULL")
            ),
            (
                {"ciphers": "ECDHE", "minVersion": "1.3"},
                "ciphers is for TLS 1.2, which minVersion excludes",
            ),
            (
                {"curve": "nonsense"},
                "curve must be OpenSSL's name of a curve, such as X25519, prime256v1 or"
                " secp384r1, got 'nonsense'",
            ),
        ):
            self.refused(self.options(**options), InvalidSetting, why)


class ProtocolTests(TLSOptionsTestCase):
    def test_chosen(self) -> None:
        """
        The server's order decides; without an overlap there is none.
        """
        certificates = self.loaded(protocols="h2,http/1.1")
        self.assertFalse(certificates.settings.requiresProtocol)
        for offered, chosen in (
            (["http/1.1", "h2"], "h2"),
            (["http/1.1"], "http/1.1"),
            (["other"], None),
            (None, None),
        ):
            context = client()
            if offered:
                context.set_alpn_protocols(offered)
            both = shake(certificates.context, context)
            self.assertEqual(both.server.selected_alpn_protocol(), chosen)

    def test_required(self) -> None:
        """
        (L{twisted_echo.endpoints.tls_layer} closes who has none.)
        """
        for option, expected in (("yes", True), ("no", False)):
            certificates = self.loaded(protocols="h2", protocolRequired=option)
            self.assertEqual(certificates.settings.requiresProtocol, expected)

    def test_wrong(self) -> None:
        for each in ("", "h2,", ",h2", "h2, http/1.1", "h\n2", "\xe4", "x" * 256):
            self.refused(
                self.options(protocols=each),
                InvalidSetting,
                "protocols must be ALPN names, separated by commas, such as"
                f" h2,http/1.1, got {each!r}",
            )
        for options, why in (
            (
                {"protocolRequired": "yes"},
                "protocolRequired needs protocols, of which one is required",
            ),
            (
                {"protocols": "h2", "protocolRequired": "true"},
                "protocolRequired must be yes or no, got 'true'",
            ),
        ):
            self.refused(self.options(**options), InvalidSetting, why)


class ClientTests(TLSOptionsTestCase):
    """
    Certificates of clients.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ca = self.write("ca/ca.pem", self.authority.pem)
        self.anna = self.authority.issue("anna")
        self.stranger = Authority("other").issue("anna")

    def as_client(self, identity: Identity | None, **how: Any) -> ssl.SSLContext:
        return client(identity=identity, folder=self.folder, **how)

    def assert_verified(
        self, certificates: Certificates, name: str | None = None
    ) -> None:
        """
        Only who has a certificate of the authority gets in.
        """
        for version in VERSIONS:
            both = shake(
                certificates.context, self.as_client(self.anna, version=version), name
            )
            self.assertEqual(both.server.getpeercert(True), self.anna.der)
            for other in (None, self.stranger, self.authority.issue("late", days=-1)):
                with self.assertRaises(ssl.SSLError):
                    shake(
                        certificates.context,
                        self.as_client(other, version=version),
                        name,
                    )

    def test_required(self) -> None:
        """
        Who names an authority wants certificates of it.
        """
        for options in (
            {"caFile": self.ca},
            {"caFile": self.ca, "clientCert": "required"},
            {"caDir": str(self.folder / "ca")},
        ):
            self.assert_verified(self.loaded(**options))

    def test_optional(self) -> None:
        """
        Who has none gets in; who has one of somebody else's does not.
        """
        context = self.loaded(caFile=self.ca, clientCert="optional").context
        for version in VERSIONS:
            for identity in (self.anna, None):
                both = shake(context, self.as_client(identity, version=version))
                expected = identity and identity.der
                self.assertEqual(both.server.getpeercert(True), expected)
            with self.assertRaises(ssl.SSLError):
                shake(context, self.as_client(self.stranger, version=version))

    def test_authorityBetween(self) -> None:
        """
        An authority that another one has signed can be all that is trusted.
        """
        between = Authority("between", self.authority)
        context = self.loaded(caFile=self.write("b.pem", between.pem)).context
        shake(context, self.as_client(between.issue("anna")))
        with self.assertRaises(ssl.SSLError):
            shake(context, self.as_client(self.anna))

    def test_directory(self) -> None:
        """
        Every file of a folder with a certificate is one of an authority's, whatever it
        is called; others do not matter.
        """
        other = Authority("other")
        os.symlink("ca.pem", self.folder / "ca" / "12345678.0")
        self.write("ca/other.crt", b"Comment\n" + other.pem)
        self.write("ca/README", b"Whom we trust.\n")
        (self.folder / "ca" / "more").mkdir()
        certificates = self.loaded(caDir=str(self.folder / "ca"))
        for each in (self.authority, other):
            shake(certificates.context, self.as_client(each.issue("anna")))
        names = [
            os.path.relpath(each, self.folder) for each in certificates.settings.files
        ]
        self.assertEqual(
            names,
            ["key.pem", "cert.pem", "ca", "ca/12345678.0", "ca/ca.pem", "ca/other.crt"],
        )

    def test_both(self) -> None:
        other = Authority("other")
        context = self.loaded(
            caFile=self.write("o.pem", other.pem), caDir=str(self.folder / "ca")
        ).context
        for each in (self.authority, other):
            shake(context, self.as_client(each.issue("anna")))

    def test_reloaded(self) -> None:
        """
        An authority that is taken away lets nobody in after a reload, with a session of
        before neither.
        """
        certificates = self.loaded(caFile=self.ca)
        for version in VERSIONS:
            self.write("ca/ca.pem", self.authority.pem)
            certificates.reload()
            context = self.as_client(self.anna, version=version)
            session = shake(certificates.context, context).client.session
            self.assertTrue(resumed(certificates.context, context, session))
            self.write("ca/ca.pem", Authority("other").pem)
            certificates.reload()
            with self.assertRaises(ssl.SSLError):
                resumed(certificates.context, context, session)

    def test_otherListener(self) -> None:
        """
        A session of a listener that lets everybody in is of no use at one that does
        not.
        """
        free, strict = self.loaded(), self.loaded(caFile=self.ca)
        for version in VERSIONS:
            context = client(version=version)
            session = shake(free.context, context).client.session
            with self.assertRaises(ssl.SSLError):
                resumed(strict.context, context, session)

    def test_wrong(self) -> None:
        self.refused(
            self.options(clientCert="required"),
            InvalidSetting,
            "clientCert needs caFile or caDir, the authorities that sign clients",
        )
        self.refused(
            self.options(clientCert="maybe", caFile=self.ca),
            InvalidSetting,
            "clientCert must be required or optional, got 'maybe'",
        )

    def test_files(self) -> None:
        (self.folder / "none").mkdir()
        self.write("none/README", b"Nobody.\n")
        self.write("broken/a.pem", self.authority.pem[:-30])
        for options, why in (
            ({"caFile": "missing"}, "cannot read missing: No such file or directory"),
            ({"caFile": "key.pem"}, "cannot use key.pem: it holds no certificate: "),
            ({"caFile": "broken/a.pem"}, "cannot use broken/a.pem: a BEGIN in it has"),
            ({"caDir": "missing"}, "cannot read missing: No such file or directory"),
            ({"caDir": "key.pem"}, "cannot read key.pem: Not a directory"),
            ({"caDir": "none"}, "cannot use none: no file in it holds a certificate"),
            ({"caDir": "broken"}, "cannot use broken/a.pem: a BEGIN in it has no END"),
        ):
            given = {name: f"{self.folder}/{each}" for name, each in options.items()}
            with self.assertRaises(BadFile) as raised:
                self.loaded(**given)
            message = str(raised.exception).replace(f"{self.folder}/", "")
            self.assertTrue(message.startswith(why), message)
