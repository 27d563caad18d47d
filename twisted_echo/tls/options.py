"""
What the options of C{ssl:} and C{tls:} strings mean for TLS.

What must hold:

  - the same clients and TLS versions are accepted, whatever certificate is presented;
  - an error says which option it is, what was given and what is allowed;
  - a reload reads every file again, or changes nothing.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from twisted_echo.tls.certificate_folder import CertificateFolder
from twisted_echo.tls.certificates import Certificates, TLSSettings
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
from twisted_echo.validation.checks import InvalidSetting

__all__ = [
    "FOLDER_OPTIONS",
    "PAIR_OPTIONS",
    "PATH_OPTIONS",
    "SHARED_OPTIONS",
    "certificates_of",
]

PAIR_OPTIONS = ("privateKey", "certKey", "sslmethod", "extraCertChain")
"""
The options of one certificate, by Twisted's names: those of C{ssl:}.
"""
FOLDER_OPTIONS = ("path", "unknownName")
"""
The options of many certificates: those of C{tls:}.
"""
SHARED_OPTIONS = (
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
The options of what does not depend on the certificate.
"""

_V1_2, _V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
_VERSIONS = {"1.2": _V1_2, "1.3": _V1_3}
# Twisted's names, as far as they name no version that is broken.
_METHODS = dict.fromkeys(("TLS_METHOD", "TLS_SERVER_METHOD", "SSLv23_METHOD"), _V1_3)
_METHODS["TLSv1_2_METHOD"] = _V1_2
PATH_OPTIONS = (
    *("privateKey", "certKey", "extraCertChain"),
    *("dhParameters", "caFile", "caDir"),
)
"""
The options whose value is the path of a file or a folder, except for C{path}.
"""
_VERIFY = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL}
_T = TypeVar("_T")


def certificates_of(options: Mapping[str, str]) -> Certificates:
    """
    Load the keys, certificates and settings that the options of a string name.

    @param options: those of L{SHARED_OPTIONS}, and of L{PAIR_OPTIONS} or
        L{FOLDER_OPTIONS}.
    @raise InvalidSetting: if one has a value that is not allowed.
    @raise BadFile: if a file or a folder is of no use.
    """
    common = _common_settings(options)
    # Before any file is read: wrong values have nothing to do with the files.
    common.context()
    if "path" in options:
        unknown = {"default": False, "refuse": True}
        refuse = _choice(options, "unknownName", unknown, False)
        return Certificates(partial(_load_folder, common, options["path"], refuse))
    return Certificates(partial(_load_pair, common, options))


# Loading


