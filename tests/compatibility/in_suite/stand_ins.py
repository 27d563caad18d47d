"""
Has each process of a suite use the reactor that is compared, the servers that its tests
start, too.

Suites get their reactor in many ways: by C{from twisted.internet import reactor}, by
C{asyncioreactor.install(loop)}, by a name in a setting. So the reactor that is compared
is put in the place of Twisted's own class, under its name. Stock reactors are put there
in the same way, so that both runs differ in the reactor alone.

Every Python process of the environment imports this at its start. It does nothing where
L{REACTOR} is not set.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["REACTOR", "REACTORS", "RECORD", "Reactor", "begin"]

REACTOR = "COMPATIBILITY_REACTOR"
RECORD = "COMPATIBILITY_RECORD"
"""
Names in the environment: which of L{REACTORS}, and the path of the record.
"""

_DEFAULT = "twisted.internet.default"


class Reactor(NamedTuple):
    """
    A reactor, and the stock one of its family: the one in whose place it is put.
    """

    stock: str
    module: str
    name: str


REACTORS = {
    "epoll": Reactor("epoll", "twisted.internet.epollreactor", "EPollReactor"),
    "eager": Reactor("epoll", "twisted_echo.reactor", "EagerEPollReactor"),
    "asyncio": Reactor(
        "asyncio", "twisted.internet.asyncioreactor", "AsyncioSelectorReactor"
    ),
    "eager-asyncio": Reactor(
        "asyncio", "twisted_echo.asyncio_reactor", "EagerAsyncioSelectorReactor"
    ),
}
"""
By their names for C{--reactor}.
"""


_CHANGED = {_DEFAULT, *(REACTORS[each.stock].module for each in REACTORS.values())}


def _stand_in(stock: type[Any], compared: type[Any], name: str) -> type[Any]:
    """
    A subclass of the reactor with the stock class's name, which records each instance.
    """

    class StandIn(compared):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            from .record import record

            record(reactor=name, process=os.getpid())
            super().__init__(*arguments)

    StandIn.__name__ = StandIn.__qualname__ = stock.__name__
    StandIn.__module__ = stock.__module__
    return StandIn


def _change(module: ModuleType, reactor: Reactor) -> None:
    """
    Put the stand-in into Twisted's module, which has just been imported.
    """
    stock = REACTORS[reactor.stock]
    if module.__name__ == stock.module:
        theirs = getattr(module, stock.name)
        ours = getattr(import_module(reactor.module), reactor.name)
        setattr(module, stock.name, _stand_in(theirs, ours, reactor.name))
    elif module.__name__ == _DEFAULT:
        vars(module)["install"] = import_module(stock.module).install


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, reactor: Reactor) -> None:
        super().__init__(fullname, path)
        self._reactor = reactor

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _change(module, self._reactor)


class _Finder(MetaPathFinder):
    """
    Finds the modules that are changed as Python would, but for the loader.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> ModuleSpec | None:
        if fullname not in _CHANGED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._reactor)
        return spec


def begin() -> None:
    """
    Put the reactor that the environment names in the place of Twisted's.
    """
    # Now, as some tests change the environment.
    if REACTOR in os.environ:
        sys.meta_path.insert(0, _Finder(REACTORS[os.environ[REACTOR]]))


begin()
