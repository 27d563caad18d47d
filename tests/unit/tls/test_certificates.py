"""
L{twisted_echo.tls.certificates}: settings that are taken, refused and replaced.
"""

import ssl
from typing import Any
from unittest import TestCase

from OpenSSL import SSL
from twisted.internet.ssl import CertificateOptions

from tests.support.der_certificates import PLAIN, server_context
from twisted_echo import EchoConfig, EchoFactory
from twisted_echo.endpoints.tls_layer import TLSFactory
from twisted_echo.tls.certificates import Certificates, TLSSettings, certificatesOf
from twisted_echo.tls.x509 import Certificate


class CertificatesTests(TestCase):
    def test_context(self) -> None:
        """
        What loads may give a bare context.
        """
        context = server_context()
        certificates = Certificates(lambda: context)
        self.assertIs(certificates.context, context)
        self.assertEqual(certificates.settings, TLSSettings(context, False, ()))

    def test_loaded(self) -> None:
        """
        Or all that belongs to it.
        """
        chains = (("a.pem", Certificate(PLAIN)),)
        loaded = TLSSettings(server_context(), requiresProtocol=True, chains=chains)
        certificates = Certificates(lambda: loaded)
        self.assertIs(certificates.settings, loaded)
        self.assertIs(certificates.context, loaded.context)

    def test_watchers(self) -> None:
        """
        They are called after a reload, not after one that fails.
        """
        given: list[Any] = [server_context(), server_context(), None]
        certificates = Certificates(lambda: given.pop(0))
        seen: list[Any] = []

        def look() -> None:
            seen.append(certificates.context)
            certificates.watchers.discard(look)

        certificates.watchers.add(look)
        certificates.reload()
        self.assertEqual(seen, [certificates.context])
        certificates.watchers.add(look)
        with self.assertRaises(TypeError):
            certificates.reload()
        self.assertEqual(len(seen), 1)

    def test_reload(self) -> None:
        """
        A reload replaces everything at once, and nothing if it fails in any way.
        """
        first, second = (
            TLSSettings(server_context()),
            TLSSettings(server_context(), requiresProtocol=True),
        )
        given: list[Any] = [
            first,
            second,
            OSError("no file"),
            None,
            ssl.create_default_context(),
        ]

        def load() -> Any:
            each = given.pop(0)
            if isinstance(each, Exception):
                raise each
            return each

        certificates = Certificates(load)
        self.assertIs(certificates.settings, first)
        certificates.reload()
        self.assertIs(certificates.settings, second)
        for kind, why in (
            (OSError, "no file"),
            (TypeError, "got builtins.NoneType"),
            (ValueError, "got one for clients"),
        ):
            with self.assertRaisesRegex(kind, why):
                certificates.reload()
            self.assertIs(certificates.settings, second)
        self.assertEqual(given, [])

    def test_chains(self) -> None:
        """
        What is no certificate is refused at once, not when its end is looked for.
        """
        wrong: Any
        for wrong in ("cert.pem", ("cert.pem", b"\x30"), b"\x30", None):
            with self.assertRaisesRegex(TypeError, "chains must hold a file's name"):
                TLSSettings(server_context(), chains=(wrong,))

    def test_firstLoad(self) -> None:
        """
        Without settings there is no server: the first failure goes through.
        """

        def load() -> Any:
            raise OSError("no file")

        with self.assertRaisesRegex(OSError, "no file"):
            Certificates(load)
        with self.assertRaisesRegex(TypeError, "load"):
            Certificates(server_context())  # type: ignore[arg-type]


class CertificatesOfTests(TestCase):
    def test_taken(self) -> None:
        certificates = Certificates(server_context)
        self.assertIs(certificatesOf(certificates), certificates)
        context = server_context()
        self.assertIs(certificatesOf(context).context, context)
        loaded = TLSSettings(context, requiresProtocol=True)
        self.assertIs(certificatesOf(loaded).settings, loaded)
        # The kind that speaks for both sides.
        self.assertIsInstance(
            certificatesOf(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)),
            Certificates,
        )

    def test_reloaded(self) -> None:
        """
        A context of the embedder's own stays what it is.
        """
        context = server_context()
        certificates = certificatesOf(context)
        certificates.reload()
        self.assertIs(certificates.context, context)

    def test_refused(self) -> None:
        """
        What stands on pyOpenSSL is refused by name, with what to pass instead.
        """
        for given, name in (
            (CertificateOptions(), "twisted.internet._sslverify.+CertificateOptions"),
            (SSL.Context(SSL.TLS_METHOD), "OpenSSL.SSL.Context"),
        ):
            expected = f"got {name}, which stands on pyOpenSSL: .+PROTOCOL_TLS_SERVER"
            with self.assertRaisesRegex(TypeError, expected):
                certificatesOf(given)  # type: ignore[arg-type]
            with self.assertRaisesRegex(TypeError, expected):
                Certificates(lambda given=given: given)  # type: ignore[misc]
        for given in (None, "cert.pem", object()):
            with self.assertRaisesRegex(
                TypeError, "certificates must be an ssl.SSLContext or what"
            ):
                certificatesOf(given)  # type: ignore[arg-type]

    def test_factory(self) -> None:
        """
        So does what puts TLS under sessions.
        """
        factory = EchoFactory(EchoConfig())
        with self.assertRaisesRegex(TypeError, "CertificateOptions, which stands on"):
            TLSFactory(factory, CertificateOptions())  # type: ignore[arg-type]
        context = server_context()
        self.assertIs(TLSFactory(factory, context).settings.context, context)

    def test_clients(self) -> None:
        """
        A context for clients would fail at each handshake; it fails when it is given.
        """
        with self.assertRaisesRegex(ValueError, "CLIENT_AUTH"):
            certificatesOf(ssl.create_default_context())
