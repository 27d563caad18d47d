"""
What the words of C{ssl:} and C{tls:} strings mean for TLS.

What must hold:

  - who gets in, and by which version, is the same whatever certificate is presented;
  - an error says which word it is, what was given and what is allowed;
  - a reload reads every file anew, or changes nothing.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from twisted_echo.tls.certificate_folder import Folder
from twisted_echo.tls.certificates import Certificates, Loaded
from twisted_echo.tls.pem_files import (
    BadFile,
    Chain,
    authorities_in,
    certificates_in,
    keys_in,
    load_authorities,
    load_dh_parameters,
    load_pair,
    read,
)

__all__ = ["FOLDER_WORDS", "PAIR_WORDS", "SHARED_WORDS", "BadWord", "certificates_of"]

PAIR_WORDS = ("privateKey", "certKey", "sslmethod", "extraCertChain")
"""
The words of one certificate, by Twisted's names: those of C{ssl:}.
"""
FOLDER_WORDS = ("path", "unknownName")
"""
The words of many certificates: those of C{tls:}.
"""
SHARED_WORDS = (
    "dhParameters",
    "caFile",
    "caDir",
    "clientCert",
    "protocols",
    "protocolRequired",
    "minVersion",
    "maxVersion",
    "ciphers",
    "curve",
)
"""
The words of what does not depend on the certificate.
"""

_V1_2, _V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
_VERSIONS = {"1.2": _V1_2, "1.3": _V1_3}
# Twisted's names, as far as they name no version that is broken.
_METHODS = dict.fromkeys(("TLS_METHOD", "TLS_SERVER_METHOD", "SSLv23_METHOD"), _V1_3)
_METHODS["TLSv1_2_METHOD"] = _V1_2
# Those of which the value is the path of a file or a folder.
_PATHS = (
    *("privateKey", "certKey", "extraCertChain"),
    *("dhParameters", "caFile", "caDir"),
)
_VERIFY = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL}
_T = TypeVar("_T")


class BadWord(ValueError):
    """
    A word has a value that is not allowed.
    """


def certificates_of(words: Mapping[str, str]) -> Certificates:
    """
    Load what the words of a string say.

    @param words: those of L{SHARED_WORDS}, and of L{PAIR_WORDS} or L{FOLDER_WORDS}.
    @raise BadWord: if one has a value that is not allowed.
    @raise BadFile: if a file or a folder is of no use.
    """
    rules = _rules(words)
    # At once, for what has nothing to do with the files.
    rules.context()
    if "path" in words:
        unknown = {"default": False, "refuse": True}
        refuse = _choice(words, "unknownName", unknown, False)
        return Certificates(partial(_load_folder, rules, words["path"], refuse))
    return Certificates(partial(_load_pair, rules, words))


# Loading


@dataclass(frozen=True)
class _Rules:
    """
    What does not depend on the certificate.
    """

    words: Mapping[str, str]
    verify: ssl.VerifyMode
    protocols: list[str]
    requires_protocol: bool
    minimum: ssl.TLSVersion
    maximum: ssl.TLSVersion

    def context(self) -> ssl.SSLContext:
        """
        A context without a certificate, and without what is in files.

        @raise BadWord: if OpenSSL does not know a word's value.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.minimum, self.maximum
        context.options |= (
            ssl.OP_NO_COMPRESSION
            | ssl.OP_NO_RENEGOTIATION
            | ssl.OP_CIPHER_SERVER_PREFERENCE
        )
        # A client that comes again resumes once, and is then given a new ticket. Each
        # one costs a twentieth of a handshake, and OpenSSL gives two.
        context.num_tickets = 1
        # Whoever is named as an authority is one, be it signed by another.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = self.verify
        if self.protocols:
            context.set_alpn_protocols(self.protocols)
        ciphers, curve = self.words.get("ciphers"), self.words.get("curve")
        try:
            if ciphers is not None:
                # Those without a certificate or without encryption are never meant.
                context.set_ciphers(f"{ciphers}:!aNULL:!eNULL")
        except (ssl.SSLError, ValueError):
            raise BadWord(
                "ciphers must be some of OpenSSL's for TLS 1.2, with a comma between"
                f" two, such as ECDHE+AESGCM,ECDHE+CHACHA20, got {ciphers!r}"
            ) from None
        try:
            if curve is not None:
                context.set_ecdh_curve(curve)
        except (ssl.SSLError, ValueError):
            raise BadWord(
                "curve must be one of OpenSSL's, such as X25519, prime256v1 or"
                f" secp384r1, got {curve!r}"
            ) from None
        return context

    def load(self) -> tuple[Callable[[], ssl.SSLContext], list[str]]:
        """
        Read the files.

        @return: what makes contexts without a certificate, and the files.
        """
        authorities, files = {}, []
        if file := self.words.get("caFile"):
            authorities[file] = certificates_in(file, read(file))
            files.append(file)
        if folder := self.words.get("caDir"):
            authorities[folder], inside = authorities_in(folder)
            files += [folder, *inside]
        dh_file = self.words.get("dhParameters")
        dh_parameters = read(dh_file) if dh_file else b""

        def make() -> ssl.SSLContext:
            context = self.context()
            for where, certificates in authorities.items():
                load_authorities(context, where, certificates)
            if dh_file:
                load_dh_parameters(context, dh_file, dh_parameters)
            return context

        return make, [*files, *([dh_file] if dh_file else ())]


