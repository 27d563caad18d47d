"""
Tests for L{twisted_echo.endpoints.proxy_header}.
"""

import random
import re
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import reference
from tests.support.processes import DEADLINE, environment
from twisted_echo.endpoints.proxy_header import MAX_SIZE, BadHeader, ProxyHeader, parse

thorough = reference.thorough(200)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UDP6, UNIX, UNIX_DGRAM = 0, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32


def v2(command: int, family: int, block: bytes) -> bytes:
    """
    A header of version 2.
    """
    size = len(block).to_bytes(2, "big")
    return SIGNATURE + bytes([command, family]) + size + block


def outcome(data: bytes) -> Any:
    """
    What comes of some bytes: a header, None, or the class of the error, whose
    message must be fit for a log.
    """
    try:
        return parse(data)
    except BadHeader as error:
        message = str(error)
        assert re.fullmatch("[ -~]{1,120}", message), message
        return BadHeader


def last_good(data: bytes) -> int:
    """
    How many bytes at the front do not suffice to refuse it.
    """
    return next(
        size - 1 for size in range(len(data) + 1) if outcome(data[:size]) is BadHeader
    )


# Headers, and what they mean


ports = st.integers(0, 65535)
paths = st.binary(max_size=108).map(lambda path: path.partition(b"\0")[0])


@st.composite
def hosts6(draw: st.DrawFn) -> tuple[IPv6Address, str]:
    """
    An IPv6 address, and one of the ways to write it.
    """
    host = IPv6Address(
        draw(
            st.binary(min_size=16, max_size=16)
            | st.lists(
                st.sampled_from([b"\0\0", b"\0\1", b"\xff\xff"]),
                min_size=8,
                max_size=8,
            ).map(b"".join)
        )
    )
    ways = [str(host), host.exploded, host.exploded.upper()]
    if int(host) >> 32 == 0:
        # With dots; at most 45 - 24 characters, so that the line has room.
        ways.append(f"::{IPv4Address(int(host))}")
    return host, draw(st.sampled_from(ways))


@st.composite
def lines(draw: st.DrawFn) -> tuple[bytes, ProxyHeader]:
    """
    A header of version 1.
    """
    kind = draw(st.sampled_from(["TCP4", "TCP6", "UNKNOWN"]))
    source = destination = None
    if kind == "UNKNOWN":
        more = draw(st.none() | st.binary(max_size=107 - 16))
        line = b"PROXY UNKNOWN"
        if more is not None:
            line += b" " + more.replace(b"\r", b"?").replace(b"\n", b"?")
    else:
        written = (
            st.ip_addresses(v=4).map(lambda host: (host, str(host)))
            if kind == "TCP4"
            else hosts6()
        )
        first, second = draw(written), draw(written)
        source, destination = (first[0], draw(ports)), (second[0], draw(ports))
        line = (
            f"PROXY {kind} {first[1]} {second[1]} {source[1]} {destination[1]}"
        ).encode()
    line += b"\r\n"
    return line, ProxyHeader(source, destination, len(line))


@st.composite
def binaries(draw: st.DrawFn) -> tuple[bytes, ProxyHeader]:
    """
    A header of version 2.
    """
    command = draw(st.sampled_from([LOCAL, PROXY, PROXY, PROXY]))
    source: Any = None
    destination: Any = None
    block = b""
    if command == LOCAL:
        family = draw(st.integers(0, 255))
    else:
        family = draw(st.sampled_from([UNSPEC, TCP4, TCP6, UNIX]))
    if command == PROXY and family in (TCP4, TCP6):
        written = st.ip_addresses(v=4 if family == TCP4 else 6)
        source = draw(written), draw(ports)
        destination = draw(written), draw(ports)
        block = source[0].packed + destination[0].packed
        block += source[1].to_bytes(2, "big") + destination[1].to_bytes(2, "big")
    elif command == PROXY and family == UNIX:
        source, destination = draw(paths), draw(paths)
        for path in (source, destination):
            filler = draw(st.binary(max_size=3))
            block += (path + b"\0" + filler)[:108].ljust(108, b"\0")
    block += draw(
        st.binary(max_size=40)
        | st.just(bytes(MAX_SIZE - 16 - len(block)))
        | st.just(b"\x03\x00\x04" + b"\xde\xad\xbe\xef")
    )
    data = v2(command, family, block)
    return data, ProxyHeader(source, destination, len(data))


