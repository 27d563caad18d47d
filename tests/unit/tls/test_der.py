"""
Tests for L{twisted_echo.tls.der}. (Those of L{twisted_echo.tls.x509} fuzz it.)
"""

import pytest

from twisted_echo.tls.der import BadDER, Elements, oid, only


def test_parts() -> None:
    """
    Elements are taken in their order, by what they are.
    """
    parts = Elements(b"\x02\x01\x07\x30\x04\x04\x00\x05\x00\x1f\x81\x01\x02ab")
    assert parts.tag == 0x02
    assert parts.take(0x02) == b"\x07"
    inner = parts.enter(0x30)
    assert inner.take(0x04) == b""
    with pytest.raises(BadDER, match="expected nothing more, found 0x05"):
        inner.end()
    assert inner.skip() == (b"\x05\x00", b"")
    assert inner.tag is None
    inner.end()
    # One with a tag of several bytes.
    assert parts.skip() == (b"\x1f\x81\x01\x02ab", b"ab")
    parts.end()
    with pytest.raises(BadDER, match="an element is missing"):
        parts.skip()


def test_other_tag() -> None:
    parts = Elements(b"\x02\x00")
    for take in parts.take, parts.enter:
        with pytest.raises(BadDER, match="expected the tag 0x30, found 0x02"):
            take(0x30)
    assert parts.take(0x02) == b""
    with pytest.raises(BadDER, match="expected the tag 0x30, found nothing"):
        parts.take(0x30)


def test_only() -> None:
    assert only(Elements(b"\x30\x02\x05\x00"), 0x30).tag == 0x05
    with pytest.raises(BadDER):
        only(Elements(b"\x30\x00\x30\x00"), 0x30)


@pytest.mark.parametrize(
    "size", [b"\x7f", b"\x81\x7f", b"\x82\x00\x7f", b"\x84\x00\x00\x00\x7f"]
)
def test_sizes(size: bytes) -> None:
    """
    Lengths of up to four bytes. What is one byte short, or has a length within another
    part's content, is refused.
    """
    content = bytes(0x7F)
    assert Elements(b"\x04" + size + content).take(0x04) == content
    for short in b"\x04" + size + content[1:], b"\x04" + size[:-1], b"\x04":
        with pytest.raises(BadDER):
            Elements(short).take(0x04)
    outer = b"\x30" + bytes([len(size) + 1]) + b"\x04" + size + content
    with pytest.raises(BadDER, match="within an element"):
        Elements(outer).enter(0x30).take(0x04)


@pytest.mark.parametrize("size", [b"\x80", b"\x85\0\0\0\0\x01", b"\xff"])
def test_other_sizes(size: bytes) -> None:
    with pytest.raises(BadDER, match="not encoded as DER requires"):
        Elements(b"\x04" + size + bytes(200)).take(0x04)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\x00", "0.0"),
        (b"\x27", "0.39"),
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01", "1.2.840.113549.1.9.1"),
        (b"\x55\x04\x03", "2.5.4.3"),
        (b"\x88\x37\x01", "2.999.1"),
    ],
)
def test_oid(content: bytes, text: str) -> None:
    assert oid(content) == text


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"\x55\x84", b"\x55\x04\x80\x03", b"\x01" * 129]
)
def test_bad_oid(content: bytes) -> None:
    """
    One that ends within a number, has a number in a second form, or is too long.
    """
    with pytest.raises(BadDER, match="object identifier"):
        oid(content)
