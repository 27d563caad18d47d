"""
What a certificate says, read from its DER; pure, imports nothing from Twisted.

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
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

__all__ = ["LONGEST", "BadCertificate", "Certificate", "pem_to_der", "shortened"]

LONGEST = 400
"""
Characters of a name that a log line has at the most. Common ones have a hundred; each
of their parts may have 64.
"""
_LONGEST_OID = 128
"""
Bytes of an object identifier. The longest in use hold a UUID, in twenty.
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
    It is no certificate.
    """


@dataclass(frozen=True)
class Certificate:
    """
    What there is to know of one.

    @ivar der: the certificate itself.
    @ivar subject: whose it is, as RFC 4514 writes names, C{CN=anna,O=Example}; escaped,
        and as long as it is: see L{shortened}. Empty, if it names nobody there.
    @ivar issuer: who has signed it, likewise.
    @ivar serialNumber: in hexadecimal, as C{openssl x509 -serial} has it.
    @ivar notBefore: from when it is valid, in seconds since 1970.
    @ivar notAfter: until when, the last second included.
    @ivar dnsNames: the names of hosts that it is for; escaped.
    """

    der: bytes = field(repr=False)
    subject: str = field(init=False, compare=False)
    issuer: str = field(init=False, compare=False)
    serialNumber: str = field(init=False, compare=False)
    notBefore: int = field(init=False, compare=False)
    notAfter: int = field(init=False, compare=False)
    dnsNames: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """
        @raise BadCertificate: if it is none.
        """
        # (This is what a frozen object leaves.)
        vars(self).update(_read(self.der))


def pem_to_der(content: bytes) -> list[bytes]:
    """
    The certificates in a PEM file, as DER, in their order. What else is in it does
    not matter.

    @raise BadCertificate: if one is broken, or there is none.
    """
    blocks = [found[2] for found in _PEM.finditer(content)]
    if len(blocks) < len(_BEGIN.findall(content)):
        raise BadCertificate("what follows a BEGIN CERTIFICATE is no base64 and END")
    if not blocks:
        raise BadCertificate("no BEGIN CERTIFICATE is in it")
    try:
        decoded = [a2b_base64(each) for each in blocks]
    except ValueError:
        raise BadCertificate("a certificate in it is no base64") from None
    # (Behind a TRUSTED one is what OpenSSL trusts it for.)
    return [_first(each) for each in decoded]


def shortened(name: str) -> str:
    """
    A name that is fit for a log line: if it is too long, L{LONGEST} characters of it,
    the last three of them dots.
    """
    return name if len(name) <= LONGEST else name[: LONGEST - 3] + "..."


# The encoding


def _elements(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """
    The parts of some content: the tag of each, its own content, and the whole.
    """
    start, end = 0, len(content)
    while start < end:
        tag, at = content[start], start + 1
        if tag & 0x1F == 0x1F:
            # A number of several bytes, which is none that is asked for.
            while at < end and content[at] & 0x80:
                at += 1
            at += 1
        if at >= end:
            raise BadCertificate("it ends within an element")
        size, at = content[at], at + 1
        if size & 0x80:
            digits = size & 0x7F
            if not 1 <= digits <= 4 or at + digits > end:
                raise BadCertificate("the length of an element is not that of DER")
            size, at = int.from_bytes(content[at : at + digits], "big"), at + digits
        if size > end - at:
            raise BadCertificate("it ends within an element")
        yield tag, content[at : at + size], content[start : at + size]
        start = at + size


def _first(content: bytes) -> bytes:
    for _, _, whole in _elements(content):
        return whole
    raise BadCertificate("it is empty")


class _Parts:
    """
    What is in a SEQUENCE or a SET, to be taken one by one.
    """

    def __init__(self, content: bytes) -> None:
        self._rest = _elements(content)
        self._next = next(self._rest, None)

    @property
    def tag(self) -> int | None:
        """
        That of the next part; None after the last.
        """
        return None if self._next is None else self._next[0]

    def take(self, *tags: int) -> bytes:
        """
        The content of the next part, which must have one of some tags.
        """
        if self._next is None or self._next[0] not in tags:
            wanted = " or ".join(f"{each:#04x}" for each in tags)
            found = "nothing" if self.tag is None else f"{self.tag:#04x}"
            raise BadCertificate(f"{wanted} must be where {found} is")
        content, self._next = self._next[1], next(self._rest, None)
        return content

    def end(self) -> None:
        if self._next is not None:
            raise BadCertificate(f"{self._next[0]:#04x} is where nothing must be")


def _only(content: bytes, tag: int) -> bytes:
    parts = _Parts(content)
    only = parts.take(tag)
    parts.end()
    return only


def _oid(content: bytes) -> str:
    """
    An object identifier with dots.
    """
    if not content or len(content) > _LONGEST_OID or content[-1] & 0x80:
        raise BadCertificate("an object identifier is broken, or too long")
    arcs, arc = [], 0
    for byte in content:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    # The first two are in one number.
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def _time(parts: _Parts) -> int:
    tag = parts.tag
    content = parts.take(_UTC_TIME, _GENERALIZED_TIME)
    form = _UTC_FORM if tag == _UTC_TIME else _GENERALIZED_FORM
    found = form.fullmatch(content)
    if found is None:
        raise BadCertificate("a time is not of the form that certificates have")
    year, month, day, hour, minute, second = map(int, found.groups())
    if tag == _UTC_TIME:
        year += 1900 if year >= 50 else 2000
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise BadCertificate(f"a time is none: {error}") from None
    return int(moment.timestamp())


# Names


def _escape(value: bytes) -> str:
    """
    UTF-8 as RFC 4514 escapes it; what is not ASCII, by its bytes.
    """
    text = "".join([_ESCAPES[byte] for byte in value])
    if text.startswith((" ", "#")):
        text = "\\" + text
    if text.endswith(" ") and value != b" ":
        text = text[:-1] + "\\ "
    return text


def _attribute(content: bytes) -> str:
    """
    A type and its value. Where one of them is unknown, the value is in hexadecimal.
    """
    elements = list(_elements(content))
    if len(elements) != 2 or elements[0][0] != _OID:
        raise BadCertificate("a name has a part that is none")
    (_, oid, _), (tag, value, whole) = elements
    kind = _oid(oid)
    name, encoding = _ATTRIBUTES.get(kind), _STRINGS.get(tag)
    if name is not None and encoding is not None:
        try:
            return f"{name}={_escape(value.decode(encoding).encode())}"
        except ValueError:
            # It is not what it says it is.
            pass
    return f"{name or kind}=#{whole.hex().upper()}"


def _name(content: bytes) -> str:
    """
    A name, the nearest of its parts first.
    """
    parts = []
    for tag, part, _ in _elements(content):
        if tag != _SET:
            raise BadCertificate("a name has a part that is none")
        attributes = _Parts(part)
        texts = [_attribute(attributes.take(_SEQUENCE))]
        while attributes.tag is not None:
            texts.append(_attribute(attributes.take(_SEQUENCE)))
        # (As OpenSSL does it; their order means nothing.)
        parts.append("+".join(reversed(texts)))
    return ",".join(reversed(parts))


def _dns_names(content: bytes) -> tuple[str, ...]:
    """
    Those of the extensions.
    """
    for tag, each, _ in _elements(_only(content, _SEQUENCE)):
        if tag != _SEQUENCE:
            raise BadCertificate("an extension is none")
        extension = _Parts(each)
        kind = _oid(extension.take(_OID))
        if extension.tag == _BOOLEAN:
            extension.take(_BOOLEAN)
        if kind == _SUBJECT_ALT_NAME:
            names = _elements(_only(extension.take(_OCTETS), _SEQUENCE))
            return tuple(_escape(name) for tag, name, _ in names if tag == _DNS_NAME)
    return ()


# The certificate


def _read(der: bytes) -> dict[str, object]:
    certificate = _Parts(_only(der, _SEQUENCE))
    parts = _Parts(certificate.take(_SEQUENCE))
    certificate.take(_SEQUENCE)
    certificate.take(_BITS)
    certificate.end()
    if parts.tag == _VERSION:
        parts.take(_VERSION)
    serial = parts.take(_INTEGER)
    parts.take(_SEQUENCE)
    issuer = parts.take(_SEQUENCE)
    validity = _Parts(parts.take(_SEQUENCE))
    not_before, not_after = _time(validity), _time(validity)
    subject = parts.take(_SEQUENCE)
    names: tuple[str, ...] = ()
    while parts.tag is not None:
        tag = parts.tag
        rest = parts.take(tag)
        if tag == _EXTENSIONS:
            names = _dns_names(rest)
    return {
        "subject": _name(subject),
        "issuer": _name(issuer),
        "serialNumber": serial.hex().upper(),
        "notBefore": not_before,
        "notAfter": not_after,
        "dnsNames": names,
    }
