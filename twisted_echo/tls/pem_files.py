"""
Read keys, certificates and other parts of TLS from PEM files, with the standard library
alone.

What must hold:

  - an error says which file it is and what is wrong with it, at the start as at each
    reload;
  - what was checked is what is loaded: each file is read once;
  - no file makes OpenSSL ask somebody for a pass phrase, and no key is written to a
    disk.
"""

import os
import re
import ssl
from binascii import a2b_base64
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import IO

from twisted_echo.tls.x509 import BadCertificate, Certificate, pem_to_der

__all__ = [
    "BadFile",
    "Chain",
    "Key",
    "Mismatch",
    "authorities_in",
    "certificates_in",
    "keys_in",
    "load_authorities",
    "load_dh_parameters",
    "load_pair",
    "read",
]

_KEY = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL
)
_DH_PARAMETERS = re.compile(
    rb"-----BEGIN ((?:X9\.42 )?DH PARAMETERS)-----(.*?)-----END \1-----", re.DOTALL
)
# A key of another kind than the certificate's is reported as the first.
_MISMATCHES = ("NO_CERTIFICATE_ASSIGNED", "KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")


class BadFile(ValueError):
    """
    A file cannot be read, or does not hold what is expected.
    """


class Mismatch(BadFile):
    """
    A certificate and a key do not belong together.
    """


@dataclass(frozen=True)
class Key:
    """
    A private key.

    @ivar file: where it was read.
    @ivar pem: the key itself.
    """

    file: str
    pem: bytes

    @property
    def der(self) -> bytes:
        """
        The key as DER; empty if it is broken or encrypted.
        """
        try:
            return a2b_base64(b"".join(self.pem.splitlines()[1:-1]), strict_mode=True)
        except ValueError:
            return b""


@dataclass(frozen=True)
class Chain:
    """
    A certificate and the certificates that lead from it to its authority.

    @ivar file: where the certificate was read.
    @ivar certificates: itself, then those of the authorities between.
    """

    file: str
    certificates: Sequence[Certificate]

    @property
    def leaf(self) -> Certificate:
        """
        The server's own certificate.
        """
        return self.certificates[0]


def read(file: str) -> bytes:
    """
    Read a file.

    @raise BadFile: if it cannot be read.
    """
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except (OSError, ValueError) as error:
        raise BadFile(f"cannot read {file}: {_why(error)}") from None


def certificates_in(file: str, content: bytes) -> list[Certificate]:
    """
    The certificates in a file, one or more, in their order.

    @raise BadFile: if one is broken, or there is none.
    """
    _check_whole(file, content)
    try:
        return [Certificate(der) for der in pem_to_der(content)]
    except BadCertificate as error:
        raise BadFile(f"cannot use {file}: it holds no certificate: {error}") from None


def keys_in(file: str, content: bytes) -> list[Key]:
    """
    The private keys in a file, which may be none.

    @raise BadFile: if one is cut off.
    """
    _check_whole(file, content)
    return [Key(file, found[0] + b"\n") for found in _KEY.finditer(content)]


def authorities_in(folder: str) -> tuple[list[Certificate], list[str]]:
    """
    The certificates in all the files of a folder, and those files. Files without any
    are left alone, as a README may be there.

    @raise BadFile: if the folder or one of its files cannot be read, if a certificate
        is broken, or if there is none.
    """
    try:
        names = sorted(os.listdir(folder))
    except (OSError, ValueError) as error:
        raise BadFile(f"cannot read {folder}: {_why(error)}") from None
    found: list[Certificate] = []
    files = []
    for file in (os.path.join(folder, name) for name in names):
        if not os.path.isdir(file):
            content = read(file)
            if b"CERTIFICATE-----" in content:
                found += certificates_in(file, content)
                files.append(file)
    if not found:
        raise BadFile(f"cannot use {folder}: no file in it holds a certificate")
    return found, files


def _check_whole(file: str, content: bytes) -> None:
    if content.count(b"-----BEGIN ") != content.count(b"-----END "):
        raise BadFile(f"cannot use {file}: a BEGIN in it has no END; it may be cut off")


def load_pair(context: ssl.SSLContext, chain: Chain, key: Key) -> None:
    """
    Load a certificate and its key into a context.

    @raise Mismatch: if it and the key do not belong together.
    @raise BadFile: if one of them is of no use.
    """
    pem = "".join(ssl.DER_cert_to_PEM_cert(each.der) for each in chain.certificates)
    with _as_file(pem.encode()) as certificates, _as_file(key.pem) as private:
        try:
            # OpenSSL does not say which of the two is broken. Without a file for the
            # key it is the certificate, or it gets as far as that file.
            context.load_cert_chain(certificates, "")
        except FileNotFoundError:
            pass
        except ssl.SSLError as error:
            raise BadFile(f"cannot use {chain.file}: {_why(error)}") from None
        try:
            context.load_cert_chain(certificates, private, _refuse_pass_phrase)
        except _EncryptedError:
            raise BadFile(
                f"cannot use {key.file}: the key is encrypted; give one without a pass"
                " phrase"
            ) from None
        except ssl.SSLError as error:
            if error.reason in _MISMATCHES:
                raise Mismatch(
                    f"cannot use {chain.file}: it is not the certificate of the key in"
                    f" {key.file}"
                ) from None
            raise BadFile(
                f"cannot use {key.file}: it holds no private key: {_why(error)}"
            ) from None


def load_authorities(
    context: ssl.SSLContext, file: str, certificates: Iterable[Certificate]
) -> None:
    """
    Load authorities into a context, which then trusts the certificates they signed.

    @param file: where they were read.
    @raise BadFile: if OpenSSL cannot read one.
    """
    try:
        context.load_verify_locations(
            cadata=b"".join(each.der for each in certificates)
        )
    except ssl.SSLError as error:
        raise BadFile(f"cannot use {file}: {_why(error)}") from None


def load_dh_parameters(context: ssl.SSLContext, file: str, content: bytes) -> None:
    """
    Load Diffie-Hellman parameters into a context, for ciphers of TLS 1.2.

    @raise BadFile: if they are of no use.
    """
    found = _DH_PARAMETERS.search(content)
    if found is not None and b"ENCRYPTED" in found[2]:
        # OpenSSL would ask for the pass phrase, and `ssl` cannot keep it from that.
        raise BadFile(f"cannot use {file}: the parameters are encrypted")
    with _as_file(found[0] + b"\n" if found else b"") as parameters:
        try:
            context.load_dh_params(parameters)
        except ssl.SSLError as error:
            raise BadFile(
                f"cannot use {file}: it holds no Diffie-Hellman parameters:"
                f" {_why(error)}"
            ) from None


class _EncryptedError(Exception):
    pass


def _refuse_pass_phrase() -> str:
    # OpenSSL would ask at the terminal, and the reactor would wait for the answer.
    raise _EncryptedError


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """
    Make a temporary file for what C{ssl} loads from files alone, and yield its name.
    The file is in memory where the system allows that.
    """
    with _in_memory() or NamedTemporaryFile() as opened:
        opened.write(content)
        opened.flush()
        # The one in memory is called by its number.
        name = opened.name
        yield name if isinstance(name, str) else f"/proc/self/fd/{name}"


def _in_memory() -> IO[bytes] | None:
    if not os.path.isdir("/proc/self/fd"):
        # As in a chroot, where it could not be called by a name.
        return None
    try:
        return os.fdopen(os.memfd_create("pem"), "wb")
    except (AttributeError, OSError):
        return None


def _why(error: Exception) -> str:
    """
    Describe an error in the words of the system or of OpenSSL.
    """
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "it is broken"
        return reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
