"""
L{twisted_echo.admin.status_page.figure_format}: numbers for people.
"""

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.admin.status_page.figure_format import (
    bytesText,
    countText,
    durationText,
    momentText,
    percentText,
)


class FormatTests(SynchronousTestCase):
    def test_counts(self) -> None:
        for number, text in ((0, "0"), (999, "999"), (1000, "1,000"), (12.6, "13")):
            self.assertEqual(countText(number), text)

    def test_bytes(self) -> None:
        for size, text in (
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (200 << 10, "200 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (5000 << 40, "5,000.0 TiB"),
        ):
            self.assertEqual(bytesText(size), text)

    def test_durations(self) -> None:
        for seconds, text in (
            (0, "0s"),
            (0.0123, "12ms"),
            (1.26, "1.3s"),
            (59.94, "59.9s"),
            (61.9, "1m1s"),
            (3725, "1h2m"),
            (90000.0, "1d1h"),
            (86400.0 * 400 + 3599, "400d"),
        ):
            self.assertEqual(durationText(seconds), text)

    def test_moments(self) -> None:
        self.assertEqual(momentText(1_700_000_000.9), "2023-11-14 22:13:20 UTC")

    def test_percents(self) -> None:
        """
        Nothing and all are said of nothing and all alone.
        """
        for share, text in (
            (0, "0 %"),
            (0.0001, "< 0.1 %"),
            (0.0049, "0.5 %"),
            (0.5, "50 %"),
            (0.994, "99.4 %"),
            (0.9999, "> 99.9 %"),
            (1, "100 %"),
            (1.5, "150 %"),
        ):
            self.assertEqual(percentText(share), text)
