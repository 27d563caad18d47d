"""
Numbers as the status page writes them, for people.
"""

from datetime import UTC, datetime

from twisted_echo.validation.units import format_duration

__all__ = ["bytesText", "countText", "durationText", "momentText", "percentText"]

_PRECISIONS = ((86400.0, 3600), (3600.0, 60), (60.0, 1))
"""
From how many seconds on, and to what a duration is rounded.
"""


def countText(number: float) -> str:
    """
    A whole number, in groups of three digits.
    """
    return f"{number:,.0f}"


def bytesText(size: float) -> str:
    """
    A number of bytes, with the largest unit in which it is 1 or more.
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            if unit == "bytes":
                return f"{size:.0f} {'byte' if size == 1 else unit}"
            return f"{size:.{0 if size >= 100 else 1}f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def durationText(seconds: float) -> str:
    """
    A duration with its two largest units, or to a tenth of a second below a minute; to
    a millisecond below a second.
    """
    for least, precision in _PRECISIONS:
        if seconds >= least:
            return format_duration(float(seconds // precision * precision))
    return format_duration(round(seconds, 1 if seconds >= 1 else 3))


def momentText(seconds: float) -> str:
    """
    A moment, given in seconds since 1970.
    """
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def percentText(share: float) -> str:
    """
    A share of 1 in percent. It is 0 or 100 only if it is that exactly.
    """
    if share <= 0:
        return "0 %"
    if share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    isNearEnd = share < 0.01 or 0.99 < share < 1
    return f"{share:.1%}".replace("%", " %") if isNearEnd else f"{share * 100:.0f} %"
