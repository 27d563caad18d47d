"""
The reactors that programs run on, by name.
"""

import asyncio
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted_echo.validation.extras import install_extra

__all__ = ["REACTORS", "ReactorKind"]


def _uvloop() -> Any:
    return importlib.import_module("uvloop").new_event_loop()


@dataclass(frozen=True)
class ReactorKind:
    """
    One reactor that programs run on.

    @ivar module: the one whose C{install} installs it; empty for a bare protocol.
    @ivar loop: what makes the event loop that C{install} takes.
    @ivar rival: of a bare protocol, its name among the servers of C{compare}.
    @ivar needs: the module without which there is none.
    """

    name: str
    module: str = ""
    loop: Callable[[], Any] | None = None
    rival: str = ""
    needs: str = ""

    @property
    def obstacle(self) -> str:
        """
        Why it cannot be used, and what to do; empty, if it can.
        """
        if self.needs and importlib.util.find_spec(self.needs) is None:
            return f"{self.name} needs {self.needs}: {install_extra('bench')}"
        return ""

    def install(self) -> None:
        """
        Make it the reactor of this process.
        """
        arguments = [self.loop()] if self.loop else []
        importlib.import_module(self.module).install(*arguments)


_ASYNCIO = "twisted.internet.asyncioreactor"
_EAGER_ASYNCIO = "twisted_echo.asyncio_reactor"

REACTORS = {
    each.name: each
    for each in (
        ReactorKind("epoll", "twisted.internet.epollreactor"),
        ReactorKind("eager", "twisted_echo.reactor"),
        ReactorKind("asyncio", _ASYNCIO, asyncio.new_event_loop),
        ReactorKind("eager-asyncio", _EAGER_ASYNCIO, asyncio.new_event_loop),
        ReactorKind("uvloop", _ASYNCIO, _uvloop, needs="uvloop"),
        ReactorKind("eager-uvloop", _EAGER_ASYNCIO, _uvloop, needs="uvloop"),
        ReactorKind("bare-asyncio", rival="asyncio-raw"),
        ReactorKind("bare-uvloop", rival="uvloop-raw", needs="uvloop"),
    )
}