headers = lines() | binaries()


class TestAnyHeader:
    @given(headers, st.binary(max_size=50))
    @thorough
    def test_roundTrip(self, header: tuple[bytes, ProxyHeader], payload: bytes) -> None:
        """
        It means what it was made of, whatever follows it.
        """
        data, meaning = header
        assert parse(data + payload) == meaning
        assert data == (data + payload)[: meaning.size]

    @given(headers, st.randoms(use_true_random=False))
    @thorough
    def test_cut(
        self, header: tuple[bytes, ProxyHeader], chance: random.Random
    ) -> None:
        """
        Each beginning of a header is waited on.
        """
        data, _ = header
        sizes = set(range(min(len(data), 260)))
        sizes |= {len(data) - 1, chance.randrange(len(data))}
        for size in sizes:
            assert parse(data[:size]) is None, size

    @given(
        headers,
        st.lists(
            st.tuples(
                st.sampled_from(["change", "insert", "remove", "swap"]),
                st.integers(0, 300),
                st.integers(0, 255) | st.sampled_from(b"\r\n .:019P\0"),
            ),
            min_size=1,
            max_size=4,
        ),
    )
    @thorough
    def test_mutated(
        self, header: tuple[bytes, ProxyHeader], changes: list[tuple[str, int, int]]
    ) -> None:
        """
        With wrong bytes in it, it is refused, waited on, or means something; and
        what was said of some bytes stays true when more come.
        """
        data = bytearray(header[0])
        for how, where, byte in changes:
            where %= len(data)
            match how:
                case "change":
                    data[where] = byte
                case "insert":
                    data.insert(where, byte)
                case "remove" if len(data) > 1:
                    del data[where]
                case "swap":
                    data[where], data[byte % len(data)] = (
                        data[byte % len(data)],
                        data[where],
                    )
        check_steadiness(bytes(data))

    @given(
        st.binary(max_size=150)
        | st.binary(max_size=30).map(SIGNATURE.__add__)
        | st.text("TCP46 0125:.f\r\n", max_size=110).map(
            lambda text: b"PROXY " + text.encode()
        )
        | st.text("01:.f ", max_size=60).map(
            lambda text: b"PROXY TCP6 " + text.encode()
        )
        | st.text("0125. ", max_size=60).map(
            lambda text: b"PROXY TCP4 " + text.encode()
        )
    )
    @example(b"\xff" * 5000)
    @thorough
    def test_garbage(self, data: bytes) -> None:
        check_steadiness(data)


def check_steadiness(data: bytes) -> None:
    """
    Whatever is cut off at the end, all outcomes agree: first it is waited on, which is
    bounded, then there is one answer, which stays.
    """
    answer: Any = None
    sizes = [*range(min(len(data), 300)), len(data)]
    for size in sizes:
        now = outcome(data[:size])
        if answer is None:
            answer = now
            if isinstance(now, ProxyHeader):
                assert now.size == size or size == sizes[-1]
        assert now == answer, size
        if now is None:
            assert size < (107 if data[:1] == b"P" else MAX_SIZE)


# Each rule by itself


def line(text: str) -> bytes:
    return b"PROXY " + text.encode("latin-1") + b"\r\n"


ONE, TWO = IPv4Address("192.168.0.1"), IPv4Address("192.168.0.11")


