"""
Tests for L{twisted_echo.tls.x509}.
"""

import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import ObjectIdentifier, RelativeDistinguishedName
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.der_certificates import (
    PLAIN,
    attribute,
    certificate_der,
    x509_name,
)
from tests.support.paths import PROJECT
from tests.support.processes import DEADLINE, environment
from twisted_echo.tls.x509 import (
    LONGEST,
    BadCertificate,
    Certificate,
    pem_to_der,
    shortened,
)

thorough = settings(deadline=None, print_blob=True, max_examples=300)

CN, O, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME  # fmt: skip # noqa: E501, E741
SUBJECTS: list[tuple[x509.Name, str]] = [
    (x509_name(), ""),
    (x509_name(attribute(CN, "anna")), "CN=anna"),
    # The nearest part first.
    (
        x509_name(
            attribute(NameOID.COUNTRY_NAME, "DE", _ASN1Type.PrintableString),
            attribute(NameOID.STATE_OR_PROVINCE_NAME, "Bayern"),
            attribute(NameOID.LOCALITY_NAME, "Hof"),
            attribute(NameOID.STREET_ADDRESS, "Am Tor 1"),
            attribute(O, "Example"),
            attribute(OU, "Ops"),
            attribute(CN, "anna"),
        ),
        "CN=anna,OU=Ops,O=Example,STREET=Am Tor 1,L=Hof,ST=Bayern,C=DE",
    ),
    (
        x509_name(
            attribute(NameOID.DOMAIN_COMPONENT, "org", _ASN1Type.IA5String),
            attribute(NameOID.DOMAIN_COMPONENT, "example", _ASN1Type.IA5String),
            attribute(NameOID.USER_ID, "anna"),
        ),
        "UID=anna,DC=example,DC=org",
    ),
    (
        x509_name(
            attribute(NameOID.EMAIL_ADDRESS, "a@example.org", _ASN1Type.IA5String),
            attribute(NameOID.SERIAL_NUMBER, "17", _ASN1Type.NumericString),
            attribute(NameOID.SURNAME, "Arendt", _ASN1Type.PrintableString),
            attribute(NameOID.GIVEN_NAME, "Anna"),
            attribute(NameOID.TITLE, "Dr"),
        ),
        "title=Dr,GN=Anna,SN=Arendt,serialNumber=17,emailAddress=a@example.org",
    ),
    # The kinds of strings, each beyond ASCII where it can be.
    (x509_name(attribute(CN, "J\xfcrgen")), r"CN=J\C3\BCrgen"),
    (x509_name(attribute(CN, "J\xfcrgen", _ASN1Type.BMPString)), r"CN=J\C3\BCrgen"),
    (
        x509_name(attribute(CN, "J\xfcrgen", _ASN1Type.UniversalString)),
        r"CN=J\C3\BCrgen",
    ),
    (x509_name(attribute(CN, "\U0001f600")), r"CN=\F0\9F\98\80"),
    # What could break a line, end a text, or hide what follows.
    (x509_name(attribute(CN, "a\0b")), r"CN=a\00b"),
    (x509_name(attribute(CN, "a\r\nb\x1b[2J\x7f")), r"CN=a\0D\0Ab\1B[2J\7F"),
    (
        x509_name(attribute(CN, "a\u202eb\u2028c\x85")),
        r"CN=a\E2\80\AEb\E2\80\A8c\C2\85",
    ),
    # What has a meaning in such a text.
    (x509_name(attribute(CN, 'a,O=b+c;"<d>"\\=')), r"CN=a\,O=b\+c\;\"\<d\>\"\\="),
    (x509_name(attribute(CN, "#a#")), r"CN=\#a#"),
    (x509_name(attribute(CN, " a ")), r"CN=\ a\ "),
    (x509_name(attribute(CN, " ")), r"CN=\ "),
    (x509_name(attribute(CN, "  ")), r"CN=\ \ "),
    (x509_name(attribute(CN, "\\ ")), r"CN=\\\ "),
    (x509_name(attribute(CN, "#")), r"CN=\#"),
    # A part of two.
    (
        x509_name(
            attribute(O, "Example"),
            RelativeDistinguishedName([attribute(CN, "anna"), attribute(OU, "b")]),
        ),
        "CN=anna+OU=b,O=Example",
    ),
    # Without a name, or not of its kind.
    (
        x509_name(attribute(ObjectIdentifier("1.2.3.4.5.99999"), "anna")),
        "1.2.3.4.5.99999=#0C04616E6E61",
    ),
    (x509_name(attribute(ObjectIdentifier("2.999.1"), "a")), "2.999.1=#0C0161"),
    (
        x509_name(
            attribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\0\x01", _ASN1Type.BitString),
        ),
        "2.5.4.45=#03020001",
    ),
]


