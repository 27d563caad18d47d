"""
The key and certificates that an C{ssl:} string names, from their files. Needs pyOpenSSL
(extra C{tls}).

What must hold: an error says which file it is and what is wrong with it, at the start
as at each reload; no file makes OpenSSL ask somebody for a pass phrase.
"""

# mypy: disable-error-code="no-untyped-call"
# (These parts of Twisted are not annotated.)

import ssl
from collections.abc import Mapping
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet import endpoints

__all__ = ["FILE_ARGUMENTS", "BadFile", "contextFactory"]

FILE_ARGUMENTS = ("privateKey", "certKey", "extraCertChain", "dhParameters")
"""
Which arguments of an C{ssl:} string are files, as Twisted calls them.
"""
_OPTIONAL = ("extraCertChain", "dhParameters")


class BadFile(ValueError):
    """
    A file is not what it is to be.
    """


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            content = opened.read()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadFile(f"cannot read {file}: {why}") from None
    if b"ENCRYPTED" in content:
        # OpenSSL would ask for the pass phrase, with the reactor waiting.
        raise BadFile(
            f"cannot use {file}: the key is encrypted; it must be readable as it is"
        )
    return content


def _why(error: Exception) -> str:
    """
    OpenSSL's own words for what is wrong.
    """
    if isinstance(error, (SSL.Error, crypto.Error)):
        errors = error.args[0] if error.args else ()
        return "; ".join(str(each[-1]) for each in errors if each[-1]) or "it is broken"
    return str(error) or type(error).__name__


def _load(file: str, what: str, load: Any, content: bytes) -> Any:
    try:
        return load(crypto.FILETYPE_PEM, content)
    except (crypto.Error, ValueError) as error:
        raise BadFile(f"cannot use {file}: it holds no {what}: {_why(error)}") from None


def _parse(arguments: Mapping[str, Any]) -> Any:
    parsed, _ = endpoints._parseSSL(None, **arguments)
    # Now, for some of what is wrong is found by this alone.
    parsed[2].getContext()
    return parsed[2]


def contextFactory(arguments: Mapping[str, Any]) -> Any:
    """
    Read the files, and make a C{CertificateOptions} of them.

    @param arguments: of an C{ssl:} string, by Twisted's names.
    @raise BadFile: if one cannot be read, or is of no use.
    @raise Exception: what Twisted raises for another argument.
    """
    files = {name: arguments[name] for name in FILE_ARGUMENTS if name in arguments}
    files.setdefault("certKey", files["privateKey"])
    contents = {name: _read(file) for name, file in files.items()}
    keyFile, certFile = files["privateKey"], files["certKey"]
    key = _load(keyFile, "private key", crypto.load_privatekey, contents["privateKey"])
    cert = _load(certFile, "certificate", crypto.load_certificate, contents["certKey"])
    context = SSL.Context(SSL.TLS_METHOD)
    try:
        context.use_certificate(cert)
        context.use_privatekey(key)
        context.check_privatekey()
    except SSL.Error as error:
        raise BadFile(
            f"cannot use {certFile}: it is not the certificate of the key in {keyFile}:"
            f" {_why(error)}"
        ) from None
    needed = {name: each for name, each in arguments.items() if name not in _OPTIONAL}
    _parse(needed)
    for name in _OPTIONAL:
        if name in files:
            # One after the other, to know which is to blame.
            needed = {**needed, name: files[name]}
            try:
                _parse(needed)
            except Exception as error:
                raise BadFile(f"cannot use {files[name]}: {_why(error)}") from None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files["certKey"], files["privateKey"])
    return made
