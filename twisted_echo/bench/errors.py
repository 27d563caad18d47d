"""
The errors of a benchmark, by whose fault they are.

::

    BenchError
     ├── BadRequest     the user asked for what cannot be: exit code 2
     ├── BrokenServer   the server broke a line or a connection: exit code 1
     └── ChildFailed    a process of our own did not do its part: exit code 1
"""

import importlib
from collections.abc import Sequence
from types import ModuleType

from twisted_echo.validation.extras import install_extra


class BenchError(Exception):
    """
    Its message is all that the user needs; there is no traceback.
    """

    status = 1


class BadRequest(BenchError):
    status = 2


class BrokenServer(BenchError):
    pass


class ChildFailed(BenchError):
    pass


def need(command: str, modules: Sequence[str]) -> list[ModuleType]:
    """
    Import what only the extra C{bench} brings.

    @raise BadRequest: naming what is missing, and how to get it.
    """
    found = []
    for name in modules:
        try:
            found.append(importlib.import_module(name))
        except ImportError:
            raise BadRequest(
                f"{command} needs {name.partition('.')[0]}: {install_extra('bench')}"
            ) from None
    return found
