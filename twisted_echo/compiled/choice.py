"""
Whether the compiled part is used, chosen once, when this module is imported.

The environment variable C{TWISTED_ECHO_COMPILED} decides:

  - unset or empty: use it if it is there;
  - C{no}: do without it;
  - C{yes}: it must be there, or else the import fails.

What must hold:

  - a file that was built from another C{speedups.c} than the one beside it is never
    used, since its structs may not be those that the Python code expects;
  - free-threaded Pythons never use it: it relies on the interpreter's lock.
"""

import hashlib
import os
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["VARIABLE", "implementation", "speedups"]

VARIABLE = "TWISTED_ECHO_COMPILED"
_STALE = (
    "the compiled part was built from another speedups.c, "
    "install twisted-echo again to build it anew"
)


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


def _choose(wanted: str, source: Path) -> tuple[ModuleType | None, str]:
    """
    Choose by the value of L{VARIABLE}.

    @return: the compiled part, or C{None}; and what L{implementation} says.
    @raise ValueError: if the value is none that it may have.
    @raise ImportError: if the compiled part must be used and cannot be.
    """
    if wanted not in ("", "yes", "no"):
        raise ValueError(f"{VARIABLE} is {wanted!r}, it must be yes, no, or unset")
    if wanted == "no":
        return None, f"pure Python: {VARIABLE}=no"
    try:
        return _load(source), "compiled"
    except _Unusable as why:
        if wanted == "yes":
            raise ImportError(f"{VARIABLE}=yes, but {why}") from why.__cause__
        return None, f"pure Python: {why}"


implementation: str
"""
What is used, for people: C{compiled}, or C{pure Python} with the reason.
"""

if TYPE_CHECKING:
    # It may be None. But then mypy would not check by the stub what uses it.
    from twisted_echo.compiled import speedups
else:
    speedups, implementation = _choose(
        os.environ.get(VARIABLE, ""), Path(__file__).with_name("speedups.c")
    )
    """
    The compiled part, or C{None}.
    """