@pytest.mark.parametrize(("subject", "text"), SUBJECTS, ids=lambda each: None)
def test_subject(subject: x509.Name, text: str) -> None:
    """
    A subject is what RFC 4514 makes of it.
    """
    assert Certificate(certificate_der(subject)).subject == text


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_subject_as_openssl(tmp_path: Path) -> None:
    """
    It is what C{openssl x509 -subject -nameopt RFC2253} says. (It knows more names, and
    does not escape a value that is C{#} alone.)
    """
    subjects = [
        subject for subject, _ in SUBJECTS if "#" not in subject.rfc4514_string()
    ]
    subject = x509.Name([part for each in subjects for part in each.rdns])
    file = tmp_path / "cert.der"
    file.write_bytes(certificate_der(subject))
    told = subprocess.run(
        [
            *["openssl", "x509", "-inform", "DER", "-in", str(file)],
            *["-noout", "-subject", "-nameopt", "RFC2253"],
        ],
        capture_output=True,
        check=True,
        timeout=DEADLINE,
    ).stdout.decode()
    ours = Certificate(certificate_der(subject)).subject.replace("STREET", "street")
    assert told.removeprefix("subject=").rstrip("\n") == ours


KNOWN = {
    "SN": NameOID.SURNAME,
    "GN": NameOID.GIVEN_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "title": NameOID.TITLE,
    "emailAddress": NameOID.EMAIL_ADDRESS,
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(thorough, max_examples=100)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([CN, O, OU, NameOID.DOMAIN_COMPONENT, *KNOWN.values()]),
            st.tuples(TEXTS, st.sampled_from([_ASN1Type.UTF8String])),
            min_size=1,
            max_size=3,
        ),
        max_size=4,
    )
)
def test_subject_read_back(parts: list[dict[ObjectIdentifier, Any]]) -> None:
    """
    Any subject is one line of ASCII, and can be read back from it by somebody else's
    parser of RFC 4514.
    """
    subject = x509_name(
        *[
            RelativeDistinguishedName(
                [attribute(oid, *value) for oid, value in each.items()]
            )
            for each in parts
        ]
    )
    text = Certificate(certificate_der(subject)).subject
    assert re.fullmatch("[ -~]*", text)
    if not any("\n" in value for each in parts for value, _ in each.values()):
        read = x509.Name.from_rfc4514_string(text, KNOWN)
        assert list(read.rdns) == list(subject.rdns)


def test_teletex() -> None:
    """
    The characters of a Teletex string are those of Latin-1, as OpenSSL has it, too.
    """
    der = certificate_der(x509_name(attribute(CN, "anna")))
    teletex = der.replace(b"\x0c\x04anna", b"\x14\x04J\xfcrg")
    assert Certificate(teletex).subject == r"CN=J\C3\BCrg"


def test_string_that_is_none() -> None:
    """
    The bytes of a string that are none of its kind are in hexadecimal.
    """
    der = certificate_der(x509_name(attribute(CN, "anna")))
    broken = der.replace(b"\x0c\x04anna", b"\x0c\x04\xff\xfe\0\n")
    assert Certificate(broken).subject == "CN=#0C04FFFE000A"
    surrogate = der.replace(b"\x0c\x04anna", b"\x1e\x04\xd8\x00\0a")
    assert Certificate(surrogate).subject == "CN=#1E04D8000061"


def test_names_and_serial_number() -> None:
    certificate = Certificate(
        certificate_der(
            x509_name(), serial=0xABCDEF0123, names=["a.example", "*.b.example"]
        )
    )
    assert certificate.dnsNames == ("a.example", "*.b.example")
    assert certificate.issuer == "O=Example,CN=root"
    assert certificate.serialNumber == "00ABCDEF0123"
    assert Certificate(certificate_der(x509_name())).dnsNames == ()
    spoofed = PLAIN.replace(b"a.example", b"a\nexample")
    assert Certificate(spoofed).dnsNames == (r"a\0Aexample",)


def test_frozen() -> None:
    """
    Nothing of it can be changed; two of the same bytes are equal.
    """
    certificate = Certificate(PLAIN)
    with pytest.raises(AttributeError):
        certificate.subject = "CN=root"  # type: ignore[misc]
    assert certificate == Certificate(bytearray(PLAIN))  # type: ignore[arg-type]
    assert hash(certificate) == hash(Certificate(PLAIN))
    assert certificate != Certificate(certificate_der(x509_name()))
    assert "anna" in repr(certificate)


