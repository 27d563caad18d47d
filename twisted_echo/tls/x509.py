"""
Read the contents of a certificate from its DER; pure, imports nothing from Twisted.

What must hold:

  - whatever the bytes, reading them gives a L{Certificate} or raises L{BadCertificate},
    in time and memory that are linear in their length;
  - every text is ASCII without control characters, and two different names never have
    the same text;
  - nothing is verified here. Only a certificate that OpenSSL has verified tells who
    somebody is.

A certificate is read when it is made, in a tenth of a millisecond. (RFC 5280 has
the structure, X.690 the encoding.)
"""

import re
from binascii import a2b_base64
from dataclasses import dataclass, field
from datetime import UTC, datetime

from twisted_echo.tls.der import BadDER, Elements, oid, only

__all__ = ["LONGEST", "BadCertificate", "Certificate", "pem_to_der", "shortened"]

LONGEST = 400
"""
Characters of a name that a log line has at the most. Common ones have a hundred; each
of their parts may have 64.
"""
_BOOLEAN, _INTEGER, _BITS, _OCTETS, _OID = 0x01, 0x02, 0x03, 0x04, 0x06
_SEQUENCE, _SET = 0x30, 0x31
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_DNS_NAME = 0x82
_SUBJECT_ALT_NAME = "2.5.29.17"

# The kinds of strings, and what their bytes are. Nobody writes what Teletex really is.
_STRINGS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # TeletexString
    0x16: "ascii",  # IA5String
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}

# The names of RFC 4514 and RFC 4519, and what certificates have besides.
_ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}

_ESCAPES = [
    f"\\{byte:02X}"
    if not 0x20 <= byte <= 0x7E
    else ("\\" if chr(byte) in '"+,;<>\\' else "") + chr(byte)
    for byte in range(256)
]

_UTC_FORM = re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")
_GENERALIZED_FORM = re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")

