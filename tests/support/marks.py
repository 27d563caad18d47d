"""
The mark of slow tests, for pytest and for trial.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

_Slow = TypeVar("_Slow", bound=Callable[..., Any])


def slow(test: _Slow) -> _Slow:
    """
    Marks a test, or a class of them, for C{pytest -m slow}. Trial, which knows no
    marks, skips it.
    """
    if "PYTEST_VERSION" not in os.environ:
        test.skip = "slow, run it by pytest -m slow"  # type: ignore[attr-defined]
    marked: _Slow = pytest.mark.slow(test)
    return marked
