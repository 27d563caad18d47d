"""
Whether the compiled part is used. It is loaded, or not, when this module is imported.

The environment variable C{TWISTED_ECHO_COMPILED} decides:

  - unset or empty: use it if it is there;
  - C{no}: do without it;
  - C{yes}: it must be there, or else the import fails.

What must hold:

  - a file that was built from another C{speedups.c} than the one beside it is never
    used, since its structs may differ from what the Python code expects;
  - free-threaded Pythons never use it: it relies on the interpreter's lock;
  - L{implementation} is true. So what finds that the compiled part cannot be used
    calls L{do_without}.
"""

import hashlib
import os
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["VARIABLE", "do_without", "implementation", "speedups"]

VARIABLE = "TWISTED_ECHO_COMPILED"
_STALE = (
    "the compiled part was built from another speedups.c, "
    "install twisted-echo again to build it again"
)

_wanted = os.environ.get(VARIABLE, "")
_implementation = "compiled"


def implementation() -> str:
    """
    Say what is used, for people: C{compiled}, or C{pure Python} with the reason.
    """
    return _implementation


def do_without(why: str, cause: BaseException | None = None) -> None:
    """
    Use pure Python in this process.

    @param why: the reason, for people.
    @param cause: what was raised, if anything was.
    @raise ImportError: if the compiled part must be used.
    """
    global _implementation
    if _wanted == "yes":
        raise ImportError(f"{VARIABLE}=yes, but {why}") from cause
    _implementation = f"pure Python: {why}"


class _Unusable(Exception):
    """
    The compiled part cannot be used. The argument says why.
    """


def _load(source: Path) -> ModuleType:
    """
    Import the compiled part.

    @param source: where its C source lies, if that is there.
    @raise _Unusable: if it must not be used, is not there, or is another source's.
    """
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise _Unusable("this Python is free-threaded")
    try:
        import twisted_echo.compiled.speedups as speedups
    except ModuleNotFoundError:
        raise _Unusable("the compiled part was not built") from None
    except ImportError as error:
        raise _Unusable(f"the compiled part cannot be loaded: {error}") from error
    # A wheel has no source, and brings its modules together.
    if source.exists():
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        if digest != speedups.SOURCE_DIGEST:
            raise _Unusable(_STALE)
    return speedups


def _choose(source: Path) -> ModuleType | None:
    """
    Choose by the value of L{VARIABLE}.

    @param source: see L{_load}.
    @return: the compiled part, or C{None}.
    @raise ValueError: if the value is none that it may have.
    @raise ImportError: if the compiled part must be used and cannot be.
    """
    if _wanted not in ("", "yes", "no"):
        raise ValueError(f"{VARIABLE} must be yes, no or unset, got {_wanted!r}")
    if _wanted == "no":
        do_without(f"{VARIABLE}=no")
        return None
    try:
        return _load(source)
    except _Unusable as why:
        do_without(str(why), why.__cause__)
        return None


if TYPE_CHECKING:
    # It may be None. But then mypy would not check by the stub what uses it.
    from twisted_echo.compiled import speedups
else:
    speedups = _choose(Path(__file__).with_name("speedups.c"))
    """
    The compiled part, or C{None} if it cannot be loaded. It is prepared before its use.
    """
