"""
Tests that need the compiled part.
"""

from unittest import SkipTest

from twisted_echo.compiled import choice

__all__ = ["need_compiled"]


def need_compiled() -> None:
    """
    Skip the test if the compiled part is not used. (CI allows that only to its step
    that forbids its use.)
    """
    if choice.speedups is None:
        raise SkipTest(f"this needs the compiled part: {choice.implementation}")
