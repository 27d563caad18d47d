"""
Find overrides that must call the inherited method, and wrap them.

What must hold: a method is wrapped in the class that overrides it, when that class is
made. No instance is changed, and no class outside the hierarchy.
"""

from collections.abc import Callable
from functools import update_wrapper, wraps
from inspect import isfunction, unwrap
from types import CellType, FunctionType
from typing import Any, TypeAlias

from twisted.internet.protocol import BaseProtocol

__all__ = ["Hook", "complaint", "isWatched", "misplaced", "watch"]

Hook: TypeAlias = Callable[..., Any]


def watch(
    cls: type, base: type, name: str, around: Callable[[Hook, str, Any], Hook]
) -> None:
    """
    Wrap a hook that a class overrides, or has from a mix-in in front of C{base}.

    @param cls: a new subclass of C{base}.
    @param name: the hook's.
    @param around: makes the wrapper, of the override, of what to say if it does not
        call the inherited method, and of C{base}, which has that.
    """
    if isWatched(vars(cls).get(name)):
        _unwatch(cls, name)
    definer = _definers(cls, base, name)[0]
    if definer is cls:
        hook = vars(cls)[name]
        if not isfunction(hook) or isWatched(hook):
            return
    elif issubclass(definer, base):
        # Inherited with its wrapper, or from `base` itself.
        return
    else:
        # A mix-in's, which other classes may use: this class gets the wrapper.
        def hook(self: object, *args: object, **kwargs: object) -> object:
            return getattr(super(cls, self), name)(*args, **kwargs)

    fault = complaint(cls, base, name)
    wrapper: Any = wraps(vars(definer)[name])(around(hook, fault, base))
    wrapper.watched = wrapper.__wrapped__
    setattr(cls, name, wrapper)


def _unwatch(cls: type, name: str) -> None:
    """
    Restore an override whose wrapper was made for a class that this one replaces:
    of its namespace attrs and dataclasses make a new class, with C{__slots__}.
    """
    wrapper = vars(cls)[name]
    hook = wrapper.__wrapped__
    others = [vars(each).get(name) for each in cls.__mro__[1:]]
    if wrapper in others:
        return
    if hook in others:
        # A mix-in's.
        delattr(cls, name)
    else:
        setattr(cls, name, _ofClass(cls, hook))


def _ofClass(cls: type, hook: Any) -> Any:
    """
    Copy a function, so that its C{super()} is that of a class.
    """
    cells = dict(zip(hook.__code__.co_freevars, hook.__closure__ or (), strict=True))
    if "__class__" not in cells or cells["__class__"].cell_contents in cls.__mro__:
        return hook
    cells["__class__"] = CellType(cls)
    copy: Any = FunctionType(
        hook.__code__,
        hook.__globals__,
        hook.__name__,
        hook.__defaults__,
        tuple(cells.values()),
    )
    copy.__kwdefaults__ = hook.__kwdefaults__
    update_wrapper(copy, hook)
    del copy.__wrapped__
    return copy


def isWatched(hook: object) -> bool:
    """
    Whether a hook is one of L{watch}'s wrappers.
    """
    # (A user's decorator may copy what is set on a wrapper, and wraps another hook.)
    watched = getattr(hook, "watched", None)
    return watched is not None and watched is getattr(hook, "__wrapped__", None)


def complaint(cls: type, base: type, name: str) -> str:
    """
    Say which class has to call the inherited method.
    """
    # Without any, it has been put on an instance.
    definers = _definers(cls, base, name)[:-1] or [cls]
    if definers[0] is not cls:
        # Some mix-ins, one of which breaks the chain: as a rule one that does not name
        # the method.
        definers = [each for each in definers if not _names(each, name)] or definers
    definer = definers[0]
    hook = f"{definer.__qualname__}.{name}"
    if issubclass(definer, BaseProtocol) and not issubclass(definer, base):
        return (
            f"{cls.__qualname__} must name {base.__name__} before"
            f" {definer.__qualname__}: {hook} does not call super().{name}()"
        )
    return f"{hook} must call super().{name}()"


def misplaced(cls: type, base: type, name: str) -> str:
    """
    Say that C{base} stands behind a protocol whose method C{base} must be able to call.

    @param name: the method's.
    @return: the sentence; C{""} if it does not.
    """
    others = [each for each in _front(cls, base) if not issubclass(each, base)]
    protocols = [each for each in others if issubclass(each, BaseProtocol)]
    if not protocols or not any(name in vars(each) for each in others):
        return ""
    return (
        f"{cls.__qualname__} must name {base.__name__} before"
        f" {protocols[0].__qualname__}"
    )


def _front(cls: type, base: type) -> tuple[type, ...]:
    return cls.__mro__[: cls.__mro__.index(base)]


def _definers(cls: type, base: type, name: str) -> list[type]:
    """
    The classes before C{base} that define a method, and C{base}.
    """
    return [each for each in _front(cls, base) if name in vars(each)] + [base]


def _names(definer: type, name: str) -> bool:
    code = getattr(unwrap(vars(definer)[name]), "__code__", None)
    return code is not None and name in code.co_names
