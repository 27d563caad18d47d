"""
Replace methods of one object for a while.

This is the one place where that is done. Twisted makes its transports and calls its
receivers' hooks itself, and neither has a seam for TLS that begins in the middle.

What must hold: afterwards the object has what it had before, and no reference to
whoever has replaced its methods.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

__all__ = ["Methods", "divert", "restore"]

Methods: TypeAlias = Mapping[str, Callable[..., object]]
_NOTHING: Mapping[str, object] = {}


def divert(target: object, methods: Methods) -> Mapping[str, object]:
    """
    Replace methods of one object.

    @return: what the object itself, and not its class, had under their names.
    """
    own = vars(target)
    before = {name: own[name] for name in methods if name in own}
    own.update(methods)
    return before


def restore(
    target: object, methods: Methods, before: Mapping[str, object] = _NOTHING
) -> None:
    """
    Restore the methods of an object, but not where others have replaced them since.

    @param methods: what L{divert} was given.
    @param before: what L{divert} returned.
    """
    own = vars(target)
    for name, method in methods.items():
        # (Bound methods are equal, and not the same.)
        if own.get(name) == method:
            if name in before:
                own[name] = before[name]
            else:
                del own[name]
