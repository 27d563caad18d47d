"""
Certificates of an authority, and handshakes in memory, for the tests of TLS settings.
"""

import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "Identity", "client", "not_root", "resumed", "shake"]


class Identity:
    """
    A key and its certificate.

    @ivar key: the key, in PEM.
    @ivar pem: the certificate, in PEM.
    @ivar der: the same in DER.
    """

    def __init__(self, key: Any, certificate: x509.Certificate) -> None:
        self.private, self.certificate = key, certificate
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.pem = certificate.public_bytes(Encoding.PEM)
        self.der = certificate.public_bytes(Encoding.DER)

    def locked(self) -> bytes:
        """
        The key, encrypted.
        """
        locked: bytes = self.private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        return locked


class Authority:
    """
    An authority that signs itself, or that another has signed.

    @ivar identity: its own key and certificate.
    """

    def __init__(
        self, name: str = "authority", above: "Authority | None" = None
    ) -> None:
        self.identity = _issue(name, above, is_authority=True)
        self.pem, self.der = self.identity.pem, self.identity.der

    def issue(
        self, name: str, *hosts: str, days: float = 30, key: Any = None
    ) -> Identity:
        """
        Sign somebody.

        @param hosts: the names of C{subjectAltName}.
        @param days: how long it is valid from now on; less than 0, if it is no more.
        """
        return _issue(name, self, hosts, days, key)


def _issue(
    name: str,
    above: Authority | None,
    hosts: Sequence[str] = (),
    days: float = 30,
    key: Any = None,
    is_authority: bool = False,
) -> Identity:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = above.identity.private if above else key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.identity.certificate.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(each) for each in hosts])
        builder = builder.add_extension(names, critical=False)
    return Identity(key, builder.sign(signer, hashes.SHA256()))


@contextmanager
def not_root() -> Iterator[None]:
    """
    Be somebody who may not read every file.
    """
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def client(
    authority: Authority | None = None,
    identity: Identity | None = None,
    folder: Path | None = None,
    version: ssl.TLSVersion | None = None,
) -> ssl.SSLContext:
    """
    A context of a client.

    @param authority: whom it trusts; everybody, without one.
    @param identity: who it says that it is.
    @param folder: where that can be written.
    @param version: the only one that it speaks.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if authority is not None:
        context.load_verify_locations(cadata=authority.der)
        context.verify_mode = ssl.CERT_REQUIRED
    if identity is not None:
        assert folder is not None
        file = folder / "identity"
        file.write_bytes(identity.key + identity.pem)
        context.load_cert_chain(file)
        file.unlink()
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class shake:
    """
    A handshake in memory, to its end, with a byte from the server to the client, which
    brings the tickets along.

    @ivar server: the C{ssl.SSLObject} of the server.
    @ivar client: that of the client.
    """

    def __init__(
        self,
        server: ssl.SSLContext,
        client: ssl.SSLContext,
        name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """
        @raise ssl.SSLError: if it fails; the client's own error, if it has one.
        """
        self._to_server, self._to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(
            self._to_server, self._to_client, server_side=True
        )
        self.client = client.wrap_bio(
            self._to_client, self._to_server, server_hostname=name, session=session
        )
        failure = None
        waiting = [self.client, self.server]
        for _ in range(10):
            for each in list(waiting):
                try:
                    each.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:
                    if each is self.client:
                        raise
                    failure = error
                    waiting.remove(each)
                else:
                    waiting.remove(each)
        if failure is not None:
            # In TLS 1.3 the client is told after its own end of the handshake.
            try:
                self.client.read(1)
            except ssl.SSLWantReadError:
                raise failure from None
        assert not waiting
        self.server.write(b"x")
        assert self.client.read(1) == b"x"

    @property
    def presented(self) -> bytes:
        """
        The certificate that the client was shown.
        """
        der = self.client.getpeercert(binary_form=True)
        assert der is not None
        return der


def resumed(
    server: ssl.SSLContext,
    context: ssl.SSLContext,
    session: ssl.SSLSession | None,
    name: str | None = None,
) -> bool:
    """
    Whether a client gets its session back; its way in may be the whole handshake.
    """
    both = shake(server, context, name, session)
    assert both.client.session_reused == both.server.session_reused
    return bool(both.server.session_reused)
