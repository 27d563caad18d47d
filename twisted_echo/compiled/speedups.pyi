from collections.abc import Callable, Iterator, Mapping
from socket import socket
from typing import Any, Final

SOURCE_DIGEST: Final[str]

def prepare(
    base: type[Any],
    probe: socket,
    reading: type[Any],
    doRead: Callable[[Any], object],
    writing: type[Any],
    sendNow: Callable[[Any], object],
    write: Callable[[Any, Any], object],
    endGathering: Callable[[Any], object],
    queued: object,
    gathering: object,
    lost: BaseException,
    isUnchanged: Callable[[Any], bool],
    exact: frozenset[type[Any]],
    /,
) -> tuple[Any, Any, Any]: ...
def readReady(
    events: Iterator[tuple[Any, int]],
    contexts: list[Any],
    selectables: Mapping[Any, Any],
    removed: Mapping[Any, Any],
    /,
) -> tuple[tuple[Any, int], Any, Any] | None: ...
