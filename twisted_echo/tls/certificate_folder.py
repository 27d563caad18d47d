"""
A folder of certificates: a server presents the one for the name that its client asks
for (SNI).

The folder is laid out as Twisted's C{tls:} has it. All files in it and below it that
end in C{.pem} are read, with keys, certificates and certificates of authorities in any
of them. A key finds its certificate, and a certificate its authority, wherever they
are. A certificate says itself for which names it is.

What must hold: who gets in does not depend on the name. One function makes the contexts
of all names, and does not know the name. (A context that takes another's place within a
handshake does not bring its way of verification along.)
"""

import os
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from twisted_echo.tls.pem_files import (
    BadFile,
    Chain,
    Key,
    Mismatch,
    certificates_in,
    keys_in,
    load_pair,
    read,
)
from twisted_echo.tls.x509 import Certificate

__all__ = ["CertificateFolder"]

_KEY_END = 32
"""
Bytes of a public key by which it is told from all others.
"""


class _Found(NamedTuple):
    """
    A certificate, and the file that it was found in.
    """

    file: str
    certificate: Certificate


class _Pair(NamedTuple):
    """
    A certificate that has a key, and a context that presents it.
    """

    chain: Chain
    key: Key
    context: ssl.SSLContext


class CertificateFolder:
    """
    The certificates in a folder.

    @ivar files: the folder, and those of its files that were read.
    @ivar chains: the certificates that are presented to somebody, in the order of
        their files.
    @ivar contexts: the contexts that present one of them.
    """

    def __init__(self, folder: str, make: Callable[[], ssl.SSLContext]) -> None:
        """
        @param make: makes a context without a certificate.
        @raise BadFile: if a file cannot be read or is of no use, if no certificate has
            its key, or if a name has a certificate without its key alone.
        """
        self._make = make
        self.files = [folder]
        found: dict[bytes, _Found] = {}
        keys: dict[bytes, Key] = {}
        for file in _pem_files(folder):
            content = read(file)
            if b"-----BEGIN " not in content:
                raise BadFile(f"cannot use {file}: it is no PEM file")
            self.files.append(file)
            for key in keys_in(file, content):
                keys.setdefault(key.pem, key)
            if b"CERTIFICATE-----" in content:
                for each in certificates_in(file, content):
                    found.setdefault(each.der, _Found(file, each))
        pairs = list(_pairs(list(found.values()), keys.values(), make))
        if not pairs:
            raise BadFile(
                f"cannot use {folder}: no certificate with its private key is in its"
                " .pem files"
            )
        self._names = _names(pairs)
        # Or what has taken its place.
        names = pairs[0].chain.leaf.dnsNames
        self._default = self._names[names[0].lower()] if names else pairs[0]
        presented = {id(each) for each in (self._default, *self._names.values())}
        used = [each for each in pairs if id(each) in presented]
        self.chains = [pair.chain for pair in used]
        self.contexts = [pair.context for pair in used]
        for pair in pairs:
            del found[pair.chain.leaf.der]
        self._check_names(folder, found.values())

    def context(self, refuse_unknown: bool) -> ssl.SSLContext:
        """
        Make a context that presents the certificate for the name that its client asks
        for, and the first one to a client that asks for none.

        @param refuse_unknown: whether a client that asks for another name gets an
            alert, instead of the first certificate.
        """
        names = self._names

        def choose(
            connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext
        ) -> int | None:
            if name is None:
                return None
            pair = _find(names, name)
            if pair is not None:
                # OpenSSL asks the first once more after a HelloRetryRequest, and the
                # `ssl` module does not keep it alive for that.
                connection.first = first  # type: ignore[attr-defined]
                connection.context = pair.context
            elif refuse_unknown:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            return None

        # One of its own: what it refers to does not lead back to it.
        context = self._make()
        load_pair(context, self._default.chain, self._default.key)
        context.sni_callback = choose
        return context

    def _check_names(self, folder: str, without_key: Iterable[_Found]) -> None:
        # A key that is written before its certificate would take away a name.
        for file, certificate in without_key:
            for name in certificate.dnsNames:
                if name.lower() not in self._names:
                    raise BadFile(
                        f"cannot use {file}: no private key in {folder} belongs to the"
                        f" certificate of {name}"
                    )


