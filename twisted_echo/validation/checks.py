"""
Checks of settings.

What must hold: an error says which setting it is, what was given and what is allowed.
Numbers of every type are accepted, also numpy's and fractions, and kept as C{int} or
C{float}. A C{bool} is not accepted as a number.
"""

from collections.abc import Callable
from contextlib import suppress
from math import isfinite
from numbers import Real
from operator import index
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar

__all__ = [
    "Checked",
    "InvalidSetting",
    "callback",
    "fraction",
    "instance",
    "positive_seconds",
    "seconds",
    "whole",
]

_T = TypeVar("_T")
_F = TypeVar("_F")


class InvalidSetting(ValueError):
    """
    A setting has a value that is not allowed.

    @ivar field: the name of the setting.
    @ivar problem: what is allowed and what was given, without the setting's name.
    """

    def __init__(self, field: str, problem: str, *, label: str | None = None) -> None:
        """
        @param label: how the message names the setting, if not by its field.
        """
        super().__init__(f"{label or field} {problem}")
        self.field = field
        self.problem = problem


def _real(value: object) -> float | None:
    """
    Make a finite number C{int} or C{float}; return None for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = value if isinstance(value, int) else float(value)
        return number if isfinite(number) else None
    except OverflowError:
        return None


def seconds(
    name: str,
    value: object,
    allowed: str = "0 or more",
    *,
    label: str | None = None,
) -> float:
    """
    Check that a value is a number of seconds, 0 or more, and return it.

    @param allowed: what the message says is allowed.
    @param label: how the message names the setting, if not by its field.
    @raise InvalidSetting: if it is not.
    """
    number = _real(value)
    if number is None or number < 0:
        problem = f"must be a number of seconds, {allowed}, got {value!r}"
        raise InvalidSetting(name, problem, label=label)
    return number


def positive_seconds(name: str, value: object) -> float:
    """
    Check that a value is a number of seconds, more than 0, and return it.

    @raise InvalidSetting: if it is not.
    """
    allowed = "more than 0"
    number = seconds(name, value, allowed)
    if number == 0:
        problem = f"must be a number of seconds, {allowed}, got {value!r}"
        raise InvalidSetting(name, problem)
    return number


def whole(
    name: str, value: object, allowed: str, *, least: int = 0, most: int | None = None
) -> int:
    """
    Check that a value is a whole number, and return it.

    @param allowed: what the message says is allowed.
    @raise InvalidSetting: if it is not, or not from C{least} to C{most}.
    """
    number = None
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        with suppress(TypeError):
            number = index(value)
    if number is None or number < least or (most is not None and number > most):
        raise InvalidSetting(name, f"must be a whole number{allowed}, got {value!r}")
    return number


def fraction(name: str, value: object) -> float:
    """
    Check that a value is a number above 0 and not above 1, and return it.

    @raise InvalidSetting: if it is not.
    """
    number = _real(value)
    if number is None or not 0 < number <= 1:
        problem = f"must be a number above 0, at most 1, got {value!r}"
        raise InvalidSetting(name, problem)
    return number


def instance(name: str, value: object, kind: type[_T]) -> _T:
    """
    Check that a value is an instance of a class, and return it.

    @raise TypeError: if it is not.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, got {value!r}")
    return value


def callback(name: str, value: _F) -> _F:
    """
    Check that a value can be called, and return it.

    @raise TypeError: if it cannot.
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {value!r}")
    return value


class Checked(Generic[_T]):
    """
    An attribute that is checked whenever it is assigned.
    """

    if TYPE_CHECKING:
        # (What is kept is found where any attribute of an instance is.)
        def __get__(self, instance: Any, owner: type | None = None) -> _T: ...

    def __init__(self, check: Callable[[str, Any], _T]) -> None:
        """
        @param check: called with the attribute's name and what is assigned; it
            returns what to keep.
        """
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, instance: Any, value: _T) -> None:
        vars(instance)[self._name] = self._check(self._name, value)
