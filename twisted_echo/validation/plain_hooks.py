"""
Checks of overridden hooks, which Twisted calls without waiting for a result.

What must hold: a hook that would never run, because it is async or a generator, is
refused when its class is made.
"""

from collections.abc import Awaitable, Coroutine
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any
from warnings import warn

__all__ = ["PlainHooks", "check_stop"]


class PlainHooks:
    """
    A base class that refuses subclasses whose hooks are async or generators.
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
    Check a true value that C{lineReceived} has returned, which stops the receiver.

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
The hooks of receivers, of sessions and of Twisted's protocols.
"""
