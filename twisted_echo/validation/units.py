"""
Durations and sizes with units: C{1h30m}, C{500ms}, C{64K}; pure, imports nothing from
Twisted.

What must hold: the text of a number is parsed to the same number again; other text
raises a C{ValueError} that says what was given and what is allowed.

A unit of a duration is C{d}, C{h}, C{m}, C{s} or C{ms}, and several can follow each
other, the larger first. A unit of a size is C{K}, C{M}, C{G} or C{T}, in either case: a
power of 1024. A plain number is seconds, or bytes.
"""

import re
from decimal import Decimal

__all__ = [
    "DURATIONS",
    "LONGEST",
    "SIZES",
    "Seconds",
    "Size",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_size",
]

DURATIONS = "a duration such as 90, 1.5s, 500ms, 5m, 1h30m or 2d (plain: seconds)"
"""
What L{parse_duration} takes, for an error message.
"""
SIZES = "a size such as 65536, 64K, 256M or 1G (powers of 1024; plain: bytes)"
"""
What L{parse_size} takes, for an error message.
"""

_UNITS = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_POWERS = {"T": 1 << 40, "G": 1 << 30, "M": 1 << 20, "K": 1 << 10}

LONGEST = 100_000 * 86400.0
"""
Seconds: practically for ever, and a number that every clock and kernel can handle.
"""
_LARGEST = 1 << 60

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_DURATION = re.compile(
    "".join(f"(?:(?P<{unit}>{_NUMBER}){unit}(?![a-z]))?" for unit in _UNITS), re.ASCII
)
_SIZE = re.compile(r"(\d+)([KMGT]?)", re.ASCII | re.IGNORECASE)


def parse_duration(text: str) -> float:
    """
    Parse a duration, and return seconds.
    """
    if re.fullmatch(_NUMBER, text, re.ASCII):
        seconds = float(text)
    else:
        found = _DURATION.fullmatch(text)
        if not text or found is None:
            raise ValueError(f"must be {DURATIONS}, got {text!r}")
        parts = found.groupdict(default="0")
        seconds = float(
            sum(Decimal(parts[unit]) * each for unit, each in _UNITS.items())
        )
    if seconds > LONGEST:
        raise ValueError(f"must be {format_duration(LONGEST)} at most, got {text!r}")
    return seconds


def format_duration(seconds: float) -> str:
    """
    Format a duration in the units that people use.
    """
    # From the shortest decimal form, so that 0.1 is exactly 100ms.
    left = Decimal(repr(float(seconds)))
    sign, left = ("-" if left < 0 else ""), abs(left)
    if left == 0:
        return "0s"
    if left < 1:
        return f"{sign}{_plain(left * 1000)}ms"
    written = []
    for unit in ("d", "h", "m"):
        count, left = divmod(left, _UNITS[unit])
        if count:
            written.append(f"{_plain(count)}{unit}")
    if left or not written:
        written.append(f"{_plain(left)}s")
    return sign + "".join(written)


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_size(text: str) -> int:
    """
    Parse a size, and return bytes.
    """
    found = _SIZE.fullmatch(text)
    # (For thousands of digits int() has an error of its own.)
    if found is None or len(found[1]) > 20:
        raise ValueError(f"must be {SIZES}, got {text!r}")
    size = int(found[1]) * _POWERS.get(found[2].upper(), 1)
    if size > _LARGEST:
        raise ValueError(f"must be {format_size(_LARGEST)} at most, got {text!r}")
    return size


def format_size(size: int) -> str:
    """
    Format a size with the largest unit of which it is a multiple.
    """
    for unit, power in _POWERS.items():
        if size and size % power == 0:
            return f"{size // power}{unit}"
    # (The text of a L{Size} is made here, so str() would not end.)
    return int.__repr__(size)


class Seconds(float):
    """
    A number of seconds whose text has units.
    """

    def __str__(self) -> str:
        return format_duration(self)


class Size(int):
    """
    A number of bytes whose text has a unit.
    """

    def __str__(self) -> str:
        return format_size(self)
