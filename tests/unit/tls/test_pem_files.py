"""
L{twisted_echo.tls.pem_files}: which file it is, and what is wrong with it.
"""

import os
import ssl
import sys
import warnings
from pathlib import Path
from unittest import SkipTest, mock

from cryptography.hazmat.primitives.asymmetric import dh, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    ParameterFormat,
    PrivateFormat,
)

from tests.support.authority import Authority, Identity, client, not_root, shake
from tests.support.tls_options import TLSOptionsTestCase
from twisted_echo.tls.options import certificates_of
from twisted_echo.tls.pem_files import BadFile

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


def dh_parameters() -> bytes:
    """
    In PEM.
    """
    with warnings.catch_warnings():
        # They are old, and still one of Twisted's words.
        warnings.simplefilter("ignore")
        parameters = dh.DHParameterNumbers(_FFDHE, 2).parameters()
        return parameters.parameter_bytes(Encoding.PEM, ParameterFormat.PKCS3)


def traditional(identity: Identity) -> bytes:
    """
    A key that is encrypted as it was long ago.
    """
    locked: bytes = identity.private.private_bytes(
        Encoding.PEM,
        PrivateFormat.TraditionalOpenSSL,
        BestAvailableEncryption(b"secret"),
    )
    return locked


class UsableTests(TLSOptionsTestCase):
    """
    All that is a key and its certificate.
    """

    def test_kinds(self) -> None:
        """
        Every kind of key.
        """
        for key in (
            rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate(),
        ):
            identity = self.authority.issue("kind", key=key)
            self.write("key.pem", identity.key)
            self.write("cert.pem", identity.pem)
            self.assertEqual(
                shake(self.loaded().context, client()).presented, identity.der
            )

    def test_sameFile(self) -> None:
        """
        Key, certificate and chain in one file, with text between them, in any order;
        the certificate is the first of them.
        """
        between = Authority("between", self.authority)
        identity = between.issue("a")
        for parts in (
            (identity.key, identity.pem, between.pem),
            (identity.pem, between.pem, identity.key),
            (identity.pem, identity.key, between.pem),
        ):
            file = self.write("both.pem", b"Bag: what is before\n".join([b"", *parts]))
            for words in ({"privateKey": file}, {"privateKey": file, "certKey": file}):
                certificates = certificates_of(words)
                both = shake(certificates.context, client(self.authority))
                self.assertEqual(both.presented, identity.der)
                self.assertEqual(certificates.settings.files, (file,))

    def test_chain(self) -> None:
        """
        C{extraCertChain} leads a client to the authority that it knows.
        """
        between = Authority("between", self.authority)
        identity = between.issue("a")
        self.write("key.pem", identity.key)
        self.write("cert.pem", identity.pem)
        with self.assertRaisesRegex(ssl.SSLError, "unable to get local issuer"):
            shake(self.loaded().context, client(self.authority))
        file = self.write("chain.pem", between.pem)
        shake(self.loaded(extraCertChain=file).context, client(self.authority))

    def test_expired(self) -> None:
        """
        One that has expired is presented all the same: whether it is taken is for
        clients to say.
        """
        identity = self.authority.issue("late", days=-1)
        self.write("key.pem", identity.key)
        self.write("cert.pem", identity.pem)
        self.assertEqual(shake(self.loaded().context, client()).presented, identity.der)

    def test_dhParameters(self) -> None:
        """
        With C{dhParameters} there are the ciphers that need them, without none is.
        """
        identity = self.authority.issue(
            "rsa", key=rsa.generate_private_key(65537, 2048)
        )
        self.write("key.pem", identity.key)
        self.write("cert.pem", identity.pem)
        file = self.write("dh.pem", dh_parameters())
        other = client(version=ssl.TLSVersion.TLSv1_2)
        other.set_ciphers("DHE+AESGCM")
        certificates = self.loaded(dhParameters=file)
        both = shake(certificates.context, other)
        self.assertRegex(both.server.cipher()[0], "^DHE-RSA-AES256")  # type: ignore[index]
        self.assertIn(file, certificates.settings.files)
        with self.assertRaises(ssl.SSLError):
            shake(self.loaded().context, other)

    def test_withoutFilesInMemory(self) -> None:
        """
        Where the system has none, files of this user's alone are in their place, and
        are gone afterwards.
        """
        made: list[str] = []
        inner = ssl.SSLContext.load_cert_chain

        def load(context: ssl.SSLContext, *files: str) -> None:
            made.extend(file for file in files[:2] if file)
            self.assertEqual(
                [os.stat(file).st_mode & 0o077 for file in files[:2] if file],
                [0] * len([file for file in files[:2] if file]),
            )
            inner(context, *files)  # type: ignore[arg-type]

        absent = mock.Mock(side_effect=AttributeError)
        forbidden = mock.Mock(side_effect=PermissionError)
        for without in (
            mock.patch.object(os, "memfd_create", absent, create=True),
            mock.patch.object(os, "memfd_create", forbidden, create=True),
            mock.patch.object(os.path, "isdir", lambda path: False),
        ):
            made.clear()
            with mock.patch.object(ssl.SSLContext, "load_cert_chain", load), without:
                context = self.loaded().context
            self.assertEqual(shake(context, client()).presented, self.identity.der)
            self.assertEqual(len(set(made)), 2)
            for file in made:
                self.assertNotIn("/proc/", file)
                self.assertFalse(Path(file).exists())

    def test_memory(self) -> None:
        """
        No key is written to a disk, and nothing stays open.
        """
        if not sys.platform.startswith("linux"):
            raise SkipTest("this system has no files in memory")
        before = sorted(os.listdir("/proc/self/fd"))
        with mock.patch("twisted_echo.tls.pem_files.NamedTemporaryFile") as temporary:
            self.loaded()
        temporary.assert_not_called()
        self.assertEqual(sorted(os.listdir("/proc/self/fd")), before)

    def test_otherUser(self) -> None:
        """
        Whoever was root when the process began can load them again.
        """
        self.folder.chmod(0o755)
        certificates = self.loaded()
        before = certificates.settings
        with not_root():
            certificates.reload()
        self.assertIsNot(certificates.settings, before)


