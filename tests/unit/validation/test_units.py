"""
Tests of L{twisted_echo.validation.units}.
"""

import json
import random

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.validation.units import (
    LONGEST,
    Seconds,
    Size,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

_H, _D = 3600.0, 86400.0


class DurationTests(SynchronousTestCase):
    def test_parsed(self) -> None:
        for text, seconds in (
            ("0", 0.0),
            ("90", 90.0),
            ("2.5", 2.5),
            (".5", 0.5),
            ("0s", 0.0),
            ("1.5s", 1.5),
            ("500ms", 0.5),
            ("0.1ms", 0.0001),
            ("5m", 300.0),
            ("1h", _H),
            ("1.5h", 1.5 * _H),
            ("2d", 2 * _D),
            ("1h30m", 1.5 * _H),
            ("1d2h3m4s5ms", _D + 2 * _H + 184.005),
            ("1h5ms", _H + 0.005),
            ("100000d", LONGEST),
        ):
            self.assertEqual(parse_duration(text), seconds, text)

    def test_refused(self) -> None:
        """
        Everything else, with what was given and what is allowed.
        """
        for text in (
            *("", " ", "5 m", " 5m", "5m ", "5x", "5M", "5min", "m", "5m5m", "5s5m"),
            *("-1", "-5m", "+5", "1e3", "1e400", "inf", "nan", "1_000", "1,5", "0x10"),
            *("1.2.3s", "5m30", "٣", "soon", "5m\n", "."),
        ):
            error = self.assertRaises(ValueError, parse_duration, text)
            self.assertIn(f"got {text!r}", str(error))
            self.assertIn("such as 90, 1.5s", str(error))
        for text in ("100001d", "9" * 400, "9" * 400 + "h"):
            error = self.assertRaises(ValueError, parse_duration, text)
            self.assertIn("100000d at most", str(error))

    def test_formatted(self) -> None:
        for seconds, text in (
            (0.0, "0s"),
            (0.0004, "0.4ms"),
            (0.1, "100ms"),
            (0.5, "500ms"),
            (1.0, "1s"),
            (1.5, "1.5s"),
            (59.999, "59.999s"),
            (60.0, "1m"),
            (90.0, "1m30s"),
            (300.0, "5m"),
            (_H, "1h"),
            (_H + 1, "1h1s"),
            (_D + _H / 2, "1d30m"),
            (-1.5, "-1.5s"),
        ):
            self.assertEqual(format_duration(seconds), text)

    def test_roundTrip(self) -> None:
        """
        What is formatted is parsed to the same number.
        """
        dice = random.Random(12)
        for _ in range(2000):
            seconds = dice.choice((dice.random(), dice.uniform(0, 1e6))) * 10 ** (
                dice.randrange(-3, 4)
            )
            seconds = round(seconds, dice.randrange(7))
            self.assertEqual(parse_duration(format_duration(seconds)), seconds)

    def test_number(self) -> None:
        """
        A L{Seconds} is text to a person, and a number to JSON.
        """
        self.assertEqual(f"{Seconds(90.0)} {Seconds(90.0):.1f}", "1m30s 90.0")
        self.assertEqual(json.dumps(Seconds(90.0)), "90.0")


class SizeTests(SynchronousTestCase):
    def test_parsed(self) -> None:
        for text, size in (
            ("0", 0),
            ("65536", 65536),
            ("64K", 65536),
            ("64k", 65536),
            ("256M", 256 << 20),
            ("1g", 1 << 30),
            ("2T", 2 << 40),
        ):
            self.assertEqual(parse_size(text), size, text)

    def test_refused(self) -> None:
        for text in (
            *("", " ", "64 K", "64KB", "64KiB", "1.5M", "-1", "+1", "1e6", "K", "many"),
            *("1_000", "inf", "0x10", "1P", "64K\n", "٣", "9" * 5000),
        ):
            error = self.assertRaises(ValueError, parse_size, text)
            self.assertIn(f"got {text!r}", str(error))
            self.assertIn("such as 65536, 64K", str(error))
        error = self.assertRaises(ValueError, parse_size, "9999999999T")
        self.assertIn("at most", str(error))

    def test_formatted(self) -> None:
        for size, text in (
            (0, "0"),
            (1, "1"),
            (1023, "1023"),
            (1024, "1K"),
            (1025, "1025"),
            (1536, "1536"),
            (1 << 20, "1M"),
            (1536 << 10, "1536K"),
            (256 << 20, "256M"),
            (1 << 30, "1G"),
            (1 << 40, "1T"),
        ):
            self.assertEqual(format_size(size), text)
            self.assertEqual(parse_size(text), size)

    def test_number(self) -> None:
        self.assertEqual(f"{Size(65536)} {Size(7)} {Size(0)}", "64K 7 0")
        self.assertEqual(json.dumps(Size(65536)), "65536")