def _load_pair(rules: _Rules, words: Mapping[str, str]) -> Loaded:
    """
    One certificate.
    """
    make, files = rules.load()
    key_file = words.get("privateKey", "server.pem")
    file, more = words.get("certKey", key_file), words.get("extraCertChain")
    keys = keys_in(key_file, read(key_file))
    if not keys:
        raise BadFile(
            f"cannot use {key_file}: it holds no private key: no BEGIN PRIVATE KEY with"
            " its END is in it"
        )
    certificates = certificates_in(file, read(file))
    if more:
        certificates += certificates_in(more, read(more))
    chain = Chain(file, certificates)
    context = make()
    load_pair(context, chain, keys[0])
    return Loaded(
        context,
        rules.requires_protocol,
        ((file, chain.leaf),),
        tuple(dict.fromkeys((key_file, file, *([more] if more else ()), *files))),
    )


def _load_folder(rules: _Rules, folder: str, refuse_unknown: bool) -> Loaded:
    """
    The certificates of many names.
    """
    make, files = rules.load()
    found = Folder(folder, make)
    return Loaded(
        found.context(refuse_unknown),
        rules.requires_protocol,
        tuple((each.file, each.leaf) for each in found.chains),
        (*found.files, *files),
        tuple(found.contexts),
    )


# Words


def _rules(words: Mapping[str, str]) -> _Rules:
    for word in _PATHS:
        if words.get(word) == "":
            raise BadWord(f"{word} must be a path, got ''")
    has_authorities = "caFile" in words or "caDir" in words
    if "clientCert" in words and not has_authorities:
        raise BadWord("clientCert needs caFile or caDir, with who signs clients")
    default = ssl.CERT_REQUIRED if has_authorities else ssl.CERT_NONE
    protocols = _protocols(words)
    required = _choice(words, "protocolRequired", {"yes": True, "no": False}, False)
    if required and not protocols:
        raise BadWord("protocolRequired needs protocols, of which one is required")
    minimum, maximum = _versions(words)
    if "ciphers" in words and minimum == _V1_3:
        raise BadWord("ciphers are those of TLS 1.2, which minVersion excludes")
    return _Rules(
        words,
        _choice(words, "clientCert", _VERIFY, default),
        protocols,
        required,
        minimum,
        maximum,
    )


def _choice(
    words: Mapping[str, str], word: str, choices: Mapping[str, _T], default: _T
) -> _T:
    if word not in words:
        return default
    if words[word] not in choices:
        raise BadWord(f"{word} must be {' or '.join(choices)}, got {words[word]!r}")
    return choices[words[word]]


def _versions(words: Mapping[str, str]) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
    if "sslmethod" in words:
        method = words["sslmethod"]
        if method not in _METHODS:
            # It may be the rest of another word, as of ciphers with colons.
            raise BadWord(
                f"sslmethod must be {' or '.join(_METHODS)}, got {method!r} (a colon"
                r" within a word is written \:)"
            )
        if "minVersion" in words or "maxVersion" in words:
            raise BadWord(
                "sslmethod is for the versions, as minVersion and maxVersion are; give"
                " only one of them"
            )
        return _V1_2, _METHODS[method]
    minimum = _choice(words, "minVersion", _VERSIONS, _V1_2)
    maximum = _choice(words, "maxVersion", _VERSIONS, _V1_3)
    if minimum > maximum:
        raise BadWord(
            f"minVersion must be at most maxVersion, got {words['minVersion']}"
            f" and {words['maxVersion']}"
        )
    return minimum, maximum


def _protocols(words: Mapping[str, str]) -> list[str]:
    if "protocols" not in words:
        return []
    protocols = words["protocols"].split(",")
    for each in protocols:
        # (A space would be a part of the name.)
        if not re.fullmatch("[!-~]{1,255}", each):
            raise BadWord(
                "protocols must be the ALPN names of some, with a comma between two,"
                f" such as h2,http/1.1, got {words['protocols']!r}"
            )
    return protocols