class TestLine:
    """
    Version 1.
    """

    def test_specification(self) -> None:
        """
        The example of the specification.
        """
        data = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
        assert parse(data + b"GET / HTTP/1.1\r\n") == ProxyHeader(
            (ONE, 56324), (TWO, 443), len(data)
        )

    @pytest.mark.parametrize(
        ("written", "host"),
        [
            ("::", "::"),
            ("::1", "::1"),
            ("1::", "1::"),
            ("fe80:0000:0000:0000:0000:0000:0000:0001", "fe80::1"),
            ("FFFF:ffff:FFFF:ffff:FFFF:ffff:FFFF:ffff", "ffff:" * 7 + "ffff"),
            ("::ffff:192.168.0.1", "::ffff:192.168.0.1"),
            ("1:2:3:4:5:6:10.0.0.1", "1:2:3:4:5:6:a00:1"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ],
    )
    def test_version6(self, written: str, host: str) -> None:
        data = line(f"TCP6 {written} ::2 0 65535")
        expected = ProxyHeader(
            (IPv6Address(host), 0), (IPv6Address("::2"), 65535), len(data)
        )
        assert parse(data) == expected
        assert all(parse(data[:size]) is None for size in range(len(data)))

    @pytest.mark.parametrize(
        "rest",
        [
            "",
            " ",
            " TCP4 nothing of this counts",
            " \0\xff\t  %s",
            " " + "f" * (107 - 16),
        ],
    )
    def test_unknown(self, rest: str) -> None:
        data = line("UNKNOWN" + rest)
        assert parse(data + b"more") == ProxyHeader(None, None, len(data))

    @pytest.mark.parametrize(
        "wrong",
        [
            "PROXY  TCP4",
            "PROXY TP",
            "PROXY TCP5",
            "PROXY TCP4",
            "PROXY TCP46 ",
            "PROXY UDP4",
            "PROXY tcp4",
            "PROXY UNKNOWNX",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWN a\nb",
            "PROXY UNKNOWN a\rb",
            "PROXY UNKNOWN\r",
            f"PROXY UNKNOWN {'f' * 91}f",
            "PROXY TCP4  1.1.1.1 2.2.2.2 1 2",
            "PROXY TCP4 :",
            "PROXY TCP4 a.example",
            "PROXY TCP4 1.1.1.1\nFAKE",
            "PROXY TCP4 1.1.1.1",
            "PROXY TCP4 1.1.1 2.2.2.2 1 2",
            "PROXY TCP4 1.1.1.1.",
            "PROXY TCP4 256.1.1.1",
            "PROXY TCP4 1.1.1.256",
            "PROXY TCP4 01.1.1.1",
            "PROXY TCP4 1.1.1.00",
            "PROXY TCP4 -1.1.1.1",
            "PROXY TCP4 1.1.1.\xb2",
            "PROXY TCP4 1.1.1.\xff",
            "PROXY TCP4 1.1.1.1 ",
            "PROXY TCP4 1.1.1.1  2.2.2.2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 ",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 ",
            "PROXY TCP4 1.1.1.1 2.2.2.2  1 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 -1 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 01 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 00 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 99999 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 100000 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1_0 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1x",
            "PROXY TCP4 1.1.1.1 2.2.2.2 \xb2 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 ",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rX",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536",
            "PROXY TCP6 1.1.1.1",
            "PROXY TCP6 1:2:3:4:5:6:7:8:",
            "PROXY TCP6 1::2::",
            "PROXY TCP6 :::",
            "PROXY TCP6 :1",
            "PROXY TCP6 1: ::",
            "PROXY TCP6 1:2:3:4:5:6:7 ::",
            "PROXY TCP6 12345",
            "PROXY TCP6 g",
            "PROXY TCP6 [::1]",
            "PROXY TCP6 fe80::1%lo ::1 1 2",
            "PROXY TCP6 ::ffff:1.1.1 ::",
            "PROXY TCP6 ::ffff:1.1.1.01 ::",
            "PROXY TCP6 1:2:3:4:5:6:7:1.",
            "PROXY TCP6 ::1 1.1.1.1 1 2",
        ],
    )
    def test_wrong(self, wrong: str) -> None:
        """
        It is waited on until its line ends, and then refused.
        """
        line = wrong.encode("latin-1") + b"\r\n"
        assert outcome(line) is BadHeader
        assert outcome(line[: min(line.index(b"\n"), 106)]) is None

    @pytest.mark.parametrize(
        "wrong", ["|X", "|\0", "|proxy TCP4", "PROX|Z", "PROXY|\r\n", "PROXY|\t"]
    )
    def test_wrongBeginning(self, wrong: str) -> None:
        """
        What does not begin as a header is refused with the byte after the bar.
        """
        good, _, bad = wrong.partition("|")
        assert last_good((good + bad).encode("latin-1")) == len(good)

    def test_longest(self) -> None:
        """
        107 bytes suffice for a line, and are the most that it may have.
        """
        data = line("UNKNOWN " + "f" * (107 - 16))
        assert len(data) == 107
        assert parse(data) == ProxyHeader(None, None, 107)
        longest = "ffff:" * 6 + "255.255.255.255"
        data = line(f"TCP6 {longest} :: 65535 65535")
        assert isinstance(parse(data), ProxyHeader)

    def test_tooLong(self) -> None:
        """
        A line that does not end in time is refused when it is as long as one may be.
        """
        longest = "ffff:" * 6 + "255.255.255.255"
        assert len(longest) == 45
        data = f"PROXY TCP6 {longest} {longest} 0 0\r\n".encode()
        assert len(data) == 108
        assert last_good(data) == 106
        assert last_good(b"PROXY TCP6 " + b"0" * 200) == 106


class TestBinary:
    """
    Version 2.
    """

    def test_version4(self) -> None:
        data = v2(PROXY, TCP4, ONE.packed + TWO.packed + b"\x01\x02\xff\xff")
        assert parse(data + b"more") == ProxyHeader((ONE, 258), (TWO, 65535), 28)

    def test_version6(self) -> None:
        one, two = IPv6Address("2001:db8::1"), IPv6Address("::2")
        data = v2(PROXY, TCP6, one.packed + two.packed + b"\0\1\0\2")
        assert parse(data + b"more") == ProxyHeader((one, 1), (two, 2), 52)

    def test_unix(self) -> None:
        """
        A path ends at its first NUL, or with its field.
        """
        data = v2(PROXY, UNIX, b"/run/x\0y".ljust(108, b"\0") + b"z" * 108)
        assert parse(data + b"more") == ProxyHeader(b"/run/x", b"z" * 108, 232)

    @pytest.mark.parametrize("family", [UNSPEC, TCP4, UDP4, TCP6, UNIX_DGRAM, 0xFF])
    @pytest.mark.parametrize("block", [b"", b"\1\2\3\4" * 9])
    def test_local(self, family: int, block: bytes) -> None:
        """
        With LOCAL neither family nor addresses count.
        """
        data = v2(LOCAL, family, block)
        assert parse(data + b"more") == ProxyHeader(None, None, len(data))

    @pytest.mark.parametrize("block", [b"", b"\1\2\3\4" * 9])
    def test_unspecified(self, block: bytes) -> None:
        data = v2(PROXY, UNSPEC, block)
        assert parse(data + b"more") == ProxyHeader(None, None, len(data))

    @pytest.mark.parametrize(
        "more",
        [
            b"\x04\0\2ab",
            # A checksum, which is wrong.
            b"\x03\0\4\0\0\0\0",
            # No TLV at all.
            b"\xff\xff\xff",
        ],
    )
    def test_more(self, more: bytes) -> None:
        """
        What follows the addresses is skipped.
        """
        data = v2(PROXY, TCP4, ONE.packed + TWO.packed + b"\0\1\0\2" + more)
        assert parse(data) == ProxyHeader((ONE, 1), (TWO, 2), 28 + len(more))
        assert parse(data[:-1]) is None

    def test_command(self) -> None:
        """
        Another version or command is refused, without waiting for the addresses.
        """
        for command in {*range(256)} - {LOCAL, PROXY}:
            assert last_good(v2(command, TCP4, bytes(12))) == 15, command

    def test_family(self) -> None:
        """
        So are datagrams, and families that no one knows.
        """
        for family in {*range(256)} - {UNSPEC, TCP4, TCP6, UNIX}:
            assert last_good(v2(PROXY, family, bytes(216))) == 15, family

    @pytest.mark.parametrize(
        ("family", "least"), [(UNSPEC, 0), (TCP4, 12), (TCP6, 36), (UNIX, 216)]
    )
    def test_addresses(self, family: int, least: int) -> None:
        """
        The length must suffice for the addresses.
        """
        assert isinstance(parse(v2(PROXY, family, bytes(least))), ProxyHeader)
        if least:
            assert last_good(v2(PROXY, family, bytes(least - 1))) == 15

    @pytest.mark.parametrize("command", [LOCAL, PROXY])
    def test_size(self, command: int) -> None:
        """
        The limit, and one more: refused with the length, before what it counts.
        """
        assert MAX_SIZE == 4096
        data = v2(command, TCP4, bytes(MAX_SIZE - 16))
        assert outcome(data[:-1]) is None
        assert isinstance(parse(data), ProxyHeader)
        assert last_good(v2(command, TCP4, bytes(MAX_SIZE - 15))) == 15
        assert last_good(v2(command, TCP4, bytes(MAX_SIZE))) == 15

    def test_signature(self) -> None:
        """
        Each byte of the signature counts, and the first wrong one is enough.
        """
        data = v2(LOCAL, UNSPEC, b"")
        for place in range(12):
            wrong = bytearray(data)
            wrong[place] ^= 1
            assert last_good(bytes(wrong)) == place


class TestMessages:
    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\nHost: example\r\n" * 9,
            b"\x16\x03\x01\x02\x00",
            bytes(range(128, 256)),
            b"PROXY TCP4 \x1b[31m\n\0\x85\xff",
            b"PROXY TCP4 1.1.1.1\nFAKE log line",
            b"PROXY UNKNOWN \x1b]0;x\x07" + b"\x1b" * 200,
            b"PROXY UNKNOWN\x1b\r\n",
            SIGNATURE + b"\x9b\x11\0\x0a",
            SIGNATURE + b"\x21\x9b\0\x0a",
            SIGNATURE + b"\x21\x11\xff\xff",
            SIGNATURE + b"\x21\x11\0\x0a",
        ],
    )
    def test_printable(self, data: bytes) -> None:
        """
        A message is one short line of printable ASCII.
        """
        with pytest.raises(BadHeader) as caught:
            parse(data)
        assert re.fullmatch("[ -~]{10,120}", str(caught.value))

    def test_shown(self) -> None:
        """
        It shows how the wrong bytes begin.
        """
        with pytest.raises(BadHeader, match=r"^no PROXY header: b'GET / HTTP/1\.1"):
            parse(b"GET / HTTP/1.1\r\n\r\n" * 9)
        with pytest.raises(ValueError, match=r": b'PROXY TCP4 1\.1\.1\.\\xff\\r'$"):
            parse(b"PROXY TCP4 1.1.1.\xff\r\n")


def test_pure() -> None:
    """
    The module needs nothing of Twisted.
    """
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1]);"
        "print([name for name in sys.modules if name.startswith('twisted')])"
    )
    path = sys.modules["twisted_echo.endpoints.proxy_header"].__file__
    assert path is not None
    run = subprocess.run(
        [sys.executable, "-S", "-c", program, path],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment(),
        check=True,
    )
    assert run.stdout == "[]\n"
