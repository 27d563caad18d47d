"""
The eager reactor on asyncio's loop under its public name: for
C{--reactor=eager-asyncio}, C{install()}, and settings that name a reactor's class.
"""

from twisted_echo.eager.asyncio_reactor import (
    EagerAsyncioSelectorReactor,
    UnfitTwisted,
    install,
)

__all__ = ["EagerAsyncioSelectorReactor", "UnfitTwisted", "install"]
