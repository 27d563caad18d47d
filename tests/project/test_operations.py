"""
docs/operations.md and docs/monitoring.md name what there is, and nothing else.
"""

import re
import signal

from twisted.trial.unittest import SynchronousTestCase

from tests.support.events import log_calls
from tests.support.paths import PROJECT
from twisted_echo.command.options.option_table import OPTIONS
from twisted_echo.command.signal_handlers import (
    RELOAD_SIGNAL,
    STATUS_SIGNAL,
    STOP_SIGNALS,
)

PAGES = "".join(
    (PROJECT / "docs" / page).read_text() for page in ("operations.md", "monitoring.md")
)


def section(title: str) -> str:
    """
    What is below a heading, up to the next one of its kind.
    """
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGES, re.M | re.S)
    return str(text)


class OptionsTests(SynchronousTestCase):
    def test_all(self) -> None:
        """
        The table names every option, with its default, and a reason.
        """
        rows = re.findall(
            r"^\| `--([a-z-]+)` \| `([^`|]+)` \| (.{20,}) \|$", section("Options"), re.M
        )
        self.assertEqual(
            {name: default for name, default, _ in rows},
            {each.name: each.default or "[]" for each in OPTIONS},
        )


class EventsTests(SynchronousTestCase):
    def test_all(self) -> None:
        """
        The table names every event of the package, with its level and fields.
        """
        told: dict[str, tuple[set[str], set[str]]] = {}
        for names, levels, fields, when in re.findall(
            r"^\| (`[^|]+`) \| ([a-z, ]+) \|([^|]*)\| (.+) \|$", section("Logs"), re.M
        ):
            self.assertTrue(when)
            for name in re.findall("`([a-z-]+)`", names):
                self.assertNotIn(name, told)
                told[name] = (
                    set(levels.split(", ")),
                    set(re.findall("`([A-Za-z]+)`", fields)),
                )
        levels = {
            "failure": {"error"},
            "critical": {"error"},
            # By how the session ended.
            "emit": {"info", "warn"},
        }
        self.assertEqual(
            told,
            {
                str(call.event): (
                    levels.get(call.level, {call.level}),
                    set(call.fields),
                )
                for call in log_calls()
            },
        )


class SignalsTests(SynchronousTestCase):
    def test_all(self) -> None:
        """
        The table names the signals that the command minds.
        """
        told = set(re.findall(r"\bSIG[A-Z0-9]+", section("Signals")))
        minded = {
            signal.Signals(number).name
            for number in (*STOP_SIGNALS, RELOAD_SIGNAL, STATUS_SIGNAL)
            if number is not None
        }
        # The log rotation of twistd.
        self.assertEqual(told, minded | {"SIGUSR1"})