def test_shortened() -> None:
    assert shortened("a" * LONGEST) == "a" * LONGEST
    assert shortened("a" * (LONGEST + 1)) == "a" * (LONGEST - 3) + "..."


# Times


@pytest.mark.parametrize(
    "until",
    [
        datetime(1950, 1, 1),
        datetime(1970, 1, 1),
        datetime(1999, 12, 31, 23, 59, 59),
        datetime(2024, 2, 29, 1, 2, 3),
        datetime(2038, 1, 19, 3, 14, 8),
        datetime(2049, 12, 31, 23, 59, 59),
        # From here on as GeneralizedTime.
        datetime(2050, 1, 1),
        datetime(9999, 12, 31, 23, 59, 59),
    ],
)
def test_times(until: datetime) -> None:
    """
    They are what they are to C{cryptography} and to OpenSSL.
    """
    der = certificate_der(x509_name(), since=datetime(1950, 1, 1), until=until)
    certificate = Certificate(der)
    assert certificate.notAfter == until.replace(tzinfo=UTC).timestamp()
    assert certificate.notBefore == datetime(1950, 1, 1, tzinfo=UTC).timestamp()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=der)
    (told,) = context.get_ca_certs()
    assert certificate.notAfter == ssl.cert_time_to_seconds(str(told["notAfter"]))
    assert certificate.serialNumber == told["serialNumber"]


@pytest.mark.parametrize(
    "time",
    [
        *[b"260230120000Z", b"261301120000Z", b"260101240000Z", b"260101006000Z"],
        *[b"2601011200-0Z", b"260101120000z", b"260101120000+", b"2 0101120000Z"],
        *["2\u0663010112000Z".encode()[:13]],
    ],
)
def test_bad_times(time: bytes) -> None:
    good = b"260601120000Z"
    assert len(time) == len(good)
    with pytest.raises(BadCertificate, match="a time"):
        Certificate(PLAIN.replace(good, time))


def test_generalized_time_that_is_none() -> None:
    der = certificate_der(x509_name(), until=datetime(2050, 1, 1))
    for bad in (b"00000101000000Z", b"20500132000000Z", b"205001010000.0Z"):
        with pytest.raises(BadCertificate, match="a time"):
            Certificate(der.replace(b"20500101000000Z", bad))


# What is none


def outcome(make: Callable[[], Any]) -> Any:
    """
    What comes of some bytes: None if they are refused, by a message fit for a log.
    """
    try:
        return make()
    except BadCertificate as error:
        message = str(error)
        assert re.fullmatch("[ -~]{1,120}", message), message
        return None


def sound(der: bytes) -> None:
    """
    It is refused, or all of it is fit for a log, and C{cryptography} does not say
    otherwise.
    """
    found = outcome(lambda: Certificate(der))
    if found is None:
        return
    for text in (found.subject, found.issuer, found.serialNumber, *found.dnsNames):
        assert re.fullmatch("[ -~]*", text), text
    repr(found)
    try:
        other = x509.load_der_x509_certificate(der)
        until = other.not_valid_after_utc
    except Exception:
        return
    assert found.notAfter == until.timestamp()


EXAMPLES = [PLAIN, *[certificate_der(subject, names=[]) for subject, _ in SUBJECTS]]
LENGTHS = [
    *[b"\x80", b"\xff", b"\x84\xff\xff\xff\xff", b"\x85\0\0\0\0\x01", b"\x81"],
    b"\xfe" + b"\xff" * 126,
]


@thorough
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x30")
@example(b"\x30\x80\0\0")
@example(b"\x30\x84\x7f\xff\xff\xff")
@example(b"\x1f\xff\xff")
@example(b"\x30\x82\x20\0" + b"\x30\x80" * 4096)
def test_random_bytes(data: bytes) -> None:
    sound(data)
    # Also as deep inside as can be.
    size = len(data).to_bytes(2, "big")
    sound(b"\x30\x82" + size + data)


def test_truncated() -> None:
    """
    A certificate that is cut anywhere, or followed by something, is none.
    """
    assert all(
        outcome(lambda size=size: Certificate(PLAIN[:size])) is None
        for size in range(len(PLAIN))
    )
    assert outcome(lambda: Certificate(PLAIN + b"\0")) is None
    assert outcome(lambda: Certificate(PLAIN + PLAIN)) is None
    # (Behind the header of four bytes.)
    assert outcome(lambda: Certificate(long_form(0x30, PLAIN[4:]))) is not None
    assert outcome(lambda: Certificate(long_form(0x30, PLAIN[4:] + b"\5\0"))) is None


