"""
Checks of settings and of overridden hooks.

What must hold: an error says which setting it is, what was given and what is allowed.
Numbers of every type are accepted, numpy's and fractions too, and kept as C{int} or
C{float}. A C{bool} is not accepted as a number.
"""

from collections.abc import Awaitable, Callable, Coroutine
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from math import isfinite
from numbers import Real
from operator import index
from typing import Any, Generic, TypeVar
from warnings import warn

__all__ = [
    "Checked",
    "InvalidSetting",
    "PlainHooks",
    "callback",
    "check_stop",
    "instance",
    "positive_seconds",
    "seconds",
    "whole",
]

_T = TypeVar("_T")


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
    A finite number as C{int} or C{float}; None for anything else.
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
    Take a number of seconds, 0 or more.

    @param allowed: the same, if there is more to say of it.
    @param label: how the message names the setting, if not by its field.
    @raise InvalidSetting: if it is none.
    """
    number = _real(value)
    if number is None or number < 0:
        problem = f"must be a number of seconds, {allowed}, got {value!r}"
        raise InvalidSetting(name, problem, label=label)
    return number


def positive_seconds(name: str, value: object) -> float:
    """
    Take a number of seconds, more than 0.

    @raise InvalidSetting: if it is none.
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
    Take a whole number.

    @param allowed: what is legal, in words.
    @raise InvalidSetting: if it is none, or not from C{least} to C{most}.
    """
    try:
        number = None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        raise InvalidSetting(name, f"must be a whole number{allowed}, got {value!r}")
    return number


def instance(name: str, value: Any, kind: type[_T]) -> _T:
    """
    Take an instance of a class.

    @raise TypeError: if it is none.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, got {value!r}")
    return value


def callback(name: str, value: Any) -> Any:
    """
    Take something that can be called.

    @raise TypeError: if it cannot.
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {value!r}")
    return value


class Checked(Generic[_T]):
    """
    An attribute that is checked whenever it is assigned.
    """

    def __init__(self, check: Callable[[str, Any], _T]) -> None:
        """
        @param check: called with the attribute's name and what is assigned; it
            returns what to keep.
        """
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name, self._kept = name, "_" + name

    def __get__(self, instance: Any, owner: type | None = None) -> _T:
        value: _T = getattr(instance, self._kept)
        return value

    def __set__(self, instance: Any, value: _T) -> None:
        setattr(instance, self._kept, self._check(self._name, value))


class PlainHooks:
    """
    A base of classes whose hooks Twisted calls without waiting for a result.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _HOOKS:
            hook = getattr(cls, name, None)
            if (
                iscoroutinefunction(hook)
                or isgeneratorfunction(hook)
                or isasyncgenfunction(hook)
            ):
                raise TypeError(
                    f"{cls.__name__}.{name} must be a plain function, got one that is"
                    f" async or a generator, which never runs; {_TO_WAIT}"
                )


def check_stop(who: object, why: object) -> None:
    """
    Check what a hook has returned, if it is true and so stops a receiver.

    @raise TypeError: if it is a coroutine, which would never run.
    """
    if isinstance(why, Coroutine):
        why.close()
        raise TypeError(
            f"{type(who).__name__}.lineReceived must not return a coroutine, which"
            f" never runs; {_TO_WAIT}"
        )
    if isinstance(why, Awaitable):
        warn(
            f"{type(who).__name__}.lineReceived has returned a {type(why).__name__},"
            " which like anything true leaves the next lines until new bytes come;"
            f" {_TO_WAIT}",
            RuntimeWarning,
            stacklevel=3,
        )


_TO_WAIT = (
    "to answer when something has been awaited, use AnsweringLineReceiver (or, for"
    " frames, AnsweringSession), whose answer() may be async"
)

_HOOKS = (
    *("makeConnection", "connectionMade", "handshakeCompleted"),
    *("dataReceived", "rawDataReceived", "blockReceived"),
    *("linesReceived", "lineReceived", "lineLengthExceeded"),
    *("stringsReceived", "stringReceived", "lengthLimitExceeded"),
    *("questionReceived", "sendAnswer", "sendAnswers", "answerFailed"),
    *("pauseProducing", "resumeProducing", "stopProducing"),
    *("readConnectionLost", "writeConnectionLost", "endOfInput", "connectionLost"),
)
"""
Those of the receivers, of sessions and of Twisted's protocols.
"""
