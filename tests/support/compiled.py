"""
Tests that need the compiled part, or must do without it.
"""

from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.compiled import choice
from twisted_echo.eager.slots import Slots

__all__ = ["need_compiled", "use_python"]


def need_compiled() -> None:
    """
    Skip the test if the compiled part is not used. (CI allows that only to its step
    that forbids its use.)
    """
    if choice.implementation() != "compiled":
        raise SkipTest(f"this needs the compiled part: {choice.implementation()}")


def use_python(test: SynchronousTestCase) -> None:
    """
    Have the transports do everything in Python during the test, which sees each call.
    """
    for name in ("doRead", "sendNow", "write"):
        method = vars(Slots).get(name)
        if method is not None:
            delattr(Slots, name)
            test.addCleanup(setattr, Slots, name, method)
