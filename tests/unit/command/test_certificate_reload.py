"""
L{twisted_echo.command.certificate_reload}: what the log has of a reload.
"""

from typing import Any
from unittest import TestCase

from twisted.logger import capturedLogs, formatEvent

from twisted_echo.command.certificate_reload import reload


class Loading:
    """
    Files that a reload replaces by others, or fails to.
    """

    def __init__(self, *steps: Any) -> None:
        self.files: list[str] = ["before.pem"]
        self._steps = list(steps)

    def reload(self) -> None:
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        self.files = step


class ReloadTests(TestCase):
    def told(self, *loading: Any) -> list[str]:
        with capturedLogs() as events:
            reload(loading)
        return [formatEvent(each) for each in events]

    def test_files(self) -> None:
        """
        The files that were loaded, which may be others than before, and not too many.
        """
        self.assertEqual(
            self.told(Loading(["a.pem", "b.pem"])),
            ["reloaded a.pem, b.pem"],
        )
        ten = [f"{number}.pem" for number in range(10)]
        self.assertEqual(self.told(Loading(ten)), [f"reloaded {', '.join(ten)}"])
        self.assertEqual(
            self.told(Loading([*ten, "x", "y"])),
            [f"reloaded {', '.join(ten)}, 2 more"],
        )

    def test_failures(self) -> None:
        """
        What cannot be loaded is told with the reason, and keeps nothing else from it.
        """
        why = "cannot reload before.pem: "
        kept = "; what was loaded before stays in use"
        self.assertEqual(
            self.told(
                Loading(ValueError("broken")),
                Loading(OSError("odd")),
                Loading(["a.pem"]),
            ),
            [
                f"{why}broken{kept}",
                f"{why}OSError: odd{kept}",
                "reloaded a.pem",
            ],
        )