def _pem_files(folder: str) -> Iterator[str]:
    """
    Find the C{.pem} files in a folder and below it, in the order of their names.
    """

    def fail(error: OSError) -> None:
        raise BadFile(f"cannot read {error.filename}: {error.strerror}") from None

    seen = set()
    for path, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        # A link may lead back to where it is.
        seen.add(os.path.realpath(path))
        folders[:] = sorted(
            each
            for each in folders
            if os.path.realpath(os.path.join(path, each)) not in seen
        )
        for each in sorted(files):
            if each.endswith(".pem"):
                yield os.path.join(path, each)


def _pairs(
    found: list[_Found], keys: Iterable[Key], make: Callable[[], ssl.SSLContext]
) -> Iterator[_Pair]:
    """
    Pair each certificate with its key, if that is there.
    """
    authorities: dict[str, list[_Found]] = {}
    for each in found:
        authorities.setdefault(each.certificate.subject, []).append(each)
    unclaimed = list(found)

    def pair(each: _Found, key: Key) -> _Pair:
        chain, context = _chain(each, authorities), make()
        load_pair(context, chain, key)
        unclaimed.remove(each)
        return _Pair(chain, key, context)

    for key in keys:
        for first in _likely(list(unclaimed), key):
            try:
                found_pair = pair(first, key)
            except Mismatch:
                continue
            yield found_pair
            # A key may have been kept when its certificate was renewed.
            same = first.certificate.publicKey
            for each in list(unclaimed):
                if each.certificate.publicKey == same:
                    yield pair(each, key)
            break


def _likely(found: list[_Found], key: Key) -> Iterator[_Found]:
    """
    Order the certificates for a key, the likely ones first, as a try costs
    milliseconds. With RSA and most elliptic curves the public key is a part of the
    private one.
    """
    der = key.der
    inside = [each for each in found if each.certificate.publicKey[-_KEY_END:] in der]
    yield from _nearest(inside, key.file)
    yield from _nearest([each for each in found if each not in inside], key.file)


def _nearest(found: Iterable[_Found], file: str) -> list[_Found]:
    """
    Order certificates: those in the same file first, then by the likeness of names.
    """

    # By characters, which says more than by folders.
    def likeness(each: _Found) -> int:
        return len(os.path.commonprefix([each.file, file]))  # noqa: RUF071

    return sorted(found, key=likeness, reverse=True)


def _chain(found: _Found, authorities: dict[str, list[_Found]]) -> Chain:
    """
    Find the authorities between a certificate and one that signs itself.
    """
    chain = [found.certificate]
    while chain[-1].subject != chain[-1].issuer:
        signers = [
            each.certificate
            for each in _nearest(authorities.get(chain[-1].issuer, ()), found.file)
            if each.certificate not in chain
            and each.certificate.subject != each.certificate.issuer
        ]
        if not signers:
            break
        chain.append(signers[0])
    return Chain(found.file, chain)


def _names(pairs: Iterable[_Pair]) -> dict[str, _Pair]:
    """
    Map names to certificates. Of several for one name, take the last to expire.
    """
    names: dict[str, _Pair] = {}
    for pair in sorted(pairs, key=lambda each: each.chain.leaf.notAfter):
        for name in pair.chain.leaf.dnsNames:
            names[name.lower()] = pair
    return names


def _find(names: dict[str, _Pair], name: str) -> _Pair | None:
    """
    Find the certificate for a name, or a wildcard's.
    """
    name = name.lower().removesuffix(".")
    _, _, rest = name.partition(".")
    return names.get(name) or names.get(f"*.{rest}")
