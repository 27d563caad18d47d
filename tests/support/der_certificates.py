"""
Certificates of any name and any time, as DER, and settings that hold some.
"""

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import NameAttribute, ObjectIdentifier, RelativeDistinguishedName
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from twisted_echo.tls.certificates import Certificates, TLSSettings
from twisted_echo.tls.x509 import Certificate

__all__ = [
    "KEY",
    "NOON",
    "NOW",
    "PLAIN",
    "CertificateFiles",
    "attribute",
    "certificate_der",
    "common_name",
    "expiring",
    "server_context",
    "x509_name",
]

KEY = ec.generate_private_key(ec.SECP256R1())
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def x509_name(*parts: "NameAttribute[Any] | RelativeDistinguishedName") -> x509.Name:
    return x509.Name(
        [
            each
            if isinstance(each, RelativeDistinguishedName)
            else RelativeDistinguishedName([each])
            for each in parts
        ]
    )


def attribute(
    oid: ObjectIdentifier, value: str | bytes, kind: _ASN1Type = _ASN1Type.UTF8String
) -> "NameAttribute[Any]":
    """
    A part of a name. Its value need not be legal for its kind.
    """
    return NameAttribute(oid, value, kind, _validate=False)


def common_name(name: str) -> x509.Name:
    return x509_name(attribute(NameOID.COMMON_NAME, name))


ISSUER = x509_name(
    attribute(NameOID.COMMON_NAME, "root"),
    attribute(NameOID.ORGANIZATION_NAME, "Example"),
)


def certificate_der(
    subject: x509.Name,
    *,
    since: datetime = NOON,
    until: datetime = NOON + timedelta(days=90),
    serial: int = 4711,
    names: list[str] | None = None,
) -> bytes:
    """
    A certificate that C{cryptography} makes, as DER.
    """
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ISSUER)
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
    )
    if names is not None:
        general = x509.SubjectAlternativeName(
            [
                x509.RFC822Name("anna@example.org"),
                *[x509.DNSName(each) for each in names],
            ]
        )
        builder = builder.add_extension(general, critical=True)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


PLAIN = certificate_der(
    x509_name(
        attribute(NameOID.ORGANIZATION_NAME, "Example"),
        attribute(NameOID.COMMON_NAME, "anna"),
    ),
    names=["a.example"],
)


def expiring(days: float, who: str = "echo", now: datetime = NOW) -> bytes:
    """
    A certificate that is valid for so many days more.
    """
    return certificate_der(
        common_name(who),
        since=now - timedelta(days=100),
        until=now + timedelta(days=days),
    )


def server_context() -> ssl.SSLContext:
    """
    A context for servers, without a certificate.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


class CertificateFiles:
    """
    L{Certificates} that are loaded from files which can be replaced.

    @ivar chains: the DER of each file's certificate.
    """

    def __init__(self, **chains: bytes) -> None:
        self.chains = chains
        self.certificates = Certificates(self.load)

    def load(self) -> TLSSettings:
        chains = ((file, Certificate(der)) for file, der in self.chains.items())
        return TLSSettings(server_context(), chains=tuple(chains))
