"""
L{twisted_echo.tls.counts}, by handshakes of OpenSSL's with itself.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.support.der_certificates import KEY, certificate_der, common_name
from twisted_echo.tls.counts import TLSCounts, TLSFailure, failureOf

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BOTH = pytest.mark.parametrize("version", [V12, V13], ids=lambda each: each.name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A folder with C{both.pem}, a key and a certificate that no one has signed.
    """
    folder = tmp_path_factory.mktemp("tls")
    der = certificate_der(common_name("echo"))
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "both.pem").write_bytes(key + ssl.DER_cert_to_PEM_cert(der).encode())
    return folder


class Pair:
    """
    The contexts of a server and of a client that does not verify it.
    """

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "both.pem"
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(self.certificate)
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client.check_hostname = False
        self.client.verify_mode = ssl.CERT_NONE

    def shake(
        self, change: Callable[[bytes], bytes] = lambda data: data
    ) -> ssl.SSLError:
        """
        Try a handshake, which is to fail.

        @param change: what comes of the client's bytes on their way.
        @return: what the server finds wrong.
        """
        incoming, outgoing, to_client, from_client = (ssl.MemoryBIO() for _ in range(4))
        server = self.server.wrap_bio(incoming, outgoing, server_side=True)
        client = self.client.wrap_bio(
            to_client, from_client, server_hostname="echo.example"
        )
        for _ in range(4):
            with suppress(ssl.SSLError):
                client.do_handshake()
            data = change(from_client.read())
            if data:
                incoming.write(data)
            else:
                incoming.write_eof()
            try:
                server.do_handshake()
            except ssl.SSLWantReadError:
                to_client.write(outgoing.read())
            except ssl.SSLError as error:
                return error
        raise AssertionError("the handshake does not fail")


@pytest.fixture
def pair(files: Path) -> Pair:
    return Pair(files)


@BOTH
def test_no_certificate(pair: Pair, version: ssl.TLSVersion) -> None:
    pair.client.maximum_version = version
    pair.server.verify_mode = ssl.CERT_REQUIRED
    assert failureOf(pair.shake()) is TLSFailure.NO_CERTIFICATE


@BOTH
def test_bad_certificate(pair: Pair, version: ssl.TLSVersion) -> None:
    pair.client.maximum_version = version
    pair.client.load_cert_chain(pair.certificate)
    for pair.server.verify_mode in (ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL):
        assert failureOf(pair.shake()) is TLSFailure.BAD_CERTIFICATE


@BOTH
def test_alert(pair: Pair, version: ssl.TLSVersion) -> None:
    """
    A client that does not trust the server gives up.
    """
    pair.client.maximum_version = version
    pair.client.verify_mode = ssl.CERT_REQUIRED
    assert failureOf(pair.shake()) is TLSFailure.ALERT


def test_version(pair: Pair) -> None:
    pair.client.maximum_version, pair.server.minimum_version = V12, V13
    assert failureOf(pair.shake()) is TLSFailure.PROTOCOL_VERSION
    pair.client.maximum_version = pair.client.minimum_version = V13
    pair.server.minimum_version = pair.server.maximum_version = V12
    assert failureOf(pair.shake()) is TLSFailure.PROTOCOL_VERSION


def test_version_by_client() -> None:
    """
    It is the same if the client finds it out.
    """
    error = ssl.SSLError(1, "")
    error.reason = "TLSV1_ALERT_PROTOCOL_VERSION"
    assert failureOf(error) is TLSFailure.PROTOCOL_VERSION


def test_cipher(pair: Pair) -> None:
    pair.client.maximum_version = V12
    pair.server.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    pair.client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    assert failureOf(pair.shake()) is TLSFailure.NO_SHARED_CIPHER


@BOTH
def test_curve(pair: Pair, version: ssl.TLSVersion) -> None:
    pair.client.maximum_version = version
    pair.server.set_ecdh_curve("prime256v1")
    pair.client.set_ecdh_curve("secp384r1")
    assert failureOf(pair.shake()) is TLSFailure.NO_SHARED_CIPHER


def test_name(pair: Pair) -> None:
    pair.server.sni_callback = lambda connection, name, context: (
        ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    )
    assert failureOf(pair.shake()) is TLSFailure.UNKNOWN_NAME


@pytest.mark.parametrize(
    "data",
    [
        b"hello\n" * 10,
        b"GET / HTTP/1.1\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\0" * 100,
    ],
)
def test_not_tls(pair: Pair, data: bytes) -> None:
    assert failureOf(pair.shake(lambda _: data)) is TLSFailure.NOT_TLS


def test_left(pair: Pair) -> None:
    assert failureOf(pair.shake(lambda _: b"")) is TLSFailure.CLIENT_LEFT


def test_other(pair: Pair) -> None:
    """
    What looks like TLS and is broken; and what Python has no word for.
    """
    broken = bytes.fromhex("16030100050100000100")
    assert failureOf(pair.shake(lambda _: broken)) is TLSFailure.OTHER
    assert failureOf(ssl.SSLError(1, "[SSL] unknown")) is TLSFailure.OTHER


def test_counts() -> None:
    """
    Each is counted once, as what it was.
    """
    counts = TLSCounts()
    counts.succeeded(0.003, "TLSv1.3", False)
    counts.succeeded(0.001, "TLSv1.3", True)
    counts.succeeded(7, None, False)
    counts.failed(TLSFailure.ALERT)
    assert counts.handshakes == {"TLSv1.3": 2, "unknown": 1}
    assert counts.failures == {TLSFailure.ALERT: 1}
    assert counts.resumptions == 1
    assert counts.seconds.counts == [1, 0, 1, *[0] * 8, 1]
