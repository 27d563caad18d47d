"""
The check of the installed Twisted against the list.
"""

import inspect
from collections.abc import Iterator
from pkgutil import resolve_name

from twisted import __version__ as twistedVersion

from twisted_echo.twisted_internals.table import INTERNALS, SIGNATURES

__all__ = ["UnfitTwisted", "require", "unfit"]


class UnfitTwisted(ImportError):
    """
    The installed Twisted lacks something that a module of this package needs.
    """


def _find(path: str) -> object:
    """
    What a path leads to, or None.
    """
    try:
        return resolve_name(path)
    except (AttributeError, ImportError):
        return None


def _has(owner: object, name: str) -> bool:
    """
    Whether a class, module or object has an attribute, or an instance of a class gets
    it when it is made or connected.
    """
    return hasattr(owner, name) or any(
        name in vars(each)[begin].__code__.co_names
        for each in getattr(owner, "__mro__", ())
        for begin in ("__init__", "makeConnection")
        if inspect.isfunction(vars(each).get(begin))
    )


def _isIn(user: str, package: str | None) -> bool:
    """
    Whether a module has the given name, or is in the package of that name.
    """
    return package is not None and f"{user}.".startswith(f"{package}.")


def _lacking(asked: str, without: str | None) -> Iterator[str]:
    def isAsked(user: str) -> bool:
        return _isIn(user, asked) and not _isIn(user, without)

    for each in INTERNALS:
        for path, names in each.names.items() if isAsked(each.user) else ():
            owner = _find(path)
            if owner is None:
                yield path
                continue
            for name in names.split():
                if not _has(owner, name):
                    yield f"{_last(path)}.{name}"
    for user, path, name, parameters in SIGNATURES:
        function = getattr(_find(path), name, None)
        if isAsked(user) and (
            function is None
            or tuple(inspect.signature(function).parameters) != parameters
        ):
            yield f"{_last(path)}.{name}({', '.join(parameters)})"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def unfit(user: str, without: str | None = None) -> str | None:
    """
    Tell why the installed Twisted does not suit a module or package of this package.

    @param user: its name, such as C{eager} or C{twisted_echo.endpoints.string_options}.
    @param without: the name of a module of that package that is not used.
    @return: one sentence, or None if it suits.
    """
    user = user.removeprefix("twisted_echo.")
    lacking = list(dict.fromkeys(_lacking(user, without)))
    if not lacking:
        return None
    return (
        f"Twisted {twistedVersion} lacks what twisted_echo.{user} builds on:"
        f" {', '.join(lacking)}"
    )


def require(user: str, without: str | None = None) -> None:
    """
    Refuse a Twisted that does not suit a module or package of this package.

    @param without: see L{unfit}.
    @raise UnfitTwisted: naming what is lacking.
    """
    reason = unfit(user, without)
    if reason is not None:
        raise UnfitTwisted(reason)
