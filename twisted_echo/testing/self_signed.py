"""
Make a throw-away certificate for 127.0.0.1.
"""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted_echo.validation.extras import MissingPackage, install_packages

__all__ = ["key_and_certificate", "make_certificate"]


def key_and_certificate() -> tuple[Any, Any]:
    """
    Make a key and a certificate of 127.0.0.1 that it signs itself, of C{cryptography}'s
    kinds.

    @raise MissingPackage: without C{cryptography}.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        command = install_packages("cryptography")
        raise MissingPackage("cryptography", command) from None

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "echo")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        # Of one that expires sooner the log would warn.
        .not_valid_after(now + timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def make_certificate(folder: Path) -> None:
    """
    Put a key and a certificate of 127.0.0.1 into C{key.pem} and C{cert.pem}. Clients
    take the latter for their authority.

    @raise MissingPackage: without C{cryptography}.
    """
    key, certificate = key_and_certificate()
    from cryptography.hazmat.primitives import serialization

    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