def test_each_byte_replaced() -> None:
    for place in range(len(PLAIN)):
        for value in {0, 0x1F, 0x30, 0x7F, 0x80, 0x84, 0xFF, PLAIN[place] ^ 1}:
            sound(PLAIN[:place] + bytes([value]) + PLAIN[place + 1 :])


@thorough
@given(
    st.sampled_from(EXAMPLES),
    st.lists(
        st.tuples(
            st.integers(0, 2000),
            st.integers(0, 6),
            st.binary(max_size=6) | st.sampled_from(LENGTHS),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_mutated(der: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    for place, removed, inserted in changes:
        place %= len(der) + 1
        der = der[:place] + inserted + der[place + removed :]
    sound(der)


def long_form(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x84]) + len(content).to_bytes(4, "big") + content


def test_long() -> None:
    """
    A name of 200 KB, of one part or of many, takes no more than it has to.
    """
    anna = certificate_der(x509_name(attribute(CN, "anna")))
    (subject,) = re.findall(rb"\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03.{6}", anna)
    part = subject[2:]
    many = _rebuilt(long_form(0x30, part * 14_000))
    assert Certificate(many).subject.count(",") == 13_999
    value = b"\x06\x03\x55\x04\x03" + long_form(0x0C, b"\n" * 200_000)
    one = _rebuilt(long_form(0x30, long_form(0x31, long_form(0x30, value))))
    assert Certificate(one).subject == "CN=" + r"\0A" * 200_000


@pytest.mark.parametrize("size", [127, 128, 129])
def test_long_oid(size: int) -> None:
    """
    The limit of an object identifier, whose number takes its square in time.
    """
    oid = b"\x88" + b"\xff" * (size - 2) + b"\x7f"
    value = long_form(0x06, oid) + b"\x0c\x01a"
    der = _rebuilt(long_form(0x30, long_form(0x31, long_form(0x30, value))))
    assert (outcome(lambda: Certificate(der)) is None) == (size > 128)


def _rebuilt(subject: bytes) -> bytes:
    """
    A certificate with another subject, or what looks like one.
    """
    der = certificate_der(x509_name(attribute(CN, "anna")))
    # Behind the two headers of four bytes and three bytes.
    head = 4 if der[1] == 0x82 else 3
    inner = 4 if der[head + 1] == 0x82 else 3
    size = int.from_bytes(der[head + 2 : head + inner], "big")
    body = der[head + inner : head + inner + size]
    rest = der[head + inner + size :]
    old = re.search(rb"\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04anna", body)
    assert old is not None
    body = body[: old.start()] + subject + body[old.end() :]
    return long_form(0x30, long_form(0x30, body) + rest)


# PEM


def test_pem() -> None:
    other = certificate_der(x509_name())
    text = "".join(map(ssl.DER_cert_to_PEM_cert, [PLAIN, other])).encode()
    assert pem_to_der(text) == [PLAIN, other]
    # With what else such files have.
    key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    assert pem_to_der(key + b"Bag \xff\n" + text.replace(b"\n", b"\r\n")) == [
        PLAIN,
        other,
    ]
    old = text.replace(b" CERTIFICATE", b" X509 CERTIFICATE")
    assert pem_to_der(old) == [PLAIN, other]


def test_trusted_pem() -> None:
    """
    What OpenSSL keeps behind a certificate is not the certificate's.
    """
    text = ssl.DER_cert_to_PEM_cert(PLAIN + b"\x30\0")
    trusted = text.replace(" CERT", " TRUSTED CERT").encode()
    assert pem_to_der(trusted) == [PLAIN]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n",
        b"-----BEGIN CERTIFICATE-----\nAAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n-----END X509 CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----" * 10_000,
        ssl.DER_cert_to_PEM_cert(PLAIN).encode()
        + b"-----BEGIN CERTIFICATE-----\nAA-A\n"
        b"-----END CERTIFICATE-----\n",
    ],
)
def test_bad_pem(text: bytes) -> None:
    with pytest.raises(BadCertificate):
        pem_to_der(text)


@thorough
@given(st.binary(max_size=100), st.integers(0, 500), st.integers(0, 20))
def test_mutated_pem(inserted: bytes, place: int, removed: int) -> None:
    text = ssl.DER_cert_to_PEM_cert(PLAIN).encode()
    changed = text[:place] + inserted + text[place + removed :]
    for der in outcome(lambda: pem_to_der(changed)) or []:
        sound(der)


def test_pure() -> None:
    """
    It needs nothing of Twisted.
    """
    subprocess.run(
        [
            *[sys.executable, "-c"],
            "import sys, twisted_echo.tls.x509; assert 'twisted' not in sys.modules",
        ],
        check=True,
        env=environment(),
        timeout=DEADLINE,
        cwd=PROJECT,
    )