class BrokenTests(TLSOptionsTestCase):
    """
    Files that are of no use.
    """

    def test_files(self) -> None:
        other = self.authority.issue("other")
        weak = self.authority.issue("weak", key=rsa.generate_private_key(65537, 1024))
        strong = self.authority.issue(
            "strong", key=rsa.generate_private_key(65537, 2048)
        )
        (self.folder / "folder").mkdir()
        for name, content in (
            ("empty", b""),
            ("junk", b"\xff\xfe"),
            ("locked", self.identity.locked()),
            ("locked-as-before", traditional(self.identity)),
            ("other", other.pem),
            ("strong", strong.pem),
            ("weak", weak.pem),
            ("weak.key", weak.key),
            ("cut-key", self.identity.key[:100]),
            ("cut-cert", self.identity.pem[:100]),
            ("cut-chain", self.identity.pem + self.authority.pem[:100]),
            (
                "bad-key",
                b"-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n",
            ),
            ("bad", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ):
            self.write(name, content)
        cases = [
            ({word: file}, f"cannot {why}")
            for word, what in (
                ("privateKey", "private key"),
                ("certKey", "certificate"),
                ("extraCertChain", "certificate"),
                ("dhParameters", "Diffie-Hellman parameters"),
                ("caFile", "certificate"),
            )
            for file, why in (
                ("missing", "read missing: No such file or directory"),
                ("folder", "read folder: Is a directory"),
                ("nul\0", "read nul\0: embedded null byte"),
                ("empty", f"use empty: it holds no {what}"),
                ("junk", f"use junk: it holds no {what}"),
            )
        ]
        locked = "the key is encrypted; give one without a pass phrase"
        cut_off = "a BEGIN in it has no END; it may be cut off"
        not_its = "it is not the certificate of the key in"
        cases += [
            ({"privateKey": "locked"}, f"cannot use locked: {locked}"),
            (
                {"privateKey": "locked-as-before"},
                f"cannot use locked-as-before: {locked}",
            ),
            (
                {"privateKey": "cert.pem"},
                "cannot use cert.pem: it holds no private key",
            ),
            ({"privateKey": "cut-key"}, f"cannot use cut-key: {cut_off}"),
            ({"privateKey": "bad-key"}, "cannot use bad-key: it holds no private key"),
            ({"certKey": "key.pem"}, "cannot use key.pem: it holds no certificate"),
            ({"certKey": "bad"}, "cannot use bad: it holds no certificate"),
            ({"certKey": "cut-cert"}, f"cannot use cut-cert: {cut_off}"),
            ({"certKey": "cut-chain"}, f"cannot use cut-chain: {cut_off}"),
            ({"certKey": "other"}, f"cannot use other: {not_its} key.pem"),
            ({"certKey": "strong"}, f"cannot use strong: {not_its} key.pem"),
            (
                {"certKey": "weak", "privateKey": "weak.key"},
                "cannot use weak: ee key too small",
            ),
            ({"extraCertChain": "bad"}, "cannot use bad: it holds no certificate"),
            (
                {"extraCertChain": "key.pem"},
                "cannot use key.pem: it holds no certificate",
            ),
            (
                {"dhParameters": "key.pem"},
                "cannot use key.pem: it holds no Diffie-Hellman parameters",
            ),
        ]
        for words, why in cases:
            given = {word: f"{self.folder}/{file}" for word, file in words.items()}
            with self.assertRaises(BadFile) as raised:
                self.loaded(**given)
            message = str(raised.exception).replace(f"{self.folder}/", "")
            self.assertTrue(message.startswith(why), (message, why))
            self.assertNotIn("\n", message)

    def test_unreadable(self) -> None:
        file = Path(self.write("secret", b""))
        file.chmod(0)
        self.folder.chmod(0o755)
        with (
            not_root(),
            self.assertRaisesRegex(BadFile, "cannot read .+/secret: Permission denied"),
        ):
            self.loaded(privateKey=str(file))

    def test_notAsked(self) -> None:
        """
        OpenSSL asks nobody for a pass phrase, with the reactor waiting.
        """
        self.write("key.pem", self.identity.locked())
        with (
            open(os.devnull) as nothing,
            mock.patch.object(sys, "stdin", nothing),
            self.assertRaisesRegex(BadFile, "the key is encrypted"),
        ):
            self.loaded()

    def test_parametersNotAsked(self) -> None:
        """
        Nor for that of Diffie-Hellman parameters.
        """
        locked = traditional(self.identity)
        file = self.write("dh", locked.replace(b"EC PRIVATE KEY", b"DH PARAMETERS"))
        with self.assertRaisesRegex(BadFile, "use .+/dh: the parameters are encrypted"):
            self.loaded(dhParameters=file)

    def test_noUseOfALockedKey(self) -> None:
        """
        An encrypted key beside the certificate, where nobody looks for a key.
        """
        self.write("cert.pem", self.identity.locked() + self.identity.pem)
        self.assertEqual(
            shake(self.loaded().context, client()).presented, self.identity.der
        )

    def test_reloaded(self) -> None:
        """
        What is broken at a reload changes nothing.
        """
        certificates = self.loaded()
        before = certificates.settings
        new = self.authority.issue("new")
        for key, certificate in (
            (b"", self.identity.pem),
            (self.identity.key, b""),
            (self.identity.key[:100], self.identity.pem),
            (self.identity.key, new.pem),
            (new.key, self.identity.pem),
        ):
            self.write("key.pem", key)
            self.write("cert.pem", certificate)
            with self.assertRaises(BadFile):
                certificates.reload()
            self.assertIs(certificates.settings, before)
        (self.folder / "key.pem").unlink()
        with self.assertRaisesRegex(BadFile, "cannot read .+key.pem: No such file"):
            certificates.reload()
        self.assertEqual(shake(before.context, client()).presented, self.identity.der)
        self.write("key.pem", new.key)
        self.write("cert.pem", new.pem)
        certificates.reload()
        self.assertEqual(shake(certificates.context, client()).presented, new.der)