@dataclass(frozen=True)
class _CommonSettings:
    """
    The settings that do not depend on the certificate.
    """

    options: Mapping[str, str]
    verify: ssl.VerifyMode
    protocols: list[str]
    requires_protocol: bool
    minimum: ssl.TLSVersion
    maximum: ssl.TLSVersion

    def context(self) -> ssl.SSLContext:
        """
        Make a context without a certificate, and without what is in files.

        @raise InvalidSetting: if OpenSSL does not know an option's value.
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
        # A certificate that is named as an authority is trusted, also if another
        # authority has signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = self.verify
        if self.protocols:
            context.set_alpn_protocols(self.protocols)
        ciphers, curve = self.options.get("ciphers"), self.options.get("curve")
        try:
            if ciphers is not None:
                # Those without a certificate or without encryption are never meant.
                context.set_ciphers(f"{ciphers}:!aNULL:!eNULL")
        except (ssl.SSLError, ValueError):
            raise InvalidSetting(
                "ciphers",
                "must be OpenSSL's names of ciphers of TLS 1.2, separated by commas,"
                f" such as ECDHE+AESGCM,ECDHE+CHACHA20, got {ciphers!r}",
            ) from None
        try:
            if curve is not None:
                context.set_ecdh_curve(curve)
        except (ssl.SSLError, ValueError):
            raise InvalidSetting(
                "curve",
                "must be OpenSSL's name of a curve, such as X25519, prime256v1 or"
                f" secp384r1, got {curve!r}",
            ) from None
        return context

    def load(self) -> tuple[Callable[[], ssl.SSLContext], list[str]]:
        """
        Read the files.

        @return: what makes contexts without a certificate, and the files.
        """
        authorities, files = {}, []
        if file := self.options.get("caFile"):
            authorities[file] = certificates_in(file, read(file))
            files.append(file)
        if folder := self.options.get("caDir"):
            authorities[folder], inside = authorities_in(folder)
            files += [folder, *inside]
        dh_file = self.options.get("dhParameters")
        dh_parameters = read(dh_file) if dh_file else b""

        def make() -> ssl.SSLContext:
            context = self.context()
            for where, certificates in authorities.items():
                load_authorities(context, where, certificates)
            if dh_file:
                load_dh_parameters(context, dh_file, dh_parameters)
            return context

        return make, [*files, *([dh_file] if dh_file else ())]


def _load_pair(common: _CommonSettings, options: Mapping[str, str]) -> TLSSettings:
    """
    Load one certificate.
    """
    make, files = common.load()
    key_file = options.get("privateKey", "server.pem")
    file, more = options.get("certKey", key_file), options.get("extraCertChain")
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
    return TLSSettings(
        context,
        common.requires_protocol,
        ((file, chain.leaf),),
        tuple(dict.fromkeys((key_file, file, *([more] if more else ()), *files))),
    )


def _load_folder(
    common: _CommonSettings, folder: str, refuse_unknown: bool
) -> TLSSettings:
    """
    Load the certificates of many names.
    """
    make, files = common.load()
    found = CertificateFolder(folder, make)
    return TLSSettings(
        found.context(refuse_unknown),
        common.requires_protocol,
        tuple((each.file, each.leaf) for each in found.chains),
        (*found.files, *files),
        tuple(found.contexts),
    )


# Options


def _common_settings(options: Mapping[str, str]) -> _CommonSettings:
    for option in PATH_OPTIONS:
        if options.get(option) == "":
            raise InvalidSetting(option, "must be a path, got ''")
    has_authorities = "caFile" in options or "caDir" in options
    if "clientCert" in options and not has_authorities:
        raise InvalidSetting(
            "clientCert", "needs caFile or caDir, the authorities that sign clients"
        )
    default = ssl.CERT_REQUIRED if has_authorities else ssl.CERT_NONE
    protocols = _protocols(options)
    required = _choice(options, "protocolRequired", {"yes": True, "no": False}, False)
    if required and not protocols:
        raise InvalidSetting(
            "protocolRequired", "needs protocols, of which one is required"
        )
    minimum, maximum = _versions(options)
    if "ciphers" in options and minimum == _V1_3:
        raise InvalidSetting("ciphers", "is for TLS 1.2, which minVersion excludes")
    return _CommonSettings(
        options,
        _choice(options, "clientCert", _VERIFY, default),
        protocols,
        required,
        minimum,
        maximum,
    )


def _choice(
    options: Mapping[str, str], option: str, choices: Mapping[str, _T], default: _T
) -> _T:
    if option not in options:
        return default
    if options[option] not in choices:
        raise InvalidSetting(
            option, f"must be {' or '.join(choices)}, got {options[option]!r}"
        )
    return choices[options[option]]


def _versions(options: Mapping[str, str]) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
    if "sslmethod" in options:
        method = options["sslmethod"]
        if method not in _METHODS:
            # It may be the rest of another value, as of ciphers with colons.
            raise InvalidSetting(
                "sslmethod",
                f"must be {' or '.join(_METHODS)}, got {method!r} (a colon"
                r" within a value is written \:)",
            )
        if "minVersion" in options or "maxVersion" in options:
            raise InvalidSetting(
                "sslmethod",
                "sets the versions, as minVersion and maxVersion do; give one or the"
                " other",
            )
        return _V1_2, _METHODS[method]
    minimum = _choice(options, "minVersion", _VERSIONS, _V1_2)
    maximum = _choice(options, "maxVersion", _VERSIONS, _V1_3)
    if minimum > maximum:
        raise InvalidSetting(
            "minVersion",
            f"must be at most maxVersion, got {options['minVersion']}"
            f" and {options['maxVersion']}",
        )
    return minimum, maximum


def _protocols(options: Mapping[str, str]) -> list[str]:
    if "protocols" not in options:
        return []
    protocols = options["protocols"].split(",")
    for each in protocols:
        # (A space would be a part of the name.)
        if not re.fullmatch("[!-~]{1,255}", each):
            raise InvalidSetting(
                "protocols",
                "must be ALPN names, separated by commas, such as h2,http/1.1, got"
                f" {options['protocols']!r}",
            )
    return protocols
