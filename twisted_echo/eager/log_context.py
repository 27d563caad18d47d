"""
Transports that are log contexts.
"""

from collections.abc import Mapping
from typing import Protocol

from twisted.python import context, log

__all__ = ["OwnLogContext"]


class _Prefixed(Protocol):
    def logPrefix(self) -> str: ...


class OwnLogContext:
    """
    A log context that is made when something is logged. While the reactor reads from a
    transport, the transport itself is on the stack of C{twisted.python.context}.
    """

    def __getitem__(self: _Prefixed, key: object) -> Mapping[object, object]:
        if key is not log.ILogContext:
            raise KeyError(key)
        me: object = self
        below = context.ContextTracker()
        for each in context.theContextTracker.currentContext().contexts:
            if each is me:
                break
            below.contexts.append(each)
        return {**below.getContext(key), "system": self.logPrefix()}