# (OpenSSL takes each of these kinds.)
_BEGIN = re.compile(rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----")
_PEM = re.compile(_BEGIN.pattern + rb"([^-]*)-----END \1-----")


class BadCertificate(ValueError):
    """
    The bytes are not a certificate.
    """


@dataclass(frozen=True)
class Certificate:
    """
    The contents of a certificate.

    @ivar der: the certificate itself.
    @ivar subject: whose it is, as RFC 4514 writes names, C{CN=anna,O=Example}; escaped,
        and as long as it is: see L{shortened}. Empty, if it has no name there.
    @ivar issuer: the name of its issuer, likewise.
    @ivar serialNumber: in hexadecimal, as C{openssl x509 -serial} has it.
    @ivar notBefore: from when it is valid, in seconds since 1970.
    @ivar notAfter: until when, the last second included.
    @ivar publicKey: its key, with what says of which kind that is: the DER of
        C{SubjectPublicKeyInfo}.
    @ivar dnsNames: the names of hosts that it is for; escaped.
    """

    der: bytes = field(repr=False)
    subject: str = field(init=False, compare=False)
    issuer: str = field(init=False, compare=False)
    serialNumber: str = field(init=False, compare=False)
    notBefore: int = field(init=False, compare=False)
    notAfter: int = field(init=False, compare=False)
    publicKey: bytes = field(init=False, compare=False, repr=False)
    dnsNames: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """
        @raise BadCertificate: if it is none.
        """
        # (This is what a frozen object leaves.)
        der = bytes(self.der)
        try:
            vars(self).update(der=der, **_read(der))
        except BadDER as error:
            raise BadCertificate(str(error)) from None


def pem_to_der(content: bytes) -> list[bytes]:
    """
    Read the certificates in a PEM file, as DER, in their order. Other contents are
    skipped.

    @raise BadCertificate: if one is broken, or there is none.
    """
    blocks = [found[2] for found in _PEM.finditer(content)]
    if len(blocks) < len(_BEGIN.findall(content)):
        raise BadCertificate("a BEGIN CERTIFICATE is not followed by base64 and END")
    if not blocks:
        raise BadCertificate("it has no BEGIN CERTIFICATE")
    try:
        # (Behind a TRUSTED one is what OpenSSL trusts it for.)
        return [Elements(a2b_base64(each)).skip()[0] for each in blocks]
    except ValueError:
        raise BadCertificate("a certificate in it is not DER in base64") from None


def shortened(name: str) -> str:
    """
    Shorten a name for a log line to L{LONGEST} characters, the last three of them dots.
    """
    return name if len(name) <= LONGEST else name[: LONGEST - 3] + "..."


# Times


def _time(parts: Elements) -> int:
    is_short = parts.tag == _UTC_TIME
    content = parts.take(_UTC_TIME if is_short else _GENERALIZED_TIME)
    found = (_UTC_FORM if is_short else _GENERALIZED_FORM).fullmatch(content)
    if found is None:
        raise BadCertificate("a time does not have the form of X.509")
    year, month, day, hour, minute, second = map(int, found.groups())
    if is_short:
        year += 1900 if year >= 50 else 2000
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise BadCertificate(f"a time is not possible: {error}") from None
    return int(moment.timestamp())


# Names


def _escape(value: bytes) -> str:
    """
    Escape UTF-8 as RFC 4514 does. Characters beyond ASCII are escaped byte by byte.
    """
    text = "".join([_ESCAPES[byte] for byte in value])
    if text.startswith((" ", "#")):
        text = "\\" + text
    if text.endswith(" ") and value != b" ":
        text = text[:-1] + "\\ "
    return text


def _attribute(parts: Elements) -> str:
    """
    Read a type and its value. Where one is unknown, write the value in hexadecimal.
    """
    kind = oid(parts.take(_OID))
    tag = parts.tag
    whole, value = parts.skip()
    parts.end()
    name, encoding = _ATTRIBUTES.get(kind), _STRINGS.get(tag or 0)
    if name is not None and encoding is not None:
        try:
            return f"{name}={_escape(value.decode(encoding).encode())}"
        except UnicodeError:
            # It is not what it says it is.
            pass
    return f"{name or kind}=#{whole.hex().upper()}"


def _name(parts: Elements) -> str:
    """
    Read a name. Its most specific part comes first.
    """
    texts = []
    while parts.tag is not None:
        attributes = parts.enter(_SET)
        several = [_attribute(attributes.enter(_SEQUENCE))]
        while attributes.tag is not None:
            several.append(_attribute(attributes.enter(_SEQUENCE)))
        # (As OpenSSL does it; their order means nothing.)
        texts.append("+".join(reversed(several)))
    return ",".join(reversed(texts))


def _dns_names(extensions: Elements) -> tuple[str, ...]:
    """
    Read the DNS names of the extensions.
    """
    while extensions.tag is not None:
        extension = extensions.enter(_SEQUENCE)
        kind = oid(extension.take(_OID))
        if extension.tag == _BOOLEAN:
            extension.take(_BOOLEAN)
        if kind == _SUBJECT_ALT_NAME:
            names, found = only(extension.enter(_OCTETS), _SEQUENCE), []
            while names.tag is not None:
                if names.tag == _DNS_NAME:
                    found.append(_escape(names.take(_DNS_NAME)))
                else:
                    names.skip()
            return tuple(found)
    return ()


# The certificate


def _read(der: bytes) -> dict[str, object]:
    certificate = only(Elements(der), _SEQUENCE)
    parts = certificate.enter(_SEQUENCE)
    certificate.enter(_SEQUENCE)
    certificate.enter(_BITS)
    certificate.end()
    if parts.tag == _VERSION:
        parts.enter(_VERSION)
    serial = parts.take(_INTEGER)
    parts.enter(_SEQUENCE)
    issuer = parts.enter(_SEQUENCE)
    validity = parts.enter(_SEQUENCE)
    not_before, not_after = _time(validity), _time(validity)
    subject = parts.enter(_SEQUENCE)
    public_key = b"" if parts.tag != _SEQUENCE else parts.skip()[0]
    names: tuple[str, ...] = ()
    while parts.tag is not None:
        if parts.tag == _EXTENSIONS:
            names = _dns_names(only(parts.enter(_EXTENSIONS), _SEQUENCE))
        else:
            parts.skip()
    return {
        "subject": _name(subject),
        "issuer": _name(issuer),
        "serialNumber": serial.hex().upper(),
        "notBefore": not_before,
        "notAfter": not_after,
        "publicKey": public_key,
        "dnsNames": names,
    }
